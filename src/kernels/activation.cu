// GELU with the bias before it, SwiGLU, and the rotary embedding: one pass over memory each.
#include <algorithm>

#include "activation_launch.hpp"
#include "tile.hpp"

namespace cuboid::detail {
namespace {

using namespace device;

// x / (1 + e^-x): 0 far on the left, where e^-x is infinite.
__device__ float silu(float x) {
  return x / (1.0F + fast_exp(-x));
}
__device__ float sigmoid(float x) {
  return 1.0F / (1.0F + fast_exp(-x));
}

// GELU's tanh form is x sigmoid(t), t = 2 sqrt(2 / pi) (x + 0.044715 x^3): one exponential, and no
// 1 + tanh, which cancels on the left.
constexpr float kLinear = 1.5957691216057307F;
constexpr float kCubic = 1.5957691216057307F * 0.044715F;
__device__ float gelu(float x) {
  return x / (1.0F + fast_exp(-x * (kLinear + kCubic * x * x)));
}
__device__ float gelu_slope(float x) {
  const float square = x * x;
  const float s = sigmoid(x * (kLinear + kCubic * square));
  return s + x * s * (1.0F - s) * (kLinear + 3.0F * kCubic * square);
}

template <typename T, int N>
__global__ void __launch_bounds__(kTileThreads) bias_gelu(BiasGeluLaunch a) {
  const Tile<N> tile(a.rows, a.width);
  auto* inner = static_cast<T*>(a.inner) + tile.column;
  auto* activated = static_cast<T*>(a.activated) + tile.column;
  float bias[N] = {};
  if (a.bias != nullptr && tile.column < a.width)
    load(bias, static_cast<const T*>(a.bias) + tile.column);
  tile.for_batches([&](std::int64_t first) {
    float x[kTileBatch][N];
    tile.for_batch(first, [&](std::int64_t row, int b) { load(x[b], inner + row * a.width); });
    tile.for_batch(first, [&](std::int64_t row, int b) {
      if (a.bias != nullptr) {
        // Rounded as the backward pass will read it.
#pragma unroll
        for (int i = 0; i < N; ++i) x[b][i] = widen(narrow<T>(x[b][i] + bias[i]));
        store(inner + row * a.width, x[b]);
      }
#pragma unroll
      for (int i = 0; i < N; ++i) x[b][i] = gelu(x[b][i]);
      store(activated + row * a.width, x[b]);
    });
  });
}

template <typename T, int N>
__global__ void __launch_bounds__(kTileThreads) gelu_backward(GeluBackwardLaunch a) {
  __shared__ float folded[kTileThreads * N];
  const Tile<N> tile(a.rows, a.width);
  const auto* inner = static_cast<const T*>(a.inner) + tile.column;
  auto* gradient = static_cast<T*>(a.gradient) + tile.column;
  float sums[N] = {};
  tile.for_batches([&](std::int64_t first) {
    float x[kTileBatch][N];
    float dy[kTileBatch][N];
    tile.for_batch(first, [&](std::int64_t row, int b) {
      load(x[b], inner + row * a.width);
      load(dy[b], gradient + row * a.width);
    });
    tile.for_batch(first, [&](std::int64_t row, int b) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        dy[b][i] *= gelu_slope(x[b][i]);
        sums[i] += dy[b][i];
      }
      store(gradient + row * a.width, dy[b]);
    });
  });
  tile.leave_partial(a.partial, sums, folded);
}

template <typename T, int N>
__global__ void __launch_bounds__(kTileThreads) swiglu(SwigluLaunch a) {
  const Tile<N> tile(a.rows, a.width);
  const auto* inner = static_cast<const T*>(a.inner) + tile.column;
  auto* activated = static_cast<T*>(a.activated) + tile.column;
  tile.for_batches([&](std::int64_t first) {
    float gate[kTileBatch][N];
    float up[kTileBatch][N];
    tile.for_batch(first, [&](std::int64_t row, int b) {
      load(gate[b], inner + row * 2 * a.width);
      load(up[b], inner + (row * 2 + 1) * a.width);
    });
    tile.for_batch(first, [&](std::int64_t row, int b) {
#pragma unroll
      for (int i = 0; i < N; ++i) up[b][i] *= silu(gate[b][i]);
      store(activated + row * a.width, up[b]);
    });
  });
}

