#include "cuboid/checkpoint/agreement.hpp"

#include <algorithm>
#include <new>
#include <stdexcept>

#include "cuboid/checkpoint/damage.hpp"
#include "cuboid/checkpoint/wire.hpp"
#include "cuboid/grid/grid.hpp"

namespace cuboid {

Outcome attempt(const std::function<void()>& step) {
  try {
    step();
  } catch (const DamagedCheckpoint& error) {
    return {Outcome::Kind::kDamaged, error.problems()};
  } catch (const UsageError& error) {
    return {Outcome::Kind::kUsage, error.problems()};
  } catch (const SystemError& error) {
    return {Outcome::Kind::kSystem, {error.what()}};
  } catch (const std::bad_alloc&) {
    return {Outcome::Kind::kSystem, {"out of memory"}};
  } catch (const std::logic_error& error) {
    return {Outcome::Kind::kInvariant, {error.what()}};
  }
  return {};
}

void agree(MPI_Comm comm, const Outcome& outcome, std::source_location where) {
  const int mine = static_cast<int>(outcome.kind);
  int worst = 0;
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iallreduce(&mine, &worst, 1, MPI_INT, MPI_MAX, comm, &request));
  wait_patiently(request);
  if (worst == static_cast<int>(Outcome::Kind::kGood)) return;
  WireWriter writer;
  writer.put(mine);
  writer.put(outcome.problems);
  std::vector<std::string> all;
  int rank = 0;
  for (const std::string& bytes : share_texts(comm, writer.bytes())) {
    int kind = 0;
    std::vector<std::string> problems;
    WireReader reader(bytes);
    reader.get(kind);
    reader.get(problems);
    const bool is_worst = kind == worst;
    const std::string from = "rank " + std::to_string(rank++) + ": ";
    if (!is_worst) continue;
    if (worst == static_cast<int>(Outcome::Kind::kInvariant))
      throw std::logic_error(from + problems.front());
    if (worst == static_cast<int>(Outcome::Kind::kSystem))
      throw SystemError(from + problems.front(), where);
    for (const auto& problem : problems)
      if (std::ranges::find(all, problem) == all.end()) all.push_back(problem);
  }
  if (worst == static_cast<int>(Outcome::Kind::kDamaged)) throw DamagedCheckpoint(all);
  throw UsageError(all);
}

void together(MPI_Comm comm, const std::function<void()>& step, std::source_location where) {
  agree(comm, attempt(step), where);
}

}  // namespace cuboid
