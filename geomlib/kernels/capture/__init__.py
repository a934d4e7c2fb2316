"""Record a computation once, replay it without Python's and autograd's overhead.

For molecules of ten atoms most of a training step is bookkeeping: building and walking two autograd graphs, checking
arguments, allocating. :func:`capture` runs a function of fixed shapes once, notes every operation that reached the
hardware (operators of torch and compiled loops, backward passes included), packs all intermediates into one arena, and
returns a program that repeats exactly these operations on new values. It is the idea of a CUDA graph, on a CPU: nothing
is compiled, every replay gives the same bits, and they differ from those of a plain call by rounding at most.
"""

from __future__ import annotations

from geomlib.kernels.capture.program import Program, capture
from geomlib.kernels.capture.replay import Replay, round_up
from geomlib.kernels.capture.tape import CaptureError

__all__ = ["CaptureError", "Program", "Replay", "capture", "round_up"]
