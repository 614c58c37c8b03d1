// What a --data-dir holds, found quickly and without MPI, so that bad input is reported at once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cuboid/config/resolve.hpp"  // DataKind
#include "cuboid/data/text_folder.hpp"
#include "cuboid/data/token_file.hpp"

namespace cuboid {

struct TokenFileInfo {
  std::string path;
  std::int64_t num_tokens = 0;
  bool operator==(const TokenFileInfo&) const = default;
};

struct DataInfo {
  DataKind kind = DataKind::kText;
  TokenFormat format = TokenFormat::kPackedText;  // of the first file
  std::string path;                               // as the user gave it
  TextListing text;                               // of kText
  std::vector<TokenFileInfo> train_files;         // of kTokens
  // Of kTokens; empty where the last tenth of the training files' tokens is validation.
  std::vector<TokenFileInfo> validation_files;
  std::int64_t num_files = 0;
  std::int64_t train_tokens = 0;
  std::int64_t validation_tokens = 0;
  std::int64_t vocab_size = 0;  // default: 256 for text, 50,257 for uint16 and 128,256 for uint32
};

// Looks at `path`: a text file, a folder of text (searched recursively), a token file (*.bin), a
// folder with token files at its top level, or a pattern (shell wildcards) of token files. Of
// several token files, those with "val" in their name are validation; where there are none, and for
// text, the last tenth of the tokens is: the first int(0.9 n) train, as nanoGPT splits. output_dir
// is left out of a folder of text. Reads headers and the first bytes of files only. Throws
// UsageError listing every problem found.
DataInfo inspect_data(const std::string& path, const std::string& output_dir);

// What a run asks of its data.
struct DataNeeds {
  std::int64_t seq_length = 0;
  std::int64_t vocab_size = 0;
  bool validation = true;  // false: the validation split may be too short for one sample
};

// Everything that stands against training on this data, a sentence each; empty when all is well.
// Scans token ids: all of them up to 256 MiB, an evenly spread 256 MiB of larger data (the rest is
// checked as it is read).
std::vector<std::string> check_data(const DataInfo& info, const DataNeeds& needs);

// "text, 312 files, 1,003,854 training and 111,540 validation tokens"
std::string describe(const DataInfo& info);

// First of the tokens that are validation when they are the last tenth of `num_tokens`.
std::int64_t split_point(std::int64_t num_tokens);

}  // namespace cuboid
