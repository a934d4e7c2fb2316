"""The submodule that breaks a symmetry is named, and nothing is named in a sound model."""

import time

import pytest
import torch
from torch import nn

from geomlib import create_model, verify
from geomlib.errors import InvalidInput
from geomlib.verify.fits import distortion, fit_linear
from geomlib.verify.traces import traced

GENERATOR = torch.Generator()


class Layer(nn.Module):
    """Mixes channels of vectors, lets a fault act, gates by norms."""

    def __init__(self, channels: int, fault: nn.Module):
        super().__init__()
        self.mix = nn.Linear(channels, channels, bias=False)
        self.fault = fault
        self.gate = nn.Linear(channels, channels)

    def update(self, v):  # (N, C, 3)
        w = self.fault(self.mix(v.mT).mT)
        return v + w * torch.sigmoid(self.gate(w.norm(dim=-1)))[..., None]


class Network(nn.Module):
    """Vectors from centred positions; the layers are used through a method that is not ``forward``."""

    def __init__(self, fault: nn.Module | None = None, channels: int = 6, centre: bool = True):
        super().__init__()
        self.centre = centre
        self.embed = nn.Linear(2, channels, bias=False)
        self.layers = nn.ModuleList(Layer(channels, nn.Identity()) for _ in range(3))
        self.layers[1].fault = fault or nn.Identity()
        self.out = nn.Linear(channels, 1, bias=False)

    def forward(self, pos):
        if self.centre:
            pos = pos - pos.mean(0)
        apart = pos - pos[:, None]
        v = self.embed(torch.stack([pos, (apart * apart.norm(dim=-1, keepdim=True)).mean(1)], -1)).mT
        for layer in self.layers:
            v = layer.update(v)
        return self.out(v.mT)[..., 0]


class Act(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, v):
        return self.function(v)


def stretch(size, component=(0, 0)):
    def scale(v):
        factor = torch.ones(v.shape[-2:], dtype=v.dtype)
        factor[component] += size
        return v * factor

    return scale


FAULTS = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "bias": lambda v: v + torch.tensor([0.1, 0.0, 0.0], dtype=v.dtype),
    "one axis of one vector": stretch(1e-2),
    "a millionth of one axis": stretch(1e-6),
    "float32": lambda v: v.float().to(v),
    "bfloat16": lambda v: v.bfloat16().to(v),
    "NaN": lambda v: v * float("nan"),
    "first row": lambda v: v * (torch.arange(len(v)) + 1.0).to(v)[:, None, None],
    "cross product with an axis": lambda v: torch.linalg.cross(
        v, torch.eye(3, dtype=v.dtype)[0].expand_as(v)
    ),
    "components in another order": lambda v: v + v[..., [1, 2, 0]],
    "mixed products": lambda v: torch.linalg.cross(v, v.roll(1, 1)),
}


def network(fault=None, **kwargs):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Network(None if fault is None else Act(fault), **kwargs)


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_is_named(name):
    report = verify.locate(network(FAULTS[name]), "E(3)*S_n", {"pos": "node:point"})
    expected = "layers.1" if name == "mixed products" else "layers.1.fault"
    assert report.first_broken == expected, str(report)
    assert expected in str(report)


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e5])
def test_nothing_is_named_in_the_correct_twin(scale):
    model = network(lambda v: scale * v)
    report = verify.locate(model, "E(3)*S_n", {"pos": "node:point"})
    assert report.first_broken is None and report.culprit is None, str(report)
    assert {r.status for r in report.rows} <= {"equivariant", "invariant"}
    assert report.elements == ("proper", "improper", "translation", "permutation")


def test_a_polar_vector_plus_an_axial_one_breaks_where_they_are_added():
    """The cross product is a vector of its own; only the sum with a polar vector is wrong, and only in mirrors."""
    model = network(lambda v: torch.linalg.cross(v, v.roll(1, 1)))
    assert verify.locate(model, "SE(3)*S_n", {"pos": "point"}).first_broken is None
    report = verify.locate(model, "O(3)", {"pos": "point"})
    assert report.culprit is not None and report.culprit.element == "improper"
    statuses = {r.name: r.status for r in report.rows}
    assert statuses["layers.1.fault"] == "equivariant" and statuses["layers.1.update"] == "broken"


