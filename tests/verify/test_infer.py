"""The representation of a black box is read off its values; what is no representation is refused."""

import itertools

import pytest
import torch

from geomlib import verify
from geomlib.algebra.groups import parse_group
from geomlib.errors import InvalidInput
from geomlib.verify.characters import (
    exterior_power,
    point_group,
    solve_multiplicities,
    sphere,
    symmetric_group,
)
from geomlib.verify.finite_characters import classes, real_characters

TWO = ("vector", "vector")
#: Numbers and residuals of an exact representation are round-off.
ROUND_OFF = 1e-12


def cross(x, y):
    return torch.linalg.cross(x, y)


def outer(x, y):
    return x[:, :, None] * y[:, None, :]


@pytest.mark.parametrize(
    ("layer", "inputs", "expected"),
    [
        (cross, TWO, "1x1e"),
        (outer, TWO, "1x0e+1x1e+1x2e"),
        (lambda x, y: (x * y).sum(-1), TWO, "1x0e"),
        (lambda x, y, z: (cross(x, y) * z).sum(-1, keepdim=True), ("vector",) * 3, "1x0o"),
        (lambda x: x * x.norm(dim=-1, keepdim=True), "vectors", "1x1o"),
        (lambda pos: pos - pos.mean(0), {"pos": "point"}, "1x1o"),
        (lambda x: torch.stack([x, 2 * x.square().sum(-1, keepdim=True) * x], 1), "vector", "2x1o"),
        (lambda x: x, "pseudovector", "1x1e"),
        (lambda x: x, "3x0e+1x0o+2x1e+1x2o", "3x0e+2x1e+1x0o+1x2o"),
        (lambda x: torch.einsum("na,nb,nc->nabc", x, x, x).flatten(1), "vector", "1x1o+1x3o"),
        (lambda x: {"out": x.sum(0)}, "vector", "1x1o"),
    ],
)
def test_black_boxes(layer, inputs, expected):
    report = verify.infer(layer, inputs)
    assert report.irreps == expected and report.ok, str(report)
    assert max(report.fit, report.residual, report.distance) < ROUND_OFF
    assert expected in str(report)


def test_a_tensor_product_of_e3nn():
    o3 = pytest.importorskip("e3nn.o3")
    irreps, inputs = "4x0e+2x1e+2x2e+3x1o+1x3o", ("4x0e+2x1o+1x2e", "1x0e+1x1o+1x2e+1x1e")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        narrow = o3.FullyConnectedTensorProduct(*inputs, irreps)
        torch.set_default_dtype(torch.float64)
        try:
            exact = o3.FullyConnectedTensorProduct(*inputs, irreps)
        finally:
            torch.set_default_dtype(torch.float32)
    report = verify.infer(exact, inputs, declared=irreps)
    assert report.irreps == irreps and report.advice == "", str(report)
    assert report.rank == report.features == 4 + 6 + 10 + 9 + 7
    assert max(report.fit, report.residual, report.distance) < ROUND_OFF
    cast = verify.infer(narrow.double(), inputs, declared=irreps)
    assert cast.irreps == irreps and "exact to float32 only" in cast.advice


def test_three_features_in_another_basis():
    report = verify.infer(lambda x: x + x[:, [1, 2, 0]], "vector")
    assert report.irreps == "1x1o" and "another basis" in report.advice


def test_dependent_channels_show_in_the_rank():
    mix = torch.randn(4, 12, generator=torch.Generator().manual_seed(0))
    report = verify.infer(
        lambda x: torch.einsum("nci,cd->ndi", outer(x, x)[:, :1] + 0 * x[:, :, None], mix[:3]), "vector"
    )
    assert not report.ok  # a row of a tensor is no representation of its own
    report = verify.infer(lambda x, y: torch.einsum("nci,cd->ndi", torch.stack([x, y], 1), mix[:2, :4]), TWO)
    assert report.irreps == "2x1o" and (report.rank, report.features) == (6, 12)
    assert "rank 6 of 12" in str(report)


@pytest.mark.parametrize(
    "layer",
    [
        torch.tanh,
        torch.relu,
        lambda x: x + torch.tensor([0.1, 0.0, 0.0]).to(x),
        lambda x: x.norm(dim=-1, keepdim=True) * x + x[:, [1, 2, 0]],
        lambda x: cross(x, x[:, [1, 2, 0]]),
        lambda x: torch.nn.functional.layer_norm(x, (3,)),
        lambda x: torch.cat([x, 0.01 * x.abs()], 1),
    ],
)
def test_what_is_not_a_representation(layer):
    report = verify.infer(layer, "vector")
    assert not report.ok and report.fit > 1e-3, str(report)
    assert "not a representation" in str(report) and "not linear in the group" in report.advice


