"""Hot operations: one folder each, with a torch reference and faster backends behind one dispatch."""

from geomlib.kernels.dispatch import available_backends, use_backend

__all__ = ["available_backends", "use_backend"]
