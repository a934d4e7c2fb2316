"""Print the eigendecomposition of symmetric matrices of 33 to 96 rows as CUDA C++: a block for every matrix.

Jacobi's method, as in `geomlib.kernels.spectral.cuda_source`: the rounds of a sweep rotate disjoint pairs of rows and
columns, pair against pair. The lower triangle of the matrix is in shared memory, the eigenvectors are rows of memory, where
neighbouring threads touch neighbouring numbers. Batches of such matrices are what torch's own decomposition is slow for.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from geomlib.kernels.spectral.cuda_pieces import COMMON, PAIRS, SWEEPS

__all__ = ["BLOCK_LARGEST", "BlockKernel", "print_block_eigh"]

#: Rows of the largest matrix: its triangle in float64 takes 37 KB of shared memory.
BLOCK_LARGEST = 96
_THREADS = 256

_TRIANGLE = """
static __device__ __forceinline__ int at(const int r, const int c)
{
    return r >= c ? r * (r + 1) / 2 + c : c * (c + 1) / 2 + r;
}
""".strip()

_BODY = """
__shared__ real_t a[M * (M + 1) / 2];
__shared__ real_t turn[3][H], part[2][THREADS];
__shared__ int where[N], busy;
const int me = threadIdx.x;
const long long item = blockIdx.x;
const io_t* const e = e_all + item * N * N;
real_t* const w = w_all + item * N;
real_t* const v = v_all + item * N * N;
real_t* const u = room_all + item * N * N;
real_t top = 0, lost = 0;  // lost: 0, or NaN where an entry is no finite number
for (int k = me; k < M * M; k += THREADS) {
    const int r = k / M, c = k % M;
    const bool inside = r < N && c < N;
    if (inside) u[r * N + c] = r == c ? 1 : 0;
    if (c > r) continue;
    const real_t x = inside ? HALF * ((real_t)e[r * N + c] + (real_t)e[c * N + r]) : (real_t)0;
    a[at(r, c)] = x;
    top = fmax(top, fabs(x)), lost += x - x;
}
part[0][me] = top, part[1][me] = lost;
if (me == 0) busy = 0;
__syncthreads();
top = 0, lost = 0;
for (int k = 0; k < THREADS; ++k) top = fmax(top, part[0][k]), lost += part[1][k];
const real_t least = HALF * EPS * top;
bool turned = true;
for (int sweep = 1; sweep <= SWEEPS && turned; ++sweep) {
    for (int round = 0; round < M - 1; ++round) {
        for (int k = me; k < H; k += THREADS) {
            int p, q;
            players(round, k, p, q);
            real_t c, s, tangent;
            // All that write busy write the same; it grows, so that a late reader is not misled by an early writer.
            if (rotation(a[at(p, p)], a[at(q, q)], a[at(p, q)], least, c, s, tangent)) busy = sweep;
            turn[0][k] = c, turn[1][k] = s, turn[2][k] = tangent;
        }
        __syncthreads();
        // Every unordered pair of pairs once: i and i + d around the circle.
        for (int k = me; k < H * (H / 2 + 1); k += THREADS) {
            const int d = k / H, i = k % H;
            if (2 * d == H && i >= H / 2) continue;
            const int j = i + d >= H ? i + d - H : i + d;
            int p, q;
            players(round, i, p, q);
            if (d == 0) {
                const real_t step = turn[2][i] * a[at(p, q)];
                if (turn[2][i] != 0) a[at(p, p)] -= step, a[at(q, q)] += step, a[at(p, q)] = 0;
                continue;
            }
            int x, y;
            players(round, j, x, y);
            const real_t c = turn[0][i], s = turn[1][i], g = turn[0][j], h = turn[1][j];
            const real_t px = a[at(p, x)], py = a[at(p, y)], qx = a[at(q, x)], qy = a[at(q, y)];
            const real_t lx = c * px - s * qx, ly = c * py - s * qy, mx = s * px + c * qx, my = s * py + c * qy;
            a[at(p, x)] = g * lx - h * ly, a[at(p, y)] = h * lx + g * ly;
            a[at(q, x)] = g * mx - h * my, a[at(q, y)] = h * mx + g * my;
        }
        for (int k = me; k < N * H; k += THREADS) {
            const int i = k / N, r = k % N;
            int p, q;
            players(round, i, p, q);
            if (p >= N || q >= N || turn[2][i] == 0) continue;
            const real_t c = turn[0][i], s = turn[1][i], x = u[p * N + r], y = u[q * N + r];
            u[p * N + r] = c * x - s * y, u[q * N + r] = s * x + c * y;
        }
        __syncthreads();
    }
    turned = busy >= sweep;
}
for (int i = me; i < N; i += THREADS) {
    const real_t d = turned ? NONE : a[at(i, i)] + lost;
    int place = d == d ? 0 : i;  // places of NaN are places too
    for (int k = 0; k < N; ++k) {
        const real_t other = a[at(k, k)] + lost;
        if (other < d || (other == d && k < i)) ++place;
    }
    w[place] = d, where[i] = place;
}
__syncthreads();
for (int k = me; k < N * N; k += THREADS) v[k / N * N + where[k % N]] = u[k % N * N + k / N];
""".strip()


class BlockKernel(NamedTuple):
    """The decomposition of matrices of n rows, in one type of arithmetic."""

    n: int
    real: torch.dtype

    @property
    def name(self) -> str:
        """Name of the function."""
        return f"spectral_block_{self.n}"

    @property
    def block(self) -> int:
        """Threads of a block."""
        return _THREADS


def print_block_eigh(kernel: BlockKernel, dtype: torch.dtype, resident: int | None = None) -> str:
    """Return the source for matrices of one type.

    Args:
        kernel: what to print.
        dtype: of the matrices, float32 or float64.
        resident: blocks that a multiprocessor shall hold at once; None leaves it to the assembler.

    >>> "spectral_block_40(" in print_block_eigh(BlockKernel(40, torch.float64), torch.float32)
    True
    """
    n, even = kernel.n, kernel.n + kernel.n % 2
    types = {torch.float32: "float", torch.float64: "double"}
    defines = {
        "N": n, "M": even, "H": even // 2, "THREADS": _THREADS, "SWEEPS": SWEEPS, "HALF": "((real_t)0.5)",
        "EPS": f"((real_t){torch.finfo(kernel.real).eps!r})", "NONE": "((real_t)0 * (1 / (real_t)0))",
    }  # fmt: skip
    bounds = f"{kernel.block}" if resident is None else f"{kernel.block}, {resident}"
    outputs = [f"real_t* __restrict__ {name}_all" for name in ("w", "v", "room")]
    lines = [
        f"typedef {types[dtype]} io_t;",
        f"typedef {types[kernel.real]} real_t;",
        *(f"#define {name} {text}" for name, text in defines.items()),
        *COMMON.splitlines(),
        *PAIRS.splitlines(),
        *_TRIANGLE.splitlines(),
        f'extern "C" __global__ void __launch_bounds__({bounds}) {kernel.name}(',
        f"    const io_t* __restrict__ e_all, {', '.join(outputs)})",
        "{",
        *(f"    {line}" for line in _BODY.splitlines()),
        "}",
    ]
    return "\n".join(lines) + "\n"
