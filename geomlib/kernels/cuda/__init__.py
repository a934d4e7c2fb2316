"""CUDA kernels written from tables: arithmetic as data, printed as CUDA C++, compiled with NVRTC, launched by cuda-core.

Nothing is compiled, and no CUDA package imported, before a kernel is asked for.
"""

from __future__ import annotations

__all__: list[str] = []
