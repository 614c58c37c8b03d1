#include "cuboid/app/guide.hpp"

namespace cuboid {

const char* const kPerformanceChapter =
    R"(What to look at

  Step 100 | Loss: 2.5432 | ... | Tokens/s: 12345 | MFU: ...

  MFU is the share of the peak that the model's own arithmetic makes. A run
  names both at its start: the FLOPs a token, counted as --mfu-convention says
  (llmc: 6 N + 6 L h T; megatron, nanogpt and palm differ by up to 8 %, more
  with long sequences), and the peak: a GPU's data sheet, --peak-tflops, or, on
  CPUs, the matrix-product rate measured then. Compare within one convention
  and one kind of peak only. metrics.jsonl has step_ms, tokens_per_second and
  mfu for every step; the first steps warm up.

Where the time goes

  The table at a run's end: forward, backward, waiting for each axis (what
  computing does not hide), optimizer, data; over all ranks, with the slowest.
  Much p2p wait: more micro-batches. Much TP wait: less tensor parallelism, or
  inside a node only. Much DP wait: more micro-batches, other
  --ddp-bucket-size. Much data: a faster disk. One rank that computes longer
  than all: look at its host. step_times.json has the same for programs.

  --profile 5 traces five steps, action by action, all ranks in one file that
  https://ui.perfetto.dev opens.

CPUs

  Ranks times --num-threads should be the cores; auto shares them out. More
  ranks than cores cannot be fast, and the run says so. mpirun binds up to two
  ranks to a core each: with more than one thread a rank add --bind-to none, or
  --map-by slot:PE=THREADS. jobs/launch_pretrain.sh does this by itself.

GPUs

  One rank for each GPU; --dtype bf16. Collectives go over NCCL, and over MPI
  where ranks share a GPU. Larger micro-batches make larger products: raise
  --micro-batch-size until memory is full, then --num-microbatches.

Grids

  The cheapest first: DP, then TP inside a node, then PP. Tensor parallelism
  communicates in every layer; smaller parts are also slower products.
  Pipelines want --num-microbatches of four or more for each stage.

Checkpoints

  --save-async true: the training waits for almost nothing, at the price of one
  copy of what a rank saves. Validation takes --eval-steps forward passes each
  time.

Measuring

  cuboid bench collectives times all_reduce and its kin over message sizes, on
  the ranks, the backend and the axis of the grid that a run would use, and
  prints nccl-tests' table. Its bus bandwidth compares with what the link is
  sold as; every result is checked, too:

    mpirun -np 8 cuboid bench collectives -b 8 -e 1G -f 4
    mpirun -np 8 cuboid bench collectives all_reduce --axis tp
        --tensor-parallel-size 4

  make bench measures this machine in five minutes; bench/README.md explains the
  figures. bench/scaling/sweep.sh measures how training scales over ranks and
  grids, with plots and a report (in SLURM jobs/scaling_sweep.sbatch);
  bench/peers/compare.sh runs the same model in PyTorch.

  See also: cuboid help parallelism
)";

}  // namespace cuboid
