// The three kinds of failure. app/ turns them into exit codes: a user's mistake (UsageError) is 2;
// a failure of a library or of the machine (SystemError) and a broken invariant (std::logic_error)
// are 1. Other modules catch them only to clean up, to agree over ranks or to try something else.
#pragma once

#include <source_location>
#include <stdexcept>
#include <string>
#include <vector>

namespace cuboid {

// A mistake in what the user gave (options, files). Lists every problem found, one sentence each,
// naming the option or file, its value and what would be legal.
class UsageError : public std::runtime_error {
 public:
  explicit UsageError(std::vector<std::string> problems);
  explicit UsageError(const std::string& problem) : UsageError(std::vector<std::string>{problem}) {}
  [[nodiscard]] const std::vector<std::string>& problems() const noexcept { return problems_; }

 private:
  std::vector<std::string> problems_;
};

// A call into MPI, NCCL, CUDA, HDF5 or the operating system failed. The message names the call
// site.
class SystemError : public std::runtime_error {
 public:
  explicit SystemError(const std::string& what,
                       std::source_location where = std::source_location::current());
};

// Throws std::logic_error with the call site when an invariant of the program does not hold.
void require(bool invariant, const char* what,
             std::source_location where = std::source_location::current());

// Throws SystemError with `what` and the text of errno when `ok` is false.
void check_errno(bool ok, const std::string& what,
                 std::source_location where = std::source_location::current());

}  // namespace cuboid
