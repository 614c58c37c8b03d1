#include "cuboid/checkpoint/save_plan.hpp"

#include <algorithm>
#include <functional>
#include <map>

#include "cuboid/base/error.hpp"
#include "cuboid/checkpoint/agreement.hpp"
#include "cuboid/checkpoint/digest.hpp"
#include "cuboid/checkpoint/wire.hpp"

namespace cuboid {
namespace {

struct Gathered {
  DType dtype;
  std::vector<std::int64_t> shape;
  std::vector<Portion> holders;  // without empty boxes
};

std::string describe(std::span<const TensorSlice> slices) {
  WireWriter writer;
  for (const TensorSlice& slice : slices) {
    require_valid(slice);
    writer.put(slice.name);
    writer.put(slice.dtype);
    writer.put(slice.shape);
    writer.put(slice.offset);
    // Also where it writes nothing: a tensor that no rank writes must not be left out in silence.
    writer.put(slice.writes ? slice.extent : std::vector<std::int64_t>(slice.extent.size(), 0));
  }
  return writer.bytes();
}

std::map<std::string, Gathered> read_descriptions(std::span<const std::string> descriptions) {
  std::map<std::string, Gathered> tensors;
  for (std::size_t rank = 0; rank < descriptions.size(); ++rank) {
    for (WireReader reader(descriptions[rank]); !reader.empty();) {
      std::string name;
      Gathered seen{};
      Box box;
      reader.get(name);
      reader.get(seen.dtype);
      reader.get(seen.shape);
      reader.get(box.offset);
      reader.get(box.extent);
      Gathered& tensor = tensors.try_emplace(name, seen).first->second;
      require(tensor.dtype == seen.dtype && tensor.shape == seen.shape,
              ("all ranks know tensor '" + name + "' with one dtype and shape").c_str());
      require(is_inside(box, tensor.shape), "a slice lies inside its tensor");
      if (volume(box.extent) > 0)
        tensor.holders.push_back({.rank = static_cast<int>(rank), .box = std::move(box)});
    }
  }
  return tensors;
}

// On rank 0: the list of tensors, as bytes.
std::string make_list(std::span<const std::string> descriptions) {
  WireWriter writer;
  for (const auto& [name, tensor] : read_descriptions(descriptions)) {
    std::vector<Box> boxes;
    for (const Portion& holder : tensor.holders) boxes.push_back(holder.box);
    const bool is_strided =
        !std::ranges::all_of(boxes, [&](const Box& box) { return is_one_run(box, tensor.shape); });
    require(tiles(std::move(boxes), tensor.shape),
            ("the slices of tensor '" + name + "' cover it exactly once").c_str());
    writer.put(name);
    writer.put(tensor.dtype);
    writer.put(tensor.shape);
    writer.put(is_strided ? tensor.holders.size() : 0);
    if (!is_strided) continue;
    for (const Portion& holder : tensor.holders) {
      writer.put(holder.rank);
      writer.put(holder.box.offset);
      writer.put(holder.box.extent);
    }
  }
  return writer.bytes();
}

SavePlan read_list(const std::string& list) {
  SavePlan plan;
  for (WireReader reader(list); !reader.empty();) {
    TensorInfo& tensor = plan.tensors.emplace_back();
    reader.get(tensor.name);
    reader.get(tensor.dtype);
    reader.get(tensor.shape);
    std::size_t num_holders = 0;
    reader.get(num_holders);
    for (Portion& holder : plan.holders.emplace_back(num_holders)) {
      reader.get(holder.rank);
      reader.get(holder.box.offset);
      reader.get(holder.box.extent);
    }
  }
  return plan;
}

// Tells this rank's holders where their elements lie: they come in the order of its slices.
void set_data(MPI_Comm comm, SavePlan& plan) {
  int rank = 0;
  check_mpi(MPI_Comm_rank(comm, &rank));
  for (std::size_t t = 0; t < plan.tensors.size(); ++t) {
    auto slice = plan.mine[t].begin();
    for (Portion& holder : plan.holders[t])
      if (holder.rank == rank) holder.data = static_cast<std::byte*>((*slice++)->data.data);
  }
}

// Each tensor's digest: the sums of all ranks' boxes, added up.
void add_digests(MPI_Comm comm, SavePlan& plan) {
  std::vector<std::uint64_t> sums(plan.tensors.size(), 0);
  for (std::size_t t = 0; t < sums.size(); ++t) {
    for (const TensorSlice* slice : plan.mine[t])
      sums[t] += digest_sum(slice->dtype, slice->shape, slice->box(), slice->data.data);
  }
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iallreduce(MPI_IN_PLACE, sums.data(), static_cast<int>(sums.size()), MPI_UINT64_T,
                           MPI_SUM, comm, &request));
  wait_patiently(request);
  for (std::size_t t = 0; t < sums.size(); ++t) {
    TensorInfo& info = plan.tensors[t];
    info.digest = finish_digest(info.dtype, info.shape, sums[t]);
  }
}

}  // namespace

SavePlan make_save_plan(MPI_Comm comm, std::span<const TensorSlice> slices) {
  std::string mine;
  together(comm, [&] { mine = describe(slices); });
  const auto descriptions = gather_texts(comm, mine);
  std::string list;
  together(comm, [&] { list = make_list(descriptions); });
  list = broadcast_text(comm, list);

  SavePlan plan = read_list(list);
  plan.mine.resize(plan.tensors.size());
  for (const TensorSlice& slice : slices) {
    if (!slice.writes || slice.data.count == 0) continue;
    const auto found =
        std::ranges::lower_bound(plan.tensors, slice.name, std::less<>(), &TensorInfo::name);
    plan.mine[static_cast<std::size_t>(found - plan.tensors.begin())].push_back(&slice);
  }
  set_data(comm, plan);
  add_digests(comm, plan);
  return plan;
}

}  // namespace cuboid
