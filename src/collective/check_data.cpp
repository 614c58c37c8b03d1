#include "cuboid/collective/check_data.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "cuboid/collective/bfloat16.hpp"
#include "cuboid/collective/cuda.hpp"

namespace cuboid {
namespace {

constexpr int kContributors = 16;
constexpr std::int64_t kLargest = 15;
constexpr std::int64_t kPiece = 1 << 16;  // elements that are handled at a time

// Well mixed high bits of a few products: this runs for every element of gigabytes.
std::uint64_t mixed(int rank, std::int64_t i, int round) {
  return static_cast<std::uint64_t>(i + 1) * 0x9E3779B97F4A7C15U +
         static_cast<std::uint64_t>(rank + 1) * 0xD1B54A32D192ED03U +
         static_cast<std::uint64_t>(round + 1) * 0x8CB92BA72F3D8DD7U;
}

template <typename T>
void put(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof(T));
}
template <typename T>
T get(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

void encode(DType dtype, std::byte* at, std::int64_t value) {
  switch (dtype) {
    case DType::kFloat32: return put(at, static_cast<float>(value));
    case DType::kFloat64: return put(at, static_cast<double>(value));
    case DType::kBFloat16: return put(at, bfloat16_of_float(static_cast<float>(value)));
    case DType::kInt64: return put(at, value);
    case DType::kUInt8: return put(at, static_cast<std::uint8_t>(value));
  }
}

// Decoded rather than compared as bytes: -0 is 0.
bool holds(DType dtype, const std::byte* at, std::int64_t value) {
  switch (dtype) {
    case DType::kFloat32: return get<float>(at) == static_cast<float>(value);
    case DType::kFloat64: return get<double>(at) == static_cast<double>(value);
    case DType::kBFloat16:
      return float_of_bfloat16(get<std::uint16_t>(at)) == static_cast<float>(value);
    case DType::kInt64: return get<std::int64_t>(at) == value;
    case DType::kUInt8: return get<std::uint8_t>(at) == value;
  }
  return false;
}

// Calls visit(piece, index of its first element) for consecutive pieces of the buffer.
template <typename Void, typename Visit>
void for_each_piece(const BasicBuffer<Void>& buffer, Visit&& visit) {
  for (std::int64_t begin = 0; begin < buffer.count; begin += kPiece)
    visit(slice(buffer, begin, std::min(kPiece, buffer.count - begin)), begin);
}

}  // namespace

std::int64_t check_term(ReduceOp op, int rank, int ranks, std::int64_t i, int round) {
  const auto first = static_cast<int>(i % ranks);
  const int distance = (rank - first + ranks) % ranks;
  if (distance >= kContributors) return op == ReduceOp::kMin ? kLargest : 0;
  return static_cast<std::int64_t>(mixed(rank, i, round) >> 60);
}

std::int64_t check_result(ReduceOp op, int ranks, std::int64_t i, int round) {
  const auto first = static_cast<int>(i % ranks);
  std::int64_t result = op == ReduceOp::kMin ? kLargest : 0;
  for (int d = 0; d < std::min(ranks, kContributors); ++d) {
    const int rank = first + d < ranks ? first + d : first + d - ranks;
    const auto term = static_cast<std::int64_t>(mixed(rank, i, round) >> 60);
    switch (op) {
      case ReduceOp::kSum: result += term; break;
      case ReduceOp::kMax: result = std::max(result, term); break;
      case ReduceOp::kMin: result = std::min(result, term); break;
    }
  }
  return result;
}

std::int64_t check_message(int rank, std::int64_t i, int round) {
  return static_cast<std::int64_t>((mixed(rank, i, round) >> 40) % 251);
}

void fill(const Buffer& buffer, const std::function<std::int64_t(std::int64_t)>& value) {
  const std::size_t width = size_of(buffer.dtype);
  std::vector<std::byte> staging;
  for_each_piece(buffer, [&](const Buffer& piece, std::int64_t begin) {
    auto* at = static_cast<std::byte*>(piece.data);
    if (piece.place == Place::kDevice) {
      staging.resize(piece.bytes());
      at = staging.data();
    }
    for (std::int64_t i = 0; i < piece.count; ++i)
      encode(piece.dtype, at + static_cast<std::size_t>(i) * width, value(begin + i));
    if (piece.place == Place::kDevice)
      check_cuda(cudaMemcpy(piece.data, at, piece.bytes(), cudaMemcpyHostToDevice));
  });
}

void poison(const Buffer& buffer) {
  constexpr int kAllBits = 0xFF;
  if (buffer.count == 0) return;
  if (buffer.place == Place::kHost) {
    std::memset(buffer.data, kAllBits, buffer.bytes());
  } else {
    check_cuda(cudaMemset(buffer.data, kAllBits, buffer.bytes()));
  }
}

std::int64_t count_wrong(const ConstBuffer& buffer,
                         const std::function<std::int64_t(std::int64_t)>& value) {
  const std::size_t width = size_of(buffer.dtype);
  std::vector<std::byte> staging;
  std::int64_t wrong = 0;
  for_each_piece(buffer, [&](const ConstBuffer& piece, std::int64_t begin) {
    const auto* at = static_cast<const std::byte*>(piece.data);
    if (piece.place == Place::kDevice) {
      staging.resize(piece.bytes());
      // The legacy default stream: after the operation, whose stream it is.
      check_cuda(cudaMemcpy(staging.data(), piece.data, piece.bytes(), cudaMemcpyDeviceToHost));
      at = staging.data();
    }
    for (std::int64_t i = 0; i < piece.count; ++i)
      wrong +=
          holds(piece.dtype, at + static_cast<std::size_t>(i) * width, value(begin + i)) ? 0 : 1;
  });
  return wrong;
}

}  // namespace cuboid
