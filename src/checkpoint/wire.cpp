#include "cuboid/checkpoint/wire.hpp"

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstdint>
#include <numeric>
#include <thread>

#include "cuboid/base/timer.hpp"

namespace cuboid {
namespace {

// MPI counts are ints.
constexpr std::size_t kMaxMessage = std::size_t{1} << 30;

constexpr double kBusySeconds = 50e-6;
constexpr double kLongestSleepSeconds = 1e-3;

}  // namespace

void wait_patiently(std::span<MPI_Request> requests) {
  const Timer timer;
  while (true) {
    int place = MPI_UNDEFINED;
    int is_done = 0;
    check_mpi(MPI_Testany(static_cast<int>(requests.size()), requests.data(), &place, &is_done,
                          MPI_STATUS_IGNORE));
    if (is_done != 0 && place == MPI_UNDEFINED) return;  // none is left
    const double waited = timer.seconds();
    if (is_done != 0 || waited < kBusySeconds) continue;
    // So the end is noticed late by an eighth of the time at most.
    std::this_thread::sleep_for(
        std::chrono::duration<double>(std::min(waited / 8, kLongestSleepSeconds)));
  }
}

void wait_patiently(MPI_Request& request) {
  wait_patiently(std::span(&request, 1));
}

MpiComm duplicate(MPI_Comm comm) {
  MpiComm own;
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Comm_idup(comm, own.out(), &request));
  wait_patiently(request);
  check_mpi(MPI_Comm_set_errhandler(own.get(), MPI_ERRORS_RETURN));
  return own;
}

std::vector<std::string> gather_texts(MPI_Comm comm, const std::string& mine) {
  int size = 0;
  check_mpi(MPI_Comm_size(comm, &size));
  const bool root = rank_in(comm) == 0;
  const auto length = static_cast<std::int64_t>(mine.size());
  std::vector<std::int64_t> lengths(root ? static_cast<std::size_t>(size) : 0);
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(
      MPI_Igather(&length, 1, MPI_INT64_T, lengths.data(), 1, MPI_INT64_T, 0, comm, &request));
  wait_patiently(request);
  std::vector<std::string> texts;
  const std::int64_t total = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  require(total <= INT_MAX, "the descriptions of all slices fit into one message");
  std::vector<int> counts(lengths.begin(), lengths.end());
  std::vector<int> starts(counts.size(), 0);
  if (root) std::exclusive_scan(counts.begin(), counts.end(), starts.begin(), 0);
  std::string all(static_cast<std::size_t>(total), '\0');
  check_mpi(MPI_Igatherv(mine.data(), static_cast<int>(length), MPI_CHAR, all.data(), counts.data(),
                         starts.data(), MPI_CHAR, 0, comm, &request));
  wait_patiently(request);
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
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Ibcast(&length, 1, MPI_INT64_T, 0, comm, &request));
  wait_patiently(request);
  std::string result = root ? text : std::string(static_cast<std::size_t>(length), '\0');
  for (std::size_t at = 0; at < result.size(); at += kMaxMessage) {
    const auto count = static_cast<int>(std::min(kMaxMessage, result.size() - at));
    check_mpi(MPI_Ibcast(result.data() + at, count, MPI_CHAR, 0, comm, &request));
    wait_patiently(request);
  }
  return result;
}

}  // namespace cuboid
