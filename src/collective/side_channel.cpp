#include "side_channel.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <random>
#include <set>
#include <utility>

#include "cuboid/base/error.hpp"
#include "cuboid/grid/grid.hpp"

namespace cuboid {
namespace {

constexpr double kLongestQuestion = 2.0;

sockaddr_in address_of(std::uint32_t address, std::uint16_t port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_addr.s_addr = address;
  result.sin_port = port;
  return result;
}

std::vector<std::uint32_t> addresses_of_this_host() {
  std::vector<std::uint32_t> addresses;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return addresses;
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    const bool serves = (one->ifa_flags & IFF_UP) != 0 && (one->ifa_flags & IFF_LOOPBACK) == 0;
    if (!serves || one->ifa_addr == nullptr || one->ifa_addr->sa_family != AF_INET) continue;
    addresses.push_back(reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr.s_addr);
  }
  ::freeifaddrs(all);
  return addresses;
}

bool is_under_way(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINPROGRESS || error == EINTR;
}

}  // namespace

void SocketTraits::release(Type file) noexcept {
  ::close(file);
}

SideChannel::SideChannel(MPI_Comm world, bool is_one_host, Answer answer, std::size_t most_at_once)
    : answer_(std::move(answer)),
      most_at_once_(most_at_once),
      rank_(rank_in(world)),
      endpoints_(static_cast<std::size_t>(size_of_comm(world))),
      waker_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  const Endpoint mine = listen(is_one_host);
  check_mpi(MPI_Allgather(&mine, sizeof(mine), MPI_BYTE, endpoints_.data(), sizeof(mine), MPI_BYTE,
                          world));
  std::random_device random;
  for (std::uint64_t& part : secret_) part = (std::uint64_t{random()} << 32) | random();
  check_mpi(MPI_Bcast(secret_.data(), sizeof(secret_), MPI_BYTE, 0, world));
  const bool all_listen =
      std::ranges::all_of(endpoints_, [](const Endpoint& one) { return one.port != 0; });
  if (!all_listen) {
    throw SystemError(
        "--comm-timeout: a rank cannot listen on a TCP port for the other ranks' watchdogs; "
        "--comm-timeout 0 does without");
  }
}

SideChannel::Endpoint SideChannel::listen(bool is_one_host) {
  constexpr int kQueue = 1024;
  Endpoint mine{.addresses = {}, .port = 0, .process = ::getpid()};
  const auto addresses = addresses_of_this_host();
  std::copy_n(addresses.begin(), std::min(addresses.size(), kMostAddresses),
              mine.addresses.begin());
  if (is_one_host) mine.addresses = {htonl(INADDR_LOOPBACK)};
  listener_ = Socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_in bound = address_of(htonl(is_one_host ? INADDR_LOOPBACK : INADDR_ANY), 0);
  socklen_t size = sizeof(bound);
  auto* name = reinterpret_cast<sockaddr*>(&bound);
  const bool listens = listener_ && waker_ && ::bind(listener_.get(), name, size) == 0 &&
                       ::listen(listener_.get(), kQueue) == 0 &&
                       ::getsockname(listener_.get(), name, &size) == 0;
  if (listens) mine.port = bound.sin_port;
  return mine;
}

int SideChannel::process_of(int rank) const {
  return endpoints_[static_cast<std::size_t>(rank)].process;
}

void SideChannel::wake() noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(waker_.get(), &one, sizeof(one));
}

void SideChannel::serve(double seconds) {
  std::list<Outgoing> nothing;
  for (const Timer timer; timer.seconds() < seconds;) {
    const double left = std::max(0.0, seconds - timer.seconds());
    if (turn(nothing, Question::kThere, static_cast<int>(left * 1e3) + 1)) return;
  }
}

std::map<int, std::string> SideChannel::ask(const std::vector<int>& ranks, Question question,
                                            double seconds) {
  constexpr int kTurnMs = 10;
  // Of a rank that does not answer while others wait for its place: so all are asked in time.
  const std::size_t rounds = (ranks.size() + most_at_once_ - 1) / most_at_once_;
  const double longest_turn = seconds / static_cast<double>(rounds + 1);
  std::map<int, std::string> answers;
  std::deque<int> waiting(ranks.begin(), ranks.end());
  std::map<int, Timer> asked;
  std::list<Outgoing> outgoing;
  for (const Timer timer; timer.seconds() < seconds;) {
    for (; !waiting.empty() && asked.size() < most_at_once_; waiting.pop_front())
      if (connect(waiting.front(), outgoing)) asked.emplace(waiting.front(), Timer());
    if (asked.empty()) break;
    turn(outgoing, question, kTurnMs);
    for (const Outgoing& one : outgoing)
      if (one.is_over && !one.answer.empty()) answers[one.rank] = one.answer;
    outgoing.remove_if(
        [&](const Outgoing& one) { return one.is_over || answers.contains(one.rank); });
    std::set<int> under_way;
    for (const Outgoing& one : outgoing) under_way.insert(one.rank);
    std::size_t wanted = waiting.size();
    std::erase_if(asked, [&](const auto& one) {
      const int rank = one.first;
      if (!under_way.contains(rank)) return true;
      if (wanted == 0 || one.second.seconds() < longest_turn) return false;
      --wanted;
      waiting.push_back(rank);
      outgoing.remove_if([&](const Outgoing& other) { return other.rank == rank; });
      return true;
    });
  }
  return answers;
}

