#include "cuboid/trainer/state.hpp"

#include <array>

#include "cuboid/model/tensor_buffer.hpp"

namespace cuboid {
namespace {

// Calls visit(prefix, flat, weight, part) for each tensor of the state, in one order.
template <typename Visit>
void for_each_tensor(const WeightStore& store, const AdamW& optimizer, Visit&& visit) {
  const std::array<std::pair<const char*, const at::Tensor*>, 3> groups = {
      {{"parameters/", &store.master()},
       {"optimizer/exp_avg/", &optimizer.exp_avg()},
       {"optimizer/exp_avg_sq/", &optimizer.exp_avg_sq()}}};
  for (const auto& [prefix, flat] : groups) {
    for (const auto& weight : store.weights()) {
      for (const LogicalParameter& part : weight->parts) visit(prefix, *flat, *weight, part);
    }
  }
}

}  // namespace

StateSlices state_slices(const WeightStore& store, const AdamW& optimizer, const Grid& grid) {
  StateSlices state;
  for_each_tensor(store, optimizer,
                  [&](const char* prefix, const at::Tensor& flat, const Weight& weight,
                      const LogicalParameter& part) {
                    // Replicas hold the same bits: one of them writes.
                    const bool writes = grid.at().dp == 0 && !part.is_copy &&
                                        (part.shard_dim >= 0 || grid.at().tp == 0);
                    state.host.push_back(WeightStore::local_part(flat, weight, part).cpu());
                    state.slices.push_back({.name = prefix + part.name,
                                            .dtype = dtype_of(flat.scalar_type()),
                                            .shape = part.shape,
                                            .offset = part.local_offset(),
                                            .extent = part.local_shape(),
                                            .data = buffer_of(state.host.back()),
                                            .writes = writes});
                  });
  return state;
}

void restore_state(const StateSlices& state, WeightStore& store, const AdamW& optimizer) {
  std::size_t next = 0;
  for_each_tensor(
      store, optimizer,
      [&](const char*, const at::Tensor& flat, const Weight& weight, const LogicalParameter& part) {
        const at::Tensor& host = state.host.at(next++);
        const at::Tensor live = WeightStore::local_part(flat, weight, part);
        if (!live.is_same(host) && live.data_ptr() != host.data_ptr()) live.copy_(host);
      });
  store.refresh_values();
}

}  // namespace cuboid
