// ranks: 1
#include "cuboid/collective/bfloat16.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace cuboid {
namespace {

TEST(Bfloat16, EveryValueSurvivesTheWayThere) {
  for (std::uint32_t bits = 0; bits < 0x10000U; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = float_of_bfloat16(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(float_of_bfloat16(bfloat16_of_float(value)))) << bits;
    } else {
      EXPECT_EQ(bfloat16_of_float(value), half);
    }
  }
}

TEST(Bfloat16, RoundsToNearestAndTiesToEven) {
  // Between each pair of neighbours: the middle goes to the even one, its sides to the nearer.
  for (std::uint32_t low = 0x3F80U; low < 0x4100U; ++low) {
    const float middle = std::bit_cast<float>((low << 16) | 0x8000U);
    const float below = std::bit_cast<float>((low << 16) | 0x7FFFU);
    const float above = std::bit_cast<float>((low << 16) | 0x8001U);
    EXPECT_EQ(bfloat16_of_float(middle), low % 2 == 0 ? low : low + 1);
    EXPECT_EQ(bfloat16_of_float(below), low);
    EXPECT_EQ(bfloat16_of_float(above), low + 1);
    EXPECT_EQ(bfloat16_of_float(-middle), (low % 2 == 0 ? low : low + 1) | 0x8000U);
  }
}

TEST(Bfloat16, InfinityAndNaN) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(bfloat16_of_float(kInfinity), 0x7F80U);
  EXPECT_EQ(bfloat16_of_float(-kInfinity), 0xFF80U);
  EXPECT_EQ(bfloat16_of_float(std::numeric_limits<float>::max()), 0x7F80U);
  // A NaN whose payload lies in the lower half only; rounding up would reach -0 for the second.
  for (const std::uint32_t bits : {0x7F800001U, 0x7FFFFFFFU, 0xFFFFFFFFU}) {
    EXPECT_TRUE(std::isnan(float_of_bfloat16(bfloat16_of_float(std::bit_cast<float>(bits)))));
  }
}

}  // namespace
}  // namespace cuboid
