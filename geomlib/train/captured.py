"""Loss and gradients by replaying a recorded training step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geomlib.kernels.neighbors import HalfPairs
from geomlib.train.batching import Batch
from geomlib.train.losses import LossWeights, training_loss
from geomlib.train.recorded_step import RecordedStep
from geomlib.zoo.captured import captured_inputs, evaluate_captured
from geomlib.zoo.padding import Padding
from geomlib.zoo.potential import Potential

__all__ = ["CapturedLoss"]

_PER_ATOM = ("forces",)
_PER_GRAPH = ("energy", "stress")


class CapturedLoss:
    """The loss of a potential, its errors and its gradients, recorded once per padded batch size.

    A recording holds the forward pass, the forces, the loss and the backward pass down to the weights. The numbers are
    those of the plain step, up to the rounding of sums over the padded batch. The loss it returns is connected to the
    weights, so optimisers, clipping and distributed training work as usual; it can be differentiated once.

    Args:
        model: on the CPU.
        weights: of the loss.
        max_atoms: larger batches are not worth a recording; :meth:`serves` refuses them.
    """

    def __init__(self, model: Potential, weights: LossWeights, *, max_atoms: int = 1024) -> None:
        self.model, self.weights, self.max_atoms = model, weights, max_atoms
        self.step = RecordedStep(model, self._evaluate)
        self.replay = self.step.replay

    @staticmethod
    def refusal(model: nn.Module, device: torch.device | str) -> str | None:
        """Say why steps of this model cannot be recorded on this device, or None if they can."""
        if not isinstance(model, Potential):
            return f"{type(model).__name__} is not a geomlib Potential"
        if torch.device(device).type != "cpu":
            return f"recordings are for CPUs, the device is {device}"
        return None

    def serves(self, batch: Batch) -> bool:
        """Return whether a batch is small enough to gain from a recording."""
        return batch.z.shape[0] <= self.max_atoms

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss (), with a graph to the weights where gradients are enabled, and the sums of errors (12,)."""
        inputs = captured_inputs(
            self.model,
            batch.z,
            batch.pos,
            batch.batch,
            batch.pairs,
            batch.cell,
            batch.charge,
            batch.num_graphs,
        )
        pad = Padding(self.model.cutoff, batch.z.shape[0], batch.pairs.i.shape[0], batch.num_graphs)
        inputs["num_atoms"] = pad.per_graph(batch.num_atoms, pad.extra_atoms)
        for name in (*_PER_ATOM, *_PER_GRAPH):
            label = getattr(batch, name)
            if label is not None:
                fill = pad.per_atom if name in _PER_ATOM else pad.per_graph
                inputs[f"label_{name}"] = fill(label, float("nan"))
        return self.step(inputs)

    def _evaluate(self, inputs: dict[str, Tensor], training: bool) -> tuple[Tensor, Tensor]:
        labels = {name: inputs.get(f"label_{name}") for name in (*_PER_ATOM, *_PER_GRAPH)}
        batch = Batch(
            inputs["z"], inputs["pos"], inputs["batch"], HalfPairs(inputs["i"], inputs["j"], inputs["i"]),
            inputs["num_atoms"], inputs["num_atoms"], masked=True, dummies=1, **labels,
        )  # fmt: skip
        wanted = {
            name: labels[name] is not None and bool(getattr(self.weights, name) or not training)
            for name in ("forces", "stress")
        }
        out = evaluate_captured(self.model, inputs, batch.num_graphs, **wanted)
        return training_loss(out, batch, self.weights)
