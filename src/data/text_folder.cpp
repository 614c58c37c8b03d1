#include "cuboid/data/text_folder.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <utility>

#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/data/digest.hpp"
#include "cuboid/data/mapped_file.hpp"

namespace cuboid {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kProbeBytes = 8192;

// What identifies a folder whatever the path that names it.
struct FolderId {
  dev_t device = 0;
  ino_t inode = 0;
  bool operator==(const FolderId&) const = default;
};

std::optional<FolderId> id_of(const std::string& path) {
  struct stat status{};
  if (path.empty() || ::stat(path.c_str(), &status) != 0) return std::nullopt;
  return FolderId{status.st_dev, status.st_ino};
}

// The file as text; nothing when it is empty or binary (`binary` says which).
std::optional<TextFile> probe(const std::string& path, std::string relative, bool& binary) {
  const OpenedFile opened = open_regular_file(path);
  const int descriptor = opened.descriptor.get();
  std::string first(std::min(kProbeBytes, static_cast<std::size_t>(opened.bytes)), '\0');
  first.resize(read_at(descriptor, 0, std::as_writable_bytes(std::span(first)), path));
  binary = is_binary(first);
  if (binary || first.empty()) return std::nullopt;
  std::array<char, 1> last{first.back()};
  if (static_cast<std::size_t>(opened.bytes) > first.size())
    read_at(descriptor, opened.bytes - 1, std::as_writable_bytes(std::span(last)), path);
  return TextFile{path, std::move(relative), opened.bytes, opened.modified_ns, last[0] == '\n'};
}

// A walk over one folder tree that gathers text files and problems.
class Walk {
 public:
  explicit Walk(std::optional<FolderId> left_out) : left_out_(left_out) {}

  void run(const fs::path& root) {
    root_ = root;
    pending_.push_back(root);
    while (!pending_.empty()) {
      const fs::path folder = std::move(pending_.back());
      pending_.pop_back();
      visit_folder(folder);
    }
    if (!problems_.empty()) throw UsageError(problems_);
    std::sort(listing_.files.begin(), listing_.files.end(),
              [](const TextFile& a, const TextFile& b) { return a.relative < b.relative; });
  }
  TextListing take() { return std::move(listing_); }

 private:
  void visit_folder(const fs::path& folder) {
    std::error_code error;
    fs::directory_iterator at(folder, error);
    for (; !error && at != fs::directory_iterator(); at.increment(error)) visit_entry(*at);
    if (error) add_problem(folder.string() + ": cannot be read: " + error.message());
  }

  void visit_entry(const fs::directory_entry& entry) {
    const std::string name = entry.path().filename().string();
    std::error_code error;
    const auto type = entry.symlink_status(error).type();
    if (name.starts_with('.')) return;
    if (type == fs::file_type::directory) {
      if (!left_out_ || id_of(entry.path().string()) != left_out_) pending_.push_back(entry.path());
    } else if (type == fs::file_type::regular) {
      visit_file(entry.path());
    }
  }

  void visit_file(const fs::path& path) {
    try {
      bool binary = false;
      auto file = probe(path.string(), path.lexically_relative(root_).generic_string(), binary);
      if (file) listing_.files.push_back(std::move(*file));
      if (binary) ++listing_.skipped_binary;
    } catch (const UsageError& error) {
      add_problem(error.what());
    }
  }

  void add_problem(std::string problem) {
    constexpr std::size_t kMost = 10;
    if (problems_.size() < kMost) problems_.push_back(std::move(problem));
  }

  std::optional<FolderId> left_out_;
  fs::path root_;
  std::vector<fs::path> pending_;
  TextListing listing_;
  std::vector<std::string> problems_;
};

}  // namespace

std::int64_t TextListing::num_tokens() const {
  std::int64_t tokens = 0;
  for (std::size_t i = 0; i < files.size(); ++i) {
    tokens += files[i].bytes;
    if (i + 1 < files.size() && !files[i].ends_in_newline) ++tokens;
  }
  return tokens;
}

std::uint64_t TextListing::digest() const {
  Xxh3Stream stream;
  for (const TextFile& file : files) {
    // The length before the path keeps two lists from running together into the same bytes.
    const std::array<std::int64_t, 3> numbers{static_cast<std::int64_t>(file.relative.size()),
                                              file.bytes, file.modified_ns};
    stream.add(std::as_bytes(std::span(numbers)));
    stream.add(std::as_bytes(std::span(file.relative)));
  }
  return stream.digest();
}

TextListing list_text_folder(const std::string& folder, const std::string& output_dir) {
  const auto output = id_of(output_dir);
  if (output && id_of(folder) == output)
    throw UsageError(folder +
                     ": is the output folder too; what a run writes there would become training "
                     "text. Give --data-dir and --output-dir different folders");
  Walk walk(output);
  walk.run(folder);
  TextListing listing = walk.take();
  if (!listing.files.empty()) return listing;
  throw UsageError(folder + ": holds no text and no token files (" +
                   grouped(listing.skipped_binary) +
                   " binary files skipped; hidden and empty files and symbolic links do not "
                   "count); legal are text files at any depth, or token files (*.bin) at the top");
}

TextListing list_text_file(const std::string& path) {
  bool binary = false;
  auto file = probe(path, fs::path(path).filename().string(), binary);
  if (binary)
    throw UsageError(path +
                     ": is not text (it holds binary bytes); legal are a text file, or a "
                     "token file named *.bin");
  if (!file) throw UsageError(path + ": is empty (0 bytes)");
  TextListing listing;
  listing.files.push_back(std::move(*file));
  return listing;
}

bool is_binary(const std::string& first_bytes) {
  std::size_t controls = 0;
  for (const char c : first_bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) return true;
    const bool usual = byte >= 0x20 || (byte >= 0x08 && byte <= 0x0D) || byte == 0x1B;
    if (!usual || byte == 0x7F) ++controls;
  }
  return controls * 20 > first_bytes.size();
}

}  // namespace cuboid
