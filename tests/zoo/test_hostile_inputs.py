"""A6: every registered model answers hostile input with finite numbers or with a typed error that names the culprit.

A model is tested here by being registered; its ``example`` gives the sizes, the positions are made below.
"""

from __future__ import annotations

import inspect
import itertools
import statistics
import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from geomlib import InvalidInput
from geomlib.kernels.dispatch import available_backends, use_backend
from geomlib.zoo.captured import CapturedPotential
from geomlib.zoo.registry import model_class
from tests.zoo.potentials import POTENTIALS

BACKENDS = [name for name, state in available_backends().items() if state == "available" or not state]
every_model = pytest.mark.parametrize("name", POTENTIALS)
both = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
Inputs = dict[str, Tensor | int | None]


def build(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, _ = model_class(name).example(torch.Generator().manual_seed(0))  # type: ignore[attr-defined]
    return model.to(dtype)


def molecule(dtype: torch.dtype = torch.float64) -> Inputs:
    """Three structures of 4, 3 and 5 atoms, more than 1 Å apart."""
    corners = torch.tensor(list(itertools.product((0.0, 1.3), repeat=3)), dtype=torch.float64)
    pos = torch.cat([corners[:n] + 0.2 * torch.rand(n, 3, dtype=torch.float64) for n in (4, 3, 5)])
    batch = torch.tensor([0] * 4 + [1] * 3 + [2] * 5)
    return {"z": torch.randint(1, 9, (12,)), "pos": pos.to(dtype), "batch": batch}


def answer(model: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    """Return the outputs, and the gradients of a loss of energies and forces."""
    with torch.no_grad():
        out = dict(model.eval()(**inputs))
    trained = model.train()(**inputs)
    loss = trained["energy"].square().sum() + trained["forces"].square().sum()
    gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return out | {f"gradient {k}": g for k, g in enumerate(gradients) if g is not None}


def all_finite(found: dict[str, Tensor]) -> bool:
    return all(bool(x.isfinite().all()) for x in found.values())


# -- inputs that have an answer


def far_apart(x: Inputs) -> Inputs:
    return {**x, "pos": 1e3 * x["pos"]}


def one_atom(x: Inputs) -> Inputs:
    return {"z": x["z"][:1], "pos": x["pos"][:1]}


def no_atoms(x: Inputs) -> Inputs:
    return {"z": x["z"][:0], "pos": x["pos"][:0]}


def no_atoms_and_no_structures(x: Inputs) -> Inputs:
    return {k: v[:0] for k, v in x.items()}


def no_atoms_in_two_structures(x: Inputs) -> Inputs:
    return {**{k: v[:0] for k, v in x.items()}, "num_graphs": 2}


def empty_in_the_middle(x: Inputs) -> Inputs:
    keep = x["batch"] != 1
    return {k: v[keep] for k, v in x.items()}


def empty_at_the_end(x: Inputs) -> Inputs:
    return {**x, "num_graphs": 6}


def gaps_in_the_batch(x: Inputs) -> Inputs:
    return {**x, "batch": 3 * x["batch"] + 2}


def no_edges_given(x: Inputs) -> Inputs:
    return {**x, "edge_index": torch.zeros(2, 0, dtype=torch.int64)}


def lattice_without_neighbours(x: Inputs) -> Inputs:
    return {**one_atom(x), "cell": 1e3 * torch.eye(3, dtype=x["pos"].dtype)}


def small_integers(x: Inputs) -> Inputs:
    return {**x, "z": x["z"].int()}


def nearly_touching(x: Inputs) -> Inputs:
    return {"z": x["z"][:3], "pos": x["pos"].new_tensor([[0, 0, 0], [2e-6, 0, 0], [3, 0, 0]])}


def nearly_at_the_cutoff(x: Inputs, cutoff: float = 5.0) -> Inputs:
    pos = torch.zeros(2, 3, dtype=x["pos"].dtype)
    pos[1, 2] = torch.nextafter(torch.tensor(cutoff, dtype=pos.dtype), torch.tensor(0.0, dtype=pos.dtype))
    return {"z": x["z"][:2], "pos": pos}


def enormous_coordinates(x: Inputs) -> Inputs:
    return {**x, "pos": (1e35 * x["pos"].double()).to(x["pos"].dtype)}


def enormous_charge(x: Inputs) -> Inputs:
    return {**x, "charge": x["pos"].new_tensor([0.0, 1e6, -1e6])}


ANSWERED = [
    far_apart, one_atom, no_atoms, no_atoms_and_no_structures, no_atoms_in_two_structures, empty_in_the_middle,
    empty_at_the_end, gaps_in_the_batch, no_edges_given, lattice_without_neighbours, small_integers, nearly_touching,
    nearly_at_the_cutoff, enormous_coordinates, enormous_charge,
]  # fmt: skip


@every_model
@both
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", ANSWERED)
def test_finite_input_has_a_finite_answer(
    name: str, dtype: torch.dtype, backend: str, case: Callable[[Inputs], Inputs]
) -> None:
    inputs = case(molecule(dtype))
    with use_backend(backend):
        found = answer(build(name, dtype), inputs)
    assert all_finite(found)
    atoms = len(inputs["pos"])
    size = int(inputs["batch"].max()) + 1 if "batch" in inputs and atoms else int("batch" not in inputs)
    assert found["energy"].shape == (inputs.get("num_graphs", size),)
    assert found["forces"].shape == (atoms, 3)
    if case in (far_apart, one_atom, no_edges_given, lattice_without_neighbours):
        assert found["forces"].abs().max() == 0
    if case in (empty_in_the_middle, empty_at_the_end, gaps_in_the_batch):
        filled = torch.zeros(len(found["energy"]), dtype=torch.bool)
        filled[inputs["batch"]] = True
        assert found["energy"][~filled].abs().max() == 0 and found["energy"][filled].abs().min() > 0


@every_model
@both
@pytest.mark.parametrize("case", ANSWERED)
def test_recorded_models_give_the_same_answers(
    name: str, dtype: torch.dtype, case: Callable[[Inputs], Inputs]
) -> None:
    inputs = case(molecule(dtype))
    if "edge_index" in inputs:
        pytest.skip("a recorded model takes pairs")
    model = build(name, dtype).eval()
    recorded = CapturedPotential(model)
    with torch.no_grad():
        expected = model(**inputs)
        for _ in range(2):  # recorded, then replayed
            found = recorded(**inputs)
            assert found.keys() == expected.keys()
            tight = 1e-12 if dtype == torch.float64 else 1e-5
            for key, value in expected.items():
                scale = value.abs().max().clamp(min=1.0) if value.numel() else torch.ones(())
                torch.testing.assert_close(found[key], value, rtol=0, atol=tight * float(scale))


@every_model
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_molecule_far_from_the_origin(name: str, backend: str) -> None:
    near = molecule()
    far = {**near, "pos": near["pos"] + 1e6}
    with use_backend(backend):
        for dtype, tolerance in ((torch.float64, 1e-7), (torch.float32, 1e-4)):  # positions stay float64
            model = build(name, dtype).eval()
            a, b = model(**near), model(**far)
            for key in ("energy", "forces"):
                assert (a[key] - b[key]).abs().max() <= tolerance * a[key].abs().max()
        # In float32 the positions themselves are lost: atoms may fall together, which is said.
        try:
            assert all_finite(answer(build(name, torch.float32), {**far, "pos": far["pos"].float()}))
        except InvalidInput as error:
            assert "apart" in str(error)


@every_model
@pytest.mark.parametrize("backend", BACKENDS)
def test_float64_positions_in_a_float32_model_and_the_reverse(name: str, backend: str) -> None:
    inputs = molecule()
    with use_backend(backend):
        narrow, wide = answer(build(name, torch.float32), inputs), answer(build(name), inputs)
        reverse = answer(build(name), {**inputs, "pos": inputs["pos"].float()})
    for other in (narrow, reverse):
        for key in ("energy", "forces"):
            torch.testing.assert_close(other[key].double(), wide[key], rtol=1e-4, atol=1e-4)
    assert narrow["forces"].dtype == torch.float32 and narrow["energy"].dtype == torch.float64


# -- inputs that have none


def spoiled(key: str, value: object) -> Callable[[Inputs], Inputs]:
    """Put a value into the last entry of atom 5, the second of structure 1."""

    def change(x: Inputs) -> Inputs:
        new = x[key].clone()
        new[(5, 2) if key == "pos" else 5] = value
        return {**x, key: new}

    return change


def moved(distance: float) -> Callable[[Inputs], Inputs]:
    """Put atom 6 next to atom 5, at the origin: both in structure 1."""

    def change(x: Inputs) -> Inputs:
        new = x["pos"].clone()
        new[5], new[6] = 0.0, 0.0
        new[6, 1] = distance
        return {**x, "pos": new}

    return change


def replaced(**others: object) -> Callable[[Inputs], Inputs]:
    return lambda x: {**x, **{k: v(x) if callable(v) else v for k, v in others.items()}}  # type: ignore[return-value]


NAN, INF = float("nan"), float("inf")
D = torch.float64
CELLS = torch.eye(3, dtype=D).repeat(3, 1, 1) * 9
NO_NEIGHBOURS = torch.zeros(2, 0, dtype=torch.int64)
REFUSED: dict[str, tuple[Callable[[Inputs], Inputs], str]] = {
    "NaN": (spoiled("pos", NAN), "pos: structure 1, atom 1"),
    "inf": (spoiled("pos", INF), "pos: structure 1, atom 1"),
    "minus inf": (spoiled("pos", -INF), "pos: structure 1, atom 1"),
    "coincident": (moved(0.0), "structure 1: atoms 1 and 2 are 0 Å apart"),
    "r = 1e-20": (moved(1e-20), "structure 1: atoms 1 and 2 are 1e-20 Å apart"),
    "r = 1e-300": (moved(1e-300), "structure 1: atoms 1 and 2 are .* apart"),
    "coincident, edges given": (
        replaced(pos=lambda x: moved(0.0)(x)["pos"], edge_index=torch.tensor([[0, 1, 5, 6], [1, 0, 6, 5]])),
        "structure 1: atoms .* apart",
    ),
    "z too large": (spoiled("z", 10_000), "z: structure 1, atom 1: atomic number 10000"),
    "z negative": (spoiled("z", -1), "z: structure 1, atom 1: atomic number -1"),
    "one z too few": (replaced(z=lambda x: x["z"][:-1]), "z has 11 atoms, pos has 12"),
    "one z for all": (replaced(z=lambda x: x["z"][:1]), "z has 1 atoms"),
    "flat positions": (replaced(pos=lambda x: x["pos"].flatten()), "pos: expected .*36,"),
    "two-dimensional": (replaced(pos=lambda x: x["pos"][:, :2]), "pos: expected .*12, 2"),
    "extra axis": (replaced(pos=lambda x: x["pos"][None]), "pos: expected .*1, 12, 3"),
    "z as a column": (replaced(z=lambda x: x["z"][:, None]), "z: expected .*12, 1"),
    "integer positions": (replaced(pos=lambda x: x["pos"].long()), "pos: expected floating"),
    "complex positions": (replaced(pos=lambda x: x["pos"] + 0j), "pos: expected floating"),
    "floating z": (replaced(z=lambda x: x["z"].double()), "z: expected .*float64"),
    "one-hot z": (replaced(z=lambda x: x["z"] > 2), "z: expected .*bool"),
    "a list": (replaced(z=lambda x: x["z"].tolist()), "z: expected a tensor, got list"),
    "an array": (replaced(pos=lambda x: x["pos"].numpy()), "pos: expected a tensor, got ndarray"),
    "no positions": (replaced(pos=None), "pos: expected a tensor, got NoneType"),
    "batch negative": (spoiled("batch", -1), "batch: structures -1..2 found"),
    "batch beyond the count": (replaced(num_graphs=2), "batch: structures 0..2 found, expected 0..1"),
    "count negative": (replaced(num_graphs=-1), "num_graphs"),
    "floating batch": (replaced(batch=lambda x: x["batch"] * NAN), "batch: expected int64"),
    "short batch": (replaced(batch=lambda x: x["batch"][:-1]), "batch: expected int64 of shape"),
    "batch as a list": (replaced(batch=[0] * 12), "batch: expected a tensor"),
    "one charge for three": (replaced(charge=torch.zeros(1)), "charge: expected one number per structure"),
    "charge NaN": (replaced(charge=torch.tensor([0.0, NAN, 0.0])), "charge: structure 1"),
    "charge inf": (replaced(charge=torch.tensor([0.0, 0.0, -INF])), "charge: structure 2"),
    "charge absurd": (replaced(charge=torch.tensor([0.0, 1e30, 0.0])), "charge: structure 1"),
    "cell of wrong shape": (replaced(cell=torch.eye(4)), "cell: expected"),
    "two cells for three": (replaced(cell=CELLS[:2]), "cell: expected"),
    "cell NaN": (replaced(cell=CELLS * torch.tensor([1.0, NAN, 1.0])[:, None, None]), "cell: structure 1"),
    "cell inf, edges given": (
        replaced(cell=CELLS * torch.tensor([1.0, 1.0, INF])[:, None, None], edge_index=NO_NEIGHBOURS),
        "cell: structure 2",
    ),
    "flat cell": (replaced(cell=torch.ones(3, 3, dtype=D)), "structure 0 .*singular"),
    "periodic without a cell": (replaced(pbc=torch.ones(3, dtype=torch.bool)), "cell"),
    "pbc as numbers": (replaced(cell=CELLS, pbc=torch.ones(3)), "pbc"),
    "stress without a cell": (replaced(stress=True), "stress"),
    "stress without a volume": (
        replaced(cell=CELLS * torch.tensor([1.0, 0.0, 1.0])[:, None, None], stress=True),
        "stress: structure 1 has no volume",
    ),
    "edge out of range": (replaced(edge_index=torch.tensor([[0, 99], [99, 0]])), "edge_index: node 0..99"),
    "edge negative": (replaced(edge_index=torch.tensor([[0, -1], [-1, 0]])), "edge_index: node -1..0"),
    "edges transposed": (replaced(edge_index=torch.zeros(5, 2, dtype=torch.int64)), "edge_index: expected"),
    "floating edges": (replaced(edge_index=torch.zeros(2, 5)), "edge_index: expected"),
    "edge between structures": (
        replaced(edge_index=torch.tensor([[0, 1, 4], [1, 0, 0]])),
        "edge 2 joins atom 0 of structure 0 and atom 4 of structure 1",
    ),
    "shifts without a cell": (
        replaced(edge_index=torch.tensor([[0, 1], [1, 0]]), shift=torch.ones(2, 3)),
        "shift: .*no `cell`",
    ),
    "too few shifts": (
        replaced(edge_index=torch.tensor([[0, 1], [1, 0]]), shift=torch.ones(1, 3), cell=CELLS),
        r"shift: expected \(2, 3\)",
    ),
}  # fmt: skip


@every_model
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_by_name(name: str, backend: str, case: str) -> None:
    """Every message names the argument; those about an atom or a structure count within it."""
    change, message = REFUSED[case]
    model = build(name).eval()
    with use_backend(backend), torch.no_grad(), pytest.raises(InvalidInput, match=message):
        model(**change(molecule()))


@every_model
@pytest.mark.parametrize("case", REFUSED)
def test_recorded_models_refuse_the_same_and_go_on(name: str, case: str) -> None:
    change, message = REFUSED[case]
    good = molecule()
    bad = change(good)
    if "edge_index" in bad:
        pytest.skip("a recorded model takes pairs")
    recorded = CapturedPotential(build(name).eval())
    before = recorded(**good)
    with pytest.raises(InvalidInput, match=message):
        recorded(**bad)
    for key, value in recorded(**good).items():
        assert torch.equal(value, before[key]), key


@every_model
@pytest.mark.parametrize("recorded", [False, True])
def test_pairs_from_elsewhere_are_checked(name: str, recorded: bool) -> None:
    from geomlib.kernels.neighbors import HalfPairs

    model, inputs = build(name).eval(), molecule()
    model = CapturedPotential(model) if recorded else model
    zero = torch.zeros(1, 3, dtype=torch.int64)
    for i, j, message in ((0, 12, "outside"), (-1, 2, "outside"), (0, 4, "joins atom 0 of structure 0")):
        with pytest.raises(InvalidInput, match=message):
            model(**inputs, pairs=HalfPairs(torch.tensor([i]), torch.tensor([j]), zero))
    if recorded:
        return
    with pytest.raises(InvalidInput, match="one of"):
        pairs = HalfPairs(torch.tensor([0]), torch.tensor([1]), zero)
        model(**inputs, pairs=pairs, edge_index=torch.tensor([[0, 1], [1, 0]]))


# -- a bad structure between two good ones


def grid(atoms: int, step: float) -> Tensor:
    return step * torch.cartesian_prod(*[torch.arange(6.0, dtype=torch.float64)] * 3)[:atoms]


def hard_structures() -> dict[str, tuple[Tensor, float, Tensor]]:
    """Positions and charge of a structure that is hard on a model; positions with as many pairs that are easy."""
    crowd = grid(100, 1.0) / 8 + 0.02 * torch.rand(100, 3, dtype=torch.float64)
    easy = grid(2, 1.5)
    return {
        "one atom": (torch.full((1, 3), 1e30, dtype=D), 0.0, grid(1, 1.0)),
        "nobody in reach": (1e4 * torch.rand(9, 3, dtype=D), 0.0, grid(9, 20.0)),
        "at the end of the world": (1e30 * torch.rand(6, 3, dtype=D), 0.0, grid(6, 20.0)),
        "nearly touching": (easy / 1.5 * 2e-6, 0.0, easy),
        "charged": (easy, 1e6, easy),
        "a crowd": (crowd, 0.0, 3 * crowd),
        "touching": (0 * easy, 0.0, easy),
        "NaN": (NAN * easy, 0.0, easy),
        "NaN charge": (easy, NAN, easy),
    }


@every_model
@both
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", hard_structures())
def test_a_bad_structure_changes_no_other(name: str, dtype: torch.dtype, backend: str, case: str) -> None:
    """Bitwise: the others get what they get beside an easy structure.

    Both have the same numbers of atoms and pairs, because vectorised loops round the last rows of an array differently.
    """
    bad, charge, easy = hard_structures()[case]
    good, n = molecule(dtype), len(bad)
    first, last = good["batch"] == 0, good["batch"] == 2

    def run(middle: Tensor, q: float) -> dict[str, Tensor]:
        parts = [good["pos"][first], middle.to(dtype), good["pos"][last]]
        return model(
            torch.cat([good["z"][first], torch.full((n,), 6), good["z"][last]]),
            torch.cat(parts),
            torch.arange(3).repeat_interleave(torch.tensor([len(p) for p in parts])),
            charge=torch.tensor([1.0, q, -1.0], dtype=dtype),
        )

    model = build(name, dtype).eval()
    with use_backend(backend), torch.no_grad():
        expected = run(easy, 0.0)
        if case in ("touching", "NaN", "NaN charge"):
            with pytest.raises(InvalidInput, match="structure 1"):
                run(bad, charge)
            return
        found = run(bad, charge)
    assert all_finite(found)
    for key, value in found.items():
        keep = torch.ones(len(value), dtype=torch.bool)
        keep[slice(4, 4 + n) if len(value) == n + 9 else 1] = False
        assert torch.equal(value[keep], expected[key][keep]), key


# -- size, and what the checks cost


@every_model
@pytest.mark.slow
def test_5000_atoms_within_the_cutoff(name: str) -> None:
    """12.5 million pairs, every atom a neighbour of every other: nobody is left out, nothing overflows."""
    small = {"channels": 2, "layers": 1, "num_radial": 1, "cutoff": 5.0}
    options = inspect.signature(model_class(name)).parameters
    torch.manual_seed(0)
    model = model_class(name)(**{k: v for k, v in small.items() if k in options}).eval()
    pos = 2.8 * torch.rand(5000, 3, dtype=torch.float64)  # the diagonal of the cube is shorter than 5 Å
    with torch.no_grad():
        out = model(torch.full((5000,), 6), pos)
        # An oracle for "nobody": without one atom all others feel it.
        fewer = model(torch.full((4999,), 6), pos[1:])
    assert all_finite(out)
    assert (out["forces"][1:] != fewer["forces"]).any(1).all()


@every_model
def test_checks_cost_little_and_can_be_left_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 3 % of energies and forces of 16 ethanols; the time of the checks alone, not a difference of runs."""
    from geomlib.kernels.neighbors import search
    from geomlib.layers.bonds import Bonds
    from geomlib.zoo import potential

    one = torch.rand(9, 3) * 0.3 + torch.cartesian_prod(*[torch.arange(3.0)] * 3)[:9] * 1.4
    pos = torch.cat([one + 0.05 * torch.randn(9, 3) for _ in range(16)])
    z, batch = torch.tensor([6, 6, 8, *[1] * 6]).repeat(16), torch.arange(16).repeat_interleave(9)
    options = inspect.signature(model_class(name)).parameters
    wanted = {"channels": 64, "layers": 1, "num_radial": 32, "cutoff": 4.5}
    model = model_class(name)(**{k: v for k, v in wanted.items() if k in options}).eval()
    spent = [0.0]

    def timed(function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[0] += time.perf_counter() - start

        return call

    with monkeypatch.context() as patch, torch.no_grad():
        # The checks of the model, of its neighbour search and of its bonds: only the first can be left out.
        for owner, attribute in (
            (potential, "check_inputs"),
            (search, "check_search_input"),
            (Bonds, "_check"),
        ):
            patch.setattr(owner, attribute, timed(getattr(owner, attribute)))
        shares = []
        for _ in range(40):
            spent[0], start = 0.0, time.perf_counter()
            model(z, pos, batch)
            shares.append(spent[0] / (time.perf_counter() - start))
    assert 0 < statistics.median(shares) <= 0.03, f"{100 * statistics.median(shares):.1f} % of the time"

    def refuse(*_: object, **__: object) -> int:
        raise AssertionError("the checks run although they are switched off")

    monkeypatch.setattr(potential, "check_inputs", refuse)
    model.validate = False  # type: ignore[assignment]
    assert all_finite(model(z, pos, batch))
    with pytest.raises(AssertionError, match="switched off"):
        model.validate = True  # type: ignore[assignment]
        model(z, pos, batch)
