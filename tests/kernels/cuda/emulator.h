// Enough of CUDA to run a generated kernel on a CPU: blocks one after the other, the threads of a block as fibers that meet at
// every shuffle and every barrier.
#include <cmath>
#include <cstdlib>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __shared__ static

using std::erfc;
using std::exp;
using std::fabs;
using std::fma;
using std::fmax;
using std::hypot;
using std::sqrt;

struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) double2 {
    double x, y;
};
template <class T> T __ldcs(const T* p) { return *p; }
template <class T> void __stcs(T* p, T v) { *p = v; }

inline float __fmul_rn(float a, float b) { return a * b; }
inline double __dmul_rn(double a, double b) { return a * b; }

struct Dim {
    unsigned int x, y, z;
};
static Dim gridDim, blockDim, blockIdx, threadIdx;

namespace emulator {
constexpr int kLanes = 1024;
constexpr size_t kStack = 1 << 18;
ucontext_t scheduler, fiber[kLanes];
bool done[kLanes];
int lane;
int threads;
long long phase[kLanes];
long long barrier[kLanes];
double slot[2][kLanes];
long long slot_phase[2][kLanes];
void (*body)();

void enter() {
    body();
    done[lane] = true;
    swapcontext(&fiber[lane], &scheduler);
}

void block(int count) {
    static std::vector<char> stacks;
    threads = count;
    if (stacks.size() < count * kStack) stacks.resize(count * kStack);
    for (int k = 0; k < threads; ++k) {
        getcontext(&fiber[k]);
        fiber[k].uc_stack.ss_sp = stacks.data() + k * kStack;
        fiber[k].uc_stack.ss_size = kStack;
        fiber[k].uc_link = &scheduler;
        makecontext(&fiber[k], enter, 0);
        done[k] = false;
        phase[k] = barrier[k] = 0;
        slot_phase[0][k] = slot_phase[1][k] = -1;
    }
    for (bool any = true; any;) {
        any = false;
        for (lane = 0; lane < threads; ++lane) {
            if (done[lane]) continue;
            threadIdx = {(unsigned int)lane, 0, 0};
            swapcontext(&scheduler, &fiber[lane]);
            any = true;
        }
    }
}
}  // namespace emulator

// A lane that never arrives, which on a card is undefined, stops the program here.
template <class T> T __shfl_xor_sync(unsigned int mask, T value, int step) {
    using namespace emulator;
    const int me = lane;
    const long long now = phase[me]++;
    slot[now & 1][me] = value;
    slot_phase[now & 1][me] = now;
    swapcontext(&fiber[me], &scheduler);
    if (mask != 0xffffffffu || slot_phase[now & 1][me ^ step] != now) std::abort();
    return (T)slot[now & 1][me ^ step];
}

inline void __syncwarp() { __shfl_xor_sync(0xffffffffu, 0.0, 16); }

// A thread that never arrives, which on a card is undefined, stops the program here.
inline void __syncthreads() {
    using namespace emulator;
    const int me = lane;
    const long long now = ++barrier[me];
    for (bool wait = true; wait;) {
        swapcontext(&fiber[me], &scheduler);
        wait = false;
        for (int k = 0; k < threads; ++k) {
            if (done[k] && barrier[k] < now) std::abort();
            wait = wait || barrier[k] < now;
        }
    }
}

namespace emulator {
template <class... A, size_t... I> void call(void (*f)(A...), const long long* a, std::index_sequence<I...>) {
    f((A)a[I]...);
}
template <class... A> constexpr size_t arity(void (*)(A...)) { return sizeof...(A); }
const long long* given;
}  // namespace emulator

#define EMULATE(kernel)                                                                                   \
    extern "C" long long run(const long long* a, long long n, const unsigned int* grid, unsigned int block) { \
        constexpr size_t arity = emulator::arity(kernel);                                                 \
        if ((size_t)n != arity) return arity;                                                             \
        emulator::given = a;                                                                              \
        emulator::body = [] { emulator::call(kernel, emulator::given, std::make_index_sequence<arity>()); }; \
        gridDim = {grid[0], grid[1], grid[2]};                                                            \
        blockDim = {block, 1, 1};                                                                         \
        for (unsigned int z = 0; z < grid[2]; ++z)                                                        \
            for (unsigned int y = 0; y < grid[1]; ++y)                                                    \
                for (unsigned int x = 0; x < grid[0]; ++x) {                                              \
                    blockIdx = {x, y, z};                                                                 \
                    emulator::block(block);                                                               \
                }                                                                                         \
        return 0;                                                                                         \
    }
