"""The equivariant linear map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.irreps import Irreps
from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.layers._features import blocks, checked

__all__ = ["Linear"]


class Linear(nn.Module):
    r"""The most general equivariant linear map: it mixes channels of equal irreps, and shifts scalars.

    .. math:: z^{(b)}_{wm} = \frac{1}{\sqrt{n_b}} \sum_{a \to b} \sum_u W^{(ab)}_{uw}\, x^{(a)}_{um}
              + \beta^{(b)}_w\, [l = 0, p = 1]

    with :math:`n_b` the number of terms of the sum (``"element"``) or the multiplicity of a times the number of paths that
    reach b (``"path"``). Order of weights, constants and names of stored tensors are those of e3nn's ``o3.Linear``: its state
    dicts load, and :func:`geomlib.interop.from_e3nn` converts a module.

    **Group** O(3). **Shapes** ``x`` (..., dim in), ``weight`` (n,) or (..., n), ``bias`` (k,) or (..., k), to (..., dim out).

    Args:
        irreps_in: of x.
        irreps_out: of the result.
        internal_weights: the layer holds weights and biases; otherwise they are arguments.
        shared_weights: all rows use the same weights.
        instructions: pairs (block in, block out); all pairs of equal irreps by default.
        biases: for every block of the output whether it is shifted; True means all blocks 0e.
        path_normalization: ``"element"`` or ``"path"``.

    Raises:
        InvalidInput: pairs that do not fit, biases of blocks that are not 0e; wrong shapes or types at the call.

    Source: Geiger and Smidt, *e3nn: Euclidean Neural Networks*, arXiv 2207.09453.

    >>> layer = Linear("4x0e+16x1o", "8x0e+8x1o", biases=True)
    >>> layer.weight_numel, layer.bias_numel, layer(torch.randn(5, 52)).shape
    (160, 8, torch.Size([5, 32]))
    """

    weight: Tensor
    bias: Tensor
    output_mask: Tensor

    def __init__(
        self,
        irreps_in: Any,
        irreps_out: Any,
        *,
        internal_weights: bool | None = None,
        shared_weights: bool | None = None,
        instructions: Sequence[tuple[int, int]] | None = None,
        biases: bool | Sequence[bool] | None = False,
        path_normalization: str = "element",
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = Irreps(irreps_in), Irreps(irreps_out)
        self.shared_weights = True if shared_weights is None else shared_weights
        self.internal_weights = self.shared_weights if internal_weights is None else internal_weights
        if self.internal_weights and not self.shared_weights:
            raise InvalidInput(
                "Linear: internal_weights=True needs shared_weights=True: a layer holds one set of weights."
            )
        if path_normalization not in ("element", "path"):
            raise InvalidInput(f"path_normalization={path_normalization!r}: expected 'element' or 'path'.")
        self.instructions = self._pairs(instructions)
        self.biases = self._shifted(biases)
        shapes = [(self.irreps_in[a].mul, self.irreps_out[b].mul) for a, b in self.instructions]
        self.factors = [self._factor(a, b, path_normalization) for a, b in self.instructions]
        self.weight_sizes = [u * w for u, w in shapes]
        self.weight_numel = sum(self.weight_sizes)
        self.bias_numel = sum(b.mul for b, s in zip(self.irreps_out, self.biases, strict=True) if s)
        if self.internal_weights and self.weight_numel:
            self.weight = nn.Parameter(torch.randn(self.weight_numel))
        else:
            self.register_buffer("weight", torch.zeros(0))
        if self.internal_weights and self.bias_numel:
            self.bias = nn.Parameter(torch.zeros(self.bias_numel))
        else:
            self.register_buffer("bias", torch.zeros(0))
        reached = {b for (_, b), n in zip(self.instructions, self.weight_sizes, strict=True) if n}
        reached |= {k for k, s in enumerate(self.biases) if s}
        mask = [torch.full((b.dim,), float(k in reached)) for k, b in enumerate(self.irreps_out)]
        self.register_buffer("output_mask", torch.cat([torch.zeros(0), *mask]))

    def _pairs(self, given: Sequence[tuple[int, int]] | None) -> list[tuple[int, int]]:
        one, out = self.irreps_in, self.irreps_out
        if given is None:
            return [(a, b) for a, r in enumerate(one) for b, s in enumerate(out) if r.ir == s.ir]
        pairs = [(int(a), int(b)) for a, b in given]
        for k, (a, b) in enumerate(pairs):
            if not (0 <= a < len(one) and 0 <= b < len(out)):
                raise InvalidInput(
                    f"Linear: instruction {k} joins blocks ({a}, {b}); there are {len(one)} in and {len(out)} out."
                )
            if one[a].ir != out[b].ir:
                raise InvalidInput(
                    f"Linear: instruction {k} joins {one[a].ir} to {out[b].ir}; only equal irreps can be joined."
                )
        return pairs

    def _shifted(self, biases: bool | Sequence[bool] | None) -> list[bool]:
        scalar = [b.ir.l == 0 and b.ir.p == 1 for b in self.irreps_out]
        if biases is None or isinstance(biases, bool):
            return [bool(biases) and s for s in scalar]
        if len(biases) != len(scalar) or any(b and not s for b, s in zip(biases, scalar, strict=True)):
            raise InvalidInput(
                f"Linear: biases {list(biases)} do not fit the blocks {self.irreps_out}: one value per block, and True "
                "for blocks 0e only, because a shift of anything else is not equivariant."
            )
        return [bool(b) for b in biases]

    def _factor(self, a: int, b: int, normalization: str) -> float:
        sources = [self.irreps_in[i].mul for i, k in self.instructions if k == b]
        n = sum(sources) if normalization == "element" else self.irreps_in[a].mul * len(sources)
        return 1 / math.sqrt(n) if n else 1.0

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Leave out what e3nn stores with its generated code."""
        for name in [n for n in state_dict if n.startswith(f"{prefix}_compiled_main")]:
            del state_dict[name]
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _values(self, name: str, given: Tensor | None, numel: int, rows: tuple[int, ...]) -> Tensor:
        """Return weights or biases of a call, (n,) or (rows, n)."""
        if given is None:
            if numel and not self.internal_weights:
                raise InvalidInput(f"Linear: this layer holds no {name}; pass {numel} values per row.")
            return self.weight if name == "weight" else self.bias
        shapes = [(numel,)] if self.shared_weights else [(numel,), (*rows, numel)]
        if tuple(given.shape) not in shapes:
            raise InvalidInput(
                f"Linear: `{name}` has shape {tuple(given.shape)}, expected {' or '.join(map(str, shapes))}."
            )
        return given if given.dim() == 1 else given.reshape(math.prod(rows), numel)

    def forward(self, x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """Return the image.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        rows = tuple(x.shape[:-1])
        w = self._values("weight", weight, self.weight_numel, rows)
        shift = self._values("bias", bias, self.bias_numel, rows)
        checked("Linear", "x", x, self.irreps_in, like=w)
        flat = x.reshape(math.prod(rows), self.irreps_in.dim)
        out = self._mapped(blocks(flat, self.irreps_in), w)
        columns: list[Tensor] = []
        start = 0
        for k, block in enumerate(self.irreps_out):
            z = out[k]
            if self.biases[k]:
                part = shift[..., start : start + block.mul].expand(len(flat), -1)
                z, start = part if z is None else z + part, start + block.mul
            columns.append(flat.new_zeros(len(flat), block.dim) if z is None else z)
        joined = torch.cat(columns, dim=1) if columns else flat.new_zeros(len(flat), 0)
        return joined.reshape(*rows, self.irreps_out.dim)

    def _mapped(self, parts: list[Tensor], weight: Tensor) -> list[Tensor | None]:
        """Return the sum over paths of every block, (rows, block), None where nothing arrives."""
        out: list[Tensor | None] = [None] * len(self.irreps_out)
        start = 0
        for (a, b), factor, size in zip(self.instructions, self.factors, self.weight_sizes, strict=True):
            block = self.irreps_out[b]
            if not size:
                continue
            w = factor * weight[..., start : start + size].unflatten(-1, (-1, block.mul))
            x, start = parts[a], start + size
            if w.dim() == 2 and block.ir.dim == 1:
                z = x.flatten(1) @ w
            elif w.dim() == 2:
                z = torch.einsum("bui,uw->bwi", x, w).flatten(1)
            else:
                z = torch.einsum("bui,buw->bwi", x, w).flatten(1)
            old = out[b]
            out[b] = z if old is None else old + z
        return out

    @property
    def symmetry(self) -> Symmetry:
        """O(3): irreps in, irreps out; rows are independent."""
        return Symmetry("O(3)*S_n", inputs={"x": f"node:{self.irreps_in}"}, outputs=f"node:{self.irreps_out}")

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[Linear, dict[str, Any]]:
        """Return an instance and one set of inputs."""
        layer = cls("4x0e+2x0o+3x1o+2x2e", "3x0e+2x1o+1x0o+2x2e", biases=True)
        with torch.no_grad():
            layer.bias.normal_(generator=generator)
        return layer, {"x": torch.randn(6, layer.irreps_in.dim, generator=generator)}

    def extra_repr(self) -> str:
        """Return the irreps and the number of weights."""
        return f"{self.irreps_in} -> {self.irreps_out}, {self.weight_numel} weights, {self.bias_numel} biases"
