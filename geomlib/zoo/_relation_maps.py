r"""How a relation moves the coordinates of an entity: scaling, products of plane rotations or reflections, or both weighed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["OPERATIONS", "PLANES", "RelationMap", "plane_products"]

OPERATIONS = ("scaling", "rotation", "reflection", "attention")
#: Initial angles are uniform up to this, either way.
_ANGLE = 0.25
PLANES = ("all", "disjoint")


def plane_products(angles: Tensor, n: int, *, reflect: bool = False) -> Tensor:  # (R, planes) -> (R, n, n)
    r"""Return products of rotations in the planes (i, j), or reflections in them.

    .. math:: G = \prod_{i<j} G_{ij}(\theta_{ij}), \qquad
              \begin{pmatrix}\cos\theta & \mp\sin\theta\\ \sin\theta & \pm\cos\theta\end{pmatrix}

    **Shapes** ``angles`` (R, n(n-1)/2), planes in lexicographic order, to orthogonal (R, n, n).

    >>> plane_products(torch.zeros(1, 1), 2, reflect=True)
    tensor([[[ 1.,  0.],
             [ 0., -1.]]])
    """
    cosine, sine = angles.cos()[..., None], angles.sin()[..., None]
    rows = list(torch.eye(n, dtype=angles.dtype, device=angles.device).expand(len(angles), n, n).unbind(1))
    planes = [(i, j) for i in range(n) for j in range(i + 1, n)]
    for k, (i, j) in enumerate(planes):
        c, s, a, b = cosine[:, k], sine[:, k], rows[i], rows[j]
        rows[i], rows[j] = (c * a + s * b, s * a - c * b) if reflect else (c * a - s * b, s * a + c * b)
    return torch.stack(rows, 1)


class RelationMap(nn.Module):
    r"""One linear map per relation, chosen by number.

    A subclass says how an orthogonal map acts on coordinates. ``"attention"`` weighs the rotated and the reflected ones,
    :math:`\sum_k \alpha_k x_k` with :math:`\alpha = \mathrm{softmax}_k \langle a_r, x_k\rangle`.

    Args:
        relations: number of relations.
        size: coordinates.
        angles: of one orthogonal map.
        operation: one of :data:`OPERATIONS`.
    """

    def __init__(self, relations: int, size: int, angles: int, operation: str) -> None:
        super().__init__()
        self.operation = operation
        if operation == "scaling":
            self.scale = nn.Parameter(2.0 * torch.rand(relations, size) - 1.0)
        if operation in ("rotation", "attention"):
            self.rotation = nn.Parameter(_ANGLE * (2.0 * torch.rand(relations, angles) - 1.0))
        if operation in ("reflection", "attention"):
            self.reflection = nn.Parameter(_ANGLE * (2.0 * torch.rand(relations, angles) - 1.0))
        if operation == "attention":
            self.weigh = nn.Parameter(torch.zeros(relations, size))

    def _turned(self, x: Tensor, relation: Tensor, angles: Tensor, reflect: bool) -> Tensor:
        """Return coordinates (B, size) rotated or reflected by the angles (relations, angles) of their relation."""
        raise NotImplementedError

    def forward(self, x: Tensor, relation: Tensor) -> Tensor:  # (B, size), (B,) -> (B, size)
        """Return the moved coordinates."""
        if self.operation == "scaling":
            return self.scale[relation] * x
        if self.operation == "rotation":
            return self._turned(x, relation, self.rotation, False)
        if self.operation == "reflection":
            return self._turned(x, relation, self.reflection, True)
        both = torch.stack(
            [
                self._turned(x, relation, self.rotation, False),
                self._turned(x, relation, self.reflection, True),
            ],
            1,
        )
        weight = (both * self.weigh[relation][:, None]).sum(-1, keepdim=True).softmax(1)
        return (weight * both).sum(1)
