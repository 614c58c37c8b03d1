// Marks a function that CUDA kernels call as well as the host: nothing where g++ reads it.
#pragma once

#ifdef __CUDACC__
#define CUBOID_HOST_DEVICE __host__ __device__
#else
#define CUBOID_HOST_DEVICE
#endif
