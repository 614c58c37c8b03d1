#include "cuboid/checkpoint/compare.hpp"

#include <fcntl.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <mutex>

#include "cuboid/checkpoint/damage.hpp"
#include "cuboid/checkpoint/scan.hpp"

namespace cuboid {
namespace {

using Kind = TensorDifference::Kind;

// bf16 as its bits.
struct BFloat16 {
  std::uint16_t bits;
};

double number(BFloat16 value) {
  return std::bit_cast<float>(std::uint32_t{value.bits} << 16);
}
double number(auto value) {
  return static_cast<double>(value);
}

// |a - b| of values whose bits differ.
double distance(auto a, auto b) {
  const double d = std::abs(number(a) - number(b));
  return std::isnan(d) ? std::numeric_limits<double>::infinity() : d;
}
// Exact before it is rounded once.
double distance(std::int64_t a, std::int64_t b) {
  const auto x = static_cast<std::uint64_t>(std::max(a, b));
  return static_cast<double>(x - static_cast<std::uint64_t>(std::min(a, b)));
}

// The differences of a run of elements.
struct Figures {
  std::int64_t num_different = 0;
  double max = 0.0;
  double sum = 0.0;
};

template <typename T>
Figures compare_values(std::span<const std::byte> a, std::span<const std::byte> b) {
  Figures figures;
  for (std::size_t at = 0; at < a.size(); at += sizeof(T)) {
    if (std::memcmp(a.data() + at, b.data() + at, sizeof(T)) == 0) continue;
    T x{};
    T y{};
    std::memcpy(&x, a.data() + at, sizeof(T));
    std::memcpy(&y, b.data() + at, sizeof(T));
    const double d = distance(x, y);
    ++figures.num_different;
    figures.max = std::max(figures.max, d);
    figures.sum += d;
  }
  return figures;
}

Figures compare_values(DType dtype, std::span<const std::byte> a, std::span<const std::byte> b) {
  if (std::memcmp(a.data(), b.data(), a.size()) == 0) return {};
  switch (dtype) {
    case DType::kFloat32: return compare_values<float>(a, b);
    case DType::kFloat64: return compare_values<double>(a, b);
    case DType::kBFloat16: return compare_values<BFloat16>(a, b);
    case DType::kInt64: return compare_values<std::int64_t>(a, b);
    case DType::kUInt8: return compare_values<std::uint8_t>(a, b);
  }
  return {};
}

// What one thread does at once: the same elements of both files, or elements of one of them that
// the other has nothing to compare with (then the other piece is empty).
struct Item {
  std::size_t difference = 0;
  Piece first, second;
  Figures figures;
};

// Either file's part in the comparison.
struct Side {
  const CheckpointReader& reader;
  std::vector<std::uint64_t> sums;  // by tensor

