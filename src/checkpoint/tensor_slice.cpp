#include "cuboid/checkpoint/tensor_slice.hpp"

#include <algorithm>

#include "cuboid/base/error.hpp"
#include "cuboid/base/philox.hpp"
#include "cuboid/grid/shape.hpp"

namespace cuboid {
namespace {

// Smaller writes of many ranks cost a file system more than they gain.
constexpr std::int64_t kMinShareBytes = std::int64_t{64} << 10;

// A path of groups and a name, without empty parts, "." or "..".
bool is_valid_name(const std::string& name) {
  std::size_t begin = 0;
  while (begin <= name.size()) {
    const std::size_t end = std::min(name.find('/', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return name.find('\0') == std::string::npos;
}

}  // namespace

TensorSlice share_of(const TensorSlice& slice, int parts, int index) {
  const auto found = std::ranges::find_if(slice.extent, [](std::int64_t n) { return n != 1; });
  // A single element goes to one rank.
  const auto dim = found == slice.extent.end()
                       ? std::size_t{0}
                       : static_cast<std::size_t>(found - slice.extent.begin());
  const auto num_shares = std::clamp<std::int64_t>(
      static_cast<std::int64_t>(slice.data.bytes()) / kMinShareBytes, 1, parts);
  // Where there are fewer shares than ranks, the first is not always rank 0's.
  const auto turn = static_cast<std::int64_t>(stream_of(slice.name) % static_cast<unsigned>(parts));
  const std::int64_t share_index = (index + turn) % parts;
  const Range rows =
      share_index < num_shares ? even_part(slice.extent[dim], num_shares, share_index) : Range{};
  TensorSlice share = slice;
  share.offset[dim] += rows.begin;
  share.extent[dim] = rows.size();
  const std::int64_t count = volume(share.extent);
  // Elements of one index of `dim`: those before it have extent 1, so the parts are contiguous.
  const std::int64_t row = count == 0 ? 0 : count / rows.size();
  share.data = cuboid::slice(slice.data, rows.begin * row, count);
  return share;
}

void require_valid(const TensorSlice& slice) {
  const auto need = [&](bool holds, const char* what) {
    require(holds, ("tensor slice '" + slice.name + "': " + what).c_str());
  };
  need(is_valid_name(slice.name), "its name is a path without empty parts");
  need(!slice.shape.empty(), "it has at least one dim");
  need(is_inside(slice.box(), slice.shape), "its box lies inside the tensor");
  need(slice.data.dtype == slice.dtype, "its data has its dtype");
  need(slice.data.count == volume(slice.extent), "its data has as many elements as its box");
  need(slice.data.count == 0 || slice.data.data != nullptr, "its data exists");
  need(slice.data.count == 0 || slice.data.place == Place::kHost, "its data is in host memory");
}

}  // namespace cuboid
