"""Every CPU kernel has a certificate beside its torch reference: all orders, layouts and sizes, within round-off."""

import dataclasses

import pytest
import torch

from geomlib import verify
from geomlib.algebra.irreps.products import ProductSpec
from geomlib.kernels import cartesian
from geomlib.kernels.cartesian import gate_parts, normalize, part_linear, part_norms, product, square_update
from geomlib.kernels.dual import dual_gate
from geomlib.kernels.edges import EdgeList, edge_embedding, edge_message
from geomlib.kernels.geometry import bond_geometry
from geomlib.kernels.harmonics import spherical_harmonics
from geomlib.kernels.tensor_product import tensor_product, tensor_product_conv

pytest.importorskip("numba")
C = 3


def features(rows, generator, *shape):
    return torch.randn(rows, *shape, generator=generator)


def graph(nodes, generator, both, loops):
    """Pairs of nodes, isolated nodes among them; none where there are fewer than two nodes."""
    i, j = torch.triu_indices(nodes, nodes, 1)
    kept = torch.rand(len(i), generator=generator) < 0.3
    return EdgeList(i[kept], j[kept], nodes, both=both, loops=loops)


def message(both, loops):
    def inputs(rows, generator):
        edges = graph(rows, generator, both, loops)
        w, x = features(edges.num_rows, generator, 3, C), features(rows, generator, 9, C)
        return {"weight": w, "x": x, "edges": edges}

    return edge_message, inputs, {}


def embedding(both, loops):
    def inputs(rows, generator):
        edges = graph(rows, generator, both, loops)
        return {
            "weight": features(edges.num_rows, generator, 3, C),
            "direction": features(edges.num_pairs, generator, 9),
            "receiver": features(rows, generator, C),
            "sender": features(rows, generator, C),
            "edges": edges,
        }

    return edge_embedding, inputs, {}


def per_node(operation, *shapes, **options):
    def inputs(rows, generator):
        return {str(k): features(rows, generator, *shape) for k, shape in enumerate(shapes)}

    return operation, inputs, options


def multiplied(symmetric):
    _, inputs, _ = per_node(None, (9, C), (9, C), ())
    return (
        (lambda *t, backend: product(*t, symmetric=symmetric, backend=backend)),
        inputs,
        {"constants": ("2",)},
    )


def mixed(rows, generator):
    return {"x": features(rows, generator, 9, C), "weight": features(3, generator, 4, C)}


def gate(activate):
    def inputs(rows, generator):
        envelope = torch.rand(2, rows, generator=generator)
        return {"h": features(2, generator, rows, C), "bias": features(C, generator), "envelope": envelope}

    return (lambda **t: dual_gate(activate=activate, **t)), inputs, {"constants": ("envelope",)}


def geometry(loop):
    def operation(vec, backend):
        return bond_geometry(vec, loop=loop, second_order=False, backend=backend)

    # Its derivative with respect to the bonds is taken once: no network asks for more.
    return operation, lambda rows, generator: {"vec": features(rows, generator, 3)}, {"derivatives": 1}


def harmonics(degrees, **options):
    def operation(x, backend):
        return spherical_harmonics(degrees, x, **options, backend=backend)

    return operation, lambda rows, generator: {"x": features(rows, generator, 3)}, {}


SPEC = ProductSpec.from_instructions(
    "2x0e+2x1o", "0e+1o", "2x0e+2x1o+2x1e+2x0e",
    [(0, 0, 0, "uvu", True), (0, 1, 1, "uvu", True), (1, 0, 1, "uvu", False), (1, 1, 2, "uvu", True), (1, 1, 3, "uvu", True)],
)  # fmt: skip


def irreps(shared):
    def inputs(rows, generator):
        weight = (
            features(SPEC.weight_numel, generator) if shared else features(rows, generator, SPEC.weight_numel)
        )
        x, y = features(rows, generator, SPEC.irreps_in1.dim), features(rows, generator, SPEC.irreps_in2.dim)
        return {"x": x, "y": y, "weight": weight}

    return (lambda **t: tensor_product(SPEC, **t)), inputs, {}


