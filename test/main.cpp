// GoogleTest under MPI: all ranks run the same tests in the same order, rank 0 reports. A test has
// passed when it has on every rank.
#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdio>
#include <cstdlib>

namespace {

// Prints failures of other ranks with their rank, and fails the test on rank 0 when it failed
// anywhere.
class AgreeOverRanks : public testing::EmptyTestEventListener {
 public:
  explicit AgreeOverRanks(int rank) : rank_(rank) {}

 private:
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (rank_ == 0 || !result.failed()) return;
    std::fprintf(stderr, "[rank %d] %s:%d: %s\n", rank_, result.file_name(), result.line_number(),
                 result.summary());
  }
  void OnTestEnd(const testing::TestInfo& info) override {
    int failed = info.result()->Failed() ? 1 : 0;
    const int mine = failed;
    MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    if (failed != 0 && mine == 0) ADD_FAILURE() << "failed on another rank";
  }
  int rank_;
};

}  // namespace

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  testing::InitGoogleTest(&argc, argv);
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (rank != 0) delete listeners.Release(listeners.default_result_printer());
  // Listeners hear of a test's end in reverse order: agreement first, then the printer.
  listeners.Append(new AgreeOverRanks(rank));
  const int result = RUN_ALL_TESTS();
  MPI_Finalize();
#ifndef __SANITIZE_ADDRESS__
  // LibTorch takes 0.14 s to be taken apart.
  std::fflush(nullptr);
  std::_Exit(result);
#endif
  return result;
}