def test_a_clamp_is_found_at_another_amplitude():
    report = verify.locate(network(lambda v: v.clamp(-10, 10)), "O(3)", {"pos": "point"})
    assert report.first_broken == "layers.1.fault" and report.amplitude > 1
    assert (
        verify.locate(network(lambda v: v.clamp(-10, 10)), "O(3)", "point", amplitudes=(1.0,)).first_broken
        is None
    )


def test_positions_that_are_not_centred():
    report = verify.locate(network(centre=False), "E(3)", {"pos": "node:point"})
    assert report.culprit is not None and report.culprit.element == "translation"
    assert report.first_broken == "layers.0"  # a shifted point is fine in linear maps, not in a norm
    assert verify.locate(network(centre=False), "O(3)", {"pos": "node:point"}).first_broken is None


def test_dropout_is_named_in_training_mode_only():
    model = network().train()
    model.layers[2].fault = nn.Dropout(0.5)
    assert verify.locate(model, "O(3)", {"pos": "point"}).first_broken is None
    assert verify.locate(model, "O(3)", {"pos": "point"}, train=True).first_broken == "layers.2.fault"
    assert model.training


def test_a_module_that_forgets_its_input_is_named_where_all_outputs_are_constant():
    model = nn.Sequential(nn.Identity(), Act(torch.zeros_like), nn.Identity())
    assert verify.locate(model, "O(3)", "vector").first_broken == "1"


def test_code_between_submodules_is_blamed_on_the_module_around_it():
    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = (nn.Linear(4, 4, bias=False) for _ in range(2))

        def forward(self, v):
            return self.second(self.first(v).relu())

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def forward(self, v):  # (N, 3)
            return self.inner(v[..., None] * torch.ones(4).to(v)).sum(-1)

    report = verify.locate(Outer(), "SO(3)", "vector")
    assert report.first_broken == "inner"
    assert report.culprit is not None and report.culprit.name == "inner.second <- 0"


