#include "cuboid/data/data_info.hpp"

#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>

#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/data/mapped_file.hpp"

namespace cuboid {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostProblems = 10;
constexpr const char* kLegal =
    "; legal are a text file, a folder of text, a token file (*.bin), a folder or a pattern of "
    "token files";

std::string_view name_of(TokenFormat format) {
  switch (format) {
    case TokenFormat::kNanoGpt: return "nanoGPT tokens (uint16)";
    case TokenFormat::kLlmC16: return "llm.c tokens (uint16)";
    case TokenFormat::kLlmC32: return "llm.c tokens (uint32)";
    case TokenFormat::kPackedText: return "packed text (bytes)";
  }
  return "?";
}

std::int64_t sum(const std::vector<TokenFileInfo>& files) {
  std::int64_t tokens = 0;
  for (const auto& file : files) tokens += file.num_tokens;
  return tokens;
}

// Token files at the top of a folder, sorted by name.
std::vector<std::string> token_files_in(const std::string& folder) {
  std::vector<std::string> paths;
  std::error_code error;
  fs::directory_iterator at(folder, error);
  for (; !error && at != fs::directory_iterator(); at.increment(error)) {
    const std::string name = at->path().filename().string();
    std::error_code ignored;
    if (name.ends_with(".bin") && !name.starts_with('.') && !at->is_directory(ignored))
      paths.push_back(at->path().string());
  }
  if (error) throw UsageError(folder + ": cannot be read: " + error.message() + kLegal);
  std::sort(paths.begin(), paths.end());
  return paths;
}

struct GlobMatches {
  glob_t found{};
  GlobMatches() = default;
  GlobMatches(const GlobMatches&) = delete;
  GlobMatches& operator=(const GlobMatches&) = delete;
  ~GlobMatches() { ::globfree(&found); }
};

// The files that a pattern names, sorted; empty for what is no pattern or matches nothing.
std::vector<std::string> matches_of(const std::string& pattern) {
  if (pattern.find_first_of("*?[") == std::string::npos) return {};
  GlobMatches matches;
  if (::glob(pattern.c_str(), GLOB_NOSORT, nullptr, &matches.found) != 0) return {};
  std::vector<std::string> paths(matches.found.gl_pathv,
                                 matches.found.gl_pathv + matches.found.gl_pathc);
  std::sort(paths.begin(), paths.end());
  return paths;
}

DataInfo inspect_text(const std::string& path, TextListing listing) {
  DataInfo info;
  info.path = path;
  info.num_files = static_cast<std::int64_t>(listing.files.size());
  info.train_tokens = split_point(listing.num_tokens());
  info.validation_tokens = listing.num_tokens() - info.train_tokens;
  info.vocab_size = default_vocab_size(TokenFormat::kPackedText);
  info.text = std::move(listing);
  return info;
}

DataInfo inspect_tokens(const std::string& path, const std::vector<std::string>& files) {
  DataInfo info;
  info.kind = DataKind::kTokens;
  info.path = path;
  info.num_files = static_cast<std::int64_t>(files.size());
  std::vector<std::string> problems;
  for (const std::string& name : files) {
    try {
      const TokenFile file(name);
      if (&name == files.data()) info.format = file.format();
      if (file.format() != info.format)
        problems.push_back(name + ": holds " + std::string(name_of(file.format())) + ", but " +
                           files[0] + " holds " + std::string(name_of(info.format)) +
                           "; all files of one data set must be of one kind");
      const bool validates =
          files.size() > 1 && fs::path(name).filename().string().find("val") != std::string::npos;
      (validates ? info.validation_files : info.train_files).push_back({name, file.num_tokens()});
    } catch (const UsageError& error) {
      problems.emplace_back(error.what());
    }
  }
  if (problems.empty() && info.train_files.empty())
    problems.push_back(path + ": holds no training data: every token file has \"val\" in its name");
  if (problems.size() > kMostProblems) problems.resize(kMostProblems);
  if (!problems.empty()) throw UsageError(problems);

  const std::int64_t tokens = sum(info.train_files);
  info.train_tokens = info.validation_files.empty() ? split_point(tokens) : tokens;
  info.validation_tokens =
      info.validation_files.empty() ? tokens - info.train_tokens : sum(info.validation_files);
  info.vocab_size = default_vocab_size(info.format);
  return info;
}

bool is_token_file(const std::string& path) {
  const OpenedFile opened = open_regular_file(path);
  if (path.ends_with(".bin")) return true;
  std::array<std::byte, 8> first{};
  const std::size_t got = read_at(opened.descriptor.get(), 0, first, path);
  return has_token_magic(std::span(first).first(got));
}

// Evenly spread pieces of one file: one MiB in every `stride`.
void scan_ids(const TokenFile& file, std::int64_t vocab_size, std::int64_t stride,
              std::vector<std::string>& problems) {
  const std::int64_t piece = (std::int64_t{1} << 20) / width_of(file.format());
  for (std::int64_t begin = 0; begin < file.num_tokens(); begin += piece * stride) {
    const std::int64_t count = std::min(piece, file.num_tokens() - begin);
    const auto bad = file.find_bad_id(begin, count, vocab_size);
    if (!bad) continue;
    problems.push_back(file.describe_bad_id(*bad, vocab_size));
    return;
  }
}

void check_token_ids(const DataInfo& info, std::int64_t vocab_size,
                     std::vector<std::string>& problems) {
  constexpr std::int64_t kMostBytes = std::int64_t{256} << 20;
  const std::int64_t bytes =
      (sum(info.train_files) + sum(info.validation_files)) * width_of(info.format);
  const std::int64_t stride = std::max<std::int64_t>(1, (bytes + kMostBytes - 1) / kMostBytes);
  for (const auto* files : {&info.train_files, &info.validation_files}) {
    for (const TokenFileInfo& file : *files) {
      if (problems.size() >= kMostProblems) return;
      try {
        scan_ids(TokenFile(file.path), vocab_size, stride, problems);
      } catch (const UsageError& error) {
        problems.emplace_back(error.what());
      }
    }
  }
}

}  // namespace

