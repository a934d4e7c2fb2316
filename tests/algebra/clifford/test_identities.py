"""Products, involutions and versors: identities on eleven signatures, matrices, and reference outputs."""

from __future__ import annotations

import functools
import itertools
from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomlib import InvalidInput
from geomlib.algebra.clifford import CliffordAlgebra
from geomlib.algebra.clifford.products import bilinear
from geomlib.algebra.groups import parse_group, stratified
from geomlib.algebra.representations import act
from tests.algebra.clifford.common import SIGNATURES, as_matrix, load, rand

every = pytest.mark.parametrize("alg", [CliffordAlgebra(*s) for s in SIGNATURES], ids=str)
REFERENCES = {
    "cgenn_cl200": CliffordAlgebra(2), "cgenn_cl300": CliffordAlgebra(3), "cgenn_cl130": CliffordAlgebra(1, 3),
    "cgenn_pga301": CliffordAlgebra(3, 0, 1),
}  # fmt: skip


def close(a, b, tol=1e-12):
    scale = max(1.0, float(torch.as_tensor(b).abs().max()))
    torch.testing.assert_close(a, b, rtol=0, atol=tol * scale)


@pytest.mark.parametrize("name", REFERENCES)
def test_reference_outputs(name):
    d, alg = load(name), REFERENCES[name]
    assert tuple(d["metric"].tolist()) == alg.metric
    assert alg.blade_masks == tuple(d["blade_bitmaps"].tolist()) and alg.grades == tuple(d["grades"].tolist())
    assert alg.paths == tuple(tuple(p) for p in d["product_paths_ijk"].tolist())
    x, y = d["x"], d["y"]
    for method in ("dense", "table", "auto"):
        close(alg.gp(x, y, method=method), d["geometric_product"])
    close(alg.involute(x), d["grade_involution"])
    close(alg.reverse(x), d["reversion"])
    close(alg.conjugate(x), d["clifford_conjugation"])
    close(alg.b(x, y), d["bilinear_b"])
    close(alg.q(x), d["q"])
    close(alg.qs(x), d["qs"])
    close(alg.norm(x), d["norm"])
    close(alg.grade_norms(x), d["norms"])
    table = np.zeros((alg.size, alg.size))
    for (i, _, k), value in zip(d["cayley_ijk"].tolist(), d["cayley_val"].tolist(), strict=True):
        table[i, k] = value
    assert np.array_equal(alg.cayley, table)
    for rho, parity in (("rho0", 0), ("rho1", 1)):
        close(alg.versor_inverse(d[f"{rho}.w"]), d[f"{rho}.w_inv"])
        close(alg.versor_action(d[f"{rho}.w"], x, parity), d[f"{rho}.out"])
        close(alg.versor_action(d[f"{rho}.w"], x), d[f"{rho}.out"])


@every
def test_the_product_is_that_of_matrices(alg):
    x, y, z = (rand(alg, seed=k) for k in range(3))
    mx, my = as_matrix(alg.metric, x), as_matrix(alg.metric, y)
    np.testing.assert_allclose(as_matrix(alg.metric, alg.gp(x, y)), mx @ my, atol=1e-11)
    close(alg.gp(alg.gp(x, y), z), alg.gp(x, alg.gp(y, z)))


@every
def test_involutions(alg):
    x, y = rand(alg, 4), rand(alg, 4, seed=1)
    close(alg.involute(alg.gp(x, y)), alg.gp(alg.involute(x), alg.involute(y)))
    close(alg.reverse(alg.gp(x, y)), alg.gp(alg.reverse(y), alg.reverse(x)))
    close(alg.conjugate(x), alg.involute(alg.reverse(x)))
    close(alg.b(x, y), alg.gp(alg.reverse(x), y)[..., :1])
    close(alg.scalar_product(x, y), alg.gp(x, y)[..., :1])
    close(alg.qs(x).sum(-1, keepdim=True), alg.q(x))


@every
def test_products_of_grades(alg):
    """The parts of the product are wedge, inner and contractions, and their grades step by two."""
    for j, k in itertools.product(range(alg.n + 1), repeat=2):
        x = alg.embed(rand(alg, 2)[..., alg.grade_slices[j]], j)
        y = alg.embed(rand(alg, 2, seed=1)[..., alg.grade_slices[k]], k)
        z = alg.gp(x, y)
        reached = set(range(abs(j - k), min(j + k, 2 * alg.n - j - k) + 1, 2))
        for g, part in enumerate(alg.grade_slices):
            if g not in reached:
                assert float(z[..., part].abs().max()) == 0

        def part(g, z=z):
            zero = torch.zeros_like(z)
            return alg.embed(z[..., alg.grade_slices[g]], g) if 0 <= g <= alg.n else zero

        close(alg.wedge(x, y), part(j + k))
        close(alg.inner(x, y), part(abs(j - k)))
        close(alg.left_contraction(x, y), part(k - j))
        close(alg.right_contraction(x, y), part(j - k))
    nonzero = int((alg.cayley != 0).sum())
    assert nonzero == 4**alg.n * 3**alg.r // 4**alg.r


