// ranks: 1
// timeout: 120
// Comparing checkpoints: what differs is counted and measured exactly, and nothing damaged is
// compared.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "cuboid/checkpoint/compare.hpp"
#include "cuboid/checkpoint/damage.hpp"
#include "cuboid/checkpoint/save.hpp"
#include "fixture.hpp"

namespace cuboid::testing_checkpoint {
namespace {

using Kind = TensorDifference::Kind;

class Compare : public CheckpointTest {
 protected:
  // Tensors as they will be saved; values may be changed before.
  struct File {
    explicit File(const std::vector<Tensor>& model) {
      for (const Tensor& t : model)
        owned.push_back(make_slice(t.name, t.dtype, t.shape, whole(t.shape), true));
    }
    template <typename T>
    void set(const std::string& name, std::int64_t element, T value) {
      for (OwnedSlice& slice : owned)
        if (slice.slice.name == name)
          std::memcpy(slice.bytes.data() + static_cast<std::size_t>(element) * sizeof(T), &value,
                      sizeof(T));
    }
    std::vector<OwnedSlice> owned;
  };
  std::string save(const std::string& name, File& file) {
    std::vector<TensorSlice> slices;
    for (OwnedSlice& owned : file.owned) {
      slices.push_back(owned.slice);
      slices.back().data.data = owned.bytes.data();
    }
    save_checkpoint(path(name), MPI_COMM_WORLD, slices, some_metadata());
    return path(name);
  }
  static std::vector<TensorDifference> compare(const std::string& a, const std::string& b,
                                               int num_threads = 1) {
    return compare_checkpoints(CheckpointReader(a), CheckpointReader(b),
                               {.num_threads = num_threads});
  }
  static TensorDifference of(const std::vector<TensorDifference>& all, const std::string& name) {
    for (const TensorDifference& difference : all)
      if (difference.name == name) return difference;
    ADD_FAILURE() << name << " is not there";
    return {};
  }
};

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST_F(Compare, TheSameTensorsAreEqualWhateverTheirValues) {
  File file(small_model());  // its bytes are of all kinds, NaNs among them
  const std::string a = save("a.h5", file);
  const std::string b = save("b.h5", file);
  const auto all = compare(a, b, 2);
  ASSERT_EQ(all.size(), small_model().size());
  for (const TensorDifference& d : all) {
    EXPECT_EQ(d.kind, Kind::kEqual) << d.name;
    EXPECT_EQ(d.num_elements, volume(d.first.shape)) << d.name;
    EXPECT_EQ(d.num_different, 0) << d.name;
    EXPECT_EQ(d.max_difference, 0.0) << d.name;
  }
}

TEST_F(Compare, DifferencesAreExactInEveryPieceAndWithAnyNumberOfThreads) {
  const std::vector<Tensor> model = {{"w/large", DType::kFloat32, {3, 1000003}},
                                     {"w/small", DType::kFloat32, {4}}};
  File file(model);
  for (std::int64_t i = 0; i < 3000009; ++i) file.set("w/large", i, 1.0F);
  const std::string a = save("a.h5", file);
  file.set("w/large", 0, 1.5F);
  file.set("w/large", 1048576, 4.0F);
  file.set("w/large", 3000008, 0.75F);
  const std::string b = save("b.h5", file);
  for (const int num_threads : {1, 2, 5}) {
    const auto all = compare(a, b, num_threads);
    const TensorDifference d = of(all, "w/large");
    EXPECT_EQ(d.kind, Kind::kValues);
    EXPECT_EQ(d.num_elements, 3000009);
    EXPECT_EQ(d.num_different, 3);
    EXPECT_EQ(d.max_difference, 3.0);
    EXPECT_EQ(d.mean_difference, 3.75 / 3000009);
    EXPECT_EQ(of(all, "w/small").kind, Kind::kEqual);
  }
}

TEST_F(Compare, EveryDtypeIsReadAsItsNumbers) {
  const std::vector<Tensor> model = {{"fp32", DType::kFloat32, {5}},
                                     {"fp64", DType::kFloat64, {5}},
                                     {"bf16", DType::kBFloat16, {5}},
                                     {"int64", DType::kInt64, {5}},
                                     {"uint8", DType::kUInt8, {5}}};
  File file(model);
  file.set("fp32", 4, 2.0F);
  file.set("fp64", 4, 1e300);
  file.set("bf16", 4, std::uint16_t{0x3F80});  // 1
  file.set("int64", 4, std::numeric_limits<std::int64_t>::min());
  file.set("uint8", 4, std::uint8_t{3});
  const std::string a = save("a.h5", file);
  file.set("fp32", 4, -0.5F);
  file.set("fp64", 4, -1e300);
  file.set("bf16", 4, std::uint16_t{0xC040});  // -3
  file.set("int64", 4, std::numeric_limits<std::int64_t>::max());
  file.set("uint8", 4, std::uint8_t{255});
  const auto all = compare(a, save("b.h5", file));
  const std::vector<std::pair<std::string, double>> expected = {{"fp32", 2.5},
                                                                {"fp64", 2e300},
                                                                {"bf16", 4.0},
                                                                {"int64", std::ldexp(1.0, 64)},
                                                                {"uint8", 252}};
  for (const auto& [name, difference] : expected) {
    EXPECT_EQ(of(all, name).num_different, 1) << name;
    EXPECT_EQ(of(all, name).max_difference, difference) << name;
    EXPECT_EQ(of(all, name).mean_difference, difference / 5) << name;
  }
}

TEST_F(Compare, NansInfinitiesAndZerosAreToldApart) {
  const auto difference = [&](double a, double b) {
    File file({{"x", DType::kFloat64, {3}}});
    file.set("x", 1, a);
    const std::string first = save("a.h5", file);
    file.set("x", 1, b);
    return of(compare(first, save("b.h5", file)), "x");
  };
  for (const double value : {kNan, kInfinity, -kInfinity, -0.0})
    EXPECT_EQ(difference(value, value).kind, Kind::kEqual) << value;
  for (const auto& [a, b] : std::vector<std::pair<double, double>>{
           {kNan, 1.0}, {1.0, kNan}, {kNan, -kNan}, {kInfinity, 1.0}, {kInfinity, -kInfinity}}) {
    EXPECT_EQ(difference(a, b).num_different, 1) << a << " " << b;
    EXPECT_EQ(difference(a, b).max_difference, kInfinity) << a << " " << b;
    EXPECT_EQ(difference(a, b).mean_difference, kInfinity) << a << " " << b;
  }
  EXPECT_EQ(difference(0.0, -0.0).num_different, 1);
  EXPECT_EQ(difference(0.0, -0.0).max_difference, 0.0);
}

TEST_F(Compare, TensorsThatCannotBeComparedAreSaidToBeSo) {
  File first({{"p/a", DType::kFloat32, {4, 2}},
              {"p/b", DType::kFloat32, {4}},
              {"p/c", DType::kFloat32, {4}},
              {"p/only", DType::kFloat32, {4}}});
  File second({{"p/a", DType::kFloat32, {2, 4}},
               {"p/b", DType::kBFloat16, {4}},
               {"p/c", DType::kFloat32, {4}},
               {"q/only", DType::kFloat32, {0}}});
  const auto all = compare(save("a.h5", first), save("b.h5", second));
  ASSERT_EQ(all.size(), 5U);
  EXPECT_EQ(of(all, "p/a").kind, Kind::kShapeOrDtype);
  EXPECT_EQ(of(all, "p/b").kind, Kind::kShapeOrDtype);
  EXPECT_EQ(of(all, "p/b").second.dtype, DType::kBFloat16);
  EXPECT_EQ(of(all, "p/c").kind, Kind::kEqual);
  EXPECT_EQ(of(all, "p/only").kind, Kind::kOnlyInFirst);
  EXPECT_EQ(of(all, "q/only").kind, Kind::kOnlyInSecond);
  EXPECT_EQ(of(all, "q/only").first.name, "");
}

TEST_F(Compare, NothingDamagedIsCompared) {
  File first({{"p/both", DType::kFloat32, {400}}, {"p/first", DType::kFloat32, {400}}});
  File second({{"p/both", DType::kFloat32, {400}}, {"p/other", DType::kBFloat16, {400}}});
  const std::string a = save("a.h5", first);
  const std::string b = save("b.h5", second);
  EXPECT_NO_THROW(compare(a, b));
  const auto damage = [&](const std::string& file, const std::string& tensor) {
    const auto good = file_bytes(file);
    auto bad = good;
    {
      const CheckpointReader reader(file);
      for (const TensorInfo& info : reader.tensors())
        if (info.name == tensor) bad[static_cast<std::size_t>(reader.bytes_of(info).end - 1)] ^= 1;
    }
    write_bytes(file, bad);
    const std::string error = error_of<DamagedCheckpoint>([&] { compare(a, b, 2); });
    EXPECT_EQ(error.find("checkpoint '" + file + "': tensor '" + tensor + "' is damaged: "), 0U)
        << error;
    write_bytes(file, good);
  };
  damage(a, "p/both");
  damage(a, "p/first");
  damage(b, "p/both");
  damage(b, "p/other");
  EXPECT_NO_THROW(compare(a, b));
}

}  // namespace
}  // namespace cuboid::testing_checkpoint
