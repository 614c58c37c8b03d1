// Numbers for checking collectives: what each rank contributes and what must come out, element by
// element, from one formula. Nothing of it is communicated, and every value and every partial sum
// is exact in every dtype, so a result is right or wrong, whatever the order of the additions.
#pragma once

#include <cstdint>
#include <functional>

#include "cuboid/base/buffer.hpp"
#include "cuboid/collective/communicator.hpp"

namespace cuboid {

// What `rank` of `ranks` contributes to element i of a reduction: whole numbers from 0 to 15. Of
// many ranks only 16 contribute to an element, different ones to each, the others nothing (0, or 15
// to a minimum): sums stay below 256, up to which bf16 holds every whole number. `round` gives
// other numbers, so that results of a round before are wrong.
std::int64_t check_term(ReduceOp op, int rank, int ranks, std::int64_t i, int round);
// The reduction of all ranks' terms.
std::int64_t check_result(ReduceOp op, int ranks, std::int64_t i, int round);
// Element i of what `rank` sends where nothing is reduced: 0 to 250.
std::int64_t check_message(int rank, std::int64_t i, int round);

// Element i becomes value(i); host or device memory.
void fill(const Buffer& buffer, const std::function<std::int64_t(std::int64_t)>& value);
// NaN, -1 or 255, by dtype: what no operation yields.
void poison(const Buffer& buffer);
// Elements that are not value(i).
std::int64_t count_wrong(const ConstBuffer& buffer,
                         const std::function<std::int64_t(std::int64_t)>& value);

}  // namespace cuboid
