// Host memory that copies of what lies on a device go to.
#pragma once

#include <ATen/core/Tensor.h>

namespace cuboid {

// Elements like `of`, zero, with their pages there. Of a tensor on a GPU they are locked for it: a
// copy then runs at the link's speed, and not through a small buffer of the driver's. Where the
// system does not let them be locked they are ordinary.
at::Tensor host_copy_of(const at::Tensor& of, std::int64_t count);

// The same for memory that is there: locked as long as the result, or a view of it, lives.
at::Tensor lock_pages(at::Tensor memory);

}  // namespace cuboid
