#include "cuboid/checkpoint/load.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "cuboid/base/text.hpp"
#include "cuboid/checkpoint/agreement.hpp"
#include "cuboid/checkpoint/damage.hpp"
#include "cuboid/checkpoint/digest.hpp"
#include "cuboid/checkpoint/reader.hpp"
#include "cuboid/checkpoint/wire.hpp"
#include "cuboid/grid/grid.hpp"

namespace cuboid {
namespace {

void put_pairs(WireWriter& writer, const TextPairs& pairs) {
  writer.put(pairs.size());
  for (const auto& [key, value] : pairs) {
    writer.put(key);
    writer.put(value);
  }
}

void get_pairs(WireReader& reader, TextPairs& pairs) {
  std::size_t size = 0;
  reader.get(size);
  pairs.resize(size);
  for (auto& [key, value] : pairs) {
    reader.get(key);
    reader.get(value);
  }
}

// What rank 0 tells the others about the file: all but the history.
std::string contents_of(const CheckpointReader& reader) {
  WireWriter writer;
  const Metadata& m = reader.metadata();
  writer.put(m.step);
  writer.put(m.consumed_samples);
  writer.put(m.tokens);
  writer.put(m.seed);
  writer.put(m.sample_digest);
  writer.put(m.grid);
  writer.put(m.time);
  writer.put(m.hostname);
  writer.put(m.ranks);
  for (const TextPairs* pairs : {&m.options, &m.state, &m.versions}) put_pairs(writer, *pairs);
  writer.put(reader.tensors().size());
  for (const TensorInfo& tensor : reader.tensors()) {
    writer.put(tensor.name);
    writer.put(tensor.dtype);
    writer.put(tensor.shape);
    writer.put(tensor.digest);
  }
  return writer.bytes();
}

void read_contents(const std::string& bytes, Metadata& m, std::vector<TensorInfo>& tensors) {
  WireReader reader(bytes);
  reader.get(m.step);
  reader.get(m.consumed_samples);
  reader.get(m.tokens);
  reader.get(m.seed);
  reader.get(m.sample_digest);
  reader.get(m.grid);
  reader.get(m.time);
  reader.get(m.hostname);
  reader.get(m.ranks);
  for (TextPairs* pairs : {&m.options, &m.state, &m.versions}) get_pairs(reader, *pairs);
  std::size_t count = 0;
  reader.get(count);
  tensors.resize(count);
  for (TensorInfo& tensor : tensors) {
    reader.get(tensor.name);
    reader.get(tensor.dtype);
    reader.get(tensor.shape);
    reader.get(tensor.digest);
  }
}

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

// Collective. Throws UsageError where a group is wanted in part: what would be left over.
void check_left_over(const std::string& path, MPI_Comm comm, std::span<const TensorInfo> tensors,
                     std::span<const TensorSlice> slices) {
  std::vector<unsigned char> wanted(tensors.size(), 0);
  for (const TensorSlice& slice : slices) wanted[place_of(tensors, slice.name)] = 1;
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iallreduce(MPI_IN_PLACE, wanted.data(), static_cast<int>(wanted.size()),
                           MPI_UNSIGNED_CHAR, MPI_MAX, comm, &request));
  wait_patiently(request);
  std::set<std::string> groups;
  for (std::size_t t = 0; t < tensors.size(); ++t)
    if (wanted[t] != 0) groups.insert(group_of(tensors[t].name));
  std::vector<std::string> problems;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    if (wanted[t] == 0 && groups.contains(group_of(tensors[t].name)))
      problems.push_back("checkpoint '" + path + "': tensor '" + tensors[t].name + "' is " +
                         kind_of(tensors[t].dtype, tensors[t].shape) +
                         " in the file; no such tensor is wanted");
  }
  if (!problems.empty()) throw UsageError(problems);
}

enum class Verdict : unsigned char { kUnread, kGood, kBad, kUnknown };

struct Judged {
  Verdict verdict = Verdict::kUnread;
  std::uint64_t digest = 0;
};

// The verdict on one tensor from the sums of the boxes that all ranks read: the distinct boxes must
// make up the tensor, and equal boxes have equal sums.
Judged judge(const TensorInfo& tensor, const std::multimap<Box, std::uint64_t>& read) {
  std::vector<Box> boxes;
  std::uint64_t total = 0;
  bool copies_agree = true;
  std::uint64_t first = 0;
  for (const auto& [box, sum] : read) {
    if (boxes.empty() || boxes.back() != box) {
      boxes.push_back(box);
      total += sum;
      first = sum;
    }
    copies_agree &= sum == first;
  }
  if (read.empty()) return {};
  if (!tiles(boxes, tensor.shape)) return {Verdict::kUnknown, 0};
  const std::uint64_t digest = finish_digest(tensor.dtype, tensor.shape, total);
  return {digest == tensor.digest && copies_agree ? Verdict::kGood : Verdict::kBad, digest};
}

