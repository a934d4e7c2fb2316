"""Tensor-basis networks: what they are made of, what they can express, symmetry by hand, extreme and wrong input."""

from __future__ import annotations

import pytest
import torch

from geomlib.algebra.groups import haar_orthogonal
from geomlib.datasets.neo_hooke import make_neo_hooke, neo_hooke_stress
from geomlib.errors import InvalidInput
from geomlib.verify import check
from geomlib.zoo.tensor_basis import TensorBasisNN

D = torch.float64


def test_a_material_law_is_three_functions_of_three_invariants():
    model = TensorBasisNN()
    assert [str(op) for op in model.basis] == ["delta_ab", "C_ab", "C_ac C_bc"]
    C = make_neo_hooke(7, 0)["C"]
    invariants = model._read(model._plan(C)[:3], [C])
    eigenvalues = torch.linalg.eigvalsh(C)
    a, b, c = eigenvalues.unbind(1)
    torch.testing.assert_close(invariants, torch.stack([a + b + c, a * b + b * c + c * a, a * b * c], 1))
    plain = TensorBasisNN(principal=False)
    powers = torch.stack([(eigenvalues**k).sum(1) for k in (1, 2, 3)], 1)
    torch.testing.assert_close(plain._read(plain._plan(C)[:3], [C]), powers)


def test_the_law_is_within_reach():
    """With the exact coefficients instead of the network the stress is exact: inverses by Cayley and Hamilton."""
    model = TensorBasisNN(width=4, logs=True).double()

    class Exact(torch.nn.Module):
        def forward(self, features):
            first, second, third = torch.sinh(features[:, :3]).unbind(1)
            a = 1.0 - 0.5 * third.log()  # S = 1 - a C^-1
            return torch.stack([third - a * second, a * first, -a], 1)

    exact = Exact()
    exact.register_parameter("weight", torch.nn.Parameter(torch.zeros(1, dtype=D)))
    model.mlp = exact
    with torch.no_grad():
        model.powers[:, 2] = -1.0
    data = make_neo_hooke(50, 1)
    error = (model(C=data["C"]) - data["S"]).abs().amax((1, 2)) / data["S"].abs().amax((1, 2))
    assert float(error.median().detach()) < 1e-6  # the logarithms are of sqrt(I^2 + 1e-8)


