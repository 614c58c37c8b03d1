// ranks: 1 2 3 4 8
#include "cuboid/collective/mpi_communicator.hpp"

#include <cmath>
#include <limits>

#include "verbs.hpp"

namespace cuboid {
namespace test {

struct Mpi {
  static constexpr Place kPlace = Place::kHost;
  static constexpr std::int64_t kLargest = 400000;
  static std::string why_not() { return ""; }
  static std::unique_ptr<Communicator> make(MPI_Comm comm, const char* name) {
    return std::make_unique<MpiCommunicator>(comm, name);
  }
};

// Everything in many messages, as buffers beyond MPI's counts are.
struct MpiInPieces : Mpi {
  static constexpr std::int64_t kLargest = 1000;
  static std::unique_ptr<Communicator> make(MPI_Comm comm, const char* name) {
    return std::make_unique<MpiCommunicator>(
        comm, name, MpiOptions{.max_message_bytes = 100, .piece_bytes = 72});
  }
};

using Kinds = testing::Types<Mpi, MpiInPieces>;
INSTANTIATE_TYPED_TEST_SUITE_P(Backend, Verbs, Kinds);

}  // namespace test

namespace {

using test::Array;

TEST(MpiCommunicator, RoundsBfloat16SumsOnceToNearestEven) {
  MpiCommunicator comm(MPI_COMM_WORLD, "dp");
  const auto value = [](int rank, std::int64_t i) {
    // All have 8 significant bits, and a sum has more.
    return static_cast<float>(
        std::ldexp(128.0 + static_cast<double>((i * 5 + std::int64_t{rank} * 3) % 128),
                   static_cast<int>((i + rank) % 4)));
  };
  const auto rounded = [](float sum) {
    return static_cast<double>(float_of_bfloat16(bfloat16_of_float(sum)));
  };
  const std::int64_t count = 3000;
  Array send(count * comm.size(), DType::kBFloat16, Place::kHost);
  send.fill([&](std::int64_t i) { return value(comm.rank(), i); });
  Array part(count, DType::kBFloat16, Place::kHost);
  comm.reduce_scatter(send.buffer(), part.buffer());
  part.expect([&](std::int64_t i) {
    float sum = 0;
    for (int r = 0; r < comm.size(); ++r) sum += value(r, comm.rank() * count + i);
    return rounded(sum);
  });
  if (comm.size() != 2) return;
  // With two ranks there is but one order.
  comm.all_reduce(send.buffer());
  send.expect([&](std::int64_t i) { return rounded(value(0, i) + value(1, i)); });
}

TEST(MpiCommunicator, ANaNOfOneRankReachesAll) {
  MpiCommunicator comm(MPI_COMM_WORLD, "dp");
  for (const DType dtype : {DType::kFloat32, DType::kFloat64, DType::kBFloat16}) {
    for (const ReduceOp op : test::kOps) {
      for (int source = 0; source < comm.size(); ++source) {
        Array data(64, dtype, Place::kHost);
        data.fill([&](std::int64_t i) {
          return comm.rank() == source && i == 5 ? std::nan("") : static_cast<double>(i);
        });
        comm.all_reduce(data.buffer(), op);
        for (std::int64_t i = 0; i < data.count(); ++i) {
          EXPECT_EQ(std::isnan(data.decode(i)), i == 5) << name_of(dtype) << " from " << source;
        }
      }
    }
  }
}

// What an error says: verb, communicator, rank.
void expect_named(const std::string& message, const Communicator& comm, std::int64_t count) {
  const std::string who = "exchange of " + std::to_string(count) +
                          " fp32 on communicator pp (rank " + std::to_string(comm.rank()) + " of " +
                          std::to_string(comm.size()) + ")";
  EXPECT_NE(message.find(who), std::string::npos) << message;
}

TEST(MpiCommunicator, AMessageOfTheWrongLengthIsAnErrorThatNamesWhoAndWhat) {
  MpiCommunicator comm(MPI_COMM_WORLD, "pp");
  if (comm.size() == 1) GTEST_SKIP() << "needs two ranks";
  struct Case {
    std::int64_t sent, expected;
  };
  for (const Case c : {Case{0, 5}, {4, 5}, {6, 5}, {50000, 100000}}) {
    Array sent(c.sent, DType::kFloat32, Place::kHost);
    Array received(c.expected, DType::kFloat32, Place::kHost);
    if (comm.rank() == 1) comm.send(sent.buffer(), 0);
    if (comm.rank() != 0) continue;
    try {
      comm.receive(received.buffer(), 1);
      ADD_FAILURE() << "no error";
    } catch (const SystemError& error) {
      expect_named(error.what(), comm, c.expected);
    }
  }
}

TEST(MpiCommunicator, AFailureInADestructorIsThrownByTheNextOperation) {
  MpiCommunicator comm(MPI_COMM_WORLD, "pp");
  if (comm.size() == 1) GTEST_SKIP() << "needs two ranks";
  Array sent(6, DType::kFloat32, Place::kHost);
  Array received(5, DType::kFloat32, Place::kHost);
  if (comm.rank() == 1) comm.send(sent.buffer(), 0);
  if (comm.rank() == 0) {
    comm.start_receive(received.buffer(), 1).reset();
    try {
      comm.barrier();
      ADD_FAILURE() << "no error";
    } catch (const SystemError& error) {
      expect_named(error.what(), comm, 5);
    }
  }
  comm.barrier();
}

// A rank that fails must reach the place that reports it, though its peers will never answer.
TEST(MpiCommunicator, AnExceptionGivesUpWhatIsUnderWay) {
  MpiCommunicator comm(MPI_COMM_WORLD, "pp");
  if (comm.size() == 1) GTEST_SKIP() << "needs two ranks";
  Array received(5, DType::kFloat32, Place::kHost);
  try {
    const PendingWork never =
        comm.start_receive(received.buffer(), (comm.rank() + 1) % comm.size());
    throw std::runtime_error("failed elsewhere");
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "failed elsewhere");
  }
  // MPI completes the receive here, so that it ends with the test.
  Array sent(5, DType::kFloat32, Place::kHost);
  comm.send(sent.buffer(), (comm.rank() + comm.size() - 1) % comm.size());
  comm.barrier();
}

}  // namespace
}  // namespace cuboid
