#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>

#include "cuboid/app/checkpoint_command.hpp"
#include "cuboid/app/command.hpp"
#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/checkpoint/digest.hpp"
#include "cuboid/checkpoint/reader.hpp"
#include "cuboid/config/option.hpp"

namespace cuboid {
namespace {

using Rows = std::vector<std::vector<std::string>>;

// "  key    value" lines. Not table(): values of all kinds read best from the left.
std::string pairs_text(const TextPairs& pairs, std::size_t width) {
  std::string text;
  for (const auto& [key, value] : pairs) {
    std::string line = "  " + key;
    if (!value.empty()) line += std::string(width + 2 - std::min(width, key.size()), ' ') + value;
    text += line + "\n";
  }
  return text;
}

std::size_t width_of(const TextPairs& pairs) {
  std::size_t width = 0;
  for (const auto& [key, value] : pairs) width = std::max(width, key.size());
  return width;
}

std::int64_t bytes_of(const TensorInfo& tensor) {
  return volume(tensor.shape) * static_cast<std::int64_t>(size_of(tensor.dtype));
}

std::string size_text(std::int64_t bytes) {
  return short_bytes(static_cast<double>(bytes));
}

std::int64_t file_bytes(const std::string& path) {
  return static_cast<std::int64_t>(std::filesystem::file_size(path));
}

struct OptionsByGroup {
  std::vector<std::pair<std::string, TextPairs>> groups;  // by title, in the order of --help
  TextPairs others;                                       // not options of this program
};

OptionsByGroup sorted_options(const Metadata& metadata) {
  OptionsByGroup result;
  std::set<std::string> known;
  for (const Option& option : options()) {
    const auto found =
        std::ranges::find(metadata.options, option.name, &TextPairs::value_type::first);
    if (found == metadata.options.end()) continue;
    known.insert(option.name);
    const std::string title(title_of(option.group));
    if (result.groups.empty() || result.groups.back().first != title)
      result.groups.push_back({title, {}});
    result.groups.back().second.push_back(*found);
  }
  for (const auto& pair : metadata.options)
    if (!known.contains(pair.first)) result.others.push_back(pair);
  return result;
}

std::string summary_text(const CheckpointReader& reader) {
  const Metadata& metadata = reader.metadata();
  TextPairs facts = facts_of(metadata);
  facts.emplace_back("file", size_text(file_bytes(reader.path())));
  const std::size_t width = std::max({width_of(facts), width_of(metadata.options),
                                      width_of(metadata.state), width_of(metadata.versions)});
  std::string text = reader.path() + "\n" + pairs_text(facts, width);
  const OptionsByGroup sorted = sorted_options(metadata);
  for (const auto& [title, pairs] : sorted.groups) text += title + "\n" + pairs_text(pairs, width);
  const auto append = [&](const std::string& title, const TextPairs& pairs) {
    if (!pairs.empty()) text += title + "\n" + pairs_text(pairs, width);
  };
  append("Options that this program does not have", sorted.others);
  append("State", metadata.state);
  append("Versions", metadata.versions);
  return text;
}

// One row for each group of tensors: what their names have before the last '/'.
std::string groups_text(const CheckpointReader& reader) {
  struct Group {
    std::string name;
    std::set<std::string> dtypes;
    std::int64_t num_tensors = 0, num_elements = 0, bytes = 0;
    void add(const TensorInfo& tensor) {
      dtypes.emplace(name_of(tensor.dtype));
      ++num_tensors;
      num_elements += volume(tensor.shape);
      bytes += bytes_of(tensor);
    }
    [[nodiscard]] std::vector<std::string> row() const {
      const std::vector<std::string> list(dtypes.begin(), dtypes.end());
      return {name, grouped(num_tensors), grouped(num_elements), join(list, " "), size_text(bytes)};
    }
  };
  Group total{.name = "all", .dtypes = {}};
  std::vector<Group> groups;
  for (const TensorInfo& tensor : reader.tensors()) {
    const std::string name =
        tensor.name.substr(0, std::min(tensor.name.rfind('/'), tensor.name.size()));
    if (groups.empty() || groups.back().name != name)
      groups.push_back({.name = name, .dtypes = {}});
    groups.back().add(tensor);
    total.add(tensor);
  }
  Rows rows = {{"group", "tensors", "elements", "dtype", "bytes"}};
  for (const Group& group : groups) rows.push_back(group.row());
  rows.push_back(total.row());
  return "Tensors\n" + table(rows, "  ");
}

std::string tensors_text(const CheckpointReader& reader) {
  Rows rows = {{"tensor", "dtype", "shape", "bytes", "digest"}};
  for (const TensorInfo& tensor : reader.tensors())
    rows.push_back({tensor.name, std::string(name_of(tensor.dtype)), to_string(tensor.shape),
                    grouped(bytes_of(tensor)), digest_text(tensor.digest)});
  return table(rows);
}

std::string history_text(const History& history) {
  Rows rows = {{"step", "loss", "grad_norm", "learning_rate", "samples"}};
  for (std::size_t i = 0; i < history.step.size(); ++i)
    rows.push_back({std::to_string(history.step[i]), format("%.6f", history.loss[i]),
                    format("%.6f", history.grad_norm[i]), format("%.6e", history.learning_rate[i]),
                    std::to_string(history.consumed_samples[i])});
  return table(rows);
}

// What `cuboid pretrain --config FILE` reads. The values are kept as such a file has them, quotes
// included.
std::string config_text(const CheckpointReader& reader) {
  const OptionsByGroup sorted = sorted_options(reader.metadata());
  std::string text = "# " + reader.path() + ", step " + grouped(reader.metadata().step) + "\n";
  for (const auto& [title, pairs] : sorted.groups)
    for (const auto& [key, value] : pairs) text += key + " = " + value + "\n";
  for (const auto& [key, value] : sorted.others)
    text += "# not an option of this program: " + key + " = " + value + "\n";
  return text;
}

int print_file(const std::string& path, const CheckpointArguments& arguments) {
  const CheckpointReader reader(path);
  std::string text;
  if (arguments.has("options")) text += config_text(reader);
  if (arguments.has("tensors")) text += tensors_text(reader);
  if (arguments.has("history")) text += history_text(reader.metadata().history);
  if (text.empty()) text = summary_text(reader) + groups_text(reader);
  std::fputs(text.c_str(), stdout);
  return kDone;
}

// A row for each checkpoint of a folder.
int print_folder(const std::string& folder) {
  Rows rows = {{"file", "step", "tokens", "loss", "grid", "saved", "size"}};
  int worst = kDone;
  for (const auto& path : checkpoints_in(folder)) {
    const int result = report_problems([&] {
      const Metadata m = read_metadata(path);
      const auto& loss = m.history.loss;
      rows.push_back({path, grouped(m.step), grouped(m.tokens),
                      loss.empty() ? "none" : format("%.4f", loss.back()), to_string(m.grid),
                      m.time, size_text(file_bytes(path))});
      return kDone;
    });
    worst = std::max(worst, result);
  }
  std::fputs(table(rows).c_str(), stdout);
  return worst;
}

int info(const CheckpointArguments& arguments) {
  int worst = kDone;
  const bool asks_more =
      arguments.has("options") || arguments.has("tensors") || arguments.has("history");
  for (const auto& path : arguments.paths) {
    if (&path != arguments.paths.data()) std::printf("\n");
    const int result = report_problems([&] {
      if (!is_folder(path)) return print_file(path, arguments);
      if (!asks_more) return print_folder(path);
      throw UsageError("'" + path +
                       "' is a folder: --options, --tensors and --history want a file");
    });
    worst = std::max(worst, result);
  }
  return worst;
}

}  // namespace

CheckpointCommand info_command() {
  return {
      .name = "info",
      .paths = "FILE|FOLDER...",
      .summary = "what is in checkpoints: progress, options, tensors",
      .text =
          "Prints what a checkpoint says of its run, every option, and its tensors by group; of a\n"
          "folder, a line for each of its checkpoints. Metadata is checked against the seal; "
          "values\n"
          "are not read (`cuboid checkpoint verify` does that). With one of the options below, "
          "only\n"
          "that is printed.\n"
          "Exit code: 0, or 2 where a file is missing, damaged or no checkpoint.\n",
      .options = {{.name = "options",
                   .value_name = "",
                   .help = "the run's options, as `cuboid pretrain --config FILE` reads them"},
                  {.name = "tensors",
                   .value_name = "",
                   .help = "every tensor with dtype, shape, bytes and digest"},
                  {.name = "history",
                   .value_name = "",
                   .help = "loss, gradient norm and learning rate of every step"}},
      .most_paths = 100000,
      .run = info};
}

}  // namespace cuboid
