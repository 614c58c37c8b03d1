#include "cuboid/app/guide.hpp"

namespace cuboid {

const char* const kDataChapter =
    R"(What --data-dir takes

  a text file                  its bytes are the tokens (vocabulary 256)
  a folder of text             all text files below it, sorted by path
  a token file (*.bin)         ids of nanoGPT (uint16) or llm.c (uint16, uint32)
  a folder with *.bin files    shards, sorted by name
  a pattern, in quotes         the files that match: 'dir/fineweb_*.bin'

  Without --data-dir the C++ headers of a library are the text: enough for
  trying things out.

  Left out of a folder of text: hidden files and folders, links, empty and
  binary files, and the output folder. Text is packed once, into
  OUTPUT_DIR/data-cache, and the pack is checked before it is used again.

Vocabulary

  --vocab-size is 256 for text, 50257 for uint16 and 128256 for uint32 ids,
  unless given. An id beyond it is found before or while it is read and named
  with its file and position; none reaches the model.

Validation

  Files with "val" in their names are validation; where there are none, the
  last tenth of the tokens is. --eval-interval N and --eval-steps N say when
  and how much; cuboid evaluate does it for a checkpoint, on other data as
  well:

    cuboid evaluate --data-dir other.txt run

Order

  Which samples a step reads is a function of --seed and of the samples
  consumed: the same on every grid, for every batch size, and after every
  restart. Each sample comes once in an epoch. metrics.jsonl has a digest of
  each step's samples; a checkpoint has it too, and a run that resumes on other
  data says so.

  All nodes must see the data and the output folder.
)";

}  // namespace cuboid
