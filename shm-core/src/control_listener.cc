#include "control_listener.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "control_events.h"
#include "control_limits.h"

namespace shimmy::addon {
namespace {

constexpr int kSocketType = SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK;
constexpr int kAcceptsPerWake = 16;

struct Address {
  sockaddr_un name{};
  socklen_t length = 0;  // 0: the path does not fit

  [[nodiscard]] const sockaddr* get() const noexcept {
    return reinterpret_cast<const sockaddr*>(&name);
  }
};

Address MakeAddress(const std::string& path) noexcept {
  Address address;
  address.name.sun_family = AF_UNIX;
  const bool is_abstract = !path.empty() && path[0] == '\0';
  // A path needs its NUL; an abstract name is exactly as long as it is given.
  const std::size_t bytes = path.size() + (is_abstract ? 0 : 1);
  if (path.empty() || bytes > sizeof address.name.sun_path) return address;
  std::memcpy(address.name.sun_path, path.data(), path.size());
  address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + bytes);
  return address;
}

int SocketOption(int fd, int name) noexcept {
  int value = -1;
  socklen_t length = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}

// Whether `fd` is a socket that connections can be accepted from; makes it non-blocking.
int32_t CheckListening(int fd) noexcept {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return -errno;
  const bool is_listener = SocketOption(fd, SO_DOMAIN) == AF_UNIX &&
                           SocketOption(fd, SO_TYPE) == SOCK_SEQPACKET &&
                           SocketOption(fd, SO_ACCEPTCONN) == 1;
  if (!is_listener) return -EPROTOTYPE;
  return ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 ? 0 : -errno;
}

// Whether a socket file is left over from a process that is gone. Connecting to a file that is
// no socket is refused too.
bool IsStale(const std::string& path) noexcept {
  struct stat file {};
  if (::lstat(path.c_str(), &file) != 0 || !S_ISSOCK(file.st_mode)) return false;
  const int32_t result = ConnectControl(path);
  if (result >= 0) ::close(result);
  return result == -ECONNREFUSED;
}

}  // namespace

int32_t ConnectControl(const std::string& path) noexcept {
  const Address address = MakeAddress(path);
  if (address.length == 0) return -ENAMETOOLONG;
  UniqueFd fd(::socket(AF_UNIX, kSocketType, 0));
  if (!fd.valid()) return -errno;
  int result = 0;
  do {
    result = ::connect(fd.get(), address.get(), address.length);
  } while (result != 0 && errno == EINTR);
  return result == 0 ? fd.Release() : -errno;
}

int32_t ControlListener::Open(const std::string& path, mode_t mode) {
  const std::lock_guard lock(mutex_);
  int32_t result = Bind(path, mode);
  if (result == -EADDRINUSE && path[0] != '\0' && IsStale(path)) {
    ::unlink(path.c_str());
    result = Bind(path, mode);
  }
  if (result == 0) UpdateInterest();
  if (result == 0 && poll_id_ < 0) {
    result = static_cast<int32_t>(std::exchange(poll_id_, 0));
    RemoveFile();
  }
  if (result != 0) fd_.Reset();
  return result;
}

int32_t ControlListener::Adopt(UniqueFd& fd) {
  const std::lock_guard lock(mutex_);
  if (const int32_t error = CheckListening(fd.get()); error != 0) return error;
  fd_ = std::move(fd);
  UpdateInterest();
  if (poll_id_ > 0) return 0;
  fd = std::move(fd_);
  return static_cast<int32_t>(std::exchange(poll_id_, 0));
}

int32_t ControlListener::Bind(const std::string& path, mode_t mode) {
  const Address address = MakeAddress(path);
  if (address.length == 0) return -ENAMETOOLONG;
  fd_ = UniqueFd(::socket(AF_UNIX, kSocketType, 0));
  if (!fd_.valid()) return -errno;
  if (::bind(fd_.get(), address.get(), address.length) != 0) return -errno;
  if (path[0] != '\0') {
    path_ = path;
    // Before listen(): until then a connect is refused, whatever the umask left open.
    if (::chmod(path.c_str(), mode) != 0 || ::lstat(path.c_str(), &file_) != 0) {
      const int error = errno;
      ::unlink(path.c_str());
      return -error;
    }
  }
  if (::listen(fd_.get(), kListenBacklog) == 0) return 0;
  const int error = errno;
  RemoveFile();
  return -error;
}

void ControlListener::Delivered() {
  const std::lock_guard lock(mutex_);
  undelivered_--;
  if (fd_.valid()) UpdateInterest();
}

void ControlListener::Resume() {
  const std::lock_guard lock(mutex_);
  is_paused_ = false;
  if (fd_.valid()) UpdateInterest();
}

void ControlListener::Close() {
  const std::lock_guard lock(mutex_);
  if (!fd_.valid()) return;
  if (poll_id_ > 0) poller_.Remove(std::exchange(poll_id_, 0), fd_.get());
  RemoveFile();
  fd_.Reset();
}

void ControlListener::OnReady(uint32_t /*events*/) {
  const std::lock_guard lock(mutex_);
  for (int i = 0; i < kAcceptsPerWake; i++) {
    if (!fd_.valid() || is_paused_ || undelivered_ >= kMaxUndelivered) break;
    UniqueFd fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd.valid()) {
      undelivered_++;
      sink_.Post(std::make_unique<ConnectionEvent>(shared_from_this(), std::move(fd)));
      continue;
    }
    if (errno == EAGAIN) break;
    if (errno == EINTR || errno == ECONNABORTED) continue;
    is_paused_ = true;  // I3
    sink_.Post(std::make_unique<AcceptPausedEvent>(id_, -errno));
  }
  if (fd_.valid()) UpdateInterest();
}

void ControlListener::UpdateInterest() {
  const bool wants = !is_paused_ && undelivered_ < kMaxUndelivered;
  if (wants && poll_id_ == 0) {
    poll_id_ = poller_.Add(fd_.get(), EPOLLIN, shared_from_this());
  } else if (!wants && poll_id_ > 0) {
    poller_.Remove(std::exchange(poll_id_, 0), fd_.get());
  }
}

void ControlListener::RemoveFile() noexcept {
  struct stat now {};
  if (path_.empty() || ::lstat(path_.c_str(), &now) != 0) return;
  // Another process may have replaced the file since: that one is not ours to remove.
  if (now.st_dev == file_.st_dev && now.st_ino == file_.st_ino) ::unlink(path_.c_str());
  path_.clear();
}

}  // namespace shimmy::addon
