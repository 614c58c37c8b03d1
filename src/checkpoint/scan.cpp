#include "cuboid/checkpoint/scan.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#include "cuboid/checkpoint/digest.hpp"

namespace cuboid {
namespace {

// Small enough to stay in a core's cache from the read until it is summed.
constexpr std::int64_t kPieceBytes = std::int64_t{1} << 20;
// A thread takes as many items in a row, so that the system sees what it will read next.
constexpr std::int64_t kMostInARow = 16;

}  // namespace

void append_pieces(const TensorInfo& tensor, std::int64_t number, std::int64_t offset,
                   std::vector<Piece>& pieces) {
  const auto width = static_cast<std::int64_t>(size_of(tensor.dtype));
  const std::int64_t total = volume(tensor.shape);
  for (std::int64_t first = 0; first < total; first += kPieceBytes / width) {
    pieces.push_back({.tensor = number,
                      .first = first,
                      .count = std::min(kPieceBytes / width, total - first),
                      .offset = offset + first * width,
                      .dtype = tensor.dtype});
  }
}

void read_piece(const Descriptor& file, const Piece& piece, std::vector<std::byte>& buffer,
                const std::string& what) {
  buffer.resize(static_cast<std::size_t>(piece.bytes()));
  read_at(file, piece.offset, buffer, what);
}

std::uint64_t sum_of(const Piece& piece, std::span<const std::byte> values) {
  // Only the place in row-major order counts, so a run is a box of the tensor laid out in one dim.
  const std::array shape{piece.first + piece.count};
  return digest_sum(piece.dtype, shape, {.offset = {piece.first}, .extent = {piece.count}},
                    values.data());
}

std::vector<std::string> damaged_tensors(const CheckpointReader& reader,
                                         std::span<const std::uint64_t> sums) {
  std::vector<std::string> problems;
  for (std::size_t t = 0; t < sums.size(); ++t) {
    const TensorInfo& tensor = reader.tensors()[t];
    const std::uint64_t digest = finish_digest(tensor.dtype, tensor.shape, sums[t]);
    if (digest != tensor.digest) problems.push_back(damage_text(reader.path(), tensor, digest));
  }
  return problems;
}

void share_among_threads(std::int64_t count, int num_threads,
                         const std::function<Worker()>& make_worker) {
  const std::int64_t in_a_row = std::clamp<std::int64_t>(
      count / (std::int64_t{4} * std::max(num_threads, 1)), 1, kMostInARow);
  std::atomic<std::int64_t> next{0};
  std::exception_ptr failure;
  std::mutex mutex;
  const auto work = [&]() noexcept {
    try {
      const Worker worker = make_worker();
      for (auto at = next.fetch_add(in_a_row); at < count; at = next.fetch_add(in_a_row))
        for (auto item = at; item < std::min(at + in_a_row, count); ++item) worker(item);
    } catch (...) {
      const std::scoped_lock lock(mutex);
      if (!failure) failure = std::current_exception();
      next = count;
    }
  };
  {
    std::vector<std::jthread> others;
    for (std::int64_t i = 1; i < std::min<std::int64_t>(num_threads, count); ++i) {
      try {
        others.emplace_back(work);
      } catch (const std::system_error&) {
        break;  // no more threads to be had: those that there are do the work
      }
    }
    work();
  }
  if (failure) std::rethrow_exception(failure);
}

void forget_cached(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file) ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
}

}  // namespace cuboid
