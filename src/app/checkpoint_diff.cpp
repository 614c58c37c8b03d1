#include <algorithm>
#include <cstdio>
#include <map>

#include "cuboid/app/checkpoint_command.hpp"
#include "cuboid/app/command.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/checkpoint/compare.hpp"

namespace cuboid {
namespace {

using Kind = TensorDifference::Kind;
using Rows = std::vector<std::vector<std::string>>;

// The keys whose texts differ, with both; "-" where a side has no such key.
void append_differences(const TextPairs& a, const TextPairs& b, Rows& rows) {
  std::map<std::string, std::pair<std::string, std::string>> all;
  for (const auto& [key, value] : a) all[key] = {value, "-"};
  for (const auto& [key, value] : b) {
    const bool is_new = all.emplace(key, std::pair("-", value)).second;
    if (!is_new) all[key].second = value;
  }
  for (const auto& [key, values] : all)
    if (values.first != values.second) rows.push_back({key, values.first, values.second});
}

std::string runs_text(const CheckpointReader& a, const CheckpointReader& b) {
  Rows rows = {{"", "first", "second"}, {"file", a.path(), b.path()}};
  append_differences(facts_of(a.metadata()), facts_of(b.metadata()), rows);
  append_differences(a.metadata().options, b.metadata().options, rows);
  append_differences(a.metadata().versions, b.metadata().versions, rows);
  return table(rows);
}

std::string kind_text(const TensorInfo& tensor) {
  return std::string(name_of(tensor.dtype)) + " " + to_string(tensor.shape);
}

std::vector<std::string> row_of(const TensorDifference& d) {
  switch (d.kind) {
    case Kind::kEqual: return {d.name, "0", grouped(d.num_elements), "0", "0"};
    case Kind::kValues:
      return {d.name, grouped(d.num_different), grouped(d.num_elements),
              format("%.3e", d.max_difference), format("%.3e", d.mean_difference)};
    case Kind::kShapeOrDtype:
      return {d.name, kind_text(d.first) + " against " + kind_text(d.second)};
    case Kind::kOnlyInFirst: return {d.name, "only in the first"};
    case Kind::kOnlyInSecond: return {d.name, "only in the second"};
  }
  return {};
}

// What a tensor's name has before its last '/'.
std::string group_of(const std::string& name) {
  return name.substr(0, std::min(name.rfind('/'), name.size()));
}

std::string groups_text(const std::vector<TensorDifference>& differences) {
  struct Group {
    std::int64_t num_tensors = 0, num_different = 0, num_elements = 0;
    double max = 0.0, sum = 0.0;
  };
  std::map<std::string, Group> groups;
  for (const TensorDifference& d : differences) {
    Group& group = groups[group_of(d.name)];
    ++group.num_tensors;
    group.num_different += d.kind == Kind::kEqual ? 0 : 1;
    group.num_elements += d.num_elements;
    group.max = std::max(group.max, d.max_difference);
    if (d.num_different > 0) group.sum += d.mean_difference * static_cast<double>(d.num_elements);
  }
  Rows rows = {{"group", "tensors", "that differ", "max |a-b|", "mean |a-b|"}};
  for (const auto& [name, g] : groups) {
    rows.push_back(
        {name, grouped(g.num_tensors), grouped(g.num_different), format("%.3e", g.max),
         format("%.3e", g.sum / static_cast<double>(std::max<std::int64_t>(g.num_elements, 1)))});
  }
  return table(rows);
}

int diff(const CheckpointArguments& arguments) {
  const CheckpointReader a(arguments.paths[0]);
  const CheckpointReader b(arguments.paths[1]);
  const auto differences = compare_checkpoints(
      a, b, {.num_threads = num_threads(arguments), .progress = progress_bar("Comparing")});
  Rows rows = {{"tensor", "differ", "of", "max |a-b|", "mean |a-b|"}};
  std::int64_t num_different = 0;
  for (const TensorDifference& d : differences) {
    num_different += d.kind == Kind::kEqual ? 0 : 1;
    if (d.kind != Kind::kEqual || arguments.has("all")) rows.push_back(row_of(d));
  }
  std::printf("%s\n", runs_text(a, b).c_str());
  if (rows.size() > 1)
    std::printf("%s\n%s\n", table(rows).c_str(), groups_text(differences).c_str());
  const std::string total = grouped(static_cast<std::int64_t>(differences.size()));
  if (num_different == 0) {
    std::printf("bit-equal: all %s tensors\n", total.c_str());
    return kDone;
  }
  std::printf("%s of %s tensors differ\n", grouped(num_different).c_str(), total.c_str());
  return kDifferent;
}

}  // namespace

CheckpointCommand diff_command() {
  return {
      .name = "diff",
      .paths = "FILE FILE",
      .summary = "how two checkpoints differ, tensor by tensor",
      .text =
          "Prints what differs in what the runs say of themselves (step, grid, options, "
          "versions),\n"
          "then each tensor that differs: how many of its elements, and the largest and mean\n"
          "|a-b| (infinite where a NaN or an infinity meets another value). All values are "
          "verified\n"
          "as they are read: a damaged file is not compared.\n"
          "Exit code: 0 where all tensors are equal bit for bit, 3 where any differs, is of "
          "another\n"
          "shape or dtype or missing from one file, 2 where a file is damaged or cannot be read.\n",
      .options = {{.name = "all", .value_name = "", .help = "list equal tensors too"},
                  threads_option()},
      .least_paths = 2,
      .most_paths = 2,
      .run = diff};
}

}  // namespace cuboid
