// Run by env/check.sh on two ranks: what this MPI gives. Prints "MULTIPLE CUDA SIZE VERSION".
#include <mpi.h>

#include <cstdio>
#if __has_include(<mpi-ext.h>)
#include <mpi-ext.h>
#endif

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  int ranks = 1;  // counted by communication, so that it is known to work
  MPI_Allreduce(MPI_IN_PLACE, &ranks, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  char version[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(version, &length);
  const char* cuda = "unknown";
#ifdef MPIX_CUDA_AWARE_SUPPORT
  cuda = MPIX_Query_cuda_support() != 0 ? "yes" : "no";
#endif
  if (rank == 0) {
    std::printf("%s %s %d %s\n", provided == MPI_THREAD_MULTIPLE ? "yes" : "no", cuda, ranks,
                version);
  }
  MPI_Finalize();
}
