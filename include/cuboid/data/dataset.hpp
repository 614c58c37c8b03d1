// The opened data of a run: two splits of tokens, the same on every rank.
#pragma once

#include <string>

#include "cuboid/collective/communicator.hpp"
#include "cuboid/data/data_info.hpp"
#include "cuboid/data/token_sequence.hpp"

namespace cuboid {

struct Dataset {
  DataInfo info;  // text.files is filled on rank 0 only
  TokenSplit train;
  TokenSplit validation;
  std::string cache_path;     // of text
  bool cache_reused = false;  // of text
};

struct DataRequest {
  std::string path;        // --data-dir
  std::string output_dir;  // --output-dir; text is packed below it
  DataNeeds needs;
};

// Collective over `control`. Rank 0 looks at the data, checks it and packs text; the other ranks
// wait without spinning, then map the same files. An error on any rank becomes the same UsageError
// or SystemError on all of them.
Dataset open_dataset(Communicator& control, const DataRequest& request);

}  // namespace cuboid
