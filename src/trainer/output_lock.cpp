#include "cuboid/trainer/output_lock.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <map>
#include <sstream>

#include "cuboid/base/error.hpp"
#include "cuboid/base/text.hpp"

namespace cuboid {
namespace {

// Keys and values, a line each: "pid 1234".
using Owner = std::map<std::string, std::string>;

std::string this_host() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

// When the process started, in clock ticks since boot: tells it from a later one with its number.
// "" where there is no such process.
std::string start_of_process(const std::string& pid) {
  std::ifstream file("/proc/" + pid + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return "";
  std::istringstream fields(text.substr(name_end + 1));
  std::string field;
  // The name is field 2 of proc(5), the start is field 22.
  for (int i = 3; i <= 22; ++i) fields >> field;
  return field;
}

Owner read_owner(const std::string& path) {
  Owner owner;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t space = line.find(' ');
    if (space != std::string::npos) owner[line.substr(0, space)] = line.substr(space + 1);
  }
  return owner;
}

std::string describe(Owner owner) {
  if (!owner.contains("pid")) return "another process";
  std::string text = "process " + owner["pid"] + " on " + owner["host"];
  if (owner.contains("job")) text += ", " + owner["job"];
  return text + ", since " + owner["since"];
}

bool is_dead(Owner owner) {
  return owner["host"] == this_host() && start_of_process(owner["pid"]) != owner["start"];
}

std::string advice() {
  return "; wait for that job to end, or choose another --output-dir";
}

bool is_same_file(const Descriptor& file, const std::string& path) {
  struct stat opened{};
  struct stat named{};
  return ::fstat(file.get(), &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
         opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

enum class Answer : unsigned char { kLocked, kTaken, kNoLocks };

// Locks of open file descriptions, not of processes: no other descriptor's close drops them.
Answer ask_kernel(const Descriptor& file) {
  struct flock whole{};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (::fcntl(file.get(), F_OFD_SETLK, &whole) == 0) return Answer::kLocked;
  return errno == EAGAIN || errno == EACCES ? Answer::kTaken : Answer::kNoLocks;
}

}  // namespace

OutputLock::OutputLock(const std::string& output_dir, const std::string& job, Locking locking)
    : output_dir_(output_dir), path_(output_dir + "/cuboid.lock"), job_(job) {
  lock(locking);
  try {
    write_owner();
  } catch (...) {
    release();
    throw;
  }
}

OutputLock& OutputLock::operator=(OutputLock&& other) noexcept {
  if (this == &other) return *this;
  release();
  output_dir_ = std::move(other.output_dir_);
  path_ = std::move(other.path_);
  job_ = std::move(other.job_);
  file_ = std::move(other.file_);
  return *this;
}

OutputLock::~OutputLock() {
  release();
}

void OutputLock::lock(Locking locking) {
  const std::string what = "cannot lock '" + path_ + "'";
  while (true) {
    const bool is_new = create_or_take_over();
    const Answer answer = locking == Locking::kKernel ? ask_kernel(file_) : Answer::kNoLocks;
    const bool has_it = answer == Answer::kLocked || (answer == Answer::kNoLocks && is_new);
    // The job that had it may have removed it between our opening and our locking it.
    if (has_it && is_same_file(file_, path_)) return;
    if (has_it) continue;
    const Owner owner = read_owner(path_);
    if (answer == Answer::kNoLocks && is_dead(owner)) {
      check_errno(::unlink(path_.c_str()) == 0 || errno == ENOENT, what);
      continue;
    }
    std::string hint = advice();
    if (answer == Answer::kNoLocks)
      hint +=
          format(". The file system has no locks: if that job is dead, remove %s", path_.c_str());
    file_.reset();
    throw UsageError("--output-dir '" + output_dir_ + "' is in use by " + describe(owner) + hint);
  }
}

// Opens the file; true where it was not there before.
bool OutputLock::create_or_take_over() {
  const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW;
  file_ = Descriptor(::open(path_.c_str(), flags | O_CREAT | O_EXCL, 0644));
  if (file_) return true;
  check_errno(errno == EEXIST, "cannot make '" + path_ + "'");
  file_ = Descriptor(::open(path_.c_str(), flags | O_CREAT, 0644));
  check_errno(static_cast<bool>(file_), "cannot open '" + path_ + "'");
  return false;
}

void OutputLock::write_owner() const {
  const std::string pid = std::to_string(::getpid());
  std::string text = "host " + this_host() + "\npid " + pid + "\nstart " + start_of_process(pid) +
                     "\nsince " + utc_now() + "\n";
  if (!job_.empty()) text += "job " + job_ + "\n";
  const std::string what = "cannot write '" + path_ + "'";
  set_size_of_file(file_, 0, what);
  write_at(file_, 0, std::as_bytes(std::span(text)), what);
}

// Removed while it is still locked, so that nobody locks a file that is about to go.
void OutputLock::release() noexcept {
  if (!file_) return;
  ::unlink(path_.c_str());
  file_.reset();
}

}  // namespace cuboid