def test_numbers_of_paths():
    for n in range(1, 8):
        assert len(CliffordAlgebra(n).paths) == comb(n + 3, 3)
    wanted = {(2, 0, 1): 19, (3, 0, 1): 34, (3, 1, 1): 55, (2, 0, 2): 31}
    assert all(len(CliffordAlgebra(*s).paths) == count for s, count in wanted.items())


@every
def test_vectors(alg):
    n = alg.n
    a, b = (alg.embed(rand(alg, 5, seed=k)[..., :n], 1) for k in range(2))
    ab, ba = alg.gp(a, b), alg.gp(b, a)
    close(alg.inner(a, b), (ab + ba) / 2)
    close(alg.wedge(a, b), (ab - ba) / 2)
    square = torch.tensor(alg.metric, dtype=torch.float64)
    close(alg.gp(a, a)[..., 0], (a[..., 1 : n + 1] ** 2 * square).sum(-1))
    rows = rand(alg, n)[..., :n]
    volume = alg.embed(rows[0], 1)
    for row in rows[1:]:
        volume = alg.wedge(volume, alg.embed(row, 1))
    close(volume[-1], torch.linalg.det(rows))
    one = alg.blade(alg.blade_names[-1], rows)
    sign = (-1) ** (n * (n - 1) // 2) * int(np.prod(alg.metric))
    close(alg.gp(one, one), sign * alg.blade("1", rows))


@every
def test_duals(alg):
    x, y = rand(alg, 3), rand(alg, 3, seed=1)
    close(alg.undual(alg.dual(x)), x)
    close(alg.dual(alg.undual(x)), x)
    for k in range(alg.size):
        blade = torch.eye(alg.size, dtype=torch.float64)[k]
        close(alg.wedge(blade, alg.dual(blade)), alg.blade(alg.blade_names[-1], x))
    one = alg.blade(alg.blade_names[-1], x).expand_as(x)
    close(alg.regressive(x, one), x)
    close(alg.regressive(one, x), x)
    close(alg.regressive(alg.regressive(x, y), y + 1), alg.regressive(x, alg.regressive(y, y + 1)))


@every
def test_the_common_factor_of_two_blades(alg):
    """(a ^ c) v (c ^ b) = (a ^ c ^ b / e_{1...n}) c, where a, c and b are blades that share nothing."""
    eye = torch.eye(alg.size, dtype=torch.float64)
    masks, full = alg.blade_masks, alg.size - 1
    tried = 0
    for a, c in itertools.product(range(alg.size), repeat=2):
        if masks[a] & masks[c]:
            continue
        b = masks.index(full ^ masks[a] ^ masks[c])
        ac = alg.wedge(eye[a], eye[c])
        found = alg.regressive(ac, alg.wedge(eye[c], eye[b]))
        close(found, alg.wedge(ac, eye[b])[-1] * eye[c])
        tried += 1
    assert tried == 3**alg.n


@every
def test_versors_act_as_the_group_does(alg):
    rng = torch.Generator().manual_seed(0)
    x, y = rand(alg, 3), rand(alg, 3, seed=1)
    for g in stratified(parse_group(alg.group_name), 6, rng):
        w = alg.blade("1", x)
        for v in g.versor:
            w = alg.gp(w, alg.embed(v, 1))
        parity = len(g.versor) % 2
        moved = alg.versor_action(w, x, parity)
        close(moved, act(alg.type_name, g, x), 1e-11)
        close(alg.versor_action(w, x), moved)
        close(alg.gp(moved, alg.versor_action(w, y)), alg.versor_action(w, alg.gp(x, y)), 1e-9)
        close(alg.b(moved, alg.versor_action(w, y)), alg.b(x, y), 1e-9)
        matrix = alg.orthogonal_action(g.linear)
        close(x @ matrix.mT, moved, 1e-11)
        for k, square in enumerate(alg.metric):
            if square == 0:  # the radical stays where it is
                null = torch.eye(alg.size, dtype=torch.float64)[k + 1]
                close(alg.versor_action(w, null), null, 1e-11)
        assert abs(float(torch.linalg.det(g.linear)) - (-1) ** parity) < 1e-8


@every
def test_inverses(alg):
    x = rand(alg, 4) + 12 * alg.blade("1", rand(alg))
    one = alg.blade("1", x).expand_as(x)
    close(alg.gp(x, alg.inverse(x)), one, 1e-11)
    close(alg.gp(alg.inverse(x), x), one, 1e-11)
    if alg.r:
        with pytest.raises(InvalidInput, match="has none"):
            alg.inverse(torch.eye(alg.size, dtype=torch.float64)[1])


@every
@pytest.mark.parametrize("kind", ["gp", "wedge", "left_contraction"])
def test_derivatives_of_any_order(alg, kind):
    if alg.n > 4:
        pytest.skip("the same code, slowly")

    def product(x, y):
        return bilinear(alg.metric, kind, x, y, "table")

    x, y = rand(alg, 2).requires_grad_(), rand(alg, seed=1).requires_grad_()  # broadcast
    assert torch.autograd.gradcheck(product, (x, y), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(product, (x, y))


@pytest.mark.parametrize("method", ["dense", "table"])
def test_transforms_of_functions(method):
    alg = CliffordAlgebra(3)
    gp = functools.partial(alg.gp, method=method)
    x, y = rand(alg, 5), rand(alg, 5, seed=1)
    close(torch.func.vmap(gp)(x, y), alg.gp(x, y))
    jacobian = torch.func.jacrev(gp)(x[0], y[0])
    close(jacobian @ x[0], alg.gp(x[0], y[0]))
    close(torch.func.jacfwd(gp)(x[0], y[0]), jacobian)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    metric=st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
    rows=st.integers(0, 3),
)
def test_any_metric_in_any_order(metric, seed, rows):
    alg = CliffordAlgebra(metric=metric)
    x, y, z = (rand(alg, rows, seed=seed + k) for k in range(3))
    xy = alg.gp(x, y, method="table")
    assert xy.shape == x.shape and xy.dtype == x.dtype
    if rows:
        close(xy, alg.gp(x, y, method="dense"))
        close(alg.gp(xy, z), alg.gp(x, alg.gp(y, z)))
        close(alg.reverse(xy), alg.gp(alg.reverse(y), alg.reverse(x)))


def test_ten_generators():
    alg = CliffordAlgebra(7, 2, 1)
    x, y = rand(alg), rand(alg, seed=1)
    v, w = (alg.embed(t[..., 1:11], 1) for t in (x, y))
    close(alg.gp(v, alg.gp(v, x)), alg.q(v) * x)
    close(alg.gp(v, w) + alg.gp(w, v), 2 * alg.inner(v, w))
    assert alg.blade_names[-1] == "e0123456789"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_types_follow_the_input(dtype):
    alg = CliffordAlgebra(1, 3)
    x = rand(alg, 2).to(dtype)
    results = [
        alg.gp(x, x), alg.wedge(x, x), alg.dual(x), alg.reverse(x), alg.q(x), alg.qs(x), alg.norm(x), alg.grade_norms(x),
        alg.embed(x[..., :4], 1), alg.regressive(x, x),
    ]  # fmt: skip
    assert all(r.dtype == dtype for r in results)


@pytest.mark.parametrize("scale", [0.0, 1e-200, 1.0, 1e150, 1e300])
def test_norms_have_finite_gradients(scale):
    alg = CliffordAlgebra(1, 3)
    x = torch.zeros(16, dtype=torch.float64)
    x[1] = x[2] = scale  # light-like
    for function in (alg.norm, alg.grade_norms, lambda x: alg.qs(x / 2)):
        if scale > 1e150 and function not in (alg.norm, alg.grade_norms):
            continue
        t = x.clone().requires_grad_()
        value = function(t)
        (grad,) = torch.autograd.grad(value.sum(), t)
        assert bool(torch.isfinite(value).all() and torch.isfinite(grad).all())


def test_misuse():
    alg = CliffordAlgebra(3)
    for bad in (
        lambda: CliffordAlgebra(), lambda: CliffordAlgebra(3, metric=(1, 1)), lambda: CliffordAlgebra(-1, 2),
        lambda: CliffordAlgebra(11), lambda: CliffordAlgebra(0), lambda: CliffordAlgebra(metric=(1, 2)),
        lambda: CliffordAlgebra(metric=(1, 0)).type_name,
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            bad()
    x = torch.randn(4, 8)
    with pytest.raises(InvalidInput, match="8 blades"):
        alg.gp(x, torch.randn(4, 7))
    with pytest.raises(InvalidInput, match="do not broadcast"):
        alg.gp(x, torch.randn(3, 8))
    with pytest.raises(InvalidInput, match="floating"):
        alg.gp(x.long(), x.long())
    with pytest.raises(InvalidInput, match="float64"):
        alg.gp(x, x.double())
    with pytest.raises(InvalidInput, match="unknown blades"):
        alg.embed(x[..., :1], blades=("e4",))
    with pytest.raises(InvalidInput, match="grades 0"):
        alg.embed(x[..., :1], 4)
    with pytest.raises(InvalidInput, match="3 blades"):
        alg.embed(x, 1)
    with pytest.raises(InvalidInput, match="method"):
        alg.gp(x, x, method="fast")
    with pytest.raises(InvalidInput, match="parity"):
        alg.versor_action(x, x, 2)
    with pytest.raises(InvalidInput, match="this algebra has"):
        alg.blade("e0")
