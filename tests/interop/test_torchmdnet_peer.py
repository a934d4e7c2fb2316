"""A checkpoint written by torchmd-net itself, Lightning around it, gives what torchmd-net computes."""

from __future__ import annotations

import contextlib
import io
import warnings

import pytest
import torch

from geomlib.interop import load_torchmdnet

pytestmark = pytest.mark.slow  # the peer compiles its kernels at the first call


def settings(group):
    return {
        "model": "tensornet", "precision": 64, "embedding_dimension": 16, "num_layers": 2, "num_rbf": 8,
        "rbf_type": "expnorm", "trainable_rbf": False, "activation": "silu", "cutoff_lower": 0.0,
        "cutoff_upper": 4.5, "max_z": 20, "max_num_neighbors": 64, "equivariance_invariance_group": group,
        "derivative": True, "output_model": "Scalar", "reduce_op": "sum", "atom_filter": -1,
        "load_model": None, "prior_model": ["Atomref"], "prior_args": [{"max_z": 20}],
        "remove_ref_energy": False,
    }  # fmt: skip


@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
def test_checkpoint_of_the_peer(group, tmp_path):
    lightning = pytest.importorskip("lightning")
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        peer = pytest.importorskip("torchmdnet.module")
        priors = pytest.importorskip("torchmdnet.priors")
        reference = priors.Atomref(max_z=20)
        table = torch.linspace(-9.0, 1.0, 20)[:, None]
        reference.atomref.weight.data.copy_(table)
        module = peer.LNNP(
            settings(group), prior_model=[reference], mean=torch.tensor(-3.25), std=torch.tensor(1.7)
        )
        trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, max_epochs=0)
        trainer.strategy.connect(module)
        trainer.save_checkpoint(tmp_path / "peer.ckpt")
        z = torch.tensor([6, 7, 8, 1, 1, 9, 6])
        pos = torch.rand(7, 3, dtype=torch.float64) * 3
        energy, forces = module.model(z, pos, torch.tensor([0, 0, 0, 0, 0, 1, 1]))
    batch = torch.tensor([0, 0, 0, 0, 0, 1, 1])
    energy, forces = energy.detach().flatten(), forces.detach()
    errors = {}
    for mirror in (False, True):
        out = load_torchmdnet(tmp_path / "peer.ckpt", mirror=mirror)(z, pos, batch)
        errors[mirror] = float((out["forces"] - forces).detach().abs().max() / forces.square().mean().sqrt())
        if mirror or group == "O(3)":
            assert torch.allclose(out["energy"].detach(), energy, rtol=1e-7, atol=0)
    # Its fast path carries an error of 1e-8 and, in SO(3), evaluates the mirror image.
    assert errors[True] < 1e-6
    assert errors[False] < 1e-6 if group == "O(3)" else errors[False] > 10 * errors[True]
