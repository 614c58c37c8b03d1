// Text as training data: which files of a folder are text, in which order, and how many bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cuboid {

struct TextFile {
  std::string path;      // as opened
  std::string relative;  // to the folder; the file's name for a single file
  std::int64_t bytes = 0;
  std::int64_t modified_ns = 0;
  bool ends_in_newline = false;
};

// Files are joined in the order of their relative paths (by bytes). A newline is put between two
// files when the first does not end in one, so that no line runs over from one file to the next;
// nothing is added at the end, so that a single file is exactly its bytes.
struct TextListing {
  std::vector<TextFile> files;
  std::int64_t skipped_binary = 0;

  [[nodiscard]] std::int64_t num_tokens() const;
  // XXH3 over relative paths, sizes and modification times: names the packed cache.
  [[nodiscard]] std::uint64_t digest() const;
};

// All text files below `folder`. Left out: empty files, hidden files and folders (leading dot),
// symbolic links, what is not a regular file, binary files (see is_binary), and the folder
// `output_dir`, where this program writes. Throws UsageError naming every file that cannot be read.
TextListing list_text_folder(const std::string& folder, const std::string& output_dir);

// One file. Throws UsageError when it is empty, unreadable or binary.
TextListing list_text_file(const std::string& path);

// A file is binary when its first 8 KiB hold a NUL byte, or more than one control character (other
// than white space, backspace and escape) in twenty bytes. UTF-16 counts as binary.
bool is_binary(const std::string& first_bytes);

}  // namespace cuboid
