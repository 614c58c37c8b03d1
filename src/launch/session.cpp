#include "cuboid/launch/session.hpp"

#include <sched.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "cuboid/base/error.hpp"
#include "cuboid/base/timer.hpp"

namespace cuboid {
namespace {

void check(int code, const char* what) {
  if (code != MPI_SUCCESS) throw SystemError(std::string("MPI: ") + what + " failed");
}

std::vector<std::string> host_of_each_rank(MPI_Comm world, int size) {
  std::array<char, MPI_MAX_PROCESSOR_NAME> mine{};
  int length = 0;
  check(MPI_Get_processor_name(mine.data(), &length), "MPI_Get_processor_name");
  std::vector<char> all(mine.size() * static_cast<std::size_t>(size));
  const int bytes = static_cast<int>(mine.size());
  check(MPI_Allgather(mine.data(), bytes, MPI_CHAR, all.data(), bytes, MPI_CHAR, world),
        "MPI_Allgather");
  std::vector<std::string> hosts;
  for (std::size_t r = 0; r < static_cast<std::size_t>(size); ++r) {
    hosts.emplace_back(all.data() + r * mine.size());
  }
  return hosts;
}

cpu_set_t allowed_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  check_errno(sched_getaffinity(0, sizeof(cores), &cores) == 0, "sched_getaffinity");
  return cores;
}

// How many ranks of the node may run on exactly the cores that this one may.
int count_same_cores(MPI_Comm node, int node_size, const cpu_set_t& mine) {
  std::vector<cpu_set_t> all(static_cast<std::size_t>(node_size));
  check(MPI_Allgather(&mine, sizeof(mine), MPI_BYTE, all.data(), sizeof(mine), MPI_BYTE, node),
        "MPI_Allgather");
  return static_cast<int>(std::count_if(all.begin(), all.end(), [&](const cpu_set_t& other) {
    return CPU_EQUAL(&mine, &other) != 0;
  }));
}

}  // namespace

MpiSession::MpiSession(int* argc, char*** argv) {
  int provided = MPI_THREAD_SINGLE;
  check(MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_MULTIPLE) {
    throw SystemError("MPI: this library gives no MPI_THREAD_MULTIPLE, which Cuboid needs");
  }
  check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check(MPI_Comm_rank(MPI_COMM_WORLD, &rank_), "MPI_Comm_rank");
  check(MPI_Comm_size(MPI_COMM_WORLD, &size_), "MPI_Comm_size");
  check(MPI_Comm_dup(MPI_COMM_WORLD, &ending_), "MPI_Comm_dup");
}

MpiSession::~MpiSession() {
  MPI_Finalize();
}

bool MpiSession::everyone_arrives(double seconds) const {
  MPI_Request request = MPI_REQUEST_NULL;
  if (MPI_Ibarrier(ending_, &request) != MPI_SUCCESS) return false;
  int arrived = 0;
  for (const Timer timer; arrived == 0 && timer.seconds() < seconds;) {
    if (MPI_Test(&request, &arrived, MPI_STATUS_IGNORE) != MPI_SUCCESS) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return arrived != 0;
}

void MpiSession::abort(int exit_code) const {
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);  // should MPI_Abort ever return
}

int NodeMap::threads_per_rank() const {
  return std::max(1, cores / ranks_on_these_cores);
}

NodeMap map_nodes(MPI_Comm world) {
  int rank = 0;
  int size = 0;
  check(MPI_Comm_rank(world, &rank), "MPI_Comm_rank");
  check(MPI_Comm_size(world, &size), "MPI_Comm_size");
  NodeMap map;
  MPI_Comm node = MPI_COMM_NULL;
  check(MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node),
        "MPI_Comm_split_type");
  check(MPI_Comm_rank(node, &map.local_rank), "MPI_Comm_rank");
  check(MPI_Comm_size(node, &map.local_size), "MPI_Comm_size");
  const cpu_set_t cores = allowed_cores();
  map.cores = CPU_COUNT(&cores);
  map.ranks_on_these_cores = count_same_cores(node, map.local_size, cores);

  // Ranks that share memory share a node; its lowest rank stands for it.
  int leader = rank;
  check(MPI_Bcast(&leader, 1, MPI_INT, 0, node), "MPI_Bcast");
  check(MPI_Comm_free(&node), "MPI_Comm_free");
  std::vector<int> leaders(static_cast<std::size_t>(size));
  check(MPI_Allgather(&leader, 1, MPI_INT, leaders.data(), 1, MPI_INT, world), "MPI_Allgather");
  const auto hosts = host_of_each_rank(world, size);
  std::vector<int> index_of(static_cast<std::size_t>(size), -1);
  for (const int of : leaders) {
    int& index = index_of[static_cast<std::size_t>(of)];
    if (index < 0) {
      index = static_cast<int>(map.hosts.size());
      map.hosts.push_back(hosts[static_cast<std::size_t>(of)]);
    }
    map.node_of.push_back(index);
  }
  return map;
}

}  // namespace cuboid
