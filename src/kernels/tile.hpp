// How element-wise kernels share out a tensor [rows, width]: a block takes 32 vectors of columns
// and a chunk of rows. A thread keeps its columns, so it reads a bias once and adds up columns in
// its registers; it starts the loads of several rows before it uses the first.
#pragma once

#include "column_sums_launch.hpp"
#include "device.hpp"

namespace cuboid::device {

inline constexpr int kTileRows = 8;   // of threads
inline constexpr int kTileBatch = 2;  // rows whose loads a thread has under way
inline constexpr int kTileThreads = kWarp * kTileRows;
inline constexpr dim3 kTileBlock = {kWarp, kTileRows};

template <int N>
dim3 tile_grid(std::int64_t rows, std::int64_t width) {
  return {static_cast<unsigned>(divide_up<std::int64_t>(width, kWarp * N)),
          static_cast<unsigned>(detail::num_chunks(rows))};
}

// This thread's part of the tensor.
template <int N>
struct Tile {
  std::int64_t width;
  std::int64_t column = (static_cast<std::int64_t>(blockIdx.x) * kWarp + threadIdx.x) * N;
  std::int64_t begin, end;  // of the rows

  __device__ Tile(std::int64_t rows, std::int64_t columns) : width(columns) {
    const std::int64_t chunk = detail::rows_of_chunk(rows);
    begin = static_cast<std::int64_t>(blockIdx.y) * chunk + threadIdx.y;
    end = std::int64_t{blockIdx.y + 1} * chunk;
    end = end < rows ? end : rows;
    if (column >= width) end = begin;  // nothing to do, but barriers to come to
  }

  // body(row, b) for the rows of a batch that begins at `first`; b counts from 0.
  template <typename Body>
  __device__ void for_batch(std::int64_t first, Body&& body) const {
#pragma unroll
    for (int b = 0; b < kTileBatch; ++b) {
      const std::int64_t row = first + b * kTileRows;
      if (row < end) body(row, b);
    }
  }
  // body(first) for each batch.
  template <typename Body>
  __device__ void for_batches(Body&& body) const {
    for (std::int64_t first = begin; first < end; first += kTileBatch * kTileRows) body(first);
  }

  // partial [chunks, width]: the sums of the block's rows of threads, added up in their order.
  // `folded`: shared memory [kTileThreads * N]. For all threads of a block together.
  __device__ void leave_partial(float* partial, const float (&sums)[N], float* folded) const {
    if (partial == nullptr) return;
    const int lane = static_cast<int>(threadIdx.x);
#pragma unroll
    for (int i = 0; i < N; ++i)
      folded[i * kTileThreads + static_cast<int>(threadIdx.y) * kWarp + lane] = sums[i];
    __syncthreads();
    if (threadIdx.y != 0 || column >= width) return;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      float sum = 0.0F;
      for (int y = 0; y < kTileRows; ++y) sum += folded[i * kTileThreads + y * kWarp + lane];
      partial[static_cast<std::int64_t>(blockIdx.y) * width + column + i] = sum;
    }
  }
};

}  // namespace cuboid::device
