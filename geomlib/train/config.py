"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["PRESETS", "TrainConfig"]


@dataclass
class TrainConfig:
    """Settings of a training run.

    Args:
        data: name of an embedded set or a generated problem (`geomlib list data`), or a file: extended XYZ, ASE
            database, MD17 npz, QM9, DeePMD, ...
        out: folder of the run; runs/NAME if not given.
        resume: continue the run in `out` (also: --resume FOLDER).
        overwrite: replace the run in `out`.
        architecture: name of the model; the first word of the command line.
        epochs: passes over the training set.
        steps: instead of epochs: as many whole epochs as hold this many steps.
        batch_size: structures per step and device.
        lr: highest learning rate.
        schedule: cosine, plateau or constant.
        warmup: steps of linear warm-up.
        lr_floor: smallest learning rate as a fraction of lr.
        patience: plateau schedule: epochs without improvement before the rate falls.
        factor: plateau schedule: by how much it falls.
        optimizer: adamw, which shrinks weights apart from the gradient, or adam, which adds the decay to the gradient.
        weight_decay: of the optimiser.
        clip: largest norm of the gradient; 0 for none.
        ema_decay: of a moving average of the weights, such as 0.999; the average is evaluated and kept.
        energy_weight: weight of the energies' mean square error (eV, per structure).
        forces_weight: weight of the force components' mean square error (eV/Å).
        stress_weight: weight of the stress components' mean square error (eV/Å³).
        energy_per_atom: divide energy differences in the loss by the number of atoms.
        reference: elements (least squares per element), mean, or none.
        scale: unit of the learned part: energy (deviation of the fit), forces (root mean square), none, eV.
        train_size: structures to train on, a count or a fraction; the rest if not given. Generated problems have sizes
            of their own and take counts.
        val_size: structures to validate on.
        test_size: structures to test on.
        split_seed: of the random split, or of a generated problem.
        split_order: random, or contiguous for the frames of a trajectory.
        split_file: file with the indices of train, val and test (JSON or npz).
        val_data: another file to validate on.
        test_data: another file to test on.
        data_options: options of the reader (units, energy_key, forces_key, stress_key, on_nan, format) or of the generator.
        max_force: leave out training structures with a force above this, eV/Å.
        seed: of the initial weights and the order of the data.
        dtype: float32 or float64.
        compile: record the training step once per batch size and replay it: the same numbers, less overhead (CPU).
        devices: number of devices on this machine.
        nodes: number of machines.
        accelerator: auto, cpu or gpu.
        threads: CPU threads; torch's own choice if not given.
        eval_batch_size: structures per step of validation and test.
        val_every: epochs between validations.
        early_stop: stop after this many validations without improvement.
        max_time: stop after this time: seconds, or 90s, 15m, 2h, 1d.
        save_every: seconds between checkpoints.
        tensorboard: also log to TensorBoard.
        progress: show a progress bar; by default in a terminal only.
        plots: draw learning curve and parity plot.
    """

    data: str | None = None
    out: str | None = None
    resume: bool = False
    overwrite: bool = False
    architecture: str = "tensornet"
    epochs: int = 100
    steps: int | None = None
    batch_size: int = 8
    lr: float = 1e-3
    schedule: str = "cosine"
    warmup: int = 100
    lr_floor: float = 0.0
    patience: int = 10
    factor: float = 0.5
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    clip: float = 40.0
    ema_decay: float | None = None
    energy_weight: float = 0.05
    forces_weight: float = 0.95
    stress_weight: float = 0.0
    energy_per_atom: bool = False
    reference: str = "elements"
    scale: str | float = "energy"
    train_size: int | float | None = None
    val_size: int | float | None = 0.05
    test_size: int | float | None = 0.1
    split_seed: int = 0
    split_order: str = "random"
    split_file: str | None = None
    val_data: str | None = None
    test_data: str | None = None
    data_options: dict[str, Any] = field(default_factory=dict)
    max_force: float | None = None
    seed: int = 0
    dtype: str = "float32"
    compile: bool = True
    devices: int = 1
    nodes: int = 1
    accelerator: str = "auto"
    threads: int | None = None
    eval_batch_size: int = 64
    val_every: int = 1
    early_stop: int | None = None
    max_time: str | int | float | None = None
    save_every: float = 60.0
    tensorboard: bool = False
    progress: bool | None = None
    plots: bool = True


# What suits a data set, unless the user says otherwise; "model" holds options of the architecture.
PRESETS: dict[str, dict[str, Any]] = {
    "ethanol": {
        "epochs": 145,
        "threads": 1,  # batches this small gain nothing from two
        "batch_size": 8,
        "lr": 2e-3,
        "warmup": 100,
        "train_size": 950,
        "val_size": 50,
        "test_size": 200,
        "model": {"tensornet": {"channels": 64, "layers": 1, "num_radial": 32, "cutoff": 4.5}},
    },
}
"""Defaults by data set."""
