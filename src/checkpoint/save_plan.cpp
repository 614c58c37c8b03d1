#include "cuboid/checkpoint/save_plan.hpp"

#include <algorithm>
#include <map>

#include "cuboid/base/error.hpp"
#include "cuboid/checkpoint/agreement.hpp"
#include "cuboid/checkpoint/digest.hpp"
#include "cuboid/checkpoint/wire.hpp"
#include "cuboid/grid/grid.hpp"

namespace cuboid {
namespace {

struct Gathered {
  DType dtype;
  std::vector<std::int64_t> shape;
  std::vector<Box> boxes;
};

std::string describe(std::span<const TensorSlice> slices) {
  WireWriter writer;
  for (const TensorSlice& slice : slices) {
    require_valid(slice);
    if (!slice.writes) continue;
    writer.put(slice.name);
    writer.put(slice.dtype);
    writer.put(slice.shape);
    writer.put(slice.offset);
    writer.put(slice.extent);
  }
  return writer.bytes();
}

std::map<std::string, Gathered> read_descriptions(std::span<const std::string> descriptions) {
  std::map<std::string, Gathered> tensors;
  for (const auto& bytes : descriptions) {
    for (WireReader reader(bytes); !reader.empty();) {
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
      tensor.boxes.push_back(std::move(box));
    }
  }
  return tensors;
}

// On rank 0: the list of tensors, as bytes.
std::string make_list(std::span<const std::string> descriptions) {
  WireWriter writer;
  for (const auto& [name, tensor] : read_descriptions(descriptions)) {
    require(tiles(tensor.boxes, tensor.shape),
            ("the slices of tensor '" + name + "' cover it exactly once").c_str());
    const bool one_run_each = std::ranges::all_of(
        tensor.boxes, [&](const Box& box) { return is_one_run(box, tensor.shape); });
    writer.put(name);
    writer.put(tensor.dtype);
    writer.put(tensor.shape);
    writer.put(!one_run_each);
  }
  return writer.bytes();
}

// Each tensor's digest: the sums of all ranks' boxes, added up.
void add_digests(MPI_Comm comm, SavePlan& plan) {
  std::vector<std::uint64_t> sums(plan.tensors.size(), 0);
  for (std::size_t t = 0; t < sums.size(); ++t) {
    for (const TensorSlice* slice : plan.mine[t])
      sums[t] += digest_sum(slice->dtype, slice->shape, slice->box(), slice->data.data);
  }
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, sums.data(), static_cast<int>(sums.size()), MPI_UINT64_T,
                          MPI_SUM, comm));
  for (std::size_t t = 0; t < sums.size(); ++t) {
    TensorInfo& info = plan.tensors[t].info;
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

  SavePlan plan;
  std::map<std::string, std::size_t> places;
  for (WireReader reader(list); !reader.empty();) {
    PlannedTensor& tensor = plan.tensors.emplace_back();
    reader.get(tensor.info.name);
    reader.get(tensor.info.dtype);
    reader.get(tensor.info.shape);
    reader.get(tensor.is_strided);
    places.emplace(tensor.info.name, plan.tensors.size() - 1);
  }
  plan.mine.resize(plan.tensors.size());
  for (const TensorSlice& slice : slices) {
    if (slice.writes && slice.data.count > 0) plan.mine[places.at(slice.name)].push_back(&slice);
  }
  add_digests(comm, plan);
  return plan;
}

}  // namespace cuboid
