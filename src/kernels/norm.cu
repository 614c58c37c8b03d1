// LayerNorm and RMSNorm with the residual's addition. A row of threads takes a row of the tensor,
// every thread whole vectors of it, which stay in its registers between the passes that a norm
// needs; a block has several such rows of threads. So global memory is read once and written once.
#include <algorithm>

#include "device.hpp"
#include "norm_launch.hpp"

namespace cuboid::detail {
namespace {

using namespace device;

constexpr int kNormThreads = 512;  // of a block at most
constexpr int kMaxWarps = kNormThreads / kWarp;
// Two blocks for each of the 132 processors of an H100. The same on every device, so that sums are.
constexpr std::int64_t kMaxBlocks = 264;

// Sums over the threads of one row (blockDim.x of them: whole warps); each gets the result. Two
// calls in a row need different scratch memory: [kMaxWarps * K], shared.
template <int K>
__device__ void sum_over_row(float (&values)[K], float* scratch) {
#pragma unroll
  for (int k = 0; k < K; ++k) values[k] = warp_sum(values[k]);
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  if (warps == 1) return;
  float* of_row = scratch + static_cast<int>(threadIdx.y) * warps * K;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  if (threadIdx.x % kWarp == 0) {
#pragma unroll
    for (int k = 0; k < K; ++k) of_row[warp * K + k] = values[k];
  }
  __syncthreads();
#pragma unroll
  for (int k = 0; k < K; ++k) {
    values[k] = 0.0F;
    for (int w = 0; w < warps; ++w) values[k] += of_row[w * K + k];
  }
}

// Where piece p of this thread begins in its row.
template <int N>
__device__ std::int64_t column_of(int p) {
  return (static_cast<std::int64_t>(p) * blockDim.x + threadIdx.x) * N;
}

template <typename T, int N, int kPieces>
__global__ void __launch_bounds__(kNormThreads) add_norm(AddNormLaunch a) {
  __shared__ float scratch[2][kMaxWarps];
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  const std::int64_t begin = row * a.width;
  const auto is_mine = [&](std::int64_t column) { return row < a.rows && column < a.width; };
  float x[kPieces][N] = {};
  float total[1] = {0.0F};
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
    const std::int64_t column = column_of<N>(p);
    if (!is_mine(column)) continue;
    load(x[p], static_cast<const T*>(a.residual) + begin + column);
    if (a.delta != nullptr) {
      float other[N];
      load(other, static_cast<const T*>(a.delta) + begin + column);
#pragma unroll
      for (int i = 0; i < N; ++i) x[p][i] += other[i];
      if (a.delta_bias != nullptr) {
        load(other, static_cast<const T*>(a.delta_bias) + column);
#pragma unroll
        for (int i = 0; i < N; ++i) x[p][i] += other[i];
      }
#pragma unroll
      for (int i = 0; i < N; ++i) x[p][i] = widen(narrow<T>(x[p][i]));
      store(static_cast<T*>(a.sum) + begin + column, x[p]);
    }
#pragma unroll
    for (int i = 0; i < N; ++i) total[0] += x[p][i];
  }
  float mean = 0.0F;
  if (a.has_mean) {
    sum_over_row(total, scratch[0]);
    mean = total[0] / static_cast<float>(a.width);
  }
  total[0] = 0.0F;
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
    if (!is_mine(column_of<N>(p))) continue;
#pragma unroll
    for (int i = 0; i < N; ++i) total[0] += (x[p][i] - mean) * (x[p][i] - mean);
  }
  sum_over_row(total, scratch[1]);
  const float rstd = rsqrtf(total[0] / static_cast<float>(a.width) + a.epsilon);
  if (threadIdx.x == 0 && row < a.rows) {
    if (a.has_mean) a.mean[row] = mean;
    a.rstd[row] = rstd;
  }
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
    const std::int64_t column = column_of<N>(p);
    if (!is_mine(column)) continue;
    float weight[N];
    float bias[N] = {};
    load(weight, static_cast<const T*>(a.weight) + column);
    if (a.bias != nullptr) load(bias, static_cast<const T*>(a.bias) + column);
#pragma unroll
    for (int i = 0; i < N; ++i) x[p][i] = (x[p][i] - mean) * rstd * weight[i] + bias[i];
    store(static_cast<T*>(a.normalized) + begin + column, x[p]);
  }
}

