// Built and run by env/check.sh: prints HDF5's version, where it is a parallel one.
#include <hdf5.h>
#include <mpi.h>

#include <cstdio>
#ifndef H5_HAVE_PARALLEL
#error "this HDF5 is serial"
#endif

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  const bool parallel = H5Pset_fapl_mpio(access, MPI_COMM_WORLD, MPI_INFO_NULL) >= 0;
  H5Pclose(access);
  unsigned major = 0;
  unsigned minor = 0;
  unsigned release = 0;
  H5get_libversion(&major, &minor, &release);
  std::printf("%u.%u.%u\n", major, minor, release);
  MPI_Finalize();
  return parallel ? 0 : 1;
}