def test_a_frame_is_not_a_fault():
    """Coordinates in a frame made from the data are not linear in the group, but the output is fine."""

    class Frame(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = Act(torch.tanh)
            self.split = Act(lambda x: x[:, 0])

        def forward(self, pos):
            q = torch.linalg.qr(pos[:3].mT).Q
            sign = torch.sign((pos @ q).sum(0))
            q = q * sign
            return self.inside(pos @ q) @ q.mT + 0 * self.split(pos)[:, None]

    report = verify.locate(Frame(), "O(3)", {"pos": "vector"})
    assert report.first_broken is None
    assert "no fault by itself" in str(report)


def tensornet(group, channels=32):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return create_model("tensornet", channels=channels, layers=2, group=group).eval()


def cluster():
    generator = torch.Generator().manual_seed(0)
    return {
        "z": torch.randint(1, 9, (12,), generator=generator),
        "pos": 1.5 * torch.randn(12, 3, generator=generator),
    }


@pytest.mark.parametrize(
    ("mode", "group", "expected"),
    [
        ("SO(3)", "E(3)*S_n", "interactions.0"),
        ("SO(3)", "SE(3)*S_n", None),
        ("O(3)", "E(3)*S_n", None),
    ],
)
def test_tensornet(mode, group, expected):
    report = verify.locate(tensornet(mode), group, cluster())
    assert report.first_broken == expected, str(report)
    if expected:
        assert report.culprit is not None and report.culprit.element == "improper"
        assert report.culprit.kind == "TensorInteraction"


def test_a_tensornet_takes_less_than_a_second():
    model, inputs = tensornet("SO(3)", channels=64), cluster()
    verify.locate(model, "E(3)*S_n", inputs)  # kernels compile
    seconds = []
    for _ in range(3):
        start = time.process_time()
        verify.locate(model, "E(3)*S_n", inputs)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1.0


@pytest.mark.slow  # the peer compiles its kernels at the first call
@pytest.mark.parametrize(
    ("mode", "group", "expected"),
    [("SO(3)", "E(3)*S_n", "layers.0"), ("SO(3)", "SE(3)*S_n", None), ("O(3)", "E(3)*S_n", None)],
)
def test_torchmdnet(mode, group, expected):
    peer = pytest.importorskip("torchmdnet.models.tensornet")
    torch.manual_seed(0)
    model = peer.TensorNet(hidden_channels=32, equivariance_invariance_group=mode, max_num_neighbors=32)
    report = verify.locate(model, group, cluster() | {"batch": torch.zeros(12, dtype=torch.long)})
    assert report.first_broken == expected, str(report)


def test_e3nn_network_of_the_mutation_table():
    """The rows that are hard to name; tests/verify/test_mutation_table.py goes through all of them."""
    reference = pytest.importorskip("tests.verify.reference_network")
    faults = {
        "none": ({}, None),
        "axis": (
            {"fault": lambda x: torch.cat([x[:, :4], 1.0001 * x[:, 4:5], x[:, 5:]], 1)},
            "layers.1.fault",
        ),
        "edges": ({"edges": lambda v: (v[:, :1].abs() <= 2).to(v.dtype)}, "layers.1.edges"),
    }
    for name, (changes, expected) in faults.items():
        network = reference.reference_network(**changes)
        report = verify.locate(network, reference.GROUP, reference.INPUTS, example=reference.EXAMPLE)
        assert report.first_broken == expected, f"{name}\n{report}"


def test_wide_flat_features_are_judged_by_lengths_and_angles():
    """More features than rows: no fit is possible, a Gram matrix still tells."""

    def wide(function):
        return nn.Sequential(Act(lambda v: torch.kron(v, torch.ones(1, 300).to(v))), Act(function))

    assert verify.locate(wide(lambda x: 2 * x), "O(3)", "vector").first_broken is None
    report = verify.locate(wide(torch.tanh), "O(3)", "vector")
    assert (
        report.first_broken == "1" and report.culprit is not None and report.culprit.reason == "angles change"
    )


def test_edges_made_inside_a_model_are_not_blamed_under_permutations():
    class Pairs(nn.Module):
        def __init__(self, fault):
            super().__init__()
            self.message, self.fault = Act(lambda vec: vec * vec.norm(dim=-1, keepdim=True)), Act(fault)

        def forward(self, pos):
            i, j = torch.triu_indices(len(pos), len(pos), 1)
            m = self.message(pos[j] - pos[i])
            return self.fault(torch.zeros_like(pos).index_add(0, i, m).index_add(0, j, -m))

    assert verify.locate(Pairs(lambda x: x), "E(3)*S_n", {"pos": "point"}).first_broken is None
    report = verify.locate(Pairs(lambda x: x * torch.arange(len(x)).to(x)[:, None]), "S_n", {"pos": "point"})
    assert report.first_broken == "fault"


def test_noise_is_not_blamed():
    """A tensor that is zero by symmetry holds only round-off, which transforms like nothing."""

    class Parallel(nn.Module):
        def __init__(self, fault):
            super().__init__()
            self.cross, self.fault = Act(lambda v: torch.linalg.cross(v, 3 * v)), Act(fault)

        def forward(self, v):
            return self.fault(v + self.cross(v))

    assert verify.locate(Parallel(lambda v: v), "O(3)", "vector").first_broken is None
    report = verify.locate(Parallel(torch.tanh), "O(3)", "vector")
    assert report.first_broken == "fault", str(report)


def test_a_random_module_is_named():
    report = verify.locate(network(lambda v: v + 1e-3 * torch.randn_like(v)), "O(3)", "point")
    assert report.first_broken == "layers.1.fault" and "two calls" in str(report)


def test_a_submodule_that_some_inputs_do_not_reach():
    class Sometimes(nn.Module):
        def __init__(self, fault):
            super().__init__()
            self.large, self.fault = Act(lambda v: 2 * v), Act(fault)

        def forward(self, v):
            return self.fault(self.large(v) if v.norm() > 5.5 else v)  # of ten Gaussian vectors, about half

    assert verify.locate(Sometimes(lambda v: v), "O(3)", "vector", samples=12).first_broken is None
    report = verify.locate(Sometimes(torch.tanh), "O(3)", "vector", samples=12)
    assert report.first_broken == "fault", str(report)


def test_a_submodule_that_one_orientation_does_not_reach():
    class Sided(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = Act(lambda v: 2 * v)

        def forward(self, v):
            return self.up(v) if v[0, 2] > 0 else v

    report = verify.locate(Sided(), "SO(3)", "vector")
    assert report.first_broken in ("up", "(model)"), str(report)


def test_a_number_of_rows_that_depends_on_the_orientation():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.choose = Act(lambda v: v[v[:, 0] > 0])

        def forward(self, v):
            return self.choose(v).norm(dim=-1).sum()

    report = verify.locate(Masked(), "SO(3)", "vector")
    assert report.first_broken == "choose" and "becomes" in str(report)


def test_the_model_is_left_as_it_was():
    model = network(torch.relu)
    before = {name: set(module.__dict__) for name, module in model.named_modules()}
    weights = [p.clone() for p in model.parameters()]
    state, pos = torch.random.get_rng_state(), torch.randn(5, 3, generator=GENERATOR.manual_seed(0))
    kept = pos.clone()
    verify.locate(model, "E(3)", {"pos": pos}, example=None)
    assert {name: set(module.__dict__) for name, module in model.named_modules()} == before
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert torch.equal(pos, kept) and torch.equal(state, torch.random.get_rng_state())


def test_a_failing_model_is_left_as_it_was():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(3, 3))
    with pytest.raises(RuntimeError), traced({"": net}):
        net(torch.ones(1, 2))
    assert all("forward" not in m.__dict__ for m in net.modules())


def test_same_seed_same_report():
    model = network(torch.tanh)
    reports = [str(verify.locate(model, "O(3)", {"pos": "point"}, seed=3)) for _ in range(2)]
    assert reports[0] == reports[1] != str(verify.locate(model, "O(3)", {"pos": "point"}, seed=4))


def test_a_function_that_uses_a_module():
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Tanh())
    report = verify.locate(lambda v: v + net(v), "SO(3)", "vector")
    assert report.first_broken is not None and report.first_broken.startswith("net")