// Collective: the verdict on every tensor, on all ranks. `sums` belong to the slices.
std::vector<Judged> judge_all(MPI_Comm comm, std::span<const TensorInfo> tensors,
                              std::span<const TensorSlice> slices,
                              std::span<const std::uint64_t> sums) {
  WireWriter mine;
  for (std::size_t s = 0; s < slices.size(); ++s) {
    if (slices[s].data.count == 0) continue;
    mine.put(place_of(tensors, slices[s].name));
    mine.put(slices[s].offset);
    mine.put(slices[s].extent);
    mine.put(sums[s]);
  }
  std::vector<std::multimap<Box, std::uint64_t>> read(tensors.size());
  for (const auto& bytes : gather_texts(comm, mine.bytes())) {
    for (WireReader reader(bytes); !reader.empty();) {
      std::size_t tensor = 0;
      Box box;
      std::uint64_t sum = 0;
      reader.get(tensor);
      reader.get(box.offset);
      reader.get(box.extent);
      reader.get(sum);
      read[tensor].emplace(std::move(box), sum);
    }
  }
  std::vector<Judged> judged(tensors.size());
  for (std::size_t t = 0; t < tensors.size(); ++t) judged[t] = judge(tensors[t], read[t]);
  WireWriter all;
  all.put(judged);
  const std::string bytes = broadcast_text(comm, all.bytes());
  WireReader(bytes).get(judged);
  return judged;
}

// Collective: verifies what the boxes read do not decide, tensor by tensor on one rank each, and
// throws DamagedCheckpoint with all that are damaged.
void verify(const CheckpointReader& reader, MPI_Comm comm, std::vector<Judged> judged) {
  int rank = 0;
  int size = 0;
  check_mpi(MPI_Comm_rank(comm, &rank));
  check_mpi(MPI_Comm_size(comm, &size));
  together(comm, [&] {
    std::vector<std::string> problems;
    int turn = 0;
    for (std::size_t t = 0; t < judged.size(); ++t) {
      const TensorInfo& tensor = reader.tensors()[t];
      if (judged[t].verdict == Verdict::kUnknown && turn++ % size == rank) {
        const std::uint64_t digest = reader.digest_of(tensor);
        judged[t] = {digest == tensor.digest ? Verdict::kGood : Verdict::kBad, digest};
      }
      if (judged[t].verdict == Verdict::kBad)
        problems.push_back(damage_text(reader.path(), tensor, judged[t].digest));
    }
    if (!problems.empty()) throw DamagedCheckpoint(problems);
  });
}

}  // namespace

Metadata load_checkpoint(const std::string& path, MPI_Comm comm,
                         std::span<const TensorSlice> slices) {
  const MpiComm own = duplicate(comm);
  int rank = 0;
  check_mpi(MPI_Comm_rank(own.get(), &rank));

  // Rank 0 checks the file and tells the others what is in it.
  std::unique_ptr<CheckpointReader> reader;
  together(own.get(), [&] {
    if (rank == 0) reader = std::make_unique<CheckpointReader>(path);
  });
  const std::string contents = broadcast_text(own.get(), rank == 0 ? contents_of(*reader) : "");
  Metadata metadata;
  std::vector<TensorInfo> tensors;
  read_contents(contents, metadata, tensors);
  if (rank == 0) metadata.history = reader->metadata().history;
  together(own.get(), [&] { compare(path, tensors, slices); });
  check_left_over(path, own.get(), tensors, slices);

  // From here on each rank works alone, and all compare how it went.
  std::vector<std::uint64_t> sums(slices.size(), 0);
  together(own.get(), [&] {
    if (rank != 0) reader = std::make_unique<CheckpointReader>(path, tensors);
    for (std::size_t s = 0; s < slices.size(); ++s) {
      reader->read(slices[s]);
      sums[s] = digest_sum(slices[s].dtype, slices[s].shape, slices[s].box(), slices[s].data.data);
    }
  });
  verify(*reader, own.get(), judge_all(own.get(), tensors, slices, sums));
  return metadata;
}

}  // namespace cuboid
