#include "cuboid/app/bench_arguments.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "cuboid/base/text.hpp"
#include "cuboid/config/option.hpp"
#include "cuboid/config/parse.hpp"

namespace cuboid {
namespace {

constexpr std::int64_t kSmallest = 1 << 10;
constexpr std::int64_t kLargest = 16 << 20;
constexpr std::int64_t kFactor = 4;
constexpr std::size_t kMostSizes = 100'000;

constexpr auto kCollectives = all_collectives();

// An option's name and where its value is, if it has one.
struct Word {
  std::string name;  // as written: "-b", "--minbytes"
  std::string value;
  bool has_value = false;
};

// Reads words one after the other into arguments.
class Reader {
 public:
  explicit Reader(std::span<const std::string> words) : words_(words) {}

  BenchArguments read() {
    while (at_ < words_.size()) read_one();
    const ParseResult parsed = parse_options(for_run_);
    result_.parallel = parsed.config.parallel;
    result_.runtime = parsed.config.runtime;
    for (const std::string& problem : parsed.problems) result_.problems.push_back(problem);
    check_sizes();
    check_types();
    if (result_.collectives.empty())
      result_.collectives.assign(kCollectives.begin(), kCollectives.end());
    return std::move(result_);
  }

 private:
  void read_one() {
    const std::string& word = words_[at_++];
    if (word == "--help" || word == "-h") {
      result_.help = true;
    } else if (!word.starts_with('-')) {
      read_verb(word);
    } else {
      read_option(word);
    }
  }

  void read_verb(const std::string& word) {
    std::vector<std::string> names;
    for (const Collective one : kCollectives) {
      names.emplace_back(name_of(one));
      if (names.back() != word) continue;
      if (std::ranges::find(result_.collectives, one) == result_.collectives.end())
        result_.collectives.push_back(one);
      return;
    }
    const std::string near = nearest_name(word, names);
    add("no collective '" + word + "'" + (near.empty() ? "" : ": did you mean '" + near + "'?") +
        "; legal are " + join(names, ", "));
  }

  // "--name=value", "--name value", "-b value".
  Word split(const std::string& text) {
    const std::size_t equals = text.starts_with("--") ? text.find('=') : std::string::npos;
    if (equals != std::string::npos)
      return {.name = text.substr(0, equals), .value = text.substr(equals + 1), .has_value = true};
    // No value begins with two dashes; "-3" is one, if not a legal one.
    const bool follows =
        at_ < words_.size() && !words_[at_].starts_with("--") && find(words_[at_]) == nullptr;
    return {.name = text, .value = follows ? words_[at_] : "", .has_value = follows};
  }

  void read_option(const std::string& text) {
    const Word word = split(text);
    const bool is_long = word.name.starts_with("--");
    if (const BenchOption* option = find(word.name)) {
      take_value(text, word);
      set(*option, word);
    } else if (const Option* shared = is_long ? find_option(word.name.substr(2)) : nullptr;
               shared != nullptr && is_shared(*shared)) {
      take_value(text, word);
      for_run_.push_back(word.name);
      if (word.has_value) for_run_.push_back(word.value);
    } else {
      add(unknown(word.name));
      // What follows it is its value rather than a collective.
      if (word.has_value && !is_collective(word.value)) take_value(text, word);
    }
  }

  static bool is_collective(const std::string& word) {
    return std::ranges::any_of(kCollectives,
                               [&](const Collective one) { return name_of(one) == word; });
  }

  // Moves on where the value was a word of its own.
  void take_value(const std::string& text, const Word& word) {
    if (word.has_value && text == word.name) ++at_;
  }

  void set(const BenchOption& option, const Word& word) {
    const std::string name = "--" + option.name;
    if (!seen_.insert(option.name).second) return add(name + " is given twice; legal: once");
    if (!word.has_value) return add(name + " has no value; legal: " + option.legal);
    if (!option.set(result_, word.value))
      add(name + " " + word.value + ": not legal; legal: " + option.legal);
  }

