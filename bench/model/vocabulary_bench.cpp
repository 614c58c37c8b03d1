// The vocabulary-parallel ends, divided over all ranks as TP, communication included. Limit: copies
// of as many bytes. Bytes, what must move at least:
//   embedding/forward   a row read and written for each token
//   embedding/backward  dy read, the gradient's row read and written for each token
//   cross_entropy       logits read once, their gradient written once
#include "../harness/measure.hpp"
#include "cuboid/model/cross_entropy.hpp"
#include "cuboid/model/embedding.hpp"
#include "cuboid/model/tensor_buffer.hpp"
#include "shapes.hpp"

namespace cuboid::harness {
namespace {

void embed(benchmark::State& state, const Shape& shape, bool backward, at::ScalarType type) {
  const double weights = static_cast<double>(shape.model.vocab_size + shape.model.seq_length) *
                         static_cast<double>(shape.model.hidden_size);
  if (!fits(state, 10.0 * weights / (backward ? 1 : world().size()))) return;
  WeightStore store;
  Embedding embedding(store, world().communicator(), shape.model);
  store.allocate(type, world().processor().device, 1);
  const at::Tensor tokens = random_tokens(shape.tokens(), shape.model.vocab_size);
  world().communicator().broadcast(buffer_of(tokens), 0);
  const at::Tensor dy = random_tensor({shape.tokens(), shape.model.hidden_size}, type);
  const Times times = measure(state, {.action = [&] {
                                if (backward)
                                  embedding.backward(dy, tokens);
                                else
                                  benchmark::DoNotOptimize(embedding.forward(tokens));
                              }});
  const auto values = static_cast<double>(dy.numel());
  const auto width = static_cast<double>(dy.element_size());
  const double bytes = backward ? values * (width + 8) : values * 2 * width;
  set_rate(state, times, "bytes", bytes, copy_limit(bytes));
}

void cross_entropy(benchmark::State& state, const Shape& shape, at::ScalarType type) {
  Communicator& tp = world().communicator();
  const auto shard = vocabulary_shard(shape.model.vocab_size, tp.size(), tp.rank());
  if (!fits(state, 12.0 * static_cast<double>(shape.tokens() * shard.num_rows))) return;
  const at::Tensor logits = random_tensor({shape.tokens(), shard.num_rows}, type);
  const at::Tensor targets = random_tokens(shape.tokens(), shape.model.vocab_size);
  tp.broadcast(buffer_of(targets), 0);
  const Times times =
      measure(state, {.action = [&] {
                benchmark::DoNotOptimize(CrossEntropy::compute(logits, targets, shard, tp, 1.0));
              }});
  const double bytes = 2.0 * static_cast<double>(logits.element_size() * shape.tokens()) *
                       static_cast<double>(shape.model.vocab_size);
  set_rate(state, times, "bytes", bytes, copy_limit(bytes));
}

void register_all() {
  for (const Shape& shape : shapes()) {
    for (const auto& [type, type_name] : types())
      for (const bool backward : {false, true})
        add("embedding/" + shape.name + (backward ? "/backward/" : "/forward/") + type_name,
            [&shape, backward, type](benchmark::State& state) {
              embed(state, shape, backward, type);
            });
    for (const auto& [type, type_name] : types())
      add("cross_entropy/" + shape.name + "/" + type_name,
          [&shape, type](benchmark::State& state) { cross_entropy(state, shape, type); });
  }
}
const Registration kRegistration(register_all);

}  // namespace
}  // namespace cuboid::harness