// By each of its host's addresses: the first that leads to the rank answers.
bool SideChannel::connect(int rank, std::list<Outgoing>& outgoing) const {
  const std::size_t before = outgoing.size();
  const Endpoint& endpoint = endpoints_[static_cast<std::size_t>(rank)];
  for (const std::uint32_t address : endpoint.addresses) {
    if (address == 0) continue;
    Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!socket) break;
    const sockaddr_in to = address_of(address, endpoint.port);
    const int code = ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to));
    if (code != 0 && !is_under_way(errno)) continue;
    outgoing.push_back({.socket = std::move(socket), .rank = rank, .answer = {}});
  }
  return outgoing.size() > before;
}

bool SideChannel::turn(std::list<Outgoing>& outgoing, Question question, int ms) {
  std::vector<pollfd> files = {{.fd = listener_.get(), .events = POLLIN, .revents = 0},
                               {.fd = waker_.get(), .events = POLLIN, .revents = 0}};
  for (const Incoming& one : incoming_)
    files.push_back({.fd = one.socket.get(), .events = POLLIN, .revents = 0});
  for (const Outgoing& one : outgoing) {
    const short events = one.is_sent ? POLLIN : POLLOUT;
    files.push_back({.fd = one.socket.get(), .events = events, .revents = 0});
  }
  if (::poll(files.data(), files.size(), ms) <= 0) return false;
  std::size_t at = 2 + incoming_.size();
  for (Outgoing& one : outgoing)
    if (files[at++].revents != 0) go_on(one, question);
  std::uint64_t count = 0;
  const bool is_woken = ::read(waker_.get(), &count, sizeof(count)) > 0;
  return accept_and_answer() || is_woken;
}

// Sockets do not block: it does no harm to look at one that has nothing.
bool SideChannel::accept_and_answer() {
  while (true) {
    Socket socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) break;
    incoming_.push_back({.socket = std::move(socket), .request = {}, .age = {}});
  }
  bool has_answered = false;
  incoming_.remove_if([&](Incoming& one) {
    const bool is_over = answer(one);
    has_answered = has_answered || is_over;
    return is_over || one.age.seconds() > kLongestQuestion;
  });
  return has_answered;
}

// True once there is nothing more to be done for it.
bool SideChannel::answer(Incoming& incoming) {
  auto* bytes = reinterpret_cast<std::byte*>(&incoming.request);
  const auto size =
      ::recv(incoming.socket.get(), bytes + incoming.size, sizeof(Request) - incoming.size, 0);
  if (size < 0) return !is_under_way(errno);
  incoming.size += static_cast<std::size_t>(size);
  if (size == 0) return true;
  if (incoming.size < sizeof(Request)) return false;
  if (incoming.request.secret != secret_ || incoming.request.to != rank_) return true;
  const std::string text = answer_(incoming.request.question);
  // An answer fits into the socket's buffer; where it does not, sending takes no longer than this.
  const timeval limit{.tv_sec = 0, .tv_usec = 300'000};
  ::fcntl(incoming.socket.get(), F_SETFL, 0);
  ::setsockopt(incoming.socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  for (std::size_t sent = 0; sent < text.size();) {
    const auto part =
        ::send(incoming.socket.get(), text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (part <= 0) return true;
    sent += static_cast<std::size_t>(part);
  }
  return true;
}

void SideChannel::go_on(Outgoing& outgoing, Question question) const {
  if (!outgoing.is_sent) {
    const Request request{.secret = secret_, .to = outgoing.rank, .question = question};
    const ssize_t sent = ::send(outgoing.socket.get(), &request, sizeof(request), MSG_NOSIGNAL);
    outgoing.is_sent = sent == static_cast<ssize_t>(sizeof(request));
    outgoing.is_over = !outgoing.is_sent;
    return;
  }
  std::array<char, 4096> part{};
  const auto size = ::recv(outgoing.socket.get(), part.data(), part.size(), 0);
  if (size > 0) outgoing.answer.append(part.data(), static_cast<std::size_t>(size));
  // The other side closes behind its answer.
  if (size == 0 || (size < 0 && !is_under_way(errno))) outgoing.is_over = true;
  if (size < 0 && outgoing.is_over) outgoing.answer.clear();
}

}  // namespace cuboid
