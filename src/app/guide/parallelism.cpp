#include "cuboid/app/guide.hpp"

namespace cuboid {

const char* const kParallelismChapter =
    R"(Which grid

  A run of R ranks is a grid of DP x TP x PP = R:

    --tensor-parallel-size TP     ranks that share every layer
    --pipeline-parallel-size PP   stages that the layers are cut into
    --data-parallel-size DP       replicas; R / (TP x PP) unless given

  Every grid computes the same losses, to rounding: choose by memory and speed.

  Do weights, gradients and optimizer (16 bytes a parameter in fp32, 18 in
  bf16) and the activations of one micro-batch fit on one device?

    yes: data parallelism alone. Every rank is a replica; the batch grows.
    no:  does the model fit on the devices of one node?
         yes: tensor parallelism inside the node, as small as fits.
         no:  tensor parallelism inside the node, pipeline stages across nodes.
    Ranks that are left over become replicas by themselves.

  `cuboid presets` lists sizes and memory; --dry-run prints what each rank
  needs and starts nothing.

Tensor parallelism

  Attention heads, the feed-forward width and the vocabulary are cut into TP
  parts. Every layer adds up activations over TP twice forward and twice
  backward, so TP wants the fastest links: keep it inside a node. TP divides
  --num-attention-heads, --num-key-value-heads and --ffn-hidden-size; the
  vocabulary is padded where TP does not divide it.

Pipeline parallelism

  Layers are cut into PP runs of neighbours; activations travel between them
  once for each micro-batch. Stages wait at the start and the end of a step for
  (p-1)/(m+p-1) of the time, with m = --num-microbatches: give it four or more
  for each stage. --pipeline-schedule 1f1b keeps activations of at most p
  micro-batches, gpipe of all m.

Data parallelism

  Replicas take their shares of the global batch and add up their gradients
  while the backward pass still runs.

    --global-batch-size = --micro-batch-size x --num-microbatches x DP

  Give either --num-microbatches or --global-batch-size. With the second, the
  run learns the same whatever the grid.

Where ranks go

  Neighbouring ranks are those of TP, then DP, then PP:

    rank = (pp * DP + dp) * TP + tp

  Launchers put neighbouring ranks on the same node, so TP lies inside a node
  where it divides the ranks of a node. The run prints which rank is where, and
  warns where TP spans nodes.

Examples

  mpirun -np 4 cuboid pretrain                                       4x1x1
  mpirun -np 4 cuboid pretrain --tensor-parallel-size 4              1x4x1
  mpirun -np 8 cuboid pretrain --tensor-parallel-size 2 \
    --pipeline-parallel-size 2 --num-microbatches 8                  2x2x2

  See also: cuboid help performance, cuboid help slurm
)";

}  // namespace cuboid
