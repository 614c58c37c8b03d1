// ranks: 1
#include "cuboid/base/handle.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace cuboid {
namespace {

std::vector<int>& released() {
  static std::vector<int> values;
  return values;
}

struct NumberTraits {
  using Type = int;
  static Type null() { return -1; }
  static void release(Type value) noexcept { released().push_back(value); }
};
using Number = Handle<NumberTraits>;

TEST(Handle, ReleasesOnce) {
  released().clear();
  {
    Number one(1);
    Number moved(std::move(one));
    EXPECT_FALSE(one);  // NOLINT(bugprone-use-after-move): that the source is null is the point
    EXPECT_TRUE(moved);
    Number two(2);
    two = std::move(moved);
    EXPECT_EQ(released(), (std::vector<int>{2}));
  }
  EXPECT_EQ(released(), (std::vector<int>{2, 1}));
}

TEST(Handle, OutReleasesWhatIsHeld) {
  released().clear();
  Number number(3);
  *number.out() = 4;
  EXPECT_EQ(released(), (std::vector<int>{3}));
  EXPECT_EQ(number.get(), 4);
}

TEST(Handle, NullIsNotReleased) {
  released().clear();
  {
    const Number none;
  }
  EXPECT_TRUE(released().empty());
}

}  // namespace
}  // namespace cuboid
