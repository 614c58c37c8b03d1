// Short questions between the watchdogs of all ranks, over TCP: beside MPI, which moves nothing
// while a rank is stuck in it.
#pragma once

#include <mpi.h>
#include <netinet/in.h>

#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <string>
#include <vector>

#include "cuboid/base/handle.hpp"
#include "cuboid/base/timer.hpp"

namespace cuboid {

struct SocketTraits {
  using Type = int;
  static Type null() { return -1; }
  static void release(Type file) noexcept;
};
using Socket = Handle<SocketTraits>;

enum class Question : std::uint32_t { kThere, kAlarm, kState, kEnd };

// Each rank listens on a port of the system's choice: of the loopback interface alone where all
// ranks run on one host. Nobody is connected until somebody asks. A question carries a number that
// only this job's ranks know, from MPI; whatever comes without it is not answered.
class SideChannel {
 public:
  // The answer, which must not be empty.
  using Answer = std::function<std::string(Question)>;

  // Ranks that are asked at a time: each may need a descriptor for each address of its host.
  static constexpr std::size_t kMostAtOnce = 128;

  // Collective over `world`. Throws SystemError on all ranks where one has no socket.
  SideChannel(MPI_Comm world, bool is_one_host, Answer answer,
              std::size_t most_at_once = kMostAtOnce);

  // Answers what is asked, until something was, wake() is called, or the time is over.
  void serve(double seconds);
  // Asks `ranks`, and answers meanwhile. Returns the answers that have come when all have, or the
  // time is over. Ranks that do not answer never keep others from being asked: they make room, and
  // are asked again behind them.
  std::map<int, std::string> ask(const std::vector<int>& ranks, Question question, double seconds);
  // From any thread: serve() returns.
  void wake() noexcept;
  [[nodiscard]] int process_of(int rank) const;

 private:
  static constexpr std::size_t kMostAddresses = 6;
  struct Endpoint {
    std::array<std::uint32_t, kMostAddresses> addresses;  // of the host, in network order; 0: none
    std::uint16_t port = 0;                               // in network order
    std::int32_t process = 0;
  };
  struct Request {
    std::array<std::uint64_t, 2> secret;
    std::int32_t to;
    Question question;
  };
  struct Incoming {
    Socket socket;
    Request request;
    std::size_t size = 0;  // bytes of the request so far
    Timer age;
  };
  struct Outgoing {
    Socket socket;
    int rank;
    bool is_sent = false;
    bool is_over = false;
    std::string answer;
  };

  [[nodiscard]] Endpoint listen(bool is_one_host);
  // False where the rank is not to be reached.
  bool connect(int rank, std::list<Outgoing>& outgoing) const;
  // One look at all sockets, after at most so many milliseconds. True where a question was
  // answered, or wake() called.
  bool turn(std::list<Outgoing>& outgoing, Question question, int ms);
  bool accept_and_answer();
  bool answer(Incoming& incoming);
  void go_on(Outgoing& outgoing, Question question) const;

  Answer answer_;
  std::size_t most_at_once_;
  int rank_ = 0;
  std::array<std::uint64_t, 2> secret_{};
  std::vector<Endpoint> endpoints_;
  Socket listener_;
  Socket waker_;
  std::list<Incoming> incoming_;
};

}  // namespace cuboid
