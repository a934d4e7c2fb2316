"""Symmetric contraction: dense tensors, explicit products, species, derivatives, speed beside a plain einsum."""

from __future__ import annotations

import time

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from geomlib import InvalidInput, verify
from geomlib.algebra.irreps import symmetric_tensors
from geomlib.layers import SymmetricContraction


def dense(layer: SymmetricContraction, x: torch.Tensor, element: torch.Tensor | None) -> torch.Tensor:
    """The definition, with the tensors multiplied out as MACE does."""
    parts = x.split([b.dim for b in layer.irreps_in], 1)
    channelwise = torch.cat([p.unflatten(1, (layer.channels, -1)) for p in parts], dim=2)
    rows = layer.weight[element] if element is not None else layer.weight.expand(len(x), -1, -1)
    each, out, start = "+".join(str(b.ir) for b in layer.irreps_in), [], 0
    for block in layer.irreps_out:
        z = x.new_zeros(len(x), layer.channels, block.ir.dim)
        for degree in range(1, layer.correlation + 1):
            u = symmetric_tensors(each, block.ir, degree).to(x)
            w = rows[:, start : start + u.shape[-1]]
            start += u.shape[-1]
            letters = "ijk"[:degree]
            factors = ",".join(f"bc{a}" for a in letters)
            z = z + torch.einsum(f"m{letters}n,bnc,{factors}->bcm", u, w, *[channelwise] * degree)
        out.append(z.flatten(1))
    return torch.cat(out, 1)


@pytest.mark.parametrize("correlation", [1, 2, 3])
@pytest.mark.parametrize(
    "irreps", [("2x0e+2x1o+2x2e", "2x0e+2x1o+2x2e"), ("3x1o+3x1e+3x0o", "3x0e+3x0o+3x1o")]
)
def test_the_definition(irreps, correlation):
    layer = SymmetricContraction(*irreps, correlation, num_elements=3).double()
    x, element = torch.randn(7, layer.irreps_in.dim).double(), torch.tensor([0, 1, 2, 0, 2, 1, 1])
    torch.testing.assert_close(layer(x, element), dense(layer, x, element), rtol=1e-12, atol=1e-12)
    one_hot = torch.nn.functional.one_hot(element, 3).double()
    torch.testing.assert_close(layer(x, one_hot), layer(x, element), rtol=1e-13, atol=1e-13)
    assert layer(x[:0], element[:0]).shape == (0, layer.irreps_out.dim)
    shared = SymmetricContraction(*irreps, correlation).double()
    torch.testing.assert_close(shared(x), dense(shared, x, None), rtol=1e-12, atol=1e-12)


def test_vectors_by_hand():
    """One vector: |v|^2 and |v|^2 v, orthonormal."""
    layer = SymmetricContraction("1x1o", "1x0e+1x1o", 3).double()
    assert layer.weight.shape == (1, 3, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[2.0], [3.0], [5.0]]]))
    v = torch.randn(4, 3, dtype=torch.float64)
    square = v.square().sum(1, keepdim=True)
    # The norm of the tensor of |v|^2 is sqrt 3; that of one component of |v|^2 v is sqrt(5/3).
    expected = torch.cat([2 * square / 3**0.5, 3 * v + 5 * square * v / (5 / 3) ** 0.5], 1)
    signs = layer(v) / expected
    torch.testing.assert_close(signs[:, 0].abs(), torch.ones(4).double())
    cubic = (layer(v)[:, 1:] - 3 * v) / (square * v)
    torch.testing.assert_close(cubic.abs(), torch.full((4, 3), 5 / (5 / 3) ** 0.5).double())


def test_derivatives():
    layer = SymmetricContraction("2x0e+2x1o", "2x0e+2x1o", 3, num_elements=2).double()
    x = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    element = torch.tensor([0, 1, 0])

    def run(x, w):
        return torch.func.functional_call(layer, {"weight": w}, (x, element))

    assert gradcheck(run, (x, layer.weight)) and gradgradcheck(run, (x, layer.weight))


@pytest.mark.parametrize("out", ["4x0e", "4x1o+4x2e"])
def test_exactly_equivariant(out):
    layer = SymmetricContraction("4x0e+4x1o+4x2e+4x3o", out, 3)
    assert verify.check(layer, example={"x": torch.randn(5, 64)}, trials=16).verdict == "EXACT"


def test_species_do_not_mix():
    layer = SymmetricContraction("2x0e+2x1o", "2x0e", 3, num_elements=4)
    x, element = torch.randn(6, 8), torch.tensor([0, 1, 2, 3, 1, 0])
    before = layer(x, element)
    with torch.no_grad():
        layer.weight[1] += 1.0
    changed = (layer(x, element) != before).any(1)
    assert changed.tolist() == (element == 1).tolist()


def test_no_slower_than_a_plain_einsum():
    layer = SymmetricContraction("16x0e+16x1o+16x2e+16x3o", "16x0e+16x1o", 3, num_elements=4)
    x, element = torch.randn(32, 256), torch.randint(0, 4, (32,))
    with torch.no_grad():
        layer(x, element), dense(layer, x, element)
        times: list[list[float]] = [[], []]
        for _ in range(5):
            for k, f in enumerate((layer, lambda x, e: dense(layer, x, e))):
                start = time.process_time()
                f(x, element)
                times[k].append(time.process_time() - start)
    assert min(times[0]) < min(times[1])


THREE = torch.zeros(3).long()


def scalars(*inputs, **options):
    return SymmetricContraction("2x0e", "2x0e", **options)(*inputs)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: SymmetricContraction("2x0e+3x1o", "2x0e"), "one multiplicity"),
        (lambda: SymmetricContraction("2x0e", "3x0e"), "one multiplicity"),
        (lambda: SymmetricContraction("", "2x0e"), "one multiplicity"),
        (lambda: SymmetricContraction("2x0e", "2x0e", 4), "correlation=4"),
        (lambda: scalars(num_elements=0), "num_elements"),
        (lambda: scalars(torch.zeros(3, 5)), "dimension 2"),
        (lambda: scalars(torch.zeros(3, 1, 2)), "rows, dim"),
        (lambda: scalars(torch.zeros(3, 2), THREE), "leave out"),
        (lambda: scalars(torch.zeros(3, 2), num_elements=2), "pass `element`"),
        (lambda: scalars(torch.zeros(3, 2), torch.tensor([0, 2, 1]), num_elements=2), "row 1 has element 2"),
        (
            lambda: scalars(torch.zeros(3, 2), torch.tensor([0, 1, -1]), num_elements=2),
            "row 2 has element -1",
        ),
        (lambda: scalars(torch.zeros(3, 2), THREE[:2], num_elements=2), "expected integers"),
        (lambda: scalars(torch.zeros(3, 2), torch.zeros(3, 3), num_elements=2), "floating species"),
        (lambda: scalars(torch.zeros(3, 2).double()), r"layer\.to"),
    ],
)
def test_misuse(call, words):
    with pytest.raises(InvalidInput, match=words):
        call()
