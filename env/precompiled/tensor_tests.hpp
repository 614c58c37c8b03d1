// What test programs about tensors begin with.
#include "tensors.hpp"
#include "tests.hpp"