  // nccl-tests writes "_" in its names, Cuboid "-": both are understood.
  static const BenchOption* find(const std::string& word) {
    std::string name = word;
    std::ranges::replace(name, '-', '_');
    for (const BenchOption& option : bench_options()) {
      const bool is_letter = option.letter != '\0' && word == std::string("-") + option.letter;
      if (is_letter || (word.starts_with("--") && name.substr(2) == option.name)) return &option;
    }
    return nullptr;
  }

  static bool is_shared(const Option& option) {
    const auto names = bench_run_options();
    return std::ranges::find(names, option.name) != names.end();
  }

  static std::string unknown(const std::string& name) {
    std::vector<std::string> names;
    for (const BenchOption& option : bench_options()) names.push_back("--" + option.name);
    for (const std::string& option : bench_run_options()) names.push_back("--" + option);
    const std::string near = nearest_name(name, names);
    return "unknown option '" + name + "'" + (near.empty() ? "" : ": did you mean " + near + "?") +
           "; legal are " + join(names, ", ");
  }

  void check_sizes() {
    if (result_.step_bytes != 0 && result_.step_factor != 0)
      add("--stepbytes and --stepfactor are both given; legal: one of the two");
    if (!result_.problems.empty()) return;
    if (result_.min_bytes > result_.max_bytes && result_.max_bytes != 0) {
      add("--minbytes " + std::to_string(result_.min_bytes) + " is above --maxbytes " +
          std::to_string(result_.max_bytes) + "; legal: at most that");
    } else if (result_.sizes().size() > kMostSizes) {
      add("--stepbytes " + std::to_string(result_.step_bytes) + " makes more than " +
          std::to_string(kMostSizes) + " sizes; legal: larger steps");
    }
  }

  void check_types() {
    const bool only_bytes = result_.dtypes == std::vector{DType::kUInt8};
    for (const Collective one : result_.collectives) {
      if (only_bytes && reduces(one))
        add("--datatype uint8: " + std::string(name_of(one)) +
            " has no sums of it; legal: fp32, fp64, bf16, int64 or all");
    }
  }

  void add(const std::string& problem) { result_.problems.push_back(problem); }

  std::span<const std::string> words_;
  std::size_t at_ = 0;
  std::vector<std::string> for_run_;
  std::set<std::string> seen_;
  BenchArguments result_;
};

}  // namespace

std::vector<std::int64_t> BenchArguments::sizes() const {
  const std::int64_t last = max_bytes != 0 ? max_bytes : std::max(kLargest, min_bytes);
  std::vector<std::int64_t> all;
  for (std::int64_t size = min_bytes != 0 ? min_bytes : std::min(kSmallest, last); size <= last;) {
    all.push_back(size);
    if (all.size() > kMostSizes) break;
    size = step_bytes != 0 ? size + step_bytes : size * (step_factor != 0 ? step_factor : kFactor);
  }
  return all;
}

std::vector<CollectiveCase> BenchArguments::cases(int ranks) const {
  const std::vector<std::int64_t> every_size = sizes();
  std::vector<CollectiveCase> all;
  for (const Collective one : collectives) {
    for (const DType dtype : dtypes) {
      if (reduces(one) && dtype == DType::kUInt8) continue;
      for (const ReduceOp op : ops) {
        if (!reduces(one) && op != ops.front()) continue;
        std::int64_t before = 0;
        for (const std::int64_t size : every_size) {
          const std::int64_t count = count_for(one, dtype, size, ranks);
          // Small steps may round down to the same number of elements.
          if (count == std::exchange(before, count)) continue;
          all.push_back({.collective = one,
                         .dtype = dtype,
                         .op = op,
                         .root = static_cast<int>(root),
                         .in_place = runs_in_place(one),
                         .count = count});
        }
      }
    }
  }
  return all;
}

BenchArguments read_bench_arguments(std::span<const std::string> words) {
  return Reader(words).read();
}

}  // namespace cuboid
