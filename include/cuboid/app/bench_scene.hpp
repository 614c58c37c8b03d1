// How `cuboid bench collectives` says what it measured on: above the table, and in a file.
#pragma once

#include <string>

#include "cuboid/app/bench_run.hpp"
#include "cuboid/app/setup.hpp"
#include "cuboid/grid/shape.hpp"
#include "cuboid/launch/session.hpp"

namespace cuboid {

// The ranks of the largest group, and how many groups are as large.
struct BenchGroups {
  int ranks = 1;
  int count = 1;
};

struct BenchScene {
  const BenchArguments& arguments;
  const NodeMap& nodes;
  GridShape shape;
  const Processor& processor;
  const RuntimeConfig& runtime;  // resolved
  BenchGroups groups;
  bool shared_memory;  // the buffer that is reduced lies where ranks share it
};

// Lines that begin with "#", which readers of nccl-tests' output pass over.
std::string bench_introduction(const BenchScene& scene);

// One JSON object: scene and figures.
std::string bench_json(const BenchScene& scene, const BenchResult& result);

}  // namespace cuboid
