// What this machine can do at most, measured in the same run by the same ranks: what a benchmark's
// rate is divided by. Products (at every eighth asking) and copies are measured again beside the
// benchmarks, and the best so far counts; the others are measured once. All are collective.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <functional>
#include <string>

namespace cuboid::harness {

struct Limit {
  std::string name;  // "products": what the rate is a share of
  double rate = 0;   // FLOP/s or bytes/s; 0: there is none
};

// Square products of this type by all ranks at once, as a training run measures its peak
// (trainer/peak.hpp): FLOP/s of all ranks together.
Limit product_limit(c10::ScalarType type);

// Copies that read and write `bytes` in all, on all ranks at once: bytes/s of all ranks together.
// Of the same size as what is measured, since what fits a cache is faster.
Limit copy_limit(double bytes);

// Messages around the ring of all ranks (plain MPI_Sendrecv between hosts' memory, the NCCL
// communicator's exchange between GPUs), each rank sending and receiving at once: bytes/s that one
// rank sends, at the best of several sizes. Ranks of one node talk through its memory (loop-back).
// None for one rank.
Limit link_limit();
// One such exchange of `bytes`, for repeated calls.
std::function<void()> ring_exchange(std::int64_t bytes);

// A file of each rank, written with fsync into the current folder: bytes/s of all ranks together.
Limit write_limit();

// Its parts: 256 MiB over all ranks, in pieces of 4 MiB.
std::int64_t file_bytes();  // of this rank's file
void write_file();
void forget_file();  // the next read comes from the disk
void read_file();
void remove_file();

}  // namespace cuboid::harness
