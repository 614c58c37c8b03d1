// The table of options of `cuboid bench collectives`, and its help.
#include <algorithm>
#include <array>
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/value_semantic.hpp>
#include <charconv>
#include <optional>
#include <sstream>

#include "cuboid/app/bench_arguments.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/config/parse.hpp"

namespace cuboid {
namespace {

namespace po = boost::program_options;

constexpr const char* kSizes =
    "a whole number of bytes from 1 to 1T, with K, M, G or T for 2^10, 2^20, 2^30 or 2^40";
constexpr std::int64_t kMostBytes = std::int64_t{1} << 40;
constexpr std::int64_t kMostRuns = 1'000'000'000;

std::optional<std::int64_t> whole_number(std::string_view text, std::int64_t least,
                                         std::int64_t most) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool legal = error == std::errc() && end == text.data() + text.size();
  return legal && value >= least && value <= most ? std::optional(value) : std::nullopt;
}

// "64", "64K", "64k".
std::optional<std::int64_t> bytes_of(std::string_view text) {
  constexpr std::string_view kUnits = "KMGTkmgt";
  int shift = 0;
  const std::size_t unit = text.empty() ? std::string_view::npos : kUnits.find(text.back());
  if (unit != std::string_view::npos) {
    shift = 10 * static_cast<int>(unit % 4 + 1);
    text.remove_suffix(1);
  }
  const auto value = whole_number(text, 1, kMostBytes >> shift);
  return value ? std::optional(*value << shift) : std::nullopt;
}

using Set = std::function<bool(BenchArguments&, const std::string&)>;

Set size(std::int64_t BenchArguments::* field) {
  return [field](BenchArguments& arguments, const std::string& text) {
    const auto value = bytes_of(text);
    if (value) arguments.*field = *value;
    return value.has_value();
  };
}

Set number(std::int64_t BenchArguments::* field, std::int64_t least, std::int64_t most) {
  return [=](BenchArguments& arguments, const std::string& text) {
    const auto value = whole_number(text, least, most);
    if (value) arguments.*field = *value;
    return value.has_value();
  };
}

template <typename T>
struct Word {
  std::string_view word;
  T value;
};

// One of the words, or "all" for each value once.
template <typename T, std::size_t N>
Set words(std::vector<T> BenchArguments::* field, const std::array<Word<T>, N>& known) {
  return [field, known](BenchArguments& arguments, const std::string& text) {
    std::vector<T> chosen;
    for (const auto& [word, value] : known) {
      const bool wanted = text == "all" || text == word;
      if (wanted && std::find(chosen.begin(), chosen.end(), value) == chosen.end())
        chosen.push_back(value);
    }
    if (!chosen.empty()) arguments.*field = chosen;
    return !chosen.empty();
  };
}

constexpr std::array<Word<ReduceOp>, 3> kOps = {
    {{"sum", ReduceOp::kSum}, {"max", ReduceOp::kMax}, {"min", ReduceOp::kMin}}};
constexpr std::array<Word<DType>, 8> kTypes = {{{"fp32", DType::kFloat32},
                                                {"fp64", DType::kFloat64},
                                                {"bf16", DType::kBFloat16},
                                                {"int64", DType::kInt64},
                                                {"uint8", DType::kUInt8},
                                                // nccl-tests' names.
                                                {"float", DType::kFloat32},
                                                {"double", DType::kFloat64},
                                                {"bfloat16", DType::kBFloat16}}};

bool set_axis(BenchArguments& arguments, const std::string& text) {
  constexpr std::array<std::string_view, 6> kAxes = {"world", "dp", "tp", "pp", "mp", "ends"};
  const bool known = std::find(kAxes.begin(), kAxes.end(), text) != kAxes.end();
  if (known) arguments.axis = text;
  return known;
}

bool set_average(BenchArguments& arguments, const std::string& text) {
  const auto value = whole_number(text, 0, 3);
  if (value) arguments.average = static_cast<Average>(*value);
  return value.has_value();
}

bool set_memory(BenchArguments& arguments, const std::string& text) {
  arguments.shared_memory = text == "shared";
  return text == "shared" || text == "own";
}

bool set_json(BenchArguments& arguments, const std::string& text) {
  arguments.json = text;
  return !text.empty();
}

}  // namespace

std::string_view name_of(ReduceOp op) {
  for (const auto& [word, value] : kOps)
    if (value == op) return word;
  return "?";
}

