#include "cuboid/trainer/state.hpp"

#include <array>
#include <cstddef>
#include <span>
#include <utility>

#include "cuboid/model/tensor_buffer.hpp"
#include "cuboid/trainer/host_copy.hpp"

namespace cuboid {
namespace {

// The tensors of one kind: their names' prefix, and the flat buffer that they are parts of.
using Group = std::pair<const char*, const at::Tensor*>;

Group parameters_of(const WeightStore& store) {
  return {"parameters/", &store.master()};
}

// Calls visit(prefix, flat, weight, part) for each tensor of the groups, in one order.
template <typename Visit>
void for_each_tensor(std::span<const Group> groups, const WeightStore& store, Visit&& visit) {
  for (const auto& [prefix, flat] : groups) {
    for (const auto& weight : store.weights()) {
      for (const LogicalParameter& part : weight->parts) visit(prefix, *flat, *weight, part);
    }
  }
}

template <typename Visit>
void for_each_tensor(const WeightStore& store, const AdamW& optimizer, Visit&& visit) {
  const std::array<Group, 3> groups = {{parameters_of(store),
                                        {"optimizer/exp_avg/", &optimizer.exp_avg()},
                                        {"optimizer/exp_avg_sq/", &optimizer.exp_avg_sq()}}};
  for_each_tensor(groups, store, std::forward<Visit>(visit));
}

TensorSlice slice_of(const char* prefix, const at::Tensor& local, const LogicalParameter& part) {
  return {.name = prefix + part.name,
          .dtype = dtype_of(local.scalar_type()),
          .shape = part.shape,
          .offset = part.local_offset(),
          .extent = part.local_shape(),
          .data = buffer_of(local)};
}

// Tensors that are smaller are written by one replica each: pieces of them would be too small.
constexpr std::size_t kSharedBytes = std::size_t{1} << 20;

// Calls visit(slice, tensor) for each tensor of the state with this rank's share of it, which may
// be empty; the tensor is on the device, the slice still lacks its data.
template <typename Visit>
void for_each_share(const WeightStore& store, const AdamW& optimizer, const Grid& grid,
                    Visit&& visit) {
  int turn = 0;
  for_each_tensor(
      store, optimizer,
      [&](const char* prefix, const at::Tensor& flat, const Weight& weight,
          const LogicalParameter& part) {
        const at::Tensor local = WeightStore::local_part(flat, weight, part);
        const TensorSlice mine = slice_of(prefix, local, part);
        const bool sharded = part.shard_dim >= 0;
        const int replicas = sharded ? grid.shape().dp : grid.shape().dp * grid.shape().tp;
        const int replica = sharded ? grid.at().dp : grid.at().dp * grid.shape().tp + grid.at().tp;
        const bool is_shared = mine.data.bytes() >= kSharedBytes;
        const bool is_my_turn = turn++ % replicas == replica;
        TensorSlice share = is_shared ? share_of(mine, replicas, replica) : mine;
        if (part.is_copy || (!is_shared && !is_my_turn)) {
          share.extent[0] = 0;
          share.data.count = 0;
        }
        const auto begin = static_cast<const std::byte*>(share.data.data) -
                           static_cast<const std::byte*>(mine.data.data);
        at::Tensor tensor = local.view({-1}).narrow(
            0, begin / static_cast<std::ptrdiff_t>(size_of(mine.dtype)), share.data.count);
        visit(std::move(share), std::move(tensor));
      });
}

}  // namespace

StateSlices state_slices(const WeightStore& store, const AdamW& optimizer, const Grid& grid) {
  StateSlices state;
  for_each_tensor(store, optimizer,
                  [&](const char* prefix, const at::Tensor& flat, const Weight& weight,
                      const LogicalParameter& part) {
                    state.host.push_back(WeightStore::local_part(flat, weight, part).cpu());
                    state.slices.push_back(slice_of(prefix, state.host.back(), part));
                    state.slices.back().writes = grid.at().dp == 0 && !part.is_copy &&
                                                 (part.shard_dim >= 0 || grid.at().tp == 0);
                  });
  return state;
}

StateSlices shares_to_save(const WeightStore& store, const AdamW& optimizer, const Grid& grid) {
  StateSlices state;
  for_each_share(store, optimizer, grid, [&](TensorSlice slice, const at::Tensor& tensor) {
    state.host.push_back(tensor.cpu());
    slice.data = buffer_of(state.host.back());
    state.slices.push_back(std::move(slice));
  });
  return state;
}

StateSlices copy_of_shares(const WeightStore& store, const AdamW& optimizer, const Grid& grid,
                           at::Tensor& memory) {
  std::int64_t total = 0;
  for_each_share(store, optimizer, grid,
                 [&](const TensorSlice& slice, const at::Tensor&) { total += slice.data.count; });
  if (!memory.defined() || memory.numel() < total) {
    memory = host_copy_of(store.master(), total);
  }
  StateSlices state;
  std::int64_t used = 0;
  for_each_share(store, optimizer, grid, [&](TensorSlice slice, const at::Tensor& tensor) {
    state.host.push_back(memory.narrow(0, used, slice.data.count));
    state.host.back().copy_(tensor);
    used += slice.data.count;
    slice.data = buffer_of(state.host.back());
    state.slices.push_back(std::move(slice));
  });
  return state;
}

namespace {

void restore(const at::Tensor& host, const at::Tensor& live) {
  if (!live.is_same(host) && live.data_ptr() != host.data_ptr()) live.copy_(host);
}

}  // namespace

void restore_state(const StateSlices& state, WeightStore& store, const AdamW& optimizer) {
  std::size_t next = 0;
  for_each_tensor(
      store, optimizer,
      [&](const char*, const at::Tensor& flat, const Weight& weight, const LogicalParameter& part) {
        restore(state.host.at(next++), WeightStore::local_part(flat, weight, part));
      });
  store.refresh_values();
}

StateSlices parameter_slices(const WeightStore& store) {
  StateSlices state;
  for_each_tensor(std::array{parameters_of(store)}, store,
                  [&](const char* prefix, const at::Tensor& flat, const Weight& weight,
                      const LogicalParameter& part) {
                    state.host.push_back(WeightStore::local_part(flat, weight, part).cpu());
                    state.slices.push_back(slice_of(prefix, state.host.back(), part));
                  });
  return state;
}

void restore_parameters(const StateSlices& state, WeightStore& store) {
  std::size_t next = 0;
  for_each_tensor(
      std::array{parameters_of(store)}, store,
      [&](const char*, const at::Tensor& flat, const Weight& weight, const LogicalParameter& part) {
        restore(state.host.at(next++), WeightStore::local_part(flat, weight, part));
      });
  store.refresh_values();
}

}  // namespace cuboid
