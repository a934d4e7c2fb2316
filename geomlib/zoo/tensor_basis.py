r"""Tensor-basis networks: invariants of the inputs through a network, times a basis of equivariant operations."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.cartesian import Plan, TensorOp, TensorSpec, generators
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.zoo._samples import check_samples
from geomlib.zoo.registry import register_model

__all__ = ["TensorBasisNN"]

#: Of the logarithm of an invariant: smooth, and finite at zero.
_EPSILON = 1e-4


@register_model("tensor_basis")
class TensorBasisNN(nn.Module):
    r"""Predict a tensor from tensors, as a material law does: coefficients are a network of the invariants.

    .. math:: \hat y = s \sum_i g_i(I_1, \ldots, I_m)\; T_i(x_1, \ldots, x_k), \qquad
              g_i = \mathrm{MLP}_i \prod_j |I_j|_\epsilon^{p_{ij}}

    The invariants I generate all invariant polynomials of the inputs, the operations T all equivariant polynomial maps, both
    up to ``degree``; they are found by :func:`geomlib.algebra.cartesian.generators`. For one symmetric matrix C and
    symmetric output this is :math:`S = g_0 \mathbb 1 + g_1 C + g_2 C^2`, every isotropic material law.

    **Group** O(3) or SO(3). **Shapes** one tensor (B, 3, ..., 3) per input, by name, to (B, 3, ..., 3).

    Args:
        inputs: name and type of every input: ``scalar``, ``vector``, ``pseudovector``, ``sym2``, ``tensor(k)`` or
            ``traceless(l)``.
        output: type of the result.
        degree: highest degree of invariants and operations.
        group: ``"O(3)"`` or ``"SO(3)"``.
        width: of the hidden layers.
        depth: number of hidden layers.
        principal: use the coefficients of the characteristic polynomial of a symmetric matrix, tr C, ..., det C, instead
            of traces of its powers.
        logs: for laws with logarithms and inverses: the network sees the logarithms of
            :math:`|I|_\epsilon = \sqrt{I^2 + 10^{-8}}`, too, and coefficients get learned powers p of them; otherwise p = 0.
        scale: s, the deviation of the target.

    Raises:
        InvalidInput: unknown types, sizes that are not positive, no operation of this type; wrong names, shapes or types of
            tensors at the call.

    Source: *Symmetric tensor networks*, arXiv 2508.12596; for one matrix, Rivlin and Ericksen (1955).

    >>> model = TensorBasisNN(width=8)
    >>> model(C=torch.eye(3).expand(5, 3, 3)).shape, [str(op) for op in model.basis]
    (torch.Size([5, 3, 3]), ['delta_ab', 'C_ab', 'C_ac C_bc'])
    """

    def __init__(
        self,
        inputs: Mapping[str, str] | None = None,
        output: str = "sym2",
        degree: int = 3,
        group: str = "O(3)",
        width: int = 32,
        depth: int = 2,
        principal: bool = True,
        logs: bool = False,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        given = {"C": "sym2"} if inputs is None else dict(inputs)
        if not given or min(width, depth, degree) < 1 or group not in ("O(3)", "SO(3)"):
            raise InvalidInput(
                f"TensorBasisNN: inputs={given}, width={width}, depth={depth}, degree={degree}, group={group!r}: expected "
                "one input or more, positive sizes, and 'O(3)' or 'SO(3)'."
            )
        self._options: dict[str, Any] = {
            "inputs": given, "output": output, "degree": degree, "group": group, "width": width, "depth": depth,
            "principal": principal, "logs": logs, "scale": float(scale),
        }  # fmt: skip
        self.inputs = tuple(TensorSpec.parse(kind, name) for name, kind in given.items())
        self.output, self.group = TensorSpec.parse(output, "y"), group
        self.principal, self.logs, self.scale = principal, logs, float(scale)
        self.invariants = generators(self.inputs, degree, group)
        self.basis = generators(self.inputs, degree, group, self.output)
        if not self.basis or not self.invariants:
            raise InvalidInput(
                f"TensorBasisNN: up to degree {degree}, {group} has {len(self.invariants)} invariants of {given} and "
                f"{len(self.basis)} operations to {output!r}: both are needed. Raise degree, or check the parities."
            )
        self._plan = Plan.of([*self.invariants, *self.basis])
        self._traces = _traces(self.invariants) if principal else []
        sizes = [len(self.invariants) * (2 if logs else 1), *[width] * depth]
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(sizes):
            layers += [nn.Linear(a, b), nn.SiLU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(width, len(self.basis)))
        if logs:
            self.powers = nn.Parameter(torch.zeros(len(self.basis), len(self.invariants)))

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "tensor_basis", **self._options}

    @full_precision
    def forward(self, **tensors: Tensor) -> Tensor:  # (B, 3, ..., 3) -> (B, 3, ..., 3)
        """Return the tensors of every sample.

        Raises:
            InvalidInput: names, shapes or types that do not fit.
        """
        names = [spec.name for spec in self.inputs]
        if sorted(tensors) != sorted(names):
            raise InvalidInput(f"TensorBasisNN: tensors {sorted(tensors)} given, expected {sorted(names)}.")
        values = [tensors[name] for name in names]
        weight = next(self.mlp.parameters())
        for spec, x in zip(self.inputs, values, strict=True):
            check_samples("TensorBasisNN", spec.name, x, (None, *spec.shape(3)), weight)
        # a tensor whose declared symmetry does not hold would otherwise be read from one of its halves
        values = [spec.project(x) for spec, x in zip(self.inputs, values, strict=True)]
        found = self._plan(*values)
        m = len(self.invariants)
        x = self._read(found[:m], values)
        features = torch.asinh(x)  # of either sign and any size: invariants of degree d grow as the power d
        if self.logs:
            sizes = 0.5 * torch.log(x * x + _EPSILON**2)
            g = self.mlp(torch.cat([features, sizes], 1)) * torch.exp(sizes @ self.powers.mT)
        else:
            g = self.mlp(features)
        basis = torch.stack(found[m:], 1)
        return self.scale * (g.view(*g.shape, *[1] * self.output.rank) * basis).sum(1)

    def _read(self, invariants: list[Tensor], tensors: list[Tensor]) -> Tensor:  # (B,) each -> (B, m)
        found = list(invariants)
        for k, (_, second, third) in self._traces:
            # from minors, which lose fewer digits than traces of powers
            a, b, c = tensors[k].unbind(-2)
            ab, bc, ca = torch.linalg.cross(a, b), torch.linalg.cross(b, c), torch.linalg.cross(c, a)
            found[second] = ab[..., 2] + bc[..., 0] + ca[..., 1]
            found[third] = (ab * c).sum(-1)
        return torch.stack(found, 1)

    @property
    def symmetry(self) -> Symmetry:
        """The declared group; the rows that S_n permutes are samples."""
        inputs = {spec.name: f"node:{spec.kind}" for spec in self.inputs}
        breaks = ("reflections",) if self._sees_handedness else ()
        return Symmetry(f"{self.group}*S_n", inputs=inputs, outputs=f"node:{self.output.kind}", breaks=breaks)

    @property
    def _sees_handedness(self) -> bool:
        """Whether some operation has an epsilon that the parities do not ask for."""
        for op in (*self.invariants, *self.basis):
            sign = op.graph.output.parity * (-1) ** bool(op.graph.free)
            for slot in op.graph.slots:
                sign *= slot.parity
            if sign < 0:
                return True
        return False

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[TensorBasisNN, dict[str, Any]]:
        """Return a small instance of a matrix and a vector, and four samples."""
        model = cls({"C": "sym2", "v": "vector"}, degree=3, width=8, logs=True)
        C, v = (spec.random((4,), 3, generator).to(torch.get_default_dtype()) for spec in model.inputs)
        return model, {"C": torch.eye(3).to(C) + 0.2 * C, "v": v}

    def extra_repr(self) -> str:
        """Return the tensors, and how many invariants and operations there are."""
        kinds = ", ".join(f"{name}: {kind}" for name, kind in self._options["inputs"].items())
        return f"{kinds} -> {self._options['output']}, {len(self.invariants)} invariants, {len(self.basis)} operations"


def _traces(invariants: list[TensorOp]) -> list[tuple[int, tuple[int, int, int]]]:
    """Return the number of every symmetric matrix X among the inputs, and the places of tr X, tr X^2, tr X^3."""
    found: list[tuple[int, tuple[int, int, int]]] = []
    degrees = [op.degrees for op in invariants]
    for k, spec in enumerate(invariants[0].inputs):
        if spec.rank == 2 and spec.symmetric and not spec.traceless:
            alone = [tuple(d if j == k else 0 for j in range(len(invariants[0].inputs))) for d in (1, 2, 3)]
            if all(degrees.count(d) == 1 for d in alone):
                found.append((k, (degrees.index(alone[0]), degrees.index(alone[1]), degrees.index(alone[2]))))
    return found
