"""Pieces of CUDA C++ of which the kernels of spectral functions are put together: N, M, H, LD and the types are macros."""

from __future__ import annotations

__all__ = [
    "ALONE_DERIVATIVE", "ALONE_JACOBI", "ALONE_VALUES", "COMMON", "FUNCTIONS", "PAIRS", "SCALAR", "SWEEPS",
    "WARP_DERIVATIVE", "WARP_JACOBI", "WARP_VALUES",
]  # fmt: skip

#: Sweeps after which a decomposition is given up: its eigenvalues are NaN. Six to ten suffice.
SWEEPS = 30

#: f(x) as an expression, and f[a, b] as the body of a function; "top" is told by the places i and j.
FUNCTIONS = {
    "log": (
        "log(x)",
        "const real_t z = (a - b) / (a + b);"
        " if (z == 0) return 1 / a;"
        " return (fabs(z) < HALF ? 2 * atanh(z) : log(a) - log(b)) / (a - b);",
    ),
    "sqrt": ("sqrt(x)", "return 1 / (sqrt(a) + sqrt(b));"),
    "invsqrt": (
        "1 / sqrt(x)",
        "const real_t p = sqrt(a), q = sqrt(b); return -1 / (p * q * (p + q));",
    ),
    "inv": ("1 / x", "return -1 / a / b;"),
    "exp": (
        "exp(x)",
        "const real_t h = HALF * (a - b);"
        " if (!(fabs(h) < HALF)) return (exp(a) - exp(b)) / (a - b);"
        " return exp(HALF * (a + b)) * (h == 0 ? (real_t)1 : sinh(h) / h);",
    ),
    "pow": (
        "pow(x, t)",
        "const real_t z = (a - b) / (a + b);"
        " const real_t u = fabs(z) < HALF ? atanh(z) : HALF * (log(a) - log(b));"
        " const real_t s = HALF * (t - 1);"
        " return pow(a, s) * pow(b, s) * (z == 0 ? t : sinh(t * u) / sinh(u));",
    ),
    "clamp": (
        "(x > t ? x : x == x ? t : x)",
        "const bool p = a > t, q = b > t; if (p == q) return p ? 1 : 0;"
        " return ((p ? a : t) - (q ? b : t)) / (a - b);",
    ),
    "top": (
        "(real_t)(place >= N - (int)t ? 1 : 0)",
        "const bool p = i >= N - (int)t, q = j >= N - (int)t; if (p == q) return 0;"
        " return 1 / (p ? a - b : b - a);",
    ),
}

SCALAR = """
static __device__ __forceinline__ real_t number(const long long bits)
{
    union { long long i; double d; } both;
    both.i = bits;
    return (real_t)both.d;
}
static __device__ __forceinline__ real_t value(const real_t x, const real_t t, const int place) { return VALUE; }
static __device__ __forceinline__ real_t difference(
    const real_t a, const real_t b, const real_t t, const int i, const int j) { DIFFERENCE }
""".strip()

COMMON = """
// The rotation that makes an entry zero; none for entries that are lost in the rounding of the largest one.
static __device__ __forceinline__ bool rotation(
    const real_t app, const real_t aqq, const real_t apq, const real_t least, real_t& c, real_t& s, real_t& tangent)
{
    c = 1, s = 0, tangent = 0;
    if (!(fabs(apq) > least)) return false;
    const real_t theta = (aqq - app) / (2 * apq);
    tangent = (theta < 0 ? (real_t)-1 : (real_t)1) / (fabs(theta) + sqrt(theta * theta + 1));
    c = 1 / sqrt(tangent * tangent + 1), s = tangent * c;
    return true;
}
""".strip()

ALONE_JACOBI = """
real_t a[N][N], u[N][N], top = 0, lost = 0;  // lost: 0, or NaN where an entry is no finite number
#pragma unroll
for (int r = 0; r < N; ++r)
#pragma unroll
    for (int k = 0; k < N; ++k) {
        a[r][k] = HALF * ((real_t)e[r * N + k] + (real_t)e[k * N + r]);
        u[r][k] = r == k ? 1 : 0;
        top = fmax(top, fabs(a[r][k])), lost += a[r][k] - a[r][k];
    }
const real_t least = HALF * EPS * top;
bool turned = true;
for (int sweep = 0; sweep < SWEEPS && turned; ++sweep) {
    turned = false;
#pragma unroll
    for (int p = 0; p < N; ++p)
#pragma unroll
        for (int q = p + 1; q < N; ++q) {
            real_t c, s, tangent;
            turned = rotation(a[p][p], a[q][q], a[p][q], least, c, s, tangent) || turned;
            const real_t step = tangent * a[p][q];
            if (tangent != 0) a[p][p] -= step, a[q][q] += step, a[p][q] = a[q][p] = 0;
#pragma unroll
            for (int k = 0; k < N; ++k) {
                if (k != p && k != q) {
                    const real_t x = a[k][p], y = a[k][q];
                    a[k][p] = a[p][k] = c * x - s * y, a[k][q] = a[q][k] = s * x + c * y;
                }
                const real_t x = u[k][p], y = u[k][q];
                u[k][p] = c * x - s * y, u[k][q] = s * x + c * y;
            }
        }
}
real_t d[N];
int place[N];
#pragma unroll
for (int i = 0; i < N; ++i) d[i] = turned ? NONE : a[i][i] + lost;
#pragma unroll
for (int i = 0; i < N; ++i) {
    place[i] = d[i] == d[i] ? 0 : i;  // places of NaN are places too
#pragma unroll
    for (int k = 0; k < N; ++k)
        if (d[k] < d[i] || (d[k] == d[i] && k < i)) ++place[i];
}
#pragma unroll
for (int i = 0; i < N; ++i) {
    w[place[i]] = d[i];
#pragma unroll
    for (int r = 0; r < N; ++r) v[r * N + place[i]] = u[r][i];
}
""".strip()

