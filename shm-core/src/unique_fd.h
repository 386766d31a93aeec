// A file descriptor that closes itself. Movable, not copyable.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <utility>

namespace shimmy::addon {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) noexcept : fd_(fd) {}
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    Reset(other.Release());
    return *this;
  }
  ~UniqueFd() { Reset(); }

  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] bool valid() const noexcept { return fd_ >= 0; }

  // Gives the descriptor up: the caller closes it.
  [[nodiscard]] int Release() noexcept { return std::exchange(fd_, -1); }

  void Reset(int fd = -1) noexcept {
    const int old = std::exchange(fd_, fd);
    if (old < 0) return;
    const int saved = errno;
    // Never repeated after EINTR: Linux has freed the number by then (close(2), NOTES).
    ::close(old);
    errno = saved;
  }

 private:
  int fd_ = -1;
};

}  // namespace shimmy::addon
