// Embedding and cross entropy.
#include "device.hpp"
#include "vocabulary_launch.hpp"

namespace cuboid::detail {
namespace {

using namespace device;

// ---- Cross entropy: a block for each row of logits ---------------------------------------------

constexpr int kRowThreads = 512;
constexpr int kRowBatch = 4;  // vectors whose loads a thread has under way

// The maximum of some numbers and the sum of their e^(x - maximum).
struct OnlineSum {
  float maximum = -INFINITY;
  float sum = 0.0F;

  // Not of two infinite maxima, whose difference is not a number.
  __device__ void rescale_to(float higher) {
    if (higher != maximum) sum *= fast_exp(maximum - higher);
    maximum = higher;
  }
  __device__ void add(OnlineSum other) {
    const float higher = fmaxf(maximum, other.maximum);
    rescale_to(higher);
    other.rescale_to(higher);
    sum += other.sum;
  }
};

__device__ OnlineSum warp_total(OnlineSum mine) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    OnlineSum other;
    other.maximum = __shfl_xor_sync(0xFFFFFFFFU, mine.maximum, distance);
    other.sum = __shfl_xor_sync(0xFFFFFFFFU, mine.sum, distance);
    mine.add(other);
  }
  return mine;
}

// The target's column here, or -1 where it is another rank's.
__device__ std::int64_t local_target(const CrossEntropyLaunch& a, std::int64_t row) {
  const std::int64_t column = a.targets[row] - a.first;
  return column >= 0 && column < a.columns ? column : -1;
}

// Of the row's columns, by one read of them; every thread of the block gets it.
template <typename T, int N>
__device__ OnlineSum row_total(const CrossEntropyLaunch& a, const T* logits) {
  __shared__ float maxima[kRowThreads / kWarp];
  __shared__ float sums[kRowThreads / kWarp];
  OnlineSum mine;
  constexpr std::int64_t kStep = kRowThreads * N;
  for (std::int64_t first = threadIdx.x * std::int64_t{N}; first < a.columns;
       first += kStep * kRowBatch) {
    float x[kRowBatch][N];
    float highest = mine.maximum;
#pragma unroll
    for (int b = 0; b < kRowBatch; ++b) {
      const std::int64_t column = first + b * kStep;
      if (column < a.columns) load(x[b], logits + column);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        if (column + i >= a.columns) x[b][i] = -INFINITY;
      }
    }
#pragma unroll
    for (int b = 0; b < kRowBatch; ++b) {
#pragma unroll
      for (int i = 0; i < N; ++i) highest = fmaxf(highest, x[b][i]);
    }
    mine.rescale_to(highest);
    // Nothing but -infinity so far: e^(x - maximum) would not be a number.
    const float shift = highest == -INFINITY ? 0.0F : highest;
#pragma unroll
    for (int b = 0; b < kRowBatch; ++b) {
#pragma unroll
      for (int i = 0; i < N; ++i) mine.sum += fast_exp(x[b][i] - shift);
    }
  }
  mine = warp_total(mine);
  if (threadIdx.x % kWarp == 0) {
    maxima[threadIdx.x / kWarp] = mine.maximum;
    sums[threadIdx.x / kWarp] = mine.sum;
  }
  __syncthreads();
  mine = {maxima[0], sums[0]};
  for (int warp = 1; warp < kRowThreads / kWarp; ++warp) mine.add({maxima[warp], sums[warp]});
  return mine;
}

// logits = (exp(logit - maximum) / sum - is_target) * scale, and 0 in the padding.
template <typename T, int N>
__device__ void make_gradient(const CrossEntropyLaunch& a, T* logits, std::int64_t target,
                              OnlineSum total) {
  const auto scale = static_cast<float>(a.scale);
  const float factor = scale / total.sum;
  constexpr std::int64_t kStep = kRowThreads * N;
  for (std::int64_t first = threadIdx.x * std::int64_t{N}; first < a.pitch;
       first += kStep * kRowBatch) {
    float x[kRowBatch][N];
#pragma unroll
    for (int b = 0; b < kRowBatch; ++b) {
      const std::int64_t column = first + b * kStep;
      if (column < a.pitch) load(x[b], logits + column);
    }
#pragma unroll
    for (int b = 0; b < kRowBatch; ++b) {
      const std::int64_t column = first + b * kStep;
      if (column >= a.pitch) break;
#pragma unroll
      for (int i = 0; i < N; ++i) {
        x[b][i] = column + i < a.columns ? fast_exp(x[b][i] - total.maximum) * factor : 0.0F;
        if (column + i == target) x[b][i] -= scale;
      }
      store(logits + column, x[b]);
    }
  }
}