def test_declared_models_need_no_arguments():
    assert verify.locate(tensornet("O(3)", channels=8)).first_broken is None


def test_refusals():
    with pytest.raises(InvalidInput, match="group must be given"):
        verify.locate(nn.Tanh())
    with pytest.raises(InvalidInput, match="no inputs for Tanh"):
        verify.locate(nn.Tanh(), "O(3)")
    with pytest.raises(InvalidInput, match="Pass an instance"):
        verify.locate(nn.Tanh, "O(3)", "vector")
    with pytest.raises(InvalidInput, match="4 samples or more"):
        verify.locate(nn.Tanh(), "O(3)", "vector", samples=2)
    with pytest.raises(InvalidInput, match="Did you mean"):
        verify.locate(nn.Tanh(), "O(3", "vector")


def test_held_out_rows_outside_the_fitted_span_are_not_counted():
    """A species that occurs in one half of the rows only says nothing about linearity."""
    a = torch.randn(40, 3, dtype=torch.float64, generator=GENERATOR.manual_seed(1))
    rare = torch.zeros(40, 1, dtype=torch.float64)
    rare[:2] = 1.0
    a = torch.cat([a, rare], 1)
    w = torch.randn(4, 4, dtype=torch.float64, generator=GENERATOR)
    for seed in range(8):
        fit = fit_linear(a, a @ w, torch.Generator().manual_seed(seed))
        assert fit.residual < 1e-12 and fit.tested >= 18


def test_gram_matrices_agree_exactly_for_orthogonal_maps():
    a = torch.randn(300, 30, dtype=torch.float64, generator=GENERATOR.manual_seed(2))
    q = torch.linalg.qr(torch.randn(30, 30, dtype=torch.float64, generator=GENERATOR)).Q
    shift = torch.randn(30, dtype=torch.float64, generator=GENERATOR)
    assert distortion(a, a @ q) < 1e-14
    assert distortion(a, a @ q + shift) > 0.1
    assert distortion(a, a @ q + shift, affine=True) < 1e-13
    q[0, 0] += 1e-6
    assert distortion(a, a @ q) > 1e-9
