"""Pin and Spin against Clifford products worked out here, blade by blade, with bits.

A blade is a set of generators, one bit each; the product of two blades counts the transpositions that sort
them and contracts what they share. Nothing of geomlib is used for it.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from geomlib import InvalidInput
from geomlib.algebra.groups import compose, inverse, parse_group, stratified
from geomlib.algebra.representations import act, matrix
from tests.algebra._groups import gen

SIGNATURES = [(3, 0, 0), (1, 3, 0), (3, 0, 1), (2, 1, 1), (0, 3, 0), (2, 0, 2), (1, 1, 0), (4, 1, 0)]


class Clifford:
    """Multivectors as arrays over bit masks; generators ordered null, positive, negative."""

    def __init__(self, p: int, q: int, r: int):
        self.squares = [0.0] * r + [1.0] * p + [-1.0] * q
        self.n = p + q + r
        self.shortlex = [
            sum(1 << i for i in blade)
            for grade in range(self.n + 1)
            for blade in itertools.combinations(range(self.n), grade)
        ]

    def blade_product(self, a: int, b: int) -> tuple[int, float]:
        sign, rest = 1.0, a >> 1
        while rest:
            sign *= -1.0 if bin(rest & b).count("1") % 2 else 1.0
            rest >>= 1
        for i in range(self.n):
            if a & b & (1 << i):
                sign *= self.squares[i]
        return a ^ b, sign

    def product(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        out = np.zeros(2**self.n)
        for a, b in itertools.product(np.flatnonzero(x), np.flatnonzero(y)):
            blade, sign = self.blade_product(int(a), int(b))
            out[blade] += sign * x[a] * y[b]
        return out

    def vector(self, v: torch.Tensor) -> np.ndarray:
        out = np.zeros(2**self.n)
        for i, value in enumerate(v.tolist()):
            out[1 << i] = value
        return out

    def involuted(self, x: np.ndarray) -> np.ndarray:
        return x * np.array([(-1.0) ** bin(b).count("1") for b in range(2**self.n)])

    def action(self, vectors: torch.Tensor, x: np.ndarray) -> np.ndarray:
        """Return w alpha^k(x) w^-1 for the versor w with these factors."""
        w = w_inverse = np.eye(2**self.n)[0]
        for v in vectors:
            e = self.vector(v)
            square = self.product(e, e)[0]
            w, w_inverse = self.product(w, e), self.product(e / square, w_inverse)
            x = self.involuted(x)
        np.testing.assert_allclose(self.product(w, w_inverse), np.eye(2**self.n)[0], atol=1e-10)
        return self.product(self.product(w, x), w_inverse)

    def from_geomlib(self, x: torch.Tensor) -> np.ndarray:
        out = np.zeros(2**self.n)
        out[self.shortlex] = x.numpy()
        return out


@pytest.mark.parametrize("signature", SIGNATURES)
def test_twisted_adjoint(signature: tuple[int, int, int]) -> None:
    algebra = Clifford(*signature)
    name = ",".join(map(str, signature))
    group, rng = parse_group(f"Pin({name})"), gen()
    x = torch.randn(2**algebra.n, generator=rng, dtype=torch.float64)
    for g in stratified(group, 6, rng) + group.special(rng):
        wanted = algebra.action(g.versor, algebra.from_geomlib(x))
        found = algebra.from_geomlib(act(f"mv({name})", g, x))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-11 * max(1.0, np.abs(wanted).max()))


@pytest.mark.parametrize("signature", SIGNATURES)
def test_components_are_parity_and_sign_of_the_norm(signature: tuple[int, int, int]) -> None:
    algebra = Clifford(*signature)
    name = ",".join(map(str, signature))
    group, rng = parse_group(f"Pin({name})"), gen(1)
    for component, _ in itertools.product(group.components(), range(4)):
        g = group.sample(component, rng)
        squares = [algebra.product(algebra.vector(v), algebra.vector(v))[0] for v in g.versor]
        assert min(map(abs, squares)) >= 0.1
        assert (len(squares) % 2 == 0) == component.startswith("even")
        assert np.prod(squares) * (1 if component.endswith("+") else -1) > 0
        assert len(squares) <= algebra.n
    p, q, _ = signature
    assert len(group.components()) == (4 if p and q else 2)
    spin = parse_group(f"Spin({name})")
    assert all(c.startswith("even") for c in spin.components())
    assert all(len(g.versor) % 2 == 0 for g in spin.special(rng) + stratified(spin, 4, rng))


@pytest.mark.parametrize("signature", SIGNATURES)
def test_matrices_keep_the_metric_and_fix_the_radical(signature: tuple[int, int, int]) -> None:
    p, q, r = signature
    group, rng = parse_group("Pin({},{},{})".format(*signature)), gen(2)
    eta = torch.diag(torch.tensor([0.0] * r + [1.0] * p + [-1.0] * q).double())
    elements = [g.linear for g in stratified(group, 8, rng)] + [f(0.6).linear for f in group.generators()]
    for a in elements:
        size = max(1.0, float(a.abs().max())) ** 2
        torch.testing.assert_close(a.T @ eta @ a, eta, rtol=0, atol=1e-14 * size)
        assert torch.equal(a[:, :r], torch.eye(p + q + r).double()[:, :r])
    if r:  # null shifts are drawn: vectors gain null components
        assert max(float(a[:r, r:].abs().max()) for a in elements) > 0.1


def test_every_number_of_factors_is_drawn() -> None:
    group = parse_group("Pin(3,0,0)")
    counts = {len(group.sample(c, gen(seed)).versor) for seed in range(30) for c in group.components()}
    assert counts == {1, 2, 3} and len(group.special(gen())[0].versor) == 0


def test_composition_multiplies_versors() -> None:
    algebra = Clifford(1, 3, 0)
    group, rng = parse_group("Pin(1,3,0)"), gen()
    x = torch.randn(16, generator=rng, dtype=torch.float64)
    g, h = group.sample("odd -", rng), group.sample("even -", rng)
    gh = compose(g, h)
    wanted = algebra.action(g.versor, algebra.action(h.versor, algebra.from_geomlib(x)))
    for found in (
        algebra.action(gh.versor, algebra.from_geomlib(x)),
        algebra.from_geomlib(act("mv(1,3,0)", gh, x)),
    ):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10 * np.abs(wanted).max())
    undone = algebra.action(inverse(g).versor, algebra.action(g.versor, algebra.from_geomlib(x)))
    np.testing.assert_allclose(undone, algebra.from_geomlib(x), atol=1e-10)


def test_the_action_is_an_automorphism_of_the_product() -> None:
    """rho(x y) = rho(x) rho(y), with the product from the bits and the action from the compound matrices."""
    algebra = Clifford(3, 0, 1)
    rng = gen()
    x, y = (np.random.default_rng(k).normal(size=16) for k in (0, 1))
    for g in stratified(parse_group("Pin(3,0,1)"), 4, rng):
        rho = np.zeros((16, 16))
        rho[np.ix_(algebra.shortlex, algebra.shortlex)] = matrix("mv(3,0,1)", g).numpy()
        np.testing.assert_allclose(
            rho @ algebra.product(x, y),
            algebra.product(rho @ x, rho @ y),
            atol=1e-11 * np.linalg.norm(rho) ** 2,
        )


def test_projective_points_and_planes() -> None:
    """E(3) on mv(3,0,1): planes n.x = d are n_i e_i - d e0; a point has blades (-z, y, -x, 1) in grade 3."""
    group, rng = parse_group("E(3)"), gen()
    for g in stratified(group, 8, rng):
        x = torch.randn(3, generator=rng, dtype=torch.float64)
        moved = g.linear @ x + g.shift
        point, after = (torch.stack([-v[2], v[1], -v[0], torch.ones(()).double()]) for v in (x, moved))
        torch.testing.assert_close(act("mv(3,0,1)[3]", g, point), g.det * after, rtol=0, atol=1e-13)
        normal = torch.randn(3, generator=rng, dtype=torch.float64)
        plane = torch.cat([-(normal @ x)[None], normal])  # through x
        image = act("mv(3,0,1)[1]", g, plane)
        torch.testing.assert_close(image[1:] @ moved + image[0], torch.zeros(()).double(), rtol=0, atol=1e-13)
        torch.testing.assert_close(image[1:], g.linear @ normal, rtol=0, atol=1e-14)


def test_translations_are_the_motors_of_the_projective_algebra() -> None:
    """T = 1 - t_i e_{0i} / 2 acts on blades as the shift by t does."""
    algebra = Clifford(3, 0, 1)
    t = torch.randn(3, generator=gen(), dtype=torch.float64)
    motor, back = np.zeros(16), np.zeros(16)
    motor[0] = back[0] = 1.0
    for i in range(3):
        motor[1 | 1 << (i + 1)], back[1 | 1 << (i + 1)] = -0.5 * float(t[i]), 0.5 * float(t[i])
    x = np.random.default_rng(0).normal(size=16)
    wanted = algebra.product(algebra.product(motor, x), back)
    shift = parse_group("T(3)").sample("shift", gen())
    g = type(shift)(torch.eye(3).double(), t)
    found = algebra.from_geomlib(act("mv(3,0,1)", g, torch.tensor(x[algebra.shortlex])))
    np.testing.assert_allclose(found, wanted, atol=1e-14)


def test_groups_that_do_not_keep_the_metric_are_refused() -> None:
    for name, type_ in (
        ("GL(3)", "mv(3,0,0)"),
        ("O(4)", "mv(1,3,0)"),
        ("GL(4)", "mv(3,0,1)"),
        ("O(4)", "mv(3,0,1)"),
    ):
        g = parse_group(name).sample("proper", gen())
        with pytest.raises(InvalidInput, match="keeps its metric"):
            act(type_, g, torch.zeros(2 ** len(g.linear)))
    with pytest.raises(InvalidInput, match="dimension 4 meets a group that acts on dimension 3"):
        act("mv(1,3,0)", parse_group("O(3)").sample("proper", gen()), torch.zeros(16))
