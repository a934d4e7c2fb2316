r"""Trajectories of an energy that is learned: Hamilton's equations of an invariant network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from geomlib.algebra.symmetry import Symmetry
from geomlib.errors import InvalidInput
from geomlib.kernels.autocast import full_precision
from geomlib.zoo._samples import check_samples
from geomlib.zoo.equivariant_tensor_net import EquivariantTensorNet
from geomlib.zoo.registry import register_model

__all__ = ["HamiltonianTensorNet"]


@register_model("hamiltonian_tensor_net")
class HamiltonianTensorNet(nn.Module):
    r"""Predict the states of particles at later times from a learned invariant energy of positions, momenta and gravity.

    .. math:: \dot x = \frac{\partial H}{\partial p}, \quad \dot p = -\frac{\partial H}{\partial x}, \qquad
              H = \mathrm{EquivariantTensorNet}(x, p, g)

    integrated by the Runge-Kutta scheme of order four. The direction of gravity is an input, so that the network is
    equivariant under all of O(dim), and the motion under the turns that leave gravity alone.

    **Group** O(dim). **Shapes** ``state`` (B, 2 particles, dim), positions before momenta, and ``gravity`` (B, dim) to
    (B, points - 1, 2 particles, dim).

    Args:
        particles: number of particles.
        dim: of space.
        points: of a piece of trajectory, the given one first.
        dt: time between points.
        substeps: steps of the integrator between points.
        channels: of the network of the energy.
        hidden: width of its perceptrons.
        blocks: number of its blocks.

    Raises:
        InvalidInput: sizes that do not fit; wrong shapes or types at the call.

    Source: Greydanus, Dzamba and Yosinski, *Hamiltonian neural networks*, arXiv 1906.01563; the problem is that of Finzi,
    Welling and Wilson, arXiv 2104.09459.

    >>> model = HamiltonianTensorNet(channels=4, hidden=8)
    >>> model(torch.randn(3, 4, 3), torch.randn(3, 3)).shape
    torch.Size([3, 4, 4, 3])
    """

    def __init__(
        self,
        particles: int = 2,
        dim: int = 3,
        points: int = 5,
        dt: float = 0.2,
        substeps: int = 2,
        channels: int = 16,
        hidden: int = 32,
        blocks: int = 2,
    ) -> None:
        super().__init__()
        if min(particles, dim, substeps) < 1 or points < 2 or not dt > 0:
            raise InvalidInput(
                f"HamiltonianTensorNet: particles={particles}, dim={dim}, points={points}, dt={dt}, substeps={substeps}: "
                "expected positive numbers and two points or more."
            )
        self._options: dict[str, Any] = {
            "particles": particles, "dim": dim, "points": points, "dt": float(dt), "substeps": substeps,
            "channels": channels, "hidden": hidden, "blocks": blocks,
        }  # fmt: skip
        self.particles, self.dim, self.points, self.dt, self.substeps = (
            particles,
            dim,
            points,
            float(dt),
            substeps,
        )
        self.hamiltonian = EquivariantTensorNet(
            f"O({dim})", vectors=2 * particles + 1, channels=channels, highest=1, hidden=hidden, blocks=blocks
        )
        # What only shifts the energy moves nothing.
        for name, p in self.hamiltonian.named_parameters():
            if name in (
                f"blocks.{blocks - 1}.linear.bias",
                f"blocks.{blocks - 1}.mlp.2.bias",
                "last.pairs.0_0.bias",
            ):
                p.requires_grad_(False)

    @property
    def config(self) -> dict[str, Any]:
        """Everything needed to build the model again: ``create_model(**model.config)``."""
        return {"name": "hamiltonian_tensor_net", **self._options}

    def energy(self, state: Tensor, gravity: Tensor) -> Tensor:  # (B, 2 particles, dim), (B, dim) -> (B,)
        """Return the learned energy, which is determined up to a constant."""
        return self.hamiltonian(vectors=torch.cat([state, gravity[:, None]], 1))

    def slope(self, state: Tensor, gravity: Tensor) -> Tensor:  # (B, 2 particles, dim)
        """Return the time derivative of states; differentiable where gradients are enabled."""
        outer = torch.is_grad_enabled()
        with torch.enable_grad():
            # Outside of training there is no graph to keep from one step to the next.
            z = state if outer and state.requires_grad else state.detach().requires_grad_()
            (g,) = torch.autograd.grad(self.energy(z, gravity).sum(), z, create_graph=outer)
        force, velocity = g.split(self.particles, 1)
        return torch.cat([velocity, -force], 1)

    def step(self, state: Tensor, gravity: Tensor, time: float) -> Tensor:  # (B, 2 particles, dim)
        """Return the states a time later, by one step of the integrator."""
        k1 = self.slope(state, gravity)
        k2 = self.slope(state + time / 2 * k1, gravity)
        k3 = self.slope(state + time / 2 * k2, gravity)
        k4 = self.slope(state + time * k3, gravity)
        return state + time / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    @full_precision
    def forward(
        self,
        state: Tensor,  # (B, 2 particles, dim)
        gravity: Tensor,  # (B, dim)
        points: int | None = None,
    ) -> Tensor:  # (B, points - 1, 2 particles, dim)
        """Return the states at the later points.

        Args:
            state: positions, then momenta.
            gravity: where it pulls.
            points: of the trajectory, for another number than that of the model.

        Raises:
            InvalidInput: shapes or types that do not fit.
        """
        like = next(self.parameters())
        check_samples("HamiltonianTensorNet", "state", state, (None, 2 * self.particles, self.dim), like)
        check_samples("HamiltonianTensorNet", "gravity", gravity, (None, self.dim), like)
        if state.shape[0] != gravity.shape[0]:
            raise InvalidInput(
                f"HamiltonianTensorNet: {state.shape[0]} rows of `state` and {gravity.shape[0]} of `gravity`."
            )
        found: list[Tensor] = []
        for _ in range((self.points if points is None else points) - 1):
            for _ in range(self.substeps):
                state = self.step(state, gravity, self.dt / self.substeps)
            found.append(state)
        return torch.stack(found, 1) if found else state.new_zeros(state.shape[0], 0, *state.shape[1:])

    @property
    def symmetry(self) -> Symmetry:
        """O(dim); the rows that S_n permutes are samples."""
        inputs = {"state": "node:vector", "gravity": "node:vector"}
        return Symmetry(f"O({self.dim})*S_n", inputs=inputs, outputs="node:vector", conservative=False)

    @classmethod
    def example(cls, generator: torch.Generator) -> tuple[HamiltonianTensorNet, dict[str, Any]]:
        """Return a small instance and three states."""
        inputs = {
            "state": torch.randn(3, 4, 3, generator=generator),
            "gravity": torch.randn(3, 3, generator=generator),
        }
        return cls(points=2, dt=0.1, substeps=1, channels=3, hidden=8), inputs

    def extra_repr(self) -> str:
        """Return the number of weights and the group."""
        return f"{sum(p.numel() for p in self.parameters()):,} weights, {self.symmetry.group}"
