// Reads many damaged checkpoints. Each must be refused with an error that names it, or, where the
// damage changed nothing, be read right: never a crash, a hang, much memory or a wrong value.
//
//   mutants A.h5 B.h5 COUNT SEED [FIRST]      mutants FIRST, FIRST + 1, ... of A, some mixed with B
//   mutants forged A.h5 COUNT SEED [FIRST]    sealed again after the damage, each in a process of
//                                             its own: counts what happens, fails on nothing
#include <mpi.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <span>

#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"
#include "mutate.hpp"
#include "read.hpp"
#include "watch.hpp"

namespace cuboid::mutants {
namespace {

// Far above what any takes, for machines that other work shares.
constexpr unsigned kSeconds = 30;
constexpr unsigned kForgerySeconds = 5;
// Of a checkpoint of 200 KiB: a seal may claim 64 MiB, and the reader's buffers take 16.
constexpr std::size_t kMaxHeapBytes = std::size_t{128} << 20;

// A folder for one file, gone at the end.
class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() / "cuboid-XXXXXX") {
    check_errno(::mkdtemp(path_.data()) != nullptr, "cannot make a folder");
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] std::string file() const { return path_ + "/mutant.h5"; }

 private:
  std::string path_;
};

struct Job {
  std::int64_t count = 0;
  std::uint64_t seed = 0;
  std::int64_t first = 0;
};

Job parse_job(std::span<char*> args) {
  if (args.size() < 2 || args.size() > 3)
    throw UsageError(
        "mutants A.h5 B.h5 COUNT SEED [FIRST] | mutants forged A.h5 COUNT SEED [FIRST]");
  return {.count = std::stoll(args[0]),
          .seed = std::stoull(args[1]),
          .first = args.size() > 2 ? std::stoll(args[2]) : 0};
}

std::string name_of(const Mutant& mutant, const Job& job, std::int64_t number) {
  return format("mutant %lld of seed %llu: ", static_cast<long long>(number),
                static_cast<unsigned long long>(job.seed)) +
         mutant.what;
}

// Why these readings and this peak of the heap are not as they should be, or "".
std::string complaint(std::span<const Reading> readings, std::size_t heap_bytes) {
  for (const Reading& reading : readings) {
    if (reading.outcome == Outcome::kWrong) return "it was read, and its values are wrong";
    if (reading.outcome == Outcome::kFailed) return "not an error about the file: " + reading.text;
    if (reading.outcome != readings[0].outcome)
      return "some read it and some refuse it: " + readings[0].text + reading.text;
  }
  if (heap_bytes > kMaxHeapBytes) return format("it took %zu MiB of memory", heap_bytes >> 20);
  return "";
}

int run_mutants(const std::string& a_path, const std::string& b_path, const Job& job) {
  const Original a = read_original(a_path);
  const Original b = read_original(b_path);
  const std::vector<std::string> contents = {contents_of(a_path), contents_of(b_path)};
  const std::vector<std::string> loaded = {loaded_contents(a_path, a_path),
                                           loaded_contents(b_path, a_path)};
  const Folder folder;
  std::int64_t num_refused = 0;
  std::int64_t num_whole = 0;
  std::int64_t num_failed = 0;
  std::size_t most_bytes = 0;
  for (std::int64_t n = job.first; n < job.first + job.count; ++n) {
    const Mutant mutant = make_mutant(a, b, job.seed, static_cast<std::uint64_t>(n));
    const std::string name = name_of(mutant, job, n);
    write_mutant(folder.file(), mutant);
    start_watch(name, kSeconds);
    const std::array readings = {read_alone(folder.file(), contents), verify(folder.file()),
                                 load(folder.file(), a_path, loaded)};
    const std::size_t heap_bytes = stop_watch();
    most_bytes = std::max(most_bytes, heap_bytes);
    const std::string why = complaint(readings, heap_bytes);
    if (!why.empty()) std::printf("FAILED %s: %s\n", name.c_str(), why.c_str());
    ++(!why.empty() ? num_failed
                    : (readings[0].outcome == Outcome::kRefused ? num_refused : num_whole));
  }
  std::printf(
      "mutants: %lld refused, %lld read whole (unchanged where it counts), %lld failed; "
      "at most %zu MiB of memory each\n",
      static_cast<long long>(num_refused), static_cast<long long>(num_whole),
      static_cast<long long>(num_failed), (most_bytes >> 20) + 1);
  return num_failed == 0 ? 0 : 1;
}

// In a process of its own: its exit code says what happened.
int read_forgery(const std::string& path, const std::string& name,
                 const std::vector<std::string>& originals) {
  check_errno(std::freopen("/dev/null", "w", stderr) != nullptr, "cannot open /dev/null");
  start_watch(name, kForgerySeconds);
  const Reading reading = read_alone(path, originals);
  return stop_watch() > kMaxHeapBytes ? kExitCrash - 2 : static_cast<int>(reading.outcome);
}

int run_forgeries(const std::string& path, const Job& job) {
  const Original original = read_original(path);
  const std::vector<std::string> contents = {contents_of(path)};
  const Folder folder;
  std::map<std::string, int> counts;
  for (std::int64_t n = job.first; n < job.first + job.count; ++n) {
    const Mutant mutant = make_forgery(original, job.seed, static_cast<std::uint64_t>(n));
    write_mutant(folder.file(), mutant);
    const pid_t child = ::fork();
    check_errno(child >= 0, "cannot fork");
    if (child == 0) ::_exit(read_forgery(folder.file(), name_of(mutant, job, n), contents));
    int status = 0;
    check_errno(::waitpid(child, &status, 0) == child, "cannot wait");
    constexpr std::array<const char*, 4> kOutcomes = {"refused", "read as the original",
                                                      "read with the forged contents", "failed"};
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : kExitCrash;
    const auto outcome = static_cast<std::size_t>(code);
    ++counts[outcome < kOutcomes.size() ? kOutcomes[outcome]
                                        : (code == kExitHang    ? "hung"
                                           : code == kExitCrash ? "crashed"
                                                                : "took too much memory")];
  }
  std::printf("forgeries:");
  for (const auto& [outcome, count] : counts) std::printf(" %d %s;", count, outcome.c_str());
  std::printf("\n");
  return 0;
}

int run(std::span<char*> args) {
  if (args.size() < 2) parse_job({});
  const Job job = parse_job(args.subspan(2));
  install_watch();
  if (std::string(args[0]) == "forged") return run_forgeries(args[1], job);
  MPI_Init(nullptr, nullptr);
  const int result = run_mutants(args[0], args[1], job);
  MPI_Finalize();
  return result;
}

}  // namespace
}  // namespace cuboid::mutants

int main(int argc, char** argv) {
  try {
    return cuboid::mutants::run(std::span(argv, static_cast<std::size_t>(argc)).subspan(1));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
