#include "cuboid/checkpoint/wire.hpp"

#include <algorithm>
#include <climits>
#include <cstdint>
#include <numeric>

#include "cuboid/grid/grid.hpp"

namespace cuboid {
namespace {

// MPI counts are ints.
constexpr std::size_t kMaxMessage = std::size_t{1} << 30;

int rank_in(MPI_Comm comm) {
  int rank = 0;
  check_mpi(MPI_Comm_rank(comm, &rank));
  return rank;
}

}  // namespace

std::vector<std::string> gather_texts(MPI_Comm comm, const std::string& mine) {
  int size = 0;
  check_mpi(MPI_Comm_size(comm, &size));
  const bool root = rank_in(comm) == 0;
  const auto length = static_cast<std::int64_t>(mine.size());
  std::vector<std::int64_t> lengths(root ? static_cast<std::size_t>(size) : 0);
  check_mpi(MPI_Gather(&length, 1, MPI_INT64_T, lengths.data(), 1, MPI_INT64_T, 0, comm));
  std::vector<std::string> texts;
  const std::int64_t total = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  require(total <= INT_MAX, "the descriptions of all slices fit into one message");
  std::vector<int> counts(lengths.begin(), lengths.end());
  std::vector<int> starts(counts.size(), 0);
  if (root) std::exclusive_scan(counts.begin(), counts.end(), starts.begin(), 0);
  std::string all(static_cast<std::size_t>(total), '\0');
  check_mpi(MPI_Gatherv(mine.data(), static_cast<int>(length), MPI_CHAR, all.data(), counts.data(),
                        starts.data(), MPI_CHAR, 0, comm));
  for (std::size_t r = 0; r < counts.size(); ++r)
    texts.push_back(
        all.substr(static_cast<std::size_t>(starts[r]), static_cast<std::size_t>(counts[r])));
  return texts;
}

std::vector<std::string> share_texts(MPI_Comm comm, const std::string& mine) {
  WireWriter all;
  all.put(gather_texts(comm, mine));
  std::vector<std::string> texts;
  const std::string bytes = broadcast_text(comm, all.bytes());
  WireReader(bytes).get(texts);
  return texts;
}

std::string broadcast_text(MPI_Comm comm, const std::string& text) {
  const bool root = rank_in(comm) == 0;
  auto length = static_cast<std::int64_t>(text.size());
  check_mpi(MPI_Bcast(&length, 1, MPI_INT64_T, 0, comm));
  std::string result = root ? text : std::string(static_cast<std::size_t>(length), '\0');
  for (std::size_t at = 0; at < result.size(); at += kMaxMessage) {
    const auto count = static_cast<int>(std::min(kMaxMessage, result.size() - at));
    check_mpi(MPI_Bcast(result.data() + at, count, MPI_CHAR, 0, comm));
  }
  return result;
}

}  // namespace cuboid
