// What an MPI communicator shares with its operations under way.
#pragma once

#include <mpi.h>

#include <functional>
#include <source_location>
#include <string>
#include <vector>

#include "cuboid/collective/communicator.hpp"
#include "cuboid/grid/grid.hpp"
#include "memory_pool.hpp"
#include "mpi_types.hpp"
#include "staging.hpp"

namespace cuboid {

class MpiState {
 public:
  // Duplicates `comm`.
  MpiState(const Communicator& owner, MPI_Comm comm, cudaStream_t compute_stream);
  MpiState(const MpiState&) = delete;
  MpiState& operator=(const MpiState&) = delete;
  // Says on standard error what failed in an abandoned operation and could not be thrown.
  ~MpiState();

  // Throws SystemError when `code` is an error. `verb` and `buffer` are for the message.
  void check(int code, const char* verb, ConstBuffer buffer,
             std::source_location where = std::source_location::current()) const;
  [[noreturn]] void fail(const std::string& reason, const char* verb, ConstBuffer buffer,
                         std::source_location where = std::source_location::current()) const;
  // For failures in a destructor: the next operation throws them.
  void defer(const std::string& failure) noexcept;
  void throw_deferred();

  [[nodiscard]] MPI_Comm comm() const { return comm_.get(); }

  MpiOps ops;
  Staging staging;
  MemoryPool scratch{MemoryPool::Kind::kPageable};

 private:
  const Communicator& owner_;
  MpiComm comm_;
  std::string deferred_;
};

// One operation: first it is filled (requests, memory, what to do at the end), then handed out.
class MpiWork final : public Work {
 public:
  MpiWork(MpiState& state, const char* verb, ConstBuffer buffer);
  ~MpiWork() override;
  void wait() override;
  bool poll() override;

  // Where MPI puts the request of the call that `code` comes from. Valid until the next.
  [[nodiscard]] MPI_Request* add_request();
  void check(int code, std::source_location where = std::source_location::current()) const;
  // The last request receives exactly `count` elements of `type`; anything else is an error.
  void expect(int count, MPI_Datatype type);
  // Keeps memory until the end; returns the address of its first byte.
  std::byte* keep(Staging::Image image);
  std::byte* keep(MemoryPool::Block block);
  // A copy that lives until the end, for MPI's arrays of counts.
  const int* keep(std::vector<int> values);
  // Runs once all requests are complete, before copies out to the device.
  void at_end(std::function<void()> action) { at_end_ = std::move(action); }

 private:
  struct Expected {
    int request;
    int count;
    MPI_Datatype type;
  };
  void check_length(int request, const MPI_Status& status) const;
  void end();
  void give_up() noexcept;

  MpiState& state_;
  const char* verb_;
  ConstBuffer buffer_;
  int uncaught_;
  bool ended_ = false;
  std::vector<MPI_Request> requests_;
  int num_complete_ = 0;
  std::vector<int> indices_;  // of the requests that the last poll() completed
  std::vector<MPI_Status> statuses_;
  std::vector<Expected> expected_;
  std::vector<Staging::Image> images_;
  std::vector<MemoryPool::Block> blocks_;
  std::vector<std::vector<int>> arrays_;
  std::function<void()> at_end_;
};

}  // namespace cuboid
