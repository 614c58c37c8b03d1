// Packs text files once into one file of tokens (bytes), which later runs reuse.
#pragma once

#include <string>

#include "cuboid/data/text_folder.hpp"

namespace cuboid {

struct TextCache {
  std::string path;     // OUTPUT_DIR/data-cache/DIGEST.tokens
  bool reused = false;  // false: packed just now
};

// Returns the packed form of `text` below `output_dir`, packing it when there is none, or when the
// one found is damaged (every byte is checked). The file is written under a temporary name, synced
// and renamed, so a killed or a second job never leaves or sees half a cache. Throws UsageError
// when output_dir cannot be written or a source changed meanwhile, SystemError when the disk fails.
TextCache prepare_text_cache(const TextListing& text, const std::string& output_dir);

}  // namespace cuboid