def test_gradients_lead_to_the_law():
    """A few steps of training leave much less error than the best constant."""
    torch.manual_seed(0)
    data = {k: v.float() for k, v in make_neo_hooke(256, 0, strain=0.1).items()}
    model = TensorBasisNN(width=16, logs=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    start = (data["S"] - data["S"].mean(0)).square().mean()
    for _ in range(200):
        loss = (model(C=data["C"]) - data["S"]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1 * float(start)


@pytest.mark.parametrize(
    ("inputs", "output", "group"),
    [
        ({"C": "sym2"}, "sym2", "O(3)"),
        ({"u": "vector", "v": "vector"}, "pseudovector", "O(3)"),
        ({"A": "sym2", "v": "vector"}, "vector", "O(3)"),
        ({"u": "vector", "w": "pseudovector"}, "tensor(2)", "O(3)"),
        ({"u": "vector", "v": "vector"}, "vector", "SO(3)"),
        ({"Q": "traceless(2)", "m": "traceless(3)"}, "scalar", "O(3)"),
    ],
)
def test_symmetry_by_hand_and_by_verify(inputs, output, group):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = TensorBasisNN(inputs, output, degree=3, group=group, width=6, logs=True).double()
    with torch.no_grad():
        model.powers.normal_(0.0, 0.2)
    x = {s.name: s.random((5,), 3, generator) for s in model.inputs}
    for sign in (1, -1):
        q = haar_orthogonal(3, sign, generator)
        moved = model(**{s.name: turned(s, q, x[s.name]) for s in model.inputs})
        error = float((moved - turned(model.output, q, model(**x))).detach().abs().max())
        sees = group == "SO(3)" and sign < 0
        assert (error > 1e-6) if sees else (error < 1e-12)
    if all(s.rank < 3 for s in model.inputs):
        assert check(model, example=x, trials=4, stress=False).verdict == "EXACT"


def turned(spec, q, x):
    for axis in range(-spec.rank, 0):
        x = torch.tensordot(x, q, ([axis], [1])).movedim(-1, axis)
    return x * torch.linalg.det(q) if spec.parity < 0 else x


def test_zero_large_and_empty_input():
    model = TensorBasisNN(width=8, logs=True)
    for C in (
        torch.zeros(2, 3, 3),
        1e6 * torch.eye(3).expand(2, 3, 3),
        torch.diag(torch.tensor([1.0, 0.0, -1.0]))[None],
    ):
        C = C.clone().requires_grad_()
        out = model(C=C)
        (grad,) = torch.autograd.grad(out.sum(), C)
        assert bool(torch.isfinite(out).all()) and bool(torch.isfinite(grad).all())
    assert model(C=torch.zeros(0, 3, 3)).shape == (0, 3, 3)


def test_derivatives_options_and_compilation():
    torch.manual_seed(0)
    model = TensorBasisNN({"C": "sym2", "v": "vector"}, "vector", width=5, logs=True).double()
    generator = torch.Generator().manual_seed(0)
    x = [s.random((2,), 3, generator).requires_grad_() for s in model.inputs]
    assert torch.autograd.gradcheck(lambda C, v: model(C=C, v=v), x)
    assert torch.autograd.gradgradcheck(lambda C, v: model(C=C, v=v), x)
    again = TensorBasisNN(**{k: v for k, v in model.config.items() if k != "name"}).double()
    again.load_state_dict(model.state_dict())
    inputs = {"C": x[0].detach(), "v": x[1].detach()}
    torch.testing.assert_close(again(**inputs), model(**inputs))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(**inputs), model(**inputs))


def test_wrong_input():
    with pytest.raises(InvalidInput, match="is unknown"):
        TensorBasisNN({"C": "matrix"})
    with pytest.raises(InvalidInput, match="positive sizes"):
        TensorBasisNN(width=0)
    with pytest.raises(InvalidInput, match="0 operations"):
        TensorBasisNN({"C": "sym2"}, "vector")
    model = TensorBasisNN()
    with pytest.raises(InvalidInput, match=r"\['D'\] given, expected \['C'\]"):
        model(D=torch.eye(3)[None])
    with pytest.raises(InvalidInput, match="`C` has shape"):
        model(C=torch.eye(3))
    with pytest.raises(InvalidInput, match="Cast one"):
        model(C=torch.eye(3, dtype=D)[None])


def test_the_generator_of_samples():
    from pathlib import Path

    import numpy as np

    stored = np.load(Path(__file__).resolve().parents[1] / "data" / "diagrams" / "tasks.npz")
    C, S = (torch.from_numpy(stored[f"neohooke/{k}"]) for k in "CS")
    torch.testing.assert_close(neo_hooke_stress(C), S, atol=1e-12, rtol=1e-12)
    data = make_neo_hooke(4000, 3)
    torch.testing.assert_close(neo_hooke_stress(data["C"], 1.0, 1.0), data["S"])
    assert float(torch.linalg.eigvalsh(data["C"]).min()) > 0
    # the law is the derivative of its energy
    C = data["C"][:5].clone().requires_grad_()
    log_j = 0.5 * torch.logdet(C)
    energy = 0.7 * (C.diagonal(dim1=1, dim2=2).sum(1) - 3) / 2 - 0.7 * log_j + 1.3 * log_j.square() / 2
    (slope,) = torch.autograd.grad(energy.sum(), C)
    torch.testing.assert_close(slope + slope.mT, neo_hooke_stress(C.detach(), 0.7, 1.3))
    # moments of F^T F for F = 1 + 0.2 N: the mean is (1 + 3 * 0.04) 1
    torch.testing.assert_close(data["C"].mean(0), 1.12 * torch.eye(3, dtype=D), atol=0.03, rtol=0)
    with pytest.raises(InvalidInput, match="strain"):
        make_neo_hooke(3, 0, strain=0.0)


def test_training_hands_over_whatever_tensors_the_model_was_built_for():
    from geomlib.datasets.tasks import load_task
    from geomlib.train.task_job import _check_fit

    _check_fit(TensorBasisNN(), load_task("neo_hooke"), "tensor_basis")
    with pytest.raises(InvalidInput, match="does not take the inputs C"):
        _check_fit(torch.nn.Linear(3, 3), load_task("neo_hooke"), "linear")
