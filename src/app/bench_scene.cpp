#include "cuboid/app/bench_scene.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cuboid/app/command.hpp"
#include "cuboid/base/text.hpp"

namespace cuboid {
namespace {

std::string comment(const std::string& text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    result += "# " + text.substr(at, end - at) + "\n";
    at = end + 1;
  }
  return result;
}

constexpr const char* kTimes[] = {"a group's first rank", "mean over a group's ranks",
                                  "minimum over a group's ranks", "maximum over a group's ranks"};

nlohmann::ordered_json object_of(const BenchRow& row, const BenchFigures& figures, bool in_place) {
  const CollectiveCase& one = row.one;
  nlohmann::ordered_json object = {{"collective", name_of(one.collective)},
                                   {"in_place", in_place},
                                   {"bytes", row.bytes},
                                   {"count", one.count},
                                   {"dtype", name_of(one.dtype)}};
  if (reduces(one.collective)) object["op"] = name_of(one.op);
  if (one.collective == Collective::kBroadcast) object["root"] = one.root;
  object["seconds"] = figures.seconds;
  object["algbw_GBps"] = figures.algorithm;
  object["busbw_GBps"] = figures.bus;
  object["wrong"] = figures.wrong ? nlohmann::ordered_json(*figures.wrong) : nullptr;
  return object;
}

}  // namespace

std::string bench_introduction(const BenchScene& scene) {
  const BenchArguments& arguments = scene.arguments;
  const std::size_t nodes = scene.nodes.hosts.size();
  std::string text =
      format("cuboid bench collectives: %d ranks on %zu node%s, grid %s (DP x TP x PP)\n",
             scene.shape.size(), nodes, nodes == 1 ? "" : "s", to_string(scene.shape).c_str());
  text += format("Axis %s: %d group%s of %d ranks%s\n", arguments.axis.c_str(), scene.groups.count,
                 scene.groups.count == 1 ? "" : "s", scene.groups.ranks,
                 scene.groups.count == 1 ? "" : ", all at the same time; times are the slowest's");
  text += device_report(scene.processor, scene.runtime, scene.nodes);
  if (scene.processor.device.is_cpu())
    text += scene.shared_memory ? "Memory: shared by the ranks of a node; all_reduce works in it\n"
                                : "Memory: each rank's own\n";
  text += format("%lld operation%s timed in a row after %lld to warm up; time: %s; %s\n",
                 static_cast<long long>(arguments.iterations), arguments.iterations == 1 ? "" : "s",
                 static_cast<long long>(arguments.warmups),
                 kTimes[static_cast<std::size_t>(arguments.average)],
                 arguments.checks == 0
                     ? "results are not checked"
                     : format("%lld checked", static_cast<long long>(arguments.checks)).c_str());
  return comment(text);
}

std::string bench_json(const BenchScene& scene, const BenchResult& result) {
  const BenchArguments& arguments = scene.arguments;
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const BenchRow& row : result.rows) {
    if (row.out_of_place) rows.push_back(object_of(row, *row.out_of_place, false));
    if (row.in_place) rows.push_back(object_of(row, *row.in_place, true));
  }
  const nlohmann::ordered_json object = {
      {"time", utc_now()},
      {"versions", nlohmann::ordered_json(versions())},
      {"hosts", scene.nodes.hosts},
      {"grid", to_string(scene.shape)},
      {"axis", arguments.axis},
      {"groups", scene.groups.count},
      {"ranks_of_a_group", scene.groups.ranks},
      {"device", scene.processor.name},
      {"backend", scene.processor.backend == Backend::kNccl ? "nccl" : "mpi"},
      {"shared_memory", scene.shared_memory},
      {"ranks_share_cores", scene.nodes.oversubscribed()},
      {"iterations", arguments.iterations},
      {"warmups", arguments.warmups},
      {"checks", arguments.checks},
      {"time_is", kTimes[static_cast<std::size_t>(arguments.average)]},
      {"rows", rows},
      {"wrong", result.wrong()},
      {"average_busbw_GBps", result.average_bus()}};
  return object.dump(1) + "\n";
}

}  // namespace cuboid
