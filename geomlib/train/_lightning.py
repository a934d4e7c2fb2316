"""The one place that imports Lightning."""

from __future__ import annotations

import warnings

from geomlib.errors import MissingDependency

try:
    with warnings.catch_warnings():
        # Its own deprecated imports are no concern of ours.
        warnings.simplefilter("ignore")
        import lightning.pytorch as pl
        from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm, TQDMProgressBar
        from lightning.pytorch.loggers import TensorBoardLogger
        from lightning.pytorch.plugins.io import CheckpointIO
except ImportError as error:
    raise MissingDependency(
        f"training needs Lightning 2.6.4 or later ({error}). Install it with: pip install -e '.[train]'"
    ) from error

__all__ = ["CheckpointIO", "TQDMProgressBar", "TensorBoardLogger", "Tqdm", "pl"]
