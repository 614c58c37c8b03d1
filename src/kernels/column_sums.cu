// Sums over the rows of a tensor, in a fixed order.
#include "column_sums_launch.hpp"
#include "tile.hpp"

namespace cuboid::detail {
namespace {

using namespace device;

constexpr int kColumns = kWarp;
constexpr int kRows = 16;

struct AddPartialsLaunch {
  PartialSums sums[3];
  std::int64_t parts, width;
};

// One column for each x; the y add up every kRows-th part, and then their sums are added in order.
__global__ void __launch_bounds__(kColumns* kRows) add_partials(AddPartialsLaunch a) {
  __shared__ float folded[kRows][kColumns];
  const PartialSums& it = a.sums[blockIdx.y];
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * kColumns + threadIdx.x;
  float sum = 0.0F;
  if (column < a.width && it.partial != nullptr) {
    for (std::int64_t part = threadIdx.y; part < a.parts; part += kRows)
      sum += it.partial[part * a.width + column];
  }
  folded[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= a.width || it.partial == nullptr) return;
  for (int y = 1; y < kRows; ++y) sum += folded[y][threadIdx.x];
  it.target[column] = it.accumulate ? it.target[column] + sum : sum;
}

template <typename T, int N>
__global__ void __launch_bounds__(kTileThreads)
    column_sums(const T* x, std::int64_t rows, std::int64_t width, float* partial) {
  __shared__ float folded[kTileThreads * N];
  const Tile<N> tile(rows, width);
  float sums[N] = {};
  tile.for_batches([&](std::int64_t first) {
    float values[kTileBatch][N] = {};
    tile.for_batch(
        first, [&](std::int64_t row, int b) { load(values[b], x + row * width + tile.column); });
    tile.for_batch(first, [&](std::int64_t, int b) {
#pragma unroll
      for (int i = 0; i < N; ++i) sums[i] += values[b][i];
    });
  });
  tile.leave_partial(partial, sums, folded);
}

}  // namespace

void launch_add_partials(const PartialSums (&sums)[3], std::int64_t parts, std::int64_t width,
                         void* stream) {
  const AddPartialsLaunch a{{sums[0], sums[1], sums[2]}, parts, width};
  const auto grid = static_cast<unsigned>(divide_up<std::int64_t>(width, kColumns));
  launch("add_partials", add_partials, {grid, 3}, {kColumns, kRows}, stream, a);
}

void launch_column_sums(DType type, const void* x, std::int64_t rows, std::int64_t width,
                        float* partial, void* stream) {
  for_type(type, [&]<typename T>(T) {
    for_vector<T>(has_vectors<T>(width, x), [&]<int N>(Constant<N>) {
      launch("column_sums", column_sums<T, N>, tile_grid<N>(rows, width), kTileBlock, stream,
             static_cast<const T*>(x), rows, width, partial);
    });
  });
}

}  // namespace cuboid::detail
