#include "cuboid/checkpoint/load_plan.hpp"

#include <algorithm>
#include <set>

#include "cuboid/base/error.hpp"
#include "cuboid/checkpoint/agreement.hpp"
#include "cuboid/checkpoint/wire.hpp"

namespace cuboid {
namespace {

// Shorter runs cost a disk more than bringing them from another rank does.
constexpr std::int64_t kShortRunBytes = std::int64_t{1} << 20;

// The tensor's place in the list, or its size.
std::size_t place_of(std::span<const TensorInfo> tensors, const std::string& name) {
  const auto found = std::ranges::lower_bound(tensors, name, {}, &TensorInfo::name);
  if (found == tensors.end() || found->name != name) return tensors.size();
  return static_cast<std::size_t>(found - tensors.begin());
}

std::string kind_of(DType dtype, std::span<const std::int64_t> shape) {
  return std::string(name_of(dtype)) + " " + to_string(shape);
}

std::string group_of(const std::string& name) {
  const std::size_t slash = name.rfind('/');
  return slash == std::string::npos ? "" : name.substr(0, slash);
}

// Throws UsageError with every slice that the file cannot fill.
void compare(const std::string& path, std::span<const TensorInfo> tensors,
             std::span<const TensorSlice> slices) {
  std::vector<std::string> problems;
  for (const TensorSlice& slice : slices) {
    require_valid(slice);
    const std::string start = "checkpoint '" + path + "': tensor '" + slice.name + "' is ";
    const std::string wanted = kind_of(slice.dtype, slice.shape) + " is wanted";
    const std::size_t t = place_of(tensors, slice.name);
    if (t == tensors.size()) {
      problems.push_back(start + "not in the file; " + wanted);
    } else if (tensors[t].shape != slice.shape || tensors[t].dtype != slice.dtype) {
      problems.push_back(start + kind_of(tensors[t].dtype, tensors[t].shape) + " in the file; " +
                         wanted);
    }
  }
  if (!problems.empty()) throw UsageError(problems);
}

std::string describe(std::span<const TensorInfo> tensors, std::span<const TensorSlice> slices) {
  WireWriter writer;
  for (const TensorSlice& slice : slices) {
    writer.put(place_of(tensors, slice.name));
    writer.put(slice.offset);
    writer.put(slice.extent);
  }
  return writer.bytes();
}

// What all ranks want, by tensor.
struct Wants {
  std::vector<bool> is_wanted;  // also where only empty boxes are
  std::vector<std::vector<Portion>> holders;
};

Wants read_descriptions(std::span<const std::string> descriptions, std::size_t num_tensors) {
  Wants wants{std::vector<bool>(num_tensors), std::vector<std::vector<Portion>>(num_tensors)};
  for (std::size_t rank = 0; rank < descriptions.size(); ++rank) {
    for (WireReader reader(descriptions[rank]); !reader.empty();) {
      std::size_t tensor = 0;
      Portion holder;
      holder.rank = static_cast<int>(rank);
      reader.get(tensor);
      reader.get(holder.box.offset);
      reader.get(holder.box.extent);
      wants.is_wanted[tensor] = true;
      if (volume(holder.box.extent) > 0) wants.holders[tensor].push_back(std::move(holder));
    }
  }
  return wants;
}

// Throws UsageError where a group is wanted in part: what would be left over.
void check_left_over(const std::string& path, std::span<const TensorInfo> tensors,
                     const std::vector<bool>& is_wanted) {
  std::set<std::string> groups;
  for (std::size_t t = 0; t < tensors.size(); ++t)
    if (is_wanted[t]) groups.insert(group_of(tensors[t].name));
  std::vector<std::string> problems;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    if (!is_wanted[t] && groups.contains(group_of(tensors[t].name)))
      problems.push_back("checkpoint '" + path + "': tensor '" + tensors[t].name + "' is " +
                         kind_of(tensors[t].dtype, tensors[t].shape) +
                         " in the file; no such tensor is wanted");
  }
  if (!problems.empty()) throw UsageError(problems);
}

bool has_short_runs(const TensorInfo& tensor, const Box& box) {
  if (is_one_run(box, tensor.shape)) return false;
  std::int64_t elements = 1;
  for (std::size_t d = tensor.shape.size(); d-- > 0;) {
    elements *= box.extent[d];
    if (box.extent[d] != tensor.shape[d]) break;
  }
  return elements * static_cast<std::int64_t>(size_of(tensor.dtype)) < kShortRunBytes;
}

bool is_traded(const TensorInfo& tensor, std::span<const Portion> holders) {
  const auto is_by_first = [&](const Portion& p) { return p.rank == holders.front().rank; };
  if (std::ranges::all_of(holders, is_by_first)) return false;
  std::int64_t elements = 0;
  for (const Portion& holder : holders) {
    if (has_short_runs(tensor, holder.box)) return true;
    elements += volume(holder.box.extent);
  }
  return elements > volume(tensor.shape);  // some are wanted twice
}

// The holders of tensors that are traded, as bytes.
std::string make_list(std::span<const TensorInfo> tensors, const Wants& wants) {
  WireWriter writer;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    const auto& holders = wants.holders[t];
    const bool trades = is_traded(tensors[t], holders);
    writer.put(trades ? holders.size() : 0);
    if (!trades) continue;
    for (const Portion& holder : holders) {
      writer.put(holder.rank);
      writer.put(holder.box.offset);
      writer.put(holder.box.extent);
    }
  }
  return writer.bytes();
}

}  // namespace

LoadPlan make_load_plan(MPI_Comm comm, const std::string& path, std::vector<TensorInfo> tensors,
                        std::span<const TensorSlice> slices) {
  int rank = 0;
  check_mpi(MPI_Comm_rank(comm, &rank));
  together(comm, [&] { compare(path, tensors, slices); });
  const auto descriptions = gather_texts(comm, describe(tensors, slices));
  std::string list;
  together(comm, [&] {
    if (rank != 0) return;
    const Wants wants = read_descriptions(descriptions, tensors.size());
    check_left_over(path, tensors, wants.is_wanted);
    list = make_list(tensors, wants);
  });
  list = broadcast_text(comm, list);

  LoadPlan plan{.tensors = std::move(tensors), .holders = {}, .mine = {}};
  plan.mine.resize(plan.tensors.size());
  for (std::size_t s = 0; s < slices.size(); ++s)
    if (slices[s].data.count > 0) plan.mine[place_of(plan.tensors, slices[s].name)].push_back(s);
  WireReader reader(list);
  for (const auto& mine : plan.mine) {
    std::size_t num_holders = 0;
    reader.get(num_holders);
    auto slice = mine.begin();
    for (Portion& holder : plan.holders.emplace_back(num_holders)) {
      reader.get(holder.rank);
      reader.get(holder.box.offset);
      reader.get(holder.box.extent);
      // They come in the order of this rank's slices.
      if (holder.rank == rank) holder.data = static_cast<std::byte*>(slices[*slice++].data.data);
    }
  }
  return plan;
}

}  // namespace cuboid
