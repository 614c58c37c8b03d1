#include "cuboid/data/text_cache.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <random>
#include <utility>
#include <vector>

#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "cuboid/data/digest.hpp"
#include "cuboid/data/mapped_file.hpp"
#include "cuboid/data/progress_bar.hpp"
#include "cuboid/data/token_file.hpp"

namespace cuboid {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kChunkBytes = 1 << 20;

// A new file beside `target`; removed again unless it was put in the target's place.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string target) : target_(std::move(target)) {
    std::random_device random;
    path_ = target_ + ".tmp-" + hex_digest(static_cast<std::uint64_t>(random()) << 32 | random());
    // Not mkstemp: the umask shall decide who may read the cache.
    file_ = FileDescriptor(::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (!file_)
      throw UsageError(path_ + ": cannot be written: " + std::strerror(errno) +
                       "; text is packed below --output-dir, which must be writable");
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }

  void write_at(std::int64_t offset, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::pwrite(file_.get(), bytes.data(), bytes.size(), offset);
      if (written < 0 && errno == EINTR) continue;
      check_errno(written > 0, "write of " + path_);
      bytes = bytes.subspan(static_cast<std::size_t>(written));
      offset += written;
    }
  }

  // Once this returns, the target is whole and stays so after a loss of power.
  void commit() {
    check_errno(::fsync(file_.get()) == 0, "fsync of " + path_);
    check_errno(std::rename(path_.c_str(), target_.c_str()) == 0, "rename of " + path_);
    path_.clear();
    const std::string folder = fs::path(target_).parent_path().string();
    const FileDescriptor parent(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    check_errno(parent && ::fsync(parent.get()) == 0, "fsync of " + folder);
  }

 private:
  std::string target_, path_;
  FileDescriptor file_;
};

// Appends to the temporary file and keeps the digest of all that was appended.
class Packer {
 public:
  Packer(TemporaryFile& out, std::int64_t total_bytes)
      : out_(out), buffer_(kChunkBytes), progress_("Packing text", total_bytes) {}

  void add_file(const TextFile& text) {
    const OpenedFile opened = open_regular_file(text.path);
    std::int64_t done = 0;
    if (opened.bytes == text.bytes && opened.modified_ns == text.modified_ns) {
      std::size_t got = 0;
      while (done < text.bytes &&
             (got = read_at(opened.descriptor.get(), done, buffer_, text.path)) > 0) {
        append(std::span(buffer_).first(got));
        done += static_cast<std::int64_t>(got);
      }
    }
    if (done != text.bytes)
      throw UsageError(text.path + ": changed while it was packed; start again when it is still");
  }

  void append(std::span<const std::byte> bytes) {
    out_.write_at(static_cast<std::int64_t>(sizeof(PackedHeader)) + written_, bytes);
    digest_.add(bytes);
    written_ += static_cast<std::int64_t>(bytes.size());
    progress_.add(static_cast<std::int64_t>(bytes.size()));
  }

  void finish(std::uint64_t sources) {
    PackedHeader header;
    header.sources = sources;
    header.tokens = static_cast<std::uint64_t>(written_);
    header.payload = digest_.digest();
    const auto bytes = std::as_bytes(std::span(&header, 1));
    header.header = xxh3(bytes.first(offsetof(PackedHeader, header)));
    out_.write_at(0, bytes);
  }

 private:
  TemporaryFile& out_;
  std::vector<std::byte> buffer_;
  ProgressBar progress_;
  Xxh3Stream digest_;
  std::int64_t written_ = 0;
};

// Every byte is checked: a damaged cache would be training data that nobody has seen.
bool is_whole(const std::string& path, const TextListing& text) {
  try {
    const TokenFile file(path);
    if (file.format() != TokenFormat::kPackedText || file.num_tokens() != text.num_tokens() ||
        file.packed_header().sources != text.digest())
      return false;
    ProgressBar progress("Checking packed text", file.num_tokens());
    Xxh3Stream digest;
    for (auto rest = file.payload(); !rest.empty();) {
      const auto chunk = rest.first(std::min(rest.size(), kChunkBytes));
      digest.add(chunk);
      progress.add(static_cast<std::int64_t>(chunk.size()));
      rest = rest.subspan(chunk.size());
    }
    return digest.digest() == file.packed_header().payload;
  } catch (const UsageError&) {
    return false;  // missing, or not a packed file at all
  }
}

void pack(const TextListing& text, const std::string& path) {
  TemporaryFile out(path);
  Packer packer(out, text.num_tokens());
  constexpr std::byte kNewline{'\n'};
  for (std::size_t i = 0; i < text.files.size(); ++i) {
    packer.add_file(text.files[i]);
    if (i + 1 < text.files.size() && !text.files[i].ends_in_newline) packer.append({&kNewline, 1});
  }
  packer.finish(text.digest());
  out.commit();
}

}  // namespace

TextCache prepare_text_cache(const TextListing& text, const std::string& output_dir) {
  const fs::path folder = fs::path(output_dir) / "data-cache";
  const std::string path = (folder / (hex_digest(text.digest()) + ".tokens")).string();
  if (is_whole(path, text)) return {path, true};
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    throw UsageError(folder.string() + ": cannot be made: " + error.message() +
                     "; text is packed below --output-dir, which must be writable");
  pack(text, path);
  return {path, false};
}

}  // namespace cuboid