ALONE_VALUES = """
real_t f[N];
#pragma unroll
for (int i = 0; i < N; ++i) f[i] = value(d[i], t, place[i]);
#pragma unroll
for (int r = 0; r < N; ++r)
#pragma unroll
    for (int k = 0; k <= r; ++k) {
        real_t sum = 0;
#pragma unroll
        for (int i = 0; i < N; ++i) sum = fma(u[r][i] * f[i], u[k][i], sum);
        out[r * N + k] = out[k * N + r] = (io_t)sum;
    }
""".strip()

ALONE_DERIVATIVE = """
real_t x[N][N], y[N][N], u[N][N];
#pragma unroll
for (int r = 0; r < N; ++r)
#pragma unroll
    for (int k = 0; k < N; ++k) {
        x[r][k] = HALF * ((real_t)e[r * N + k] + (real_t)e[k * N + r]);
        u[r][k] = v[r * N + k];
    }
#pragma unroll
for (int r = 0; r < N; ++r)
#pragma unroll
    for (int k = 0; k < N; ++k) {
        real_t sum = 0;
#pragma unroll
        for (int i = 0; i < N; ++i) sum = fma(x[r][i], u[i][k], sum);
        y[r][k] = sum;
    }
#pragma unroll
for (int r = 0; r < N; ++r)
#pragma unroll
    for (int k = 0; k <= r; ++k) {
        real_t sum = 0;
#pragma unroll
        for (int i = 0; i < N; ++i) sum = fma(u[i][r], y[i][k], sum);
        x[r][k] = x[k][r] = sum * difference(w[r], w[k], t, r, k);
    }
#pragma unroll
for (int r = 0; r < N; ++r)
#pragma unroll
    for (int k = 0; k < N; ++k) {
        real_t sum = 0;
#pragma unroll
        for (int i = 0; i < N; ++i) sum = fma(u[r][i], x[i][k], sum);
        y[r][k] = sum;
    }
#pragma unroll
for (int r = 0; r < N; ++r)
#pragma unroll
    for (int k = 0; k <= r; ++k) {
        real_t sum = 0;
#pragma unroll
        for (int i = 0; i < N; ++i) sum = fma(y[r][i], u[k][i], sum);
        out[r * N + k] = out[k * N + r] = (io_t)sum;
    }
""".strip()

#: Pair k of a round, as in a tournament: the last player stays, the others go around. M is N, or N + 1 and a row of zeros.
PAIRS = """
static __device__ __forceinline__ void players(const int round, const int k, int& p, int& q)
{
    const int up = round + k, down = round - k;
    p = up >= M - 1 ? up - (M - 1) : up;
    q = k == 0 ? M - 1 : down < 0 ? down + M - 1 : down;
}
""".strip()

