#include "cuboid/app/guide.hpp"

namespace cuboid {

const char* const kCheckpointsChapter =
    R"(A run that survives

  mpirun -np 4 cuboid pretrain --max-steps 100000 --output-dir run \
    --save-interval 1000 --save-async true --keep-last 3 --resume auto

  The same command starts the run and goes on with it, whatever ended it. On
  the same grid it goes on bit for bit. Any other grid, batch size or dtype
  reads the same file, and the samples go on where they stopped.

What is written

  OUTPUT_DIR/checkpoint-STEP.h5  whole tensors, optimizer, options, history
  OUTPUT_DIR/metrics.jsonl       one line for each step
  OUTPUT_DIR/cuboid.lock         who uses the folder; a second job is refused

  A file gets its name only once all of it is on the disk. What a killed job
  left half-written (.partial) is never read, and goes when the next one
  starts.

  --save-interval N   after every N-th step, and at the end of the run
  --save-async true   in the background, from a copy in memory
  --keep-last K       once a new file is proven, all but the newest K go
  --keep-every N      but multiples of N stay

Stopping

  SIGUSR1, SIGTERM, --time-limit and the end of a SLURM job end the step, save,
  and exit with 75: start it again. mpirun passes SIGUSR1 on; on SIGTERM it
  kills its ranks a second later, unless OMPI_MCA_odls_base_sigkill_timeout is
  larger.

Going on

  --resume auto   the newest whole checkpoint of --output-dir, or from the
                  beginning; damaged ones are passed over, and named
  --resume FILE   that file, or an error
  --resume none   a new run; what is there moves into OUTPUT_DIR/run-1, ...

  The model's options, but for --dropout and --init-std, and the seed must be
  what they were. Everything else may change: grid, batch, dtype, learning rate.

Looking after them

  cuboid checkpoint info run          a line for each; of a file, all it says
  cuboid checkpoint verify run        reads every byte and checks it
  cuboid checkpoint diff A.h5 B.h5    how two differ; exit 0 where they do not
  cuboid checkpoint prune --keep-last 2 run
  cuboid evaluate run                 its validation loss, on any grid
  h5dump -A run/checkpoint-1000.h5    they are ordinary HDF5 files

  See also: cuboid help slurm
)";

}  // namespace cuboid
