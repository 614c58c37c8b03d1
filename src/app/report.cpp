#include "cuboid/app/report.hpp"

#include "cuboid/base/text.hpp"
#include "cuboid/checkpoint/wire.hpp"

namespace cuboid {
namespace {

constexpr int kMostRanksInFull = 64;

std::string ranks_of_node(const GridShape& shape, const NodeMap& nodes, int node) {
  std::vector<int> ranks;
  for (int rank = 0; rank < shape.size(); ++rank) {
    if (nodes.node_of[static_cast<std::size_t>(rank)] == node) ranks.push_back(rank);
  }
  const std::string& host = nodes.hosts[static_cast<std::size_t>(node)];
  if (shape.size() > kMostRanksInFull) {
    return format("  %s  %zu ranks, %d to %d\n", host.c_str(), ranks.size(), ranks.front(),
                  ranks.back());
  }
  std::vector<std::vector<std::string>> rows;
  for (const int rank : ranks) {
    const GridCoordinate at = coordinate_of(shape, rank);
    rows.push_back({rank == ranks.front() ? host : "", "rank", std::to_string(rank), "dp",
                    std::to_string(at.dp), "tp", std::to_string(at.tp), "pp",
                    std::to_string(at.pp)});
  }
  return table(rows, "  ");
}

}  // namespace

std::string grid_report(const GridShape& shape, const NodeMap& nodes) {
  std::string text = format("Grid %s (DP x TP x PP): %d rank%s on %zu node%s\n",
                            to_string(shape).c_str(), shape.size(), shape.size() == 1 ? "" : "s",
                            nodes.hosts.size(), nodes.hosts.size() == 1 ? "" : "s");
  for (int node = 0; node < static_cast<int>(nodes.hosts.size()); ++node) {
    text += ranks_of_node(shape, nodes, node);
  }
  return text;
}

std::string stage_report(const std::vector<StageSize>& stages, Precision precision) {
  const double bytes = precision == Precision::kFloat32 ? 16.0 : 18.0;
  std::vector<std::vector<std::string>> rows = {
      {"stage", "layers", "parameters", "on a rank", "weights, gradients and optimizer on a rank"}};
  std::int64_t total = 0;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const StageSize& stage = stages[i];
    total += stage.parameters;
    rows.push_back({std::to_string(i),
                    format("%ld-%ld", static_cast<long>(stage.first_layer),
                           static_cast<long>(stage.end_layer - 1)),
                    grouped(stage.parameters), grouped(stage.per_rank),
                    short_bytes(bytes * static_cast<double>(stage.per_rank))});
  }
  return "Parameters: " + grouped(total) + "\n" + table(rows, "  ");
}

std::string placement_warning(const GridShape& shape, const NodeMap& nodes) {
  int spanning = 0;
  for (int first = 0; first < shape.size(); first += shape.tp) {
    const auto begin = nodes.node_of.begin() + first;
    for (auto node = begin; node != begin + shape.tp; ++node) {
      if (*node != *begin) {
        ++spanning;
        break;
      }
    }
  }
  if (spanning == 0) return {};
  return format(
      "%d of %d tensor-parallel groups span nodes: their all-reduces of every layer cross "
      "the network; a --tensor-parallel-size that divides the ranks of a node avoids it",
      spanning, shape.dp * shape.pp);
}

std::string shared_memory_warning(MPI_Comm world, const GridCommunicators& communicators) {
  std::string mine;
  if (const std::string why = communicators.dp->why_not_shared(); !why.empty())
    mine = "gradients of replicas are summed over messages, not in shared memory: " + why;
  else if (const std::string reason = communicators.tp->why_not_shared(); !reason.empty())
    mine = "tensor-parallel results are summed over messages, not in shared memory: " + reason;
  for (const std::string& text : share_texts(world, mine)) {
    if (text.empty()) continue;
    return text +
           ". That takes longer. More room: docker run --shm-size 8g, or mount -o "
           "remount,size=8g /dev/shm";
  }
  return {};
}

}  // namespace cuboid