template <typename T>
__device__ T* row_of(const CrossEntropyLaunch& a) {
  return static_cast<T*>(a.logits) + blockIdx.x * a.pitch;
}

template <typename T, int N>
__global__ void __launch_bounds__(kRowThreads) cross_entropy_rows(CrossEntropyLaunch a) {
  const T* logits = row_of<T>(a);
  const OnlineSum total = row_total<T, N>(a, logits);
  if (threadIdx.x != 0) return;
  const std::int64_t target = local_target(a, blockIdx.x);
  a.maximum[blockIdx.x] = total.maximum;
  a.sum[blockIdx.x] = total.sum;
  a.target_logit[blockIdx.x] = target < 0 ? 0.0F : widen(logits[target]);
}

template <typename T, int N>
__global__ void __launch_bounds__(kRowThreads) cross_entropy_gradient(CrossEntropyLaunch a) {
  OnlineSum total;
  total.maximum = a.maximum[blockIdx.x];
  total.sum = a.sum[blockIdx.x];
  make_gradient<T, N>(a, row_of<T>(a), local_target(a, blockIdx.x), total);
}

// Loss and gradient; the second look at a row finds it in the caches.
template <typename T, int N>
__global__ void __launch_bounds__(kRowThreads) cross_entropy(CrossEntropyLaunch a) {
  T* logits = row_of<T>(a);
  const OnlineSum total = row_total<T, N>(a, logits);
  const std::int64_t target = local_target(a, blockIdx.x);
  if (threadIdx.x == 0) {
    const double logit = target < 0 ? 0.0 : static_cast<double>(widen(logits[target]));
    a.losses[blockIdx.x] =
        log(static_cast<double>(total.sum)) + static_cast<double>(total.maximum) - logit;
  }
  if (a.scale == 0.0) return;
  __syncthreads();  // the target's logit has been read
  make_gradient<T, N>(a, logits, target, total);
}

// ---- Embedding: a warp for each row ------------------------------------------------------------

constexpr int kWarps = 8;
constexpr dim3 kWarpsBlock = {kWarp, kWarps};
constexpr int kBatch = 4;

template <typename T, int N>
__global__ void __launch_bounds__(kWarp* kWarps) embed(EmbeddingLaunch a) {
  const std::int64_t token = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.y;
  if (token >= a.tokens) return;
  const std::int64_t row = a.ids[token] - a.first;
  const bool is_here = row >= 0 && row < a.num_rows;
  const T* weight = static_cast<const T*>(a.weight) + row * a.width;
  const T* position = static_cast<const T*>(a.positions);
  if (position != nullptr) position += token % a.seq_length * a.width;
  T* y = static_cast<T*>(a.y) + token * a.width;
  for (std::int64_t column = threadIdx.x * std::int64_t{N}; column < a.width; column += kWarp * N) {
    float x[N] = {};
    float other[N];
    if (is_here) load(x, weight + column);
    if (position != nullptr) {
      load(other, position + column);
#pragma unroll
      for (int i = 0; i < N; ++i) x[i] += other[i];
    }
    store(y + column, x);
  }
}

// The warp at the first of equal ids adds up the rows of all of them, and nobody else writes there.
template <typename T, int N>
__global__ void __launch_bounds__(kWarp* kWarps) add_rows(AddRowsLaunch a) {
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.y;
  const std::int64_t column = (static_cast<std::int64_t>(blockIdx.y) * kWarp + threadIdx.x) * N;
  if (first >= a.tokens || column >= a.width) return;
  const std::int64_t id = a.ids[first];
  const std::int64_t row = id - a.first;
  if (row < 0 || row >= a.num_rows || (first > 0 && a.ids[first - 1] == id)) return;
  float sum[N] = {};
  for (std::int64_t i = first; i < a.tokens && a.ids[i] == id; i += kBatch) {
    float dy[kBatch][N] = {};
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (i + b < a.tokens && a.ids[i + b] == id)
        load(dy[b], static_cast<const T*>(a.dy) + a.order[i + b] * a.width + column);
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
#pragma unroll
      for (int k = 0; k < N; ++k) sum[k] += dy[b][k];
    }
  }
  float* gradient = a.gradient + row * a.width + column;
