// ranks: 1
// One pass of AdamW: the same bits however it is divided (optimizer/adamw_test.cpp holds it against
// the paper).
#include "cuboid/kernels/adamw.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

namespace cuboid {
namespace {

constexpr AdamWFactors kFactors{.learning_rate = 1e-2,
                                .beta1 = 0.9,
                                .beta2 = 0.95,
                                .epsilon = 1e-8,
                                .weight_decay = 0.1,
                                .gradient_scale = 0.37,
                                .step = 3};

AdamWTensors random_tensors(std::int64_t count) {
  return {.master = at::randn({count}),
          .gradient = at::randn({count}) * 1e-3,
          .exp_avg = at::randn({count}) * 1e-3,
          .exp_avg_sq = at::randn({count}).square() * 1e-6,
          .values = at::empty({count}, at::kBFloat16)};
}
AdamWTensors clone(const AdamWTensors& t) {
  return {t.master.clone(), t.gradient.clone(), t.exp_avg.clone(), t.exp_avg_sq.clone(),
          t.values.clone()};
}
AdamWTensors part(const AdamWTensors& t, std::int64_t begin, std::int64_t end) {
  const auto cut = [&](const at::Tensor& x) { return x.narrow(0, begin, end - begin); };
  return {cut(t.master), cut(t.gradient), cut(t.exp_avg), cut(t.exp_avg_sq), cut(t.values)};
}
bool same(const AdamWTensors& a, const AdamWTensors& b) {
  return at::equal(a.master, b.master) && at::equal(a.exp_avg, b.exp_avg) &&
         at::equal(a.exp_avg_sq, b.exp_avg_sq) && at::equal(a.values, b.values);
}

// The same operations one by one: no two of them are fused, so all bits agree.
float step_by_hand(float theta, float m_old, float v_old, float g_raw, bool decays) {
  const auto number = [](double x) { return static_cast<float>(x); };
  const volatile float g = g_raw * number(kFactors.gradient_scale);
  const volatile float distance = (g - m_old);
  const volatile float move = number(1 - kFactors.beta1) * distance;
  const volatile float m = m_old + move;
  const volatile float kept = number(kFactors.beta2) * v_old;
  const volatile float scaled = number(1 - kFactors.beta2) * g;
  const volatile float fresh = scaled * g;
  const volatile float v = kept + fresh;
  const auto step = static_cast<double>(kFactors.step);
  const float root_scale = number(1 / std::sqrt(1 - std::pow(kFactors.beta2, step)));
  const float step_size = number(kFactors.learning_rate / (1 - std::pow(kFactors.beta1, step)));
  const volatile float root = std::sqrt(v) * root_scale;
  const volatile float below = root + number(kFactors.epsilon);
  const volatile float above = step_size * m;
  const volatile float ratio = above / below;
  const volatile float rest =
      theta * (decays ? number(1 - kFactors.learning_rate * kFactors.weight_decay) : 1.0F);
  return rest - ratio;
}

TEST(AdamWPass, RoundsEachOperation) {
  constexpr std::int64_t kCount = 5003;
  constexpr std::int64_t kDecaying = 2001;
  const AdamWTensors before = random_tensors(kCount);
  const AdamWTensors after = clone(before);
  adamw_(after, kDecaying, kFactors);
  const auto at = [](const at::Tensor& x, std::int64_t i) { return x.const_data_ptr<float>()[i]; };
  for (std::int64_t i = 0; i < kCount; ++i) {
    ASSERT_EQ(at(after.master, i),
              step_by_hand(at(before.master, i), at(before.exp_avg, i), at(before.exp_avg_sq, i),
                           at(before.gradient, i), i < kDecaying))
        << i;
  }
  EXPECT_TRUE(at::equal(after.values, after.master.to(at::kBFloat16)));
  EXPECT_TRUE(at::equal(after.gradient, before.gradient));
}

TEST(AdamWPass, SameBitsHoweverDivided) {
  constexpr std::int64_t kCount = 100003;
  constexpr std::int64_t kDecaying = 60001;
  const AdamWTensors start = random_tensors(kCount);
  const AdamWTensors whole = clone(start);
  adamw_(whole, kDecaying, kFactors);
  const AdamWTensors pieces = clone(start);
  // Pieces begin off every alignment.
  for (std::int64_t begin = 0; begin < kCount; begin += 777) {
    const std::int64_t end = std::min(kCount, begin + 777);
    adamw_(part(pieces, begin, end), std::clamp(kDecaying - begin, std::int64_t{0}, end - begin),
           kFactors);
  }
  EXPECT_TRUE(same(whole, pieces));
  const AdamWTensors threaded = clone(start);
  at::set_num_threads(3);
  adamw_(threaded, kDecaying, kFactors);
  at::set_num_threads(1);
  EXPECT_TRUE(same(whole, threaded));
}

}  // namespace
}  // namespace cuboid