std::span<const BenchOption> bench_options() {
  const std::string runs = "a whole number from 1 to 1000000000";
  const std::string runs_or_none = "a whole number from 0 to 1000000000";
  static const std::array<BenchOption, 14> kOptions = {{
      {'b', "minbytes", "SIZE", "Smallest size [default 1K]", kSizes,
       size(&BenchArguments::min_bytes)},
      {'e', "maxbytes", "SIZE", "Largest size [default 16M]", kSizes,
       size(&BenchArguments::max_bytes)},
      {'f', "stepfactor", "N", "From one size to the next, times N [default 4]",
       "a whole number from 2 to 1000000", number(&BenchArguments::step_factor, 2, 1'000'000)},
      {'i', "stepbytes", "SIZE", "From one size to the next, so many bytes more; instead of -f",
       kSizes, size(&BenchArguments::step_bytes)},
      {'n', "iters", "N", "Operations that are timed, in a row [default 20]", runs,
       number(&BenchArguments::iterations, 1, kMostRuns)},
      {'w', "warmup_iters", "N", "Operations before them [default 5]", runs_or_none,
       number(&BenchArguments::warmups, 0, kMostRuns)},
      {'c', "check", "N",
       "Operations whose result is compared, element by element, with what it should be; 0: none "
       "[default 1]",
       runs_or_none, number(&BenchArguments::checks, 0, kMostRuns)},
      {'a', "average", "0|1|2|3",
       "Time of a group: of its first rank, mean, minimum or maximum [default 3]", "0, 1, 2 or 3",
       set_average},
      {'o', "op", "sum|max|min|all", "What all_reduce and reduce_scatter do [default sum]",
       "sum, max, min or all", words(&BenchArguments::ops, kOps)},
      {'d', "datatype", "fp32|fp64|bf16|int64|uint8|all",
       "Type of the elements [default fp32]; uint8 where nothing is reduced",
       "fp32 (float), fp64 (double), bf16 (bfloat16), int64, uint8 or all",
       words(&BenchArguments::dtypes, kTypes)},
      {'r', "root", "N", "Who broadcasts: a rank of each group [default 0]",
       "a whole number from 0, below the ranks of a group",
       number(&BenchArguments::root, 0, kMostRuns)},
      {'\0', "axis", "world|dp|tp|pp|mp|ends",
       "Which ranks talk: all, those along one axis of the grid, TP x PP of each replica (mp), or "
       "first and last stage (ends); all groups at the same time, as in training [default world]",
       "world, dp, tp, pp, mp or ends", set_axis},
      {'\0', "memory", "shared|own",
       "Host memory that is sent and reduced: shared by the ranks of a node, where all_reduce "
       "works in "
       "place, as training's gradients are; or each rank's own [default shared]",
       "shared or own", set_memory},
      {'\0', "json", "FILE", "Writes the table there, too", "a path", set_json},
  }};
  return kOptions;
}

std::span<const std::string> bench_run_options() {
  static const std::array<std::string, 7> kNames = {"data-parallel-size",
                                                    "tensor-parallel-size",
                                                    "pipeline-parallel-size",
                                                    "device",
                                                    "comm-backend",
                                                    "num-threads",
                                                    "help"};
  return kNames;
}

std::string bench_help() {
  constexpr unsigned kColumns = 100;
  constexpr unsigned kTextColumns = 60;
  po::options_description group("Benchmark", kColumns, kTextColumns);
  for (const BenchOption& option : bench_options()) {
    const std::string letter = option.letter == '\0' ? "" : std::string(",") + option.letter;
    group.add_options()((option.name + letter).c_str(),
                        po::value<std::string>()->value_name(option.value_name),
                        option.help.c_str());
  }
  std::ostringstream options;
  options << group << "\n" << option_tables(bench_run_options());
  return "cuboid bench collectives [options] [VERB...]\n"
         "\n"
         "Times collectives over message sizes and prints nccl-tests' table: of all_reduce,\n"
         "all_gather, reduce_scatter, broadcast and sendrecv, or those that are named. Under\n"
         "mpirun or srun on two ranks or more; host memory over MPI, device memory over NCCL\n"
         "where each rank has a GPU. Exit code 1 where any element of a result is wrong.\n"
         "\n" +
         options.str();
}

}  // namespace cuboid