@pytest.mark.parametrize("order", [p for p in itertools.permutations(range(3)) if p != (0, 1, 2)])
def test_axes_in_another_order_are_found(order):
    named = f"({', '.join('xyz'[i] for i in order)})"
    report = verify.infer(lambda x: x[:, list(order)] * x.norm(dim=-1, keepdim=True), "vector", declared="1o")
    assert (
        report.irreps == "1x1o"
        and report.advice == f"declared 1o, transforms as 1o: the axes are in the order {named}"
    )


@pytest.mark.parametrize(
    ("layer", "inputs", "declared", "advice"),
    [
        (cross, TWO, "1o", "declared 1o, transforms as 1e: parity label"),
        (cross, TWO, "vector", "declared vector, transforms as 1e: parity label"),
        (cross, TWO, "node:1e", ""),
        (cross, TWO, "pseudovector", ""),
        (lambda x: x, "vector", "0e", "declared 0e, transforms as 1o"),
        (outer, TWO, "tensor(2)", ""),
        (
            lambda x, y: outer(x, y).flatten(1),
            TWO,
            "1x0e+1x1e+1x2e",
            "declared 1x0e+1x1e+1x2e, transforms as 1x0e+1x1e+1x2e: another basis or order of the features",
        ),
        (
            lambda x, y: torch.stack([x, y], -1).flatten(1),
            TWO,
            "2x1o",
            "declared 2x1o, transforms as 2x1o: another basis or order of the features",
        ),
    ],
)
def test_advice_for_a_declared_type(layer, inputs, declared, advice):
    assert verify.infer(layer, inputs, declared=declared).advice == advice


def test_a_product_that_sees_handedness():
    def mixed(x, y):
        return x + cross(x, y)

    assert "inversions do not" in verify.infer(mixed, TWO).advice
    report = verify.infer(mixed, TWO, "SO(3)")
    assert report.irreps == "1x1" and report.ok


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (lambda x: x.sum(0), "1xtrivial"),
        (lambda x: x, "1xtrivial+1xstandard"),
        (lambda x: x - x.mean(0), "1xstandard"),
        (lambda x: torch.stack([x, x.square()], 1), "2xtrivial+2xstandard"),
        (lambda x: x[:, None] * torch.cos(x), "2xtrivial+3xstandard+1x[8,2]+1x[8,1,1]"),
        (lambda x: torch.vander(x / 2).det()[None], "1xsign"),
    ],
)
def test_permutations(layer, expected):
    report = verify.infer(layer, "node:scalar", "S_n")
    assert report.irreps == expected, str(report)


def test_a_cumulative_sum_is_linear_in_permutations_but_not_a_type_of_nodes():
    report = verify.infer(lambda x: x.cumsum(0), "node:scalar", "S_n", declared="node:scalar")
    assert report.ok and "another basis or order" in report.advice
    assert verify.infer(lambda x: 2 * x, "node:scalar", "S_n", declared="node:scalar").advice == ""


def test_a_sorted_row_is_not_linear_in_permutations_of_more_than_itself():
    assert verify.infer(lambda x: x.sort().values, "node:scalar", "S_n").irreps == "10xtrivial"
    assert not verify.infer(lambda x: x * torch.arange(len(x)).to(x) ** 2 * x[0], "node:scalar", "S_n").ok


def test_multivectors_by_grade():
    generator = torch.Generator().manual_seed(0)
    inputs = {"x": "mv(3,0,0)", "y": "mv(3,0,0)"}
    example = {"x": torch.randn(20, 8, generator=generator), "y": torch.randn(20, 8, generator=generator)}

    def grade_one_times_norm(x, y):
        return x[:, 1:4] * y.square().sum(-1, keepdim=True)

    def grades(layer, group="Pin(3,0,0)", **options):
        return verify.infer(layer, inputs, group, example=example, **options).irreps

    assert grades(lambda x, y: x + 2 * y) == "1xgrade0+1xgrade1+1xgrade2+1xgrade3"
    assert grades(grade_one_times_norm) == "1xgrade1"
    assert grades(lambda x, y: x[:, 4:7], "O(3)") == "1xgrade2"
    assert grades(lambda x, y: x[:, 4:7], "O(3)", characters="irreps") == "1x1e"


