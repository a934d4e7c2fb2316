r"""Whether forces are the derivative of an energy.

With an energy, :math:`-F\cdot u = (E(x + hu) - E(x - hu)) / 2h`. Without one, the Jacobian of the forces must be
symmetric, :math:`v\cdot J u = u\cdot J v`, with J u by differences of the forces. A public fused kernel whose forces
were not the gradient of its energy was found by this probe alone.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from geomlib.verify.derivatives import STEPS, TOLERANCE
from geomlib.verify.moves import Types
from geomlib.verify.target import Target
from geomlib.verify.values import Tree, last_name, leaves, replaced

__all__ = ["conservative_failure", "derivatives_among", "energy_and_forces", "jacobian_asymmetry"]

_ENERGIES = ("energy", "energies", "total_energy", "potential_energy", "potential")
_FORCES = ("forces", "force")
_DERIVATIVES = (*_FORCES, "stress", "virial", "virials", "hessian")
_ROUNDING = 2.0**-50
#: Asymmetry of a force Jacobian by differences that is still noise: conservative models reach 3e-9.
ASYMMETRY = 1e-6


def energy_and_forces(outputs: Types, *, required: bool = False) -> tuple[str | None, str | None]:
    """Return the names of the energy and of the forces among the outputs.

    Args:
        outputs: types of the outputs.
        required: whether the only vector per node is taken for the forces under any name.
    """
    scalars = [n for n, t in outputs.items() if t.kind in ("inv", "scalar") and t.scope in ("graph", None)]
    vectors = [
        n for n, t in outputs.items() if t.kind in ("vector", "covector") and t.scope in ("node", None)
    ]
    energy = next((n for n in scalars if last_name(n).lower() in _ENERGIES), None)
    forces = next((n for n in vectors if last_name(n).lower() in _FORCES), None)
    if forces is None and required and len(vectors) == 1:
        forces = vectors[0]
    return energy, forces


def derivatives_among(outputs: Iterable[str]) -> list[str]:
    """Return the names of outputs that are derivatives of an energy beside them; none without an energy."""
    names = list(outputs)
    if not any(last_name(n).lower() in _ENERGIES for n in names):
        return []
    return [n for n in names if last_name(n).lower() in _DERIVATIVES]


def _positions(tree: Tree, inputs: Types) -> str | None:
    found = [n for n in leaves(tree) if n in inputs and inputs[n].scope == "node"]
    points = [n for n in found if inputs[n].kind == "point"]
    named = [n for n in found if inputs[n].kind == "vector" and last_name(n) in ("pos", "positions")]
    return next(iter([*points, *named]), None)


def conservative_failure(
    target: Target,
    tree: Tree,
    inputs: Types,
    outputs: Types,
    generator: torch.Generator,
    *,
    required: bool = False,
) -> str | None:
    """Return what is wrong with the forces, or ``None``.

    Args:
        target: the callable.
        tree: float64 inputs.
        inputs: types of the inputs.
        outputs: types of the outputs.
        generator: draws the directions.
        required: whether the target is declared conservative.
    """
    energy, forces = energy_and_forces(outputs, required=required)
    pos = _positions(tree, inputs)
    if forces is None or pos is None:
        return None
    x = leaves(tree)[pos]
    at = target.wide(tree, gradients=False)
    if forces not in at or at[forces].shape != x.shape:
        return None
    scale = float((x - x.mean(0)).square().mean().sqrt()) or 1.0
    u = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
    if energy is not None and energy in at:
        return _work(target, tree, pos, u, scale, at[forces].double(), energy, forces)
    v = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
    error = jacobian_asymmetry(target, tree, pos, forces, u, v, 1e-5 * scale)
    if error <= ASYMMETRY:
        return None
    return (
        f"`{forces}` are not the gradient of any energy: their Jacobian is asymmetric by {error:.1e}, allowed "
        f"{ASYMMETRY:.0e}; declare conservative=False if that is meant"
    )


def _work(
    target: Target, tree: Tree, pos: str, u: Tensor, scale: float, f: Tensor, energy: str, forces: str
) -> str | None:
    x = leaves(tree)[pos]
    work, size = float((f * u).sum()), float(f.norm() * u.norm())
    errors: dict[float, list[float]] = {1.0: [], -1.0: []}
    for step in (s * scale for s in STEPS):
        ends = [
            target.wide(replaced(tree, {pos: x + s * step * u}), gradients=False)[energy] for s in (1.0, -1.0)
        ]
        plus, minus = (e.double() for e in ends)
        slope = float((plus - minus).sum()) / (2.0 * step)
        rounding = _ROUNDING * float(plus.abs().sum()) / step
        for sign, found in errors.items():
            found.append(max(abs(slope + sign * work) - rounding, 0.0) / max(size, 1e-300))
    error, opposite = min(errors[1.0]), min(errors[-1.0])
    if error <= TOLERANCE or size == 0.0:
        return None
    if opposite <= TOLERANCE:
        return f"`{forces}` are plus the gradient of `{energy}`: the sign is wrong, forces are minus the gradient"
    return (
        f"`{forces}` are not minus the gradient of `{energy}`: central differences differ by {error:.1e}, "
        f"allowed {TOLERANCE:.0e}"
    )


def jacobian_asymmetry(
    target: Target, tree: Tree, pos: str, forces: str, u: Tensor, v: Tensor, step: float
) -> float:
    r"""Return :math:`|v\cdot Ju - u\cdot Jv| / (\|Ju\|\|v\| + \|Jv\|\|u\|)`, 0 for a conservative force.

    Args:
        target: the callable.
        tree: float64 inputs.
        pos: path of the positions.
        forces: name of the forces.
        u: first direction.
        v: second direction.
        step: length of the difference, in units of the directions.
    """
    x = leaves(tree)[pos]

    def along(d: Tensor) -> Tensor:
        ends = [
            target.wide(replaced(tree, {pos: x + s * step * d}), gradients=False)[forces] for s in (1.0, -1.0)
        ]
        return (ends[0].double() - ends[1].double()) / (2.0 * step)

    ju, jv = along(u), along(v)
    size = float(ju.norm() * v.norm() + jv.norm() * u.norm())
    return abs(float((v * ju).sum() - (u * jv).sum())) / size if size else 0.0
