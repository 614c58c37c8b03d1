// As tensors.hpp, compiled with the kernels' own flags.
#include "tensors.hpp"