def convolution(rows, generator):
    nodes = rows // 3 + 1
    return {
        "x": features(nodes, generator, SPEC.irreps_in1.dim),
        "y": features(rows, generator, SPEC.irreps_in2.dim),
        "weight": features(rows, generator, SPEC.weight_numel),
        "edge_index": torch.randint(nodes, (2, rows), generator=generator),
    }


CASES = {
    "edge_message": message(True, True),
    "edge_message, no loops": message(True, False),
    "edge_message, directed": message(False, True),
    "edge_message, directed, no loops": message(False, False),
    "edge_embedding": embedding(True, True),
    "edge_embedding, no loops": embedding(True, False),
    "edge_embedding, directed": embedding(False, True),
    "edge_embedding, directed, no loops": embedding(False, False),
    "normalize": per_node(normalize, (9, C)),
    "product": multiplied(True),
    "product, SO(3)": multiplied(False),
    "square_update": per_node(square_update, (9, C), (9, C), (), constants=("2",)),
    "part_linear": (part_linear, mixed, {}),
    "part_norms": per_node(part_norms, (9, C)),
    "gate_parts": per_node(gate_parts, (9, C), (3, C)),
    "dual_gate": gate(True),
    "dual_gate, linear": gate(False),
    "tensor_product": irreps(False),
    "tensor_product, shared weights": irreps(True),
    "tensor_product_conv": ((lambda **t: tensor_product_conv(SPEC, **t)), convolution, {}),
    "spherical_harmonics": harmonics([0, 1, 2, 3, 4]),
    "spherical_harmonics, solid": harmonics([2, 5, 2], normalize=False, normalization="integral"),
    "bond_geometry": geometry(False),
    "bond_geometry, loop": geometry(True),
}


@pytest.mark.parametrize("name", CASES)
def test_certificate(name):
    operation, inputs, options = CASES[name]

    def kernel(*args, **kwargs):
        return operation(*args, backend="cpu", **kwargs)

    def reference(*args, **kwargs):
        return operation(*args, backend="torch", **kwargs)

    certificate = verify.compare(kernel, reference, inputs, **options).raise_if_failed()
    seen = {row.case for row in certificate.rows}
    assert {"rows 0", "rows 1", "rows 33", "gaps in memory", "transposed memory", "expanded gradient"} <= seen
    # The float64 rows would see a float32 constant inside a kernel.
    assert max(row.error for row in certificate.rows if row.dtype == "float64") < 1e-13


@pytest.mark.parametrize("name", ["normalize", "product", "edge_message"])
def test_a_certificate_of_a_spoiled_kernel_fails(name):
    operation, inputs, options = CASES[name]

    def spoiled(*args, **kwargs):
        out = operation(*args, backend="cpu", **kwargs)
        return torch.cat([out[:-1], out[-1:] * (1 + 1e-3)])

    def reference(*args, **kwargs):
        return operation(*args, backend="torch", **kwargs)

    assert not verify.compare(spoiled, reference, inputs, **options).ok


@pytest.mark.parametrize("part", ["backward", "double_backward"])
def test_a_wrong_derivative_of_a_real_kernel_is_seen(part, monkeypatch):
    """The value stays right; one term of a gradient changes by a thousandth."""
    right = getattr(cartesian._NORMALIZE, part)

    def wrong(*args):
        *rest, last = right(*args)
        return (*rest, None if last is None else 1.001 * last)

    monkeypatch.setattr(cartesian, "_NORMALIZE", dataclasses.replace(cartesian._NORMALIZE, **{part: wrong}))
    operation, inputs, _ = CASES["normalize"]
    certificate = verify.compare(
        lambda *t: operation(*t, backend="cpu"), lambda *t: operation(*t, backend="torch"), inputs
    )
    kinds = {row.kind for row in certificate.failures}
    assert part.replace("_", " ") in kinds and "forward" not in kinds