// Adds up the sums of the block's rows of threads and writes the block's partial sum of a piece.
template <int N>
__device__ void leave_partial(float* partial, const float (&sums)[N], std::int64_t column,
                              std::int64_t width, float* scratch) {
  if (partial == nullptr) return;  // for all threads alike
  const int threads = static_cast<int>(blockDim.x);
  const int mine = static_cast<int>(threadIdx.y) * threads + static_cast<int>(threadIdx.x);
  __syncthreads();
#pragma unroll
  for (int i = 0; i < N; ++i) scratch[i * kNormThreads + mine] = sums[i];
  __syncthreads();
  if (threadIdx.y != 0 || column >= width) return;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    float sum = 0.0F;
    for (int y = 0; y < static_cast<int>(blockDim.y); ++y)
      sum += scratch[i * kNormThreads + y * threads + static_cast<int>(threadIdx.x)];
    partial[static_cast<std::int64_t>(blockIdx.x) * width + column + i] = sum;
  }
}

template <typename T, int N, int kPieces>
__global__ void __launch_bounds__(kNormThreads, kPieces == 1 ? 2 : 1)
    add_norm_backward(AddNormBackwardLaunch a) {
  __shared__ float scratch[2][kMaxWarps * 2];
  __shared__ float folded[kNormThreads * N];
  float d_weight[kPieces][N] = {};
  float d_bias[kPieces][N] = {};
  float d_delta[kPieces][N] = {};
  const float inverse = 1.0F / static_cast<float>(a.width);
  float normalized[N] = {};
  float gradient[N] = {};  // of the normalized value
  int turn = 0;
  // All threads of a block take as many turns, so that all come to every barrier.
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.y;
  for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * blockDim.y; first < a.rows;
       first += step) {
    const std::int64_t row = first + threadIdx.y;
    const std::int64_t begin = row * a.width;
    const bool is_row = row < a.rows;
    const float mean = is_row && a.has_mean ? a.mean[row] : 0.0F;
    const float rstd = is_row ? a.rstd[row] : 0.0F;
    const auto read = [&](std::int64_t column, float (&dy)[N]) {
      float weight[N];
      load(dy, static_cast<const T*>(a.dy) + begin + column);
      load(normalized, static_cast<const T*>(a.sum) + begin + column);
      load(weight, static_cast<const T*>(a.weight) + column);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        normalized[i] = (normalized[i] - mean) * rstd;
        gradient[i] = dy[i] * weight[i];
      }
    };
    float sums[2] = {0.0F, 0.0F};
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      const std::int64_t column = column_of<N>(p);
      if (!is_row || column >= a.width) continue;
      float dy[N];
      read(column, dy);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        d_weight[p][i] += dy[i] * normalized[i];
        d_bias[p][i] += dy[i];
        sums[0] += gradient[i];
        sums[1] += gradient[i] * normalized[i];
      }
    }
    sum_over_row(sums, scratch[turn]);
    turn ^= 1;
    const float shift = a.has_mean ? sums[0] * inverse : 0.0F;
    const float slope = sums[1] * inverse;
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      const std::int64_t column = column_of<N>(p);
      if (!is_row || column >= a.width) continue;
      // One piece is still in registers; several are read again, out of the caches.
      if constexpr (kPieces > 1) {
        float dy[N];
        read(column, dy);
      }
      float dx[N];
      float other[N] = {};
      if (a.d_residual != nullptr)
        load(other, static_cast<const T*>(a.d_residual) + begin + column);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        dx[i] = rstd * (gradient[i] - shift - normalized[i] * slope) + other[i];
        d_delta[p][i] += dx[i];
      }
      store(static_cast<T*>(a.d_sum) + begin + column, dx);
    }
  }
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
    const std::int64_t column = column_of<N>(p);
    leave_partial(a.weight_partial, d_weight[p], column, a.width, folded);
    leave_partial(a.bias_partial, d_bias[p], column, a.width, folded);
    leave_partial(a.delta_bias_partial, d_delta[p], column, a.width, folded);
  }
}