template <typename T, int N>
__global__ void __launch_bounds__(kTileThreads) swiglu_backward(SwigluLaunch a) {
  const Tile<N> tile(a.rows, a.width);
  const auto* inner = static_cast<const T*>(a.inner) + tile.column;
  const auto* d_activated = static_cast<const T*>(a.d_activated) + tile.column;
  auto* d_inner = static_cast<T*>(a.d_inner) + tile.column;
  tile.for_batches([&](std::int64_t first) {
    float gate[kTileBatch][N];
    float up[kTileBatch][N];
    float dy[kTileBatch][N];
    tile.for_batch(first, [&](std::int64_t row, int b) {
      load(gate[b], inner + row * 2 * a.width);
      load(up[b], inner + (row * 2 + 1) * a.width);
      load(dy[b], d_activated + row * a.width);
    });
    tile.for_batch(first, [&](std::int64_t row, int b) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const float s = sigmoid(gate[b][i]);
        const float activated = gate[b][i] * s;
        gate[b][i] = dy[b][i] * up[b][i] * (s + activated * (1.0F - s));
        up[b][i] = dy[b][i] * activated;
      }
      store(d_inner + row * 2 * a.width, gate[b]);
      store(d_inner + (row * 2 + 1) * a.width, up[b]);
    });
  });
}

// A block takes one position of one sequence, so that its heads share the angles out of the caches.
constexpr unsigned kMaxRotateThreads = 256;

template <typename T, int N>
__global__ void __launch_bounds__(kMaxRotateThreads) rotate(RotateLaunch a) {
  const std::int64_t position = blockIdx.x % a.seq_length;
  const std::int64_t sequence = blockIdx.x / a.seq_length;
  auto* token = static_cast<T*>(a.x) + sequence * a.sequence_stride + position * a.position_stride;
  const int per_head = static_cast<int>(a.half / N);
  const int count = static_cast<int>(a.heads) * per_head;
  for (int index = static_cast<int>(threadIdx.x); index < count;
       index += static_cast<int>(blockDim.x)) {
    const int dim = index % per_head * N;
    T* low = token + index / per_head * a.head_stride + dim;
    T* high = low + a.half;
    const float* cosines = a.cosines + position * a.half + dim;
    const float* sines = a.sines + position * a.half + dim;
    float x[N];
    float y[N];
    load(x, low);
    load(y, high);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float cosine = cosines[i];
      const float sine = a.forwards ? sines[i] : -sines[i];
      const float turned = x[i] * cosine - y[i] * sine;
      y[i] = y[i] * cosine + x[i] * sine;
      x[i] = turned;
    }
    store(low, x);
    store(high, y);
  }
}

template <typename T>
bool uses_vectors(const RotateLaunch& a) {
  const std::int64_t all =
      a.sequence_stride | a.position_stride | a.head_stride;  // a power of two divides all, or not
  return has_vectors<T>(a.half, a.x) && all % kVector<T> == 0;
}

}  // namespace

void launch_bias_gelu(const BiasGeluLaunch& a, void* stream) {
  for_type(a.type, [&]<typename T>(T) {
    for_vector<T>(has_vectors<T>(a.width, a.inner, a.bias, a.activated), [&]<int N>(Constant<N>) {
      launch("bias_gelu", bias_gelu<T, N>, tile_grid<N>(a.rows, a.width), kTileBlock, stream, a);
    });
  });
}

void launch_gelu_backward(const GeluBackwardLaunch& a, void* stream) {
  for_type(a.type, [&]<typename T>(T) {
    for_vector<T>(has_vectors<T>(a.width, a.gradient, a.inner), [&]<int N>(Constant<N>) {
      launch("gelu_backward", gelu_backward<T, N>, tile_grid<N>(a.rows, a.width), kTileBlock,
             stream, a);
    });
  });
}

void launch_swiglu(const SwigluLaunch& a, void* stream) {
  for_type(a.type, [&]<typename T>(T) {
    for_vector<T>(has_vectors<T>(a.width, a.inner, a.activated), [&]<int N>(Constant<N>) {
      launch("swiglu", swiglu<T, N>, tile_grid<N>(a.rows, a.width), kTileBlock, stream, a);
    });
  });
}

void launch_swiglu_backward(const SwigluLaunch& a, void* stream) {
  for_type(a.type, [&]<typename T>(T) {
    for_vector<T>(has_vectors<T>(a.width, a.inner, a.d_activated, a.d_inner),
                  [&]<int N>(Constant<N>) {
                    launch("swiglu_backward", swiglu_backward<T, N>, tile_grid<N>(a.rows, a.width),
                           kTileBlock, stream, a);
                  });
  });
}

void launch_rotate(const RotateLaunch& a, void* stream) {
  for_type(a.type, [&]<typename T>(T) {
    for_vector<T>(uses_vectors<T>(a), [&]<int N>(Constant<N>) {
      const std::int64_t items = divide_up<std::int64_t>(a.heads * a.half / N, kWarp) * kWarp;
      const auto threads = static_cast<unsigned>(std::min<std::int64_t>(kMaxRotateThreads, items));
      launch("rotate", rotate<T, N>, {static_cast<unsigned>(a.sequences * a.seq_length)}, {threads},
             stream, a);
    });
  });
}

}  // namespace cuboid::detail