@pytest.mark.parametrize(
    ("group", "n"), [("O(5)", 5), ("SO(4)", 4), ("O(1,3)", 4), ("Sp(4)", 4), ("O(2)", 2)]
)
def test_exterior_powers_of_other_matrix_groups(group, n):
    generator = torch.Generator().manual_seed(0)
    example = {"x": torch.randn(20, n, generator=generator), "y": torch.randn(20, n, generator=generator)}
    i, j = torch.triu_indices(n, n, 1)

    def bivector(x, y):
        return x[:, i] * y[:, j] - x[:, j] * y[:, i]

    types = {"x": "vector", "y": "vector"}
    expected = {"SO(4)": "1xgrade2", "Sp(4)": "1xgrade2", "O(2)": "1xgrade2"}.get(group, "1xgrade2")
    assert verify.infer(bivector, types, group, example=example).irreps == expected
    assert verify.infer(lambda x, y: x + y, types, group, example=example).irreps == "1xgrade1"


def test_point_groups():
    report = verify.infer(lambda x: x[:, [1, 2, 0]] * x[:, [2, 0, 1]], "vector", "T_d")
    assert report.irreps == "1xT(1o)"
    assert verify.infer(outer, TWO, "O_h").irreps == "1xA(0e)+1xT(1e)+1xE(2e)+1xT(2e)"
    assert verify.infer(torch.tanh, "vector", "O_h").irreps == "1xT(1o)"
    assert not verify.infer(torch.relu, "vector", "O_h").ok


@pytest.mark.parametrize("name", ["C_3", "C_4v", "D_3", "D_6h", "T_d", "O", "O_h"])
def test_characters_of_point_groups_are_orthonormal(name):
    group = parse_group(name)
    chi = real_characters(group.matrices)
    gram = chi @ chi.T / len(group.matrices)
    off = gram - torch.diag(gram.diagonal())
    assert off.abs().max() < ROUND_OFF
    # One for a real representation, two for a pair of complex ones; the dimensions add up to the order.
    dims, norms = chi.amax(1), gram.diagonal().round()
    assert set(norms.tolist()) <= {1.0, 2.0}
    assert float((dims.square() / norms).sum()) == pytest.approx(len(group.matrices), abs=1e-9)
    assert len(set(point_group(group).names)) == len(chi)
    label, table = classes(group.matrices)
    assert torch.equal(label[table], label[table.T])  # gh and hg are conjugate
    if name in ("T_d", "O"):
        assert sorted(dims.tolist()) == [1.0, 1.0, 2.0, 3.0, 3.0]


def test_characters_are_independent_enough():
    for basis in (
        sphere(8, True, torch.Generator().manual_seed(0)),
        exterior_power(parse_group("O(5)"), torch.Generator().manual_seed(0)),
        symmetric_group(10, torch.Generator().manual_seed(0)),
        symmetric_group(3, torch.Generator().manual_seed(0)),
    ):
        counts = torch.arange(len(basis.names), dtype=torch.float64)
        solved = solve_multiplicities(basis, basis.table @ counts)
        assert (solved.multiplicities - counts).abs().max() < 1e-9
    assert symmetric_group(3, torch.Generator().manual_seed(0)).names == ("trivial", "sign", "standard")


def test_zero_and_refusals():
    report = verify.infer(lambda x: 0 * x, "vector")
    assert not report.ok and report.advice == "the output is zero"
    with pytest.raises(InvalidInput, match="Pass output="):
        verify.infer(lambda x: (x, 2 * x), "vector")
    assert verify.infer(lambda x: (x, x.norm(dim=-1)), "vector", output="1").irreps == "1x0e"
    with pytest.raises(InvalidInput, match="does not fit"):
        verify.infer(torch.tanh, "vector", "SO(3)", characters="permutations")
    with pytest.raises(InvalidInput, match="fewer channels"):
        verify.infer(lambda x: x[:, :1] * torch.ones(1, 2000).to(x), "vector")


def test_nothing_is_left_behind_and_the_same_seed_gives_the_same_text():
    state = torch.random.get_rng_state()
    texts = {str(verify.infer(cross, TWO, seed=5)) for _ in range(2)}
    assert len(texts) == 1 and torch.equal(state, torch.random.get_rng_state())