#pragma unroll
  for (int k = 0; k < N; ++k) gradient[k] += sum[k];
}

template <typename T, int N>
__global__ void __launch_bounds__(kWarp* kWarps) add_positions(AddPositionsLaunch a) {
  const std::int64_t position = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.y;
  const std::int64_t column = (static_cast<std::int64_t>(blockIdx.y) * kWarp + threadIdx.x) * N;
  if (position >= a.seq_length || column >= a.width) return;
  const std::int64_t at = position * a.width + column;
  const T* dy = static_cast<const T*>(a.dy) + at;
  float sum[N] = {};
#pragma unroll 4
  for (std::int64_t sequence = 0; sequence < a.sequences; ++sequence) {
    float x[N];
    load(x, dy + sequence * a.seq_length * a.width);
#pragma unroll
    for (int k = 0; k < N; ++k) sum[k] += x[k];
  }
#pragma unroll
  for (int k = 0; k < N; ++k)
    a.gradient[at + k] = a.accumulate ? a.gradient[at + k] + sum[k] : sum[k];
}

unsigned count_of(std::int64_t items, std::int64_t each) {
  return static_cast<unsigned>(divide_up(items, each));
}

}  // namespace

void launch_cross_entropy_rows(const CrossEntropyLaunch& a, void* stream) {
  for_type(a.type, [&]<typename T>(T) {
    for_vector<T>(has_vectors<T>(a.pitch, a.logits), [&]<int N>(Constant<N>) {
      launch("cross_entropy_rows", cross_entropy_rows<T, N>, {count_of(a.rows, 1)}, {kRowThreads},
             stream, a);
    });
  });
}

void launch_cross_entropy_gradient(const CrossEntropyLaunch& a, void* stream) {
  for_type(a.type, [&]<typename T>(T) {
    for_vector<T>(has_vectors<T>(a.pitch, a.logits), [&]<int N>(Constant<N>) {
      launch("cross_entropy_gradient", cross_entropy_gradient<T, N>, {count_of(a.rows, 1)},
             {kRowThreads}, stream, a);
    });
  });
}

void launch_cross_entropy(const CrossEntropyLaunch& a, void* stream) {
  for_type(a.type, [&]<typename T>(T) {
    for_vector<T>(has_vectors<T>(a.pitch, a.logits), [&]<int N>(Constant<N>) {
      launch("cross_entropy", cross_entropy<T, N>, {count_of(a.rows, 1)}, {kRowThreads}, stream, a);
    });
  });
}

void launch_embedding(const EmbeddingLaunch& a, void* stream) {
  for_type(a.type, [&]<typename T>(T) {
    for_vector<T>(has_vectors<T>(a.width, a.weight, a.positions, a.y), [&]<int N>(Constant<N>) {
      launch("embedding", embed<T, N>, {count_of(a.tokens, kWarps)}, kWarpsBlock, stream, a);
    });
  });
}

void launch_add_rows(const AddRowsLaunch& a, void* stream) {
  for_type(a.type, [&]<typename T>(T) {
    for_vector<T>(has_vectors<T>(a.width, a.dy), [&]<int N>(Constant<N>) {
      launch("add_rows", add_rows<T, N>, {count_of(a.tokens, kWarps), count_of(a.width, kWarp * N)},
             kWarpsBlock, stream, a);
    });
  });
}

void launch_add_positions(const AddPositionsLaunch& a, void* stream) {
  for_type(a.type, [&]<typename T>(T) {
    for_vector<T>(has_vectors<T>(a.width, a.dy), [&]<int N>(Constant<N>) {
      launch("add_positions", add_positions<T, N>,
             {count_of(a.seq_length, kWarps), count_of(a.width, kWarp * N)}, kWarpsBlock, stream,
             a);
    });
  });
}

}  // namespace cuboid::detail