WARP_JACOBI = """
real_t* const a = room[warp][0];
real_t* const u = room[warp][1];
real_t top = 0, lost = 0;  // lost: 0, or NaN where an entry is no finite number
for (int k = lane; k < M * M; k += 32) {
    const int r = k / M, c = k % M;
    const bool inside = r < N && c < N;
    const real_t x = inside ? HALF * ((real_t)e[r * N + c] + (real_t)e[c * N + r]) : (real_t)0;
    a[r * LD + c] = x, u[r * LD + c] = r == c ? 1 : 0;
    top = fmax(top, fabs(x)), lost += x - x;
}
for (int step = 16; step; step >>= 1) {
    top = fmax(top, __shfl_xor_sync(0xffffffffu, top, step));
    lost += __shfl_xor_sync(0xffffffffu, lost, step);
}
__syncwarp();
const real_t least = HALF * EPS * top;
bool turned = true;
for (int sweep = 0; sweep < SWEEPS && turned; ++sweep) {
    int rotated = 0;
    for (int round = 0; round < M - 1; ++round) {
        if (lane < H) {
            int p, q;
            players(round, lane, p, q);
            real_t c, s, tangent;
            if (rotation(a[p * LD + p], a[q * LD + q], a[p * LD + q], least, c, s, tangent)) rotated = 1;
            turn[warp][0][lane] = c, turn[warp][1][lane] = s, turn[warp][2][lane] = tangent;
        }
        __syncwarp();
        // Every unordered pair of pairs once: i and i + d around the circle.
        for (int k = lane; k < H * (H / 2 + 1); k += 32) {
            const int d = k / H, i = k % H;
            if (2 * d == H && i >= H / 2) continue;
            const int j = i + d >= H ? i + d - H : i + d;
            int p, q;
            players(round, i, p, q);
            if (d == 0) {
                const real_t step = turn[warp][2][i] * a[p * LD + q];
                if (turn[warp][2][i] != 0) {
                    a[p * LD + p] -= step, a[q * LD + q] += step;
                    a[p * LD + q] = a[q * LD + p] = 0;
                }
                continue;
            }
            int x, y;
            players(round, j, x, y);
            const real_t c = turn[warp][0][i], s = turn[warp][1][i], g = turn[warp][0][j], h = turn[warp][1][j];
            const real_t px = a[p * LD + x], py = a[p * LD + y], qx = a[q * LD + x], qy = a[q * LD + y];
            const real_t lx = c * px - s * qx, ly = c * py - s * qy, mx = s * px + c * qx, my = s * py + c * qy;
            a[p * LD + x] = a[x * LD + p] = g * lx - h * ly, a[p * LD + y] = a[y * LD + p] = h * lx + g * ly;
            a[q * LD + x] = a[x * LD + q] = g * mx - h * my, a[q * LD + y] = a[y * LD + q] = h * mx + g * my;
        }
        for (int k = lane; k < N * H; k += 32) {
            const int i = k / N, r = k % N;
            int p, q;
            players(round, i, p, q);
            const real_t c = turn[warp][0][i], s = turn[warp][1][i], x = u[r * LD + p], y = u[r * LD + q];
            u[r * LD + p] = c * x - s * y, u[r * LD + q] = s * x + c * y;
        }
        __syncwarp();
    }
    for (int step = 16; step; step >>= 1) rotated |= __shfl_xor_sync(0xffffffffu, rotated, step);
    turned = rotated != 0;
}
if (lane < N) {
    const real_t d = turned ? NONE : a[lane * LD + lane] + lost;
    int place = d == d ? 0 : lane;  // places of NaN are places too
    for (int k = 0; k < N; ++k) {
        const real_t other = a[k * LD + k] + lost;
        if (other < d || (other == d && k < lane)) ++place;
    }
    w[place] = d;
    turn[warp][0][lane] = value(d, t, place);
    where[warp][lane] = place;
}
__syncwarp();
for (int k = lane; k < N * N; k += 32) v[k / N * N + where[warp][k % N]] = u[k / N * LD + k % N];
""".strip()

WARP_VALUES = """
for (int k = lane; k < N * N; k += 32) {
    const int r = k / N, c = k % N;
    if (c > r) continue;
    real_t sum = 0;
    for (int i = 0; i < N; ++i) sum = fma(u[r * LD + i] * turn[warp][0][i], u[c * LD + i], sum);
    out[r * N + c] = out[c * N + r] = (io_t)sum;
}
""".strip()

WARP_DERIVATIVE = """
real_t* const x = room[warp][0];
real_t* const u = room[warp][1];
real_t* const y = room[warp][2];
for (int k = lane; k < N * N; k += 32) {
    const int r = k / N, c = k % N;
    x[r * LD + c] = HALF * ((real_t)e[r * N + c] + (real_t)e[c * N + r]);
    u[r * LD + c] = v[k];
}
__syncwarp();
for (int k = lane; k < N * N; k += 32) {
    const int r = k / N, c = k % N;
    real_t sum = 0;
    for (int i = 0; i < N; ++i) sum = fma(x[r * LD + i], u[i * LD + c], sum);
    y[r * LD + c] = sum;
}
__syncwarp();
for (int k = lane; k < N * N; k += 32) {
    const int r = k / N, c = k % N;
    if (c > r) continue;
    real_t sum = 0;
    for (int i = 0; i < N; ++i) sum = fma(u[i * LD + r], y[i * LD + c], sum);
    x[r * LD + c] = x[c * LD + r] = sum * difference(w[r], w[c], t, r, c);
}
__syncwarp();
for (int k = lane; k < N * N; k += 32) {
    const int r = k / N, c = k % N;
    real_t sum = 0;
    for (int i = 0; i < N; ++i) sum = fma(u[r * LD + i], x[i * LD + c], sum);
    y[r * LD + c] = sum;
}
__syncwarp();
for (int k = lane; k < N * N; k += 32) {
    const int r = k / N, c = k % N;
    if (c > r) continue;
    real_t sum = 0;
    for (int i = 0; i < N; ++i) sum = fma(y[r * LD + i], u[c * LD + i], sum);
    out[r * N + c] = out[c * N + r] = (io_t)sum;
}
""".strip()
