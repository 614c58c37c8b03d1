#include "cuboid/model/dropout.hpp"

#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/BFloat16.h>

#include <algorithm>

#include "cuboid/base/error.hpp"
#include "cuboid/base/philox.hpp"

namespace cuboid {
namespace {

template <typename T>
void drop_on_host(T* x, const detail::DropoutLaunch& launch) {
  const std::int64_t per_sequence = launch.elements_per_sequence;
  using W = at::opmath_type<T>;  // bf16 is scaled in fp32 and rounded once, as on GPUs
  const auto scale = static_cast<W>(launch.scale);
  constexpr std::int64_t kChunk = 4096;  // a multiple of 4: chunks share no Philox block
  const std::int64_t chunks = (per_sequence + kChunk - 1) / kChunk;
  at::parallel_for(0, launch.num_sequences * chunks, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t piece = begin; piece < end; ++piece) {
      const std::int64_t sequence = piece / chunks;
      const std::int64_t first = piece % chunks * kChunk;
      const std::int64_t last = std::min(per_sequence, first + kChunk);
      const std::uint64_t stream = detail::dropout_stream(launch.key, sequence);
      T* row = x + sequence * per_sequence;
      for (std::int64_t block = first; block < last; block += 4) {
        const PhiloxBlock random =
            philox(launch.key.seed, stream, static_cast<std::uint64_t>(block / 4));
        const std::int64_t lanes = std::min<std::int64_t>(4, last - block);
        for (std::int64_t lane = 0; lane < lanes; ++lane) {
          T& value = row[block + lane];
          value = random.word[lane] < launch.threshold
                      ? T(0)
                      : static_cast<T>(static_cast<W>(value) * scale);
        }
      }
    }
  });
}

}  // namespace

void apply_dropout_(const at::Tensor& x, double probability, std::int64_t seq_length,
                    const DropoutKey& key) {
  if (probability <= 0.0 || x.numel() == 0) return;
  require(x.is_contiguous() && x.dim() == 2 && x.size(0) % seq_length == 0,
          "dropout of whole rows");
  const detail::DropoutLaunch launch{
      .num_sequences = x.size(0) / seq_length,
      .elements_per_sequence = seq_length * x.size(1),
      .threshold = static_cast<std::uint32_t>(probability * 4294967296.0),
      .scale = static_cast<float>(1.0 / (1.0 - probability)),
      .key = key};
  const at::ScalarType type = x.scalar_type();
  if (x.is_cuda()) {
    require(type == at::kFloat || type == at::kBFloat16, "dropout on the device is fp32 or bf16");
    void* stream = c10::cuda::getCurrentCUDAStream(x.get_device()).stream();
    type == at::kFloat ? detail::launch_dropout(x.mutable_data_ptr<float>(), launch, stream)
                       : detail::launch_dropout_bf16(x.mutable_data_ptr(), launch, stream);
  } else if (type == at::kFloat) {
    drop_on_host(x.mutable_data_ptr<float>(), launch);
  } else if (type == at::kDouble) {
    drop_on_host(x.mutable_data_ptr<double>(), launch);
  } else {
    drop_on_host(x.mutable_data_ptr<c10::BFloat16>(), launch);
  }
}

}  // namespace cuboid
