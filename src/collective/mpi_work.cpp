#include "mpi_work.hpp"

#include <cstdio>
#include <exception>
#include <utility>

#include "arguments.hpp"
#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"

namespace cuboid {

MpiState::MpiState(const Communicator& owner, MPI_Comm comm, cudaStream_t compute_stream)
    : staging(compute_stream), owner_(owner) {
  check_mpi(MPI_Comm_dup(comm, comm_.out()));
  check_mpi(MPI_Comm_set_errhandler(comm_.get(), MPI_ERRORS_RETURN));
}

MpiState::~MpiState() {
  if (!deferred_.empty()) std::fprintf(stderr, "%s\n", deferred_.c_str());
}

void MpiState::check(int code, const char* verb, ConstBuffer buffer,
                     std::source_location where) const {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  fail(std::string("MPI: ") + text, verb, buffer, where);
}

void MpiState::fail(const std::string& reason, const char* verb, ConstBuffer buffer,
                    std::source_location where) const {
  throw SystemError(describe(owner_, verb, buffer) + ": " + reason, where);
}

void MpiState::defer(const std::string& failure) noexcept {
  try {
    if (deferred_.empty()) deferred_ = failure;
  } catch (const std::exception&) {
    std::fputs("out of memory while a failure of communication is reported\n", stderr);
    std::terminate();
  }
}

void MpiState::throw_deferred() {
  if (!deferred_.empty()) throw SystemError(std::exchange(deferred_, {}));
}

MpiWork::MpiWork(MpiState& state, const char* verb, ConstBuffer buffer)
    : state_(state), verb_(verb), buffer_(buffer), uncaught_(std::uncaught_exceptions()) {
  state.throw_deferred();
}

MpiWork::~MpiWork() {
  if (ended_) return;
  if (std::uncaught_exceptions() > uncaught_) {
    give_up();
    return;
  }
  try {
    wait();
  } catch (const std::exception& failure) {
    state_.defer(failure.what());
  }
}

// Not MPI_Waitall: one failed request among others that never complete must end the wait (and in
// Open MPI 4.1 MPI_Waitall with a failed request may spin for ever).
void MpiWork::wait() {
  while (!poll()) {
  }
}

bool MpiWork::poll() {
  if (ended_) return true;
  const int num_requests = static_cast<int>(requests_.size());
  indices_.resize(requests_.size());
  statuses_.resize(requests_.size());
  int num_done = 0;
  try {
    const int code =
        MPI_Testsome(num_requests, requests_.data(), &num_done, indices_.data(), statuses_.data());
    if (code != MPI_ERR_IN_STATUS) check(code);
    // MPI_UNDEFINED: there were no requests at all.
    num_complete_ += num_done == MPI_UNDEFINED ? 0 : num_done;
    for (int i = 0; i < num_done; ++i) {
      const auto at = static_cast<std::size_t>(i);
      if (code == MPI_ERR_IN_STATUS) check(statuses_[at].MPI_ERROR);
      check_length(indices_[at], statuses_[at]);
    }
  } catch (...) {
    give_up();
    throw;
  }
  if (num_complete_ == num_requests) end();
  return ended_;
}

void MpiWork::end() {
  // From here on there is nothing that a second wait() could do better.
  ended_ = true;
  if (at_end_) at_end_();
  for (Staging::Image& image : images_) state_.staging.finish(image);
  images_.clear();
  blocks_.clear();
}

void MpiWork::check_length(int request, const MPI_Status& status) const {
  for (const Expected& expected : expected_) {
    if (expected.request != request) continue;
    int count = 0;
    check(MPI_Get_count(&status, expected.type, &count));
    if (count == expected.count) return;
    state_.fail(format("rank %d sent %d elements where %d are expected", status.MPI_SOURCE, count,
                       expected.count),
                verb_, buffer_);
  }
}

// MPI may still write to the memory, so nobody else gets it.
void MpiWork::give_up() noexcept {
  ended_ = true;
  for (Staging::Image& image : images_) image.block.abandon();
  for (MemoryPool::Block& block : blocks_) block.abandon();
}

MPI_Request* MpiWork::add_request() {
  return &requests_.emplace_back(MPI_REQUEST_NULL);
}

void MpiWork::check(int code, std::source_location where) const {
  state_.check(code, verb_, buffer_, where);
}

void MpiWork::expect(int count, MPI_Datatype type) {
  expected_.push_back({static_cast<int>(requests_.size()) - 1, count, type});
}

std::byte* MpiWork::keep(Staging::Image image) {
  return static_cast<std::byte*>(images_.emplace_back(std::move(image)).host);
}

std::byte* MpiWork::keep(MemoryPool::Block block) {
  return static_cast<std::byte*>(blocks_.emplace_back(std::move(block)).data());
}

const int* MpiWork::keep(std::vector<int> values) {
  return arrays_.emplace_back(std::move(values)).data();
}

}  // namespace cuboid