  explicit Side(const CheckpointReader& r) : reader(r), sums(r.tensors().size(), 0) {}
  [[nodiscard]] std::string what() const {
    return "cannot read checkpoint '" + reader.path() + "'";
  }
  // The number of the tensor of that name, or that of all tensors where there is none.
  [[nodiscard]] std::size_t find(const std::string& name) const {
    const auto& list = reader.tensors();
    const auto found = std::ranges::lower_bound(list, name, {}, &TensorInfo::name);
    const bool is_there = found != list.end() && found->name == name;
    return static_cast<std::size_t>((is_there ? found : list.end()) - list.begin());
  }
  [[nodiscard]] std::vector<Piece> pieces(std::size_t tensor) const {
    std::vector<Piece> pieces;
    const auto& list = reader.tensors();
    if (tensor == list.size()) return pieces;
    append_pieces(list[tensor], static_cast<std::int64_t>(tensor),
                  reader.bytes_of(list[tensor]).begin, pieces);
    return pieces;
  }
};

Kind kind_of(const TensorInfo& first, const TensorInfo& second) {
  if (second.name.empty()) return Kind::kOnlyInFirst;
  if (first.name.empty()) return Kind::kOnlyInSecond;
  const bool alike = first.shape == second.shape && first.dtype == second.dtype;
  return alike ? Kind::kEqual : Kind::kShapeOrDtype;
}

// Every name of either file, with the work that it makes.
std::vector<TensorDifference> plan(const Side& a, const Side& b, std::vector<Item>& items) {
  std::vector<std::string> names;
  for (const Side* side : {&a, &b})
    for (const TensorInfo& tensor : side->reader.tensors()) names.push_back(tensor.name);
  std::ranges::sort(names);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  std::vector<TensorDifference> differences;
  for (const std::string& name : names) {
    TensorDifference difference{.name = name, .first = {}, .second = {}};
    const std::size_t in_a = a.find(name);
    const std::size_t in_b = b.find(name);
    if (in_a < a.sums.size()) difference.first = a.reader.tensors()[in_a];
    if (in_b < b.sums.size()) difference.second = b.reader.tensors()[in_b];
    difference.kind = kind_of(difference.first, difference.second);
    const auto pieces_a = a.pieces(in_a);
    const auto pieces_b = b.pieces(in_b);
    const std::size_t place = differences.size();
    if (difference.kind == Kind::kEqual) {
      difference.num_elements = volume(difference.first.shape);
      for (std::size_t p = 0; p < pieces_a.size(); ++p)
        items.push_back({place, pieces_a[p], pieces_b[p], {}});
    } else {
      for (const Piece& piece : pieces_a) items.push_back({place, piece, {}, {}});
      for (const Piece& piece : pieces_b) items.push_back({place, {}, piece, {}});
    }
    differences.push_back(std::move(difference));
  }
  return differences;
}

// Reads the items of both files, fills in their figures and adds up the sums of the tensors.
void read_all(Side& a, Side& b, std::vector<Item>& items, const CompareOptions& options) {
  std::int64_t total = 0;
  for (const Item& item : items) total += item.first.bytes() + item.second.bytes();
  std::int64_t done = 0;
  std::mutex mutex;
  struct State {
    Descriptor file_a, file_b;
    std::vector<std::byte> values_a, values_b;
  };
  const auto make_worker = [&]() -> Worker {
    const auto state = std::make_shared<State>();
    state->file_a = open_file(a.reader.path(), O_RDONLY, a.what());
    state->file_b = open_file(b.reader.path(), O_RDONLY, b.what());
    return [&, state](std::int64_t number) {
      Item& item = items[static_cast<std::size_t>(number)];
      read_piece(state->file_a, item.first, state->values_a, a.what());
      read_piece(state->file_b, item.second, state->values_b, b.what());
      const std::uint64_t sum_a = sum_of(item.first, state->values_a);
      const std::uint64_t sum_b = sum_of(item.second, state->values_b);
      if (item.first.count == item.second.count)
        item.figures = compare_values(item.first.dtype, state->values_a, state->values_b);
      const std::scoped_lock lock(mutex);
      if (item.first.count > 0) a.sums[static_cast<std::size_t>(item.first.tensor)] += sum_a;
      if (item.second.count > 0) b.sums[static_cast<std::size_t>(item.second.tensor)] += sum_b;
      done += item.first.bytes() + item.second.bytes();
      if (options.progress) options.progress(done, total);
    };
  };
  share_among_threads(static_cast<std::int64_t>(items.size()), options.num_threads, make_worker);
}

}  // namespace

std::vector<TensorDifference> compare_checkpoints(const CheckpointReader& first,
                                                  const CheckpointReader& second,
                                                  const CompareOptions& options) {
  Side a(first);
  Side b(second);
  std::vector<Item> items;
  std::vector<TensorDifference> differences = plan(a, b, items);
  read_all(a, b, items, options);
  std::vector<std::string> problems = damaged_tensors(first, a.sums);
  std::ranges::copy(damaged_tensors(second, b.sums), std::back_inserter(problems));
  if (!problems.empty()) throw DamagedCheckpoint(problems);
  // In the order of the file, whichever thread came first: sums of doubles depend on it.
  for (const Item& item : items) {
    TensorDifference& difference = differences[item.difference];
    difference.num_different += item.figures.num_different;
    difference.max_difference = std::max(difference.max_difference, item.figures.max);
    difference.mean_difference += item.figures.sum;
  }
  for (TensorDifference& difference : differences) {
    if (difference.num_different == 0) continue;
    difference.kind = Kind::kValues;
    difference.mean_difference /= static_cast<double>(difference.num_elements);
  }
  return differences;
}

}  // namespace cuboid
