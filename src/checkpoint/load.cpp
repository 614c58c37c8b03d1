#include "cuboid/checkpoint/load.hpp"

#include <algorithm>
#include <map>
#include <memory>

#include "cuboid/checkpoint/agreement.hpp"
#include "cuboid/checkpoint/damage.hpp"
#include "cuboid/checkpoint/digest.hpp"
#include "cuboid/checkpoint/load_plan.hpp"
#include "cuboid/checkpoint/reader.hpp"
#include "cuboid/checkpoint/tensor_reader.hpp"
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
std::vector<Judged> judge_all(MPI_Comm comm, const LoadPlan& plan,
                              std::span<const TensorSlice> slices,
                              std::span<const std::uint64_t> sums) {
  const auto& tensors = plan.tensors;
  WireWriter mine;
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    for (const std::size_t s : plan.mine[t]) {
      mine.put(t);
      mine.put(slices[s].offset);
      mine.put(slices[s].extent);
      mine.put(sums[s]);
    }
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
                         std::span<const TensorSlice> slices, const LoadOptions& options) {
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
  const LoadPlan plan = make_load_plan(own.get(), path, std::move(tensors), slices);
  together(own.get(), [&] {
    if (rank != 0) reader = std::make_unique<CheckpointReader>(path, plan.tensors);
  });
  const auto sums = read_tensors(*reader, own.get(), plan, slices, options.exchange_bytes);
  verify(*reader, own.get(), judge_all(own.get(), plan, slices, sums));
  return metadata;
}

}  // namespace cuboid
