"""The seal by itself; the formats that use it are tested where they live."""

from __future__ import annotations

import hashlib
import json
import re

import pytest
import torch
from safetensors.torch import save

from geomlib import CheckpointError, InvalidInput
from geomlib.files import open_sealed, seal
from geomlib.files.sealed import BLANK

SLOT = re.compile(rb'\\"sha256\\": \\"([0-9a-f]{64})\\"')


def blob(**others) -> bytearray:
    metadata = {"geomlib": json.dumps({"sha256": BLANK, **others})}
    return bytearray(save({"x": torch.arange(5.0)}, metadata=metadata))


def test_the_seal_is_the_hash_of_the_rest(tmp_path):
    plain = blob(note="a")
    sealed = bytearray(plain)
    digest = seal(sealed, SLOT, "here")
    assert digest == hashlib.sha256(plain).hexdigest() and bytes(sealed) == plain.replace(
        BLANK.encode(), digest.encode()
    )
    (tmp_path / "a").write_bytes(sealed)
    found, header = open_sealed(tmp_path / "a", SLOT, "thing", "Do it again.")
    assert found == bytes(sealed) and header == {"sha256": digest, "note": "a"}


def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path):
    whole = blob()
    seal(whole, SLOT, "here")
    path = tmp_path / "a"
    for at in range(len(whole)):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :]):
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError, match=r"thing|Do it again"):
                open_sealed(path, SLOT, "thing", "Do it again.")


def test_two_places_for_the_hash_are_one_too_many(tmp_path):
    with pytest.raises(CheckpointError, match="here: no place"):
        seal(blob(more={"sha256": BLANK}), SLOT, "here")
    with pytest.raises(InvalidInput, match="cannot be read"):
        open_sealed(tmp_path / "absent", SLOT, "thing", "")