DataInfo inspect_data(const std::string& path, const std::string& output_dir) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) {
    const std::string reason = std::strerror(errno);
    const auto matches = matches_of(path);
    if (matches.empty()) throw UsageError("--data-dir " + path + ": " + reason + kLegal);
    return inspect_tokens(path, matches);
  }
  if (S_ISREG(status.st_mode)) {
    if (status.st_size == 0) throw UsageError(path + ": is empty (0 bytes)");
    return is_token_file(path) ? inspect_tokens(path, {path})
                               : inspect_text(path, list_text_file(path));
  }
  if (!S_ISDIR(status.st_mode))
    throw UsageError("--data-dir " + path + ": is neither a regular file nor a folder" + kLegal);
  const auto tokens = token_files_in(path);
  return tokens.empty() ? inspect_text(path, list_text_folder(path, output_dir))
                        : inspect_tokens(path, tokens);
}

std::vector<std::string> check_data(const DataInfo& info, const DataNeeds& needs) {
  std::vector<std::string> problems;
  const std::string at_least = "fewer than --seq-length + 1 = " + grouped(needs.seq_length + 1);
  if (info.train_tokens <= needs.seq_length)
    problems.push_back(info.path + ": is too short: " + grouped(info.train_tokens) +
                       " training tokens, " + at_least);
  if (needs.validation && info.validation_tokens <= needs.seq_length)
    problems.push_back(info.path + ": is too short: " + grouped(info.validation_tokens) +
                       " validation tokens" +
                       (info.validation_files.empty() ? " (the last tenth), " : ", ") + at_least +
                       "; give more data, a shorter --seq-length, or --eval-steps 0");
  if (info.kind == DataKind::kTokens) {
    check_token_ids(info, needs.vocab_size, problems);
  } else if (needs.vocab_size < info.vocab_size) {
    problems.push_back("--vocab-size " + std::to_string(needs.vocab_size) +
                       ": is too small for text (" + info.path + "), whose tokens are its bytes; " +
                       std::to_string(info.vocab_size) + " or more is legal");
  }
  return problems;
}

std::string describe(const DataInfo& info) {
  const std::string kind =
      info.kind == DataKind::kText ? "text" : std::string(name_of(info.format));
  return kind + ", " + grouped(info.num_files) + (info.num_files == 1 ? " file, " : " files, ") +
         grouped(info.train_tokens) + " training and " + grouped(info.validation_tokens) +
         " validation tokens";
}

std::int64_t split_point(std::int64_t num_tokens) {
  return static_cast<std::int64_t>(static_cast<double>(num_tokens) * 0.9);
}

}  // namespace cuboid