// How a block is divided: `x` threads for a row, `y` rows at a time.
dim3 block_shape(std::int64_t width, int elements, int pieces) {
  const std::int64_t threads = divide_up<std::int64_t>(width, elements * pieces);
  const auto columns = static_cast<unsigned>(divide_up<std::int64_t>(threads, kWarp) * kWarp);
  return {columns, kNormThreads / columns};
}

// What the widest rows are cut into.
constexpr std::int64_t kMaxWidth = 8192;
constexpr int kOddPieces = 4;

// Calls function(elements of a vector, pieces) with what suits rows of `width`.
template <typename T, typename Function>
void for_shape(std::int64_t width, bool vectors, Function&& function) {
  constexpr std::int64_t kWide = kVector<T>;
  if (!vectors) {
    function(Constant<1>{}, Constant<kOddPieces>{});
  } else if (width <= kNormThreads * kWide) {
    function(Constant<kWide>{}, Constant<1>{});
  } else {
    function(Constant<kWide>{}, Constant<kMaxWidth / (kNormThreads * kWide)>{});
  }
}

template <typename T>
bool uses_vectors(const AddNormLaunch& a) {
  return has_vectors<T>(a.width, a.residual, a.delta, a.delta_bias, a.weight, a.bias, a.sum,
                        a.normalized);
}
template <typename T>
bool uses_vectors(const AddNormBackwardLaunch& a) {
  return has_vectors<T>(a.width, a.dy, a.sum, a.weight, a.d_residual, a.d_sum);
}

template <typename Launch>
bool fits(const Launch& a) {
  bool result = false;
  for_type(a.type, [&]<typename T>(T) {
    result = a.width <= (uses_vectors<T>(a) ? kMaxWidth : kNormThreads * kOddPieces);
  });
  return result;
}

unsigned num_parts(std::int64_t rows, unsigned rows_at_a_time) {
  return static_cast<unsigned>(std::min(kMaxBlocks, divide_up<std::int64_t>(rows, rows_at_a_time)));
}

}  // namespace

bool norm_fits(const AddNormLaunch& a) {
  return fits(a);
}
bool norm_fits(const AddNormBackwardLaunch& a) {
  return fits(a);
}

void launch_add_norm(const AddNormLaunch& a, void* stream) {
  require(fits(a), "a row fits into the registers of a block");
  for_type(a.type, [&]<typename T>(T) {
    for_shape<T>(
        a.width, uses_vectors<T>(a), [&]<int N, int kPieces>(Constant<N>, Constant<kPieces>) {
          const dim3 block = block_shape(a.width, N, kPieces);
          const auto grid = static_cast<unsigned>(divide_up<std::int64_t>(a.rows, block.y));
          launch("add_norm", add_norm<T, N, kPieces>, {grid}, block, stream, a);
        });
  });
}

std::int64_t norm_parts(const AddNormBackwardLaunch& a) {
  std::int64_t parts = 0;
  for_type(a.type, [&]<typename T>(T) {
    for_shape<T>(a.width, uses_vectors<T>(a),
                 [&]<int N, int kPieces>(Constant<N>, Constant<kPieces>) {
                   parts = num_parts(a.rows, block_shape(a.width, N, kPieces).y);
                 });
  });
  return parts;
}

void launch_add_norm_backward(const AddNormBackwardLaunch& a, void* stream) {
  require(fits(a), "a row fits into the registers of a block");
  for_type(a.type, [&]<typename T>(T) {
    for_shape<T>(a.width, uses_vectors<T>(a),
                 [&]<int N, int kPieces>(Constant<N>, Constant<kPieces>) {
                   const dim3 block = block_shape(a.width, N, kPieces);
                   launch("add_norm_backward", add_norm_backward<T, N, kPieces>,
                          {num_parts(a.rows, block.y)}, block, stream, a);
                 });
  });
}

}  // namespace cuboid::detail
