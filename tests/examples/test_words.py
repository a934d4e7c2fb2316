"""Words in finite groups: supports of the fixture and of A5, what is learned, tensor ranks."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import torch

from geomlib.errors import InvalidInput

ROOT = Path(__file__).resolve().parents[2]
WORDS = json.loads((ROOT / "tests" / "data" / "diagrams" / "words.json").read_text())


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(ROOT / "examples" / "words_in_groups.py"))


def support(example, group, word):
    tensor = torch.nn.functional.one_hot(example["word_table"](group, word), group.order).double()
    found = example["energies"](group, tensor)
    assert float(found.sum()) == pytest.approx(group.order**2)
    return {tuple(t) for t in (found > 1e-9).nonzero().tolist()}


@pytest.mark.parametrize("name", ["S3", "S4"])
def test_supports_of_the_fixture(example, name):
    group = example["finite_group"](name)
    for row in (r for r in WORDS if r["group"] == name):
        assert list(group.irreps) == row["irreps"] and row["dims"] == group.characters[:, 0].int().tolist()
        wanted = {tuple(t) for t in row["support"]}
        assert support(example, group, row["word"]) == wanted
        assert example["predicted_support"](group, row["word"]) == wanted
        tensor = torch.nn.functional.one_hot(example["word_table"](group, row["word"]), group.order).double()
        ranks = [int(torch.linalg.matrix_rank(tensor.movedim(k, 0).flatten(1))) for k in range(3)]
        assert ranks == row["multilinear_ranks"]


def test_the_group_of_the_icosahedron(example):
    group = example["finite_group"]("A5")
    assert group.order == 60
    gram = group.characters @ group.characters.T / 60
    torch.testing.assert_close(gram, torch.eye(5, dtype=torch.float64))
    conjugate = group.product[group.product, group.inverse[:, None]]  # g h g^-1
    torch.testing.assert_close(group.characters[:, conjugate], group.characters[:, None].expand(5, 60, 60))
    for word, count in (("ab", 5), ("abA", 17), ("abAB", 69)):
        found = support(example, group, word)
        assert found == example["predicted_support"](group, word) and len(found) == count


def test_words_by_hand(example):
    group = example["finite_group"]("S3")
    table, product, inverse = example["word_table"](group, "abAB"), group.product, group.inverse
    for a in range(6):
        for b in range(6):
            assert table[a, b] == product[product[a, b], product[inverse[a], inverse[b]]]
    with pytest.raises(InvalidInput, match="letters"):
        example["word_table"](group, "abc")
    with pytest.raises(InvalidInput, match="expected S3"):
        example["finite_group"]("M11")


def test_tensor_ranks_of_s3(example):
    """9 = 1 + 1 + 7 products multiply in S3, with Strassen's seven for the matrices; 8 do not."""
    group = example["finite_group"]("S3")
    tensor = torch.nn.functional.one_hot(example["word_table"](group, "ab"), 6).double()
    assert example["cp_error"](tensor, 9, restarts=4, sweeps=300) < 1e-12
    assert example["cp_error"](tensor, 8, restarts=2, sweeps=200) > 1e-2


def test_a_short_run(example, capsys, tmp_path):
    path = tmp_path / "curves.png"
    found = example["main"](
        ["--group", "S3", "--steps", "150", "--width", "64", "--ranks", "4", "--plot", str(path)]
    )
    assert path.stat().st_size > 1000 and 0 < found["rank 4"] < 1
    assert found["train"] > 0.9 and 0 < found["inside"] <= 1
    text = capsys.readouterr().out
    assert "ab    is there on  3 of 27 blocks, as the fusion rules say" in text


@pytest.mark.slow
def test_s4_is_understood(example):
    """The table of S4 from 80 % of it; what was learned is on the allowed blocks."""
    group = example["finite_group"]("S4")
    network, curves = example["train"](group, "ab")
    assert curves[-1][3] >= 0.99 and curves[-1][0] <= 1500
    found = example["energies"](group, example["learned_tensor"](group, network))
    inside = sum(float(found[t]) for t in example["predicted_support"](group, "ab"))
    assert inside > 0.8 * float(found.sum())  # 11 % of all entries
    assert curves[-1][4] == pytest.approx(inside / float(found.sum())) and curves[0][4] < 0.5
