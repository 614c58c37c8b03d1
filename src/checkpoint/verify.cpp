#include "cuboid/checkpoint/verify.hpp"

#include <fcntl.h>

#include <memory>
#include <mutex>
#include <numeric>
#include <span>
#include <vector>

#include "cuboid/checkpoint/agreement.hpp"
#include "cuboid/checkpoint/damage.hpp"
#include "cuboid/checkpoint/reader.hpp"
#include "cuboid/checkpoint/scan.hpp"
#include "cuboid/checkpoint/wire.hpp"
#include "cuboid/grid/grid.hpp"

namespace cuboid {
namespace {

std::int64_t bytes_of(std::span<const Piece> pieces) {
  return std::transform_reduce(pieces.begin(), pieces.end(), std::int64_t{0}, std::plus<>(),
                               [](const Piece& piece) { return piece.bytes(); });
}

std::vector<Piece> pieces_of(const CheckpointReader& reader) {
  std::vector<Piece> pieces;
  for (std::size_t t = 0; t < reader.tensors().size(); ++t) {
    const TensorInfo& tensor = reader.tensors()[t];
    append_pieces(tensor, static_cast<std::int64_t>(t), reader.bytes_of(tensor).begin, pieces);
  }
  return pieces;
}

// A rank's part: pieces that follow one another, of about as many bytes as any other rank's.
std::span<const Piece> part_of(std::span<const Piece> pieces, int parts, int index) {
  const std::int64_t total = bytes_of(pieces);
  const std::int64_t begin = even_part(total, parts, index).begin;
  const std::int64_t end = even_part(total, parts, index).end;
  std::int64_t at = 0;
  std::size_t first = 0;
  std::size_t count = 0;
  for (const Piece& piece : pieces) {
    first += at < begin ? 1 : 0;
    count += at >= begin && at < end ? 1 : 0;
    at += piece.bytes();
  }
  return pieces.subspan(first, count);
}

// For each tensor, the sum of those of its pieces that are given.
std::vector<std::uint64_t> sums_of(const std::string& path, std::span<const Piece> pieces,
                                   std::size_t num_tensors, const VerifyOptions& options) {
  std::vector<std::uint64_t> sums(num_tensors, 0);
  if (pieces.empty()) return sums;
  const std::string what = "cannot read checkpoint '" + path + "'";
  const std::int64_t total = bytes_of(pieces);
  std::int64_t done = 0;
  std::mutex mutex;
  const auto make_worker = [&]() -> Worker {
    // A descriptor of its own: the system foresees what one reads next.
    const auto file = std::make_shared<Descriptor>(open_file(path, O_RDONLY, what));
    return [&, file, buffer = std::vector<std::byte>()](std::int64_t item) mutable {
      const Piece& piece = pieces[static_cast<std::size_t>(item)];
      read_piece(*file, piece, buffer, what);
      const std::uint64_t sum = sum_of(piece, buffer);
      const std::scoped_lock lock(mutex);
      sums[static_cast<std::size_t>(piece.tensor)] += sum;
      done += piece.bytes();
      if (options.progress) options.progress(done, total);
    };
  };
  share_among_threads(static_cast<std::int64_t>(pieces.size()), options.num_threads, make_worker);
  return sums;
}

void judge(const CheckpointReader& reader, std::span<const std::uint64_t> sums) {
  const auto problems = damaged_tensors(reader, sums);
  if (!problems.empty()) throw DamagedCheckpoint(problems);
}

// Rank 0's facts and pieces on all ranks.
void broadcast(MPI_Comm comm, int rank, Verified& verified, std::vector<Piece>& pieces) {
  WireWriter writer;
  if (rank == 0) {
    writer.put(verified);
    writer.put(pieces);
  }
  const std::string bytes = broadcast_text(comm, writer.bytes());
  WireReader reader(bytes);
  reader.get(verified);
  reader.get(pieces);
}

Verified facts_of(const CheckpointReader& reader) {
  const std::string what = "cannot read checkpoint '" + reader.path() + "'";
  return {.num_tensors = static_cast<std::int64_t>(reader.tensors().size()),
          .bytes = size_of_file(open_file(reader.path(), O_RDONLY, what), what)};
}

}  // namespace

Verified verify_checkpoint(const std::string& path, const VerifyOptions& options) {
  if (options.bypass_cache) forget_cached(path);
  const CheckpointReader reader(path);
  judge(reader, sums_of(path, pieces_of(reader), reader.tensors().size(), options));
  return facts_of(reader);
}

Verified verify_checkpoint(const std::string& path, MPI_Comm comm, const VerifyOptions& options) {
  const MpiComm own = duplicate(comm);
  int rank = 0;
  int size = 0;
  check_mpi(MPI_Comm_rank(own.get(), &rank));
  check_mpi(MPI_Comm_size(own.get(), &size));
  // Every node keeps pages of its own.
  if (options.bypass_cache) forget_cached(path);

  // Rank 0 checks the structure and tells the others where the values lie.
  std::unique_ptr<CheckpointReader> reader;
  Verified verified;
  std::vector<Piece> pieces;
  together(own.get(), [&] {
    if (rank != 0) return;
    reader = std::make_unique<CheckpointReader>(path);
    verified = facts_of(*reader);
    pieces = pieces_of(*reader);
  });
  broadcast(own.get(), rank, verified, pieces);
  std::vector<std::uint64_t> sums;
  together(own.get(), [&] {
    sums = sums_of(path, part_of(pieces, size, rank),
                   static_cast<std::size_t>(verified.num_tensors), options);
  });
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iallreduce(MPI_IN_PLACE, sums.data(), static_cast<int>(sums.size()), MPI_UINT64_T,
                           MPI_SUM, own.get(), &request));
  wait_patiently(request);
  together(own.get(), [&] {
    if (rank == 0) judge(*reader, sums);
  });
  return verified;
}

}  // namespace cuboid
