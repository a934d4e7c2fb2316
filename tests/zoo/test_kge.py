"""Embeddings of knowledge graphs: scores by dense matrices, every option; gradients, compilation, shapes, misuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from geomlib import InvalidInput, create_model
from geomlib.algebra.manifolds.grassmann import block_exp
from geomlib.testing import ModelSuite
from geomlib.zoo import SPDKGE, EuclideanKGE, GrassmannKGE
from geomlib.zoo._relation_maps import OPERATIONS, plane_products

linalg = pytest.importorskip("scipy.linalg")

E, R, N = 7, 4, 3
HEAD, RELATION = torch.tensor([0, 6, 2, 2, 5]), torch.tensor([3, 0, 2, 1, 1])
SPD_OPTIONS = [
    {"metric": m, "op": o, "distance": d}
    for m in ("le", "lc", "ai")
    for o in OPERATIONS
    for d in ("riemannian", "finsler_one", "finsler_infinity")
    if (m != "lc" or d == "riemannian") and (o != "attention" or d == "riemannian")
]


def model_of(kind=SPDKGE, **options):
    """A model in float64 whose weights are all random and not small."""
    sizes = {"n": N} if kind is SPDKGE else {}
    model = kind(entities=E, relations=R, init=0.5, **{**sizes, **options}).double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.6 * torch.randn_like(p))
    return model


EVERY = {
    "le": lambda: model_of(op="attention"),
    "lc": lambda: model_of(metric="lc", op="rotation"),
    "ai": lambda: model_of(metric="ai", op="reflection"),
    "finsler": lambda: model_of(metric="ai", distance="finsler_one"),
    "grassmann": lambda: model_of(GrassmannKGE, n=5, p=2),
    "euclidean": lambda: model_of(EuclideanKGE, dim=6, op="attention"),
}
every_model = pytest.mark.parametrize("name", EVERY)


# -- the definition, by dense matrices of scipy


def matrix(x, metric):
    """Symmetric tangent at I of coordinates: the upper triangle row by row, of unit length in the metric."""
    A, k = np.zeros((N, N)), 0
    for i in range(N):
        for j in range(i, N):
            on, off = (1.0, math.sqrt(0.5)) if metric != "lc" else (2.0, 1.0)
            A[i, j] = A[j, i] = x[k] * (on if i == j else off)
            k += 1
    return A


def biases(model):
    return (model.head_bias[:, None] + model.tail_bias).detach().numpy()


def givens(angles, reflect):
    G, k = np.eye(N), 0
    for i in range(N):
        for j in range(i + 1, N):
            c, s = math.cos(angles[k]), math.sin(angles[k])
            F = np.eye(N)
            F[i, i], F[i, j], F[j, i], F[j, j] = (c, s, s, -c) if reflect else (c, -s, s, c)
            G, k = F @ G, k + 1
    return G


def triangle(A, metric):
    on, off = (1.0, math.sqrt(2.0)) if metric != "lc" else (0.5, 1.0)
    return np.array([A[i, j] * (on if i == j else off) for i in range(N) for j in range(i, N)])


def moved(model, x, r, metric, op):
    if op == "scaling":
        return matrix(model.map.scale[r].tolist() * x, metric)
    A = matrix(x, metric)
    found = []
    for name, reflect in (("rotation", False), ("reflection", True)):
        if op in (name, "attention"):
            G = givens(getattr(model.map, name)[r].tolist(), reflect)
            found.append(G @ A @ G.T)
    if op != "attention":
        return found[0]
    logits = [model.map.weigh[r].detach().numpy() @ triangle(B, metric) for B in found]
    a, b = np.exp(logits) / np.sum(np.exp(logits))
    return a * found[0] + b * found[1]


def point(A, metric):
    """Exp_I."""
    if metric != "lc":
        return linalg.expm(A)
    L = np.tril(A, -1) + np.diag(np.exp(np.diag(A) / 2))
    return L @ L.T


def added(P, Q, metric):
    if metric == "ai":
        root = linalg.sqrtm(P).real
        return root @ Q @ root
    if metric == "le":
        return linalg.expm(linalg.logm(P) + linalg.logm(Q))
    K, L = np.linalg.cholesky(P), np.linalg.cholesky(Q)
    L = np.tril(K, -1) + np.tril(L, -1) + np.diag(np.diag(K) * np.diag(L))
    return L @ L.T


def distance(P, Q, metric, kind):
    if metric == "lc":
        K, L = np.linalg.cholesky(P), np.linalg.cholesky(Q)
        return math.hypot(
            np.linalg.norm(np.tril(K - L, -1)), np.linalg.norm(np.log(np.diag(K)) - np.log(np.diag(L)))
        )
    v = (
        np.log(linalg.eigh(Q, P)[0])
        if metric == "ai"
        else np.linalg.eigvalsh(linalg.logm(Q) - linalg.logm(P))
    )
    v = np.sort(v)
    if kind == "riemannian":
        return np.linalg.norm(v)
    return v[-1] - v[0] if kind == "finsler_infinity" or N == 2 else v[N - N // 2 :].sum() - v[: N // 2].sum()


@pytest.mark.parametrize("options", SPD_OPTIONS, ids=lambda o: "-".join(o.values()))
def test_scores_are_those_of_dense_matrices(options):
    model, metric = model_of(**options), options["metric"]
    x, shift = model.entity.detach().numpy(), model.shift.detach().numpy()
    found, bias = model(HEAD, RELATION), biases(model)
    for row, h, r in zip(found.tolist(), HEAD.tolist(), RELATION.tolist(), strict=True):
        start = point(moved(model, x[h], r, metric, options["op"]), metric)
        q = added(start, point(matrix(shift[r], metric), metric), metric)
        for t in range(E):
            d = distance(q, point(matrix(x[t], metric), metric), metric, options["distance"])
            want = bias[h, t] - d**2
            assert row[t] == pytest.approx(want, rel=1e-9, abs=1e-9)


def test_grassmann_scores_are_those_of_dense_matrices():
    model = model_of(GrassmannKGE, n=5, p=2)

    def rotation(x):
        B = np.reshape(x, (3, 2))
        return linalg.expm(np.block([[np.zeros((2, 2)), -B.T], [B, np.zeros((3, 3))]]))

    x, shift, scale = (p.detach().numpy() for p in (model.entity, model.shift, model.scale))
    found, bias = model(HEAD, RELATION), biases(model)
    for row, h, r in zip(found.tolist(), HEAD.tolist(), RELATION.tolist(), strict=True):
        q = rotation(scale[r] * x[h]) @ rotation(shift[r])[:, :2]
        for t in range(E):
            theta = linalg.subspace_angles(q, rotation(x[t])[:, :2])
            want = bias[h, t] - math.exp(model.sharpness.item()) * (theta**2).sum()
            assert row[t] == pytest.approx(want, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("op", ["translation", *OPERATIONS])
def test_euclidean_scores_are_those_of_dense_matrices(op):
    model = model_of(EuclideanKGE, dim=4, op=op)
    x, shift = model.entity.detach().numpy(), model.shift.detach().numpy()
    found = model(HEAD, RELATION)

    def block(angles, reflect):
        c, s = np.cos(angles), np.sin(angles)
        parts = [[[a, b], [b, -a]] if reflect else [[a, -b], [b, a]] for a, b in zip(c, s, strict=True)]
        return linalg.block_diag(*parts)

    for row, h, r in zip(found.tolist(), HEAD.tolist(), RELATION.tolist(), strict=True):
        if op in ("translation", "scaling"):
            q = x[h] * (model.map.scale[r].detach().numpy() if op == "scaling" else 1.0)
        else:
            both = [
                block(getattr(model.map, name)[r].detach().numpy(), reflect) @ x[h]
                for name, reflect in (("rotation", False), ("reflection", True))
                if op in (name, "attention")
            ]
            weight = np.ones(1)
            if op == "attention":
                weight = np.exp([model.map.weigh[r].detach().numpy() @ y for y in both])
            q = sum(w * y for w, y in zip(weight / weight.sum(), both, strict=True))
        want = biases(model)[h] - ((q + shift[r] - x) ** 2).sum(-1)
        np.testing.assert_allclose(row, want, rtol=1e-10, atol=1e-10)


def test_flat_scalings_are_one_model():
    """As the docstring says: log-Euclidean, log-Cholesky and Euclidean scalings are the same function of their weights."""
    models = [
        model_of(metric="le"), model_of(metric="lc"), model_of(EuclideanKGE, dim=6, op="scaling"),
    ]  # fmt: skip
    for other in models[1:]:
        other.load_state_dict(models[0].state_dict())
        torch.testing.assert_close(other(HEAD, RELATION), models[0](HEAD, RELATION), rtol=0, atol=0)


@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_products_of_planes(n, reflect):
    angles = torch.randn(4, n * (n - 1) // 2, dtype=torch.float64)
    G = plane_products(angles, n, reflect=reflect)
    torch.testing.assert_close(G @ G.mT, torch.eye(n, dtype=torch.float64).expand(4, n, n))
    sign = (-1.0) ** (n * (n - 1) // 2) if reflect else 1.0
    torch.testing.assert_close(torch.linalg.det(G), torch.full((4,), sign, dtype=torch.float64))
    if n == N:
        want = np.stack([givens(a, reflect) for a in angles.tolist()])
        torch.testing.assert_close(G, torch.from_numpy(want))


# -- what every one must do


@every_model
def test_candidates_batches_and_types(name):
    model = EVERY[name]()
    whole = model(HEAD, RELATION)
    some = torch.tensor([6, 1, 1, 3])
    torch.testing.assert_close(model(HEAD, RELATION, some), whole[:, some])
    torch.testing.assert_close(model(HEAD[1:2], RELATION[1:2]), whole[1:2])
    torch.testing.assert_close(model(HEAD[::2], RELATION[::2]), whole[::2])  # strided
    assert model(HEAD[:0], RELATION[:0]).shape == (0, E) and model(HEAD, RELATION, some[:0]).shape == (5, 0)
    low = model.float()(HEAD, RELATION)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low.double(), whole, rtol=1e-4, atol=1e-4)


@every_model
def test_gradients_at_coincident_points_and_repeated_eigenvalues(name):
    """All matrices are the identity to begin with, and the tail is the query: finite, and those of differences."""
    model = EVERY[name]()
    for p in model.parameters():
        p.requires_grad_(False)
    model.shift.zero_()
    model.entity.zero_()
    model.entity[1:].copy_(0.3 * torch.randn(E - 1, model.entity.shape[1], dtype=torch.float64))
    model.entity[3] = model.entity[2]
    h, r = torch.tensor([0, 2]), torch.tensor([1, 0])
    if name == "finsler":  # a norm of eigenvalues that has corners where they coincide
        model.entity[0].copy_(0.3 * torch.randn(6, dtype=torch.float64))
    weight = torch.randn(2, E, dtype=torch.float64)
    if name == "finsler":
        weight[:, [0, 2, 3]] = 0.0

    def score(entity, shift):
        out = torch.func.functional_call(model, {"entity": entity, "shift": shift}, (h, r))
        return (weight * out).sum()

    inputs = (model.entity.clone().requires_grad_(), model.shift.clone().requires_grad_())
    assert torch.autograd.gradcheck(score, inputs, atol=1e-6)
    if name in ("ai", "le", "lc", "euclidean"):
        assert torch.autograd.gradgradcheck(score, inputs, atol=1e-5)


@every_model
def test_mapped(name):
    model = EVERY[name]()
    pairs = HEAD[:4].view(2, 2), RELATION[:4].view(2, 2)
    torch.testing.assert_close(torch.func.vmap(model)(*pairs), model(HEAD, RELATION)[:4].view(2, 2, E))


@every_model
@pytest.mark.slow
def test_compiled(name):
    """Every option; the examples of two models are compiled every time, below."""
    model = EVERY[name]()
    whole = model(HEAD, RELATION)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(HEAD, RELATION), whole)
    model.zero_grad()
    compiled(HEAD, RELATION).logsumexp(1).sum().backward()
    found = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model(HEAD, RELATION).logsumexp(1).sum().backward()
    for a, b in zip(found, (p.grad for p in model.parameters()), strict=True):
        torch.testing.assert_close(a, b)


@every_model
def test_a_few_steps_learn(name):
    """Every fact (i, 0, i + 1) becomes the likeliest, from tiny weights."""
    torch.manual_seed(1)
    options = EVERY[name]().config | {"init": 1e-2}
    model = create_model(**options)
    head = torch.arange(E)
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    for _ in range(60):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(head, 0 * head), (head + 1) % E)
        loss.backward()
        optimizer.step()
    hits = model(head, 0 * head).argmax(1) == (head + 1) % E
    assert loss.item() < 1.0 and int(hits.sum()) >= 5


@every_model
def test_wrong_input_is_named(name):
    model = EVERY[name]()
    kind = type(model).__name__
    for args, match in (
        ((HEAD + 1, RELATION), rf"{kind}: `head` holds 1\.\.7, expected 0\.\.6"),
        ((HEAD, RELATION - 1), rf"{kind}: `relation` holds -1\.\.2, expected 0\.\.3.*reversed"),
        ((HEAD, RELATION, torch.tensor([7])), "`candidates` holds 7"),
        ((HEAD, RELATION[:2]), r"`relation` is torch.int64 of shape \(2,\), expected int64 \(5,\)"),
        ((HEAD.float(), RELATION), "`head` is torch.float32"),
        ((HEAD[:, None], RELATION), r"`head` is .*\(5, 1\)"),
        ((HEAD[0], RELATION[0]), r"`head` is .*\(\)"),
    ):
        with pytest.raises(InvalidInput, match=match):
            model(*args)


@pytest.mark.parametrize("name", ["ai", "finsler"])
def test_matrices_that_overflow_are_refused(name):
    """exp of these tangents is beyond float64: an error that names what is wrong, never a silent zero or NaN."""
    model = EVERY[name]()
    with torch.no_grad():
        model.entity[3] = 1e4
    with pytest.raises(InvalidInput):
        model(HEAD, RELATION)


def test_wrong_options():
    for make, match in (
        (lambda: SPDKGE(metric="bw"), "metric='bw': expected one of le, lc, ai"),
        (lambda: SPDKGE(op="rotations"), "Did you mean 'rotation'"),
        (lambda: SPDKGE(distance="finsler"), "distance='finsler'.*Did you mean"),
        (lambda: SPDKGE(metric="lc", distance="finsler_one"), "triangular"),
        (lambda: SPDKGE(n=1, distance="finsler_one"), "n=1.*is zero"),
        (lambda: SPDKGE(n=0), "0 coordinates"),
        (lambda: SPDKGE(entities=0), "entities=0"),
        (lambda: EuclideanKGE(dim=5, op="rotation"), "dim=5 is odd.*take 6"),
        (lambda: EuclideanKGE(init=0.0), r"init=0\.0"),
        (lambda: GrassmannKGE(n=2, p=2), "expected 0 < p < n"),
    ):
        with pytest.raises(InvalidInput, match=match):
            make()


def test_subspaces_turn_round():
    """Long blocks go past a right angle and come back: distances stay those of subspaces."""
    model = model_of(GrassmannKGE, n=3, p=1)
    with torch.no_grad():
        model.entity.copy_(torch.linspace(0, 6, E)[:, None] * torch.tensor([[0.6, 0.8]]))
    U = block_exp(model.entity.unflatten(-1, (2, 1)))
    torch.testing.assert_close(U.square().sum((1, 2)), torch.ones(E, dtype=torch.float64))
    assert bool(model(HEAD, RELATION).isfinite().all())


@pytest.mark.parametrize("name", ["spd_kge", "euclidean_kge"])
def test_an_example_compiles(name):
    type("Compiled", (ModelSuite,), {"model": name})().test_compile()
