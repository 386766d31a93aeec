#include "server.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace shimmy::netns {
namespace {

constexpr int kBacklog = 64;
constexpr mode_t kMode = 0666;
// The agent asks as soon as it is connected.
constexpr timeval kPatience{.tv_sec = 2, .tv_usec = 0};
constexpr int kPauseMs = 100;

bool IsUser(int fd, uid_t uid) noexcept {
  ucred peer{};
  socklen_t length = sizeof peer;
  return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == uid;
}

void Send(int fd, const Answer& answer) noexcept {
  Reply reply = answer.reply;
  iovec part{.iov_base = &reply, .iov_len = sizeof reply};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  const std::array<int, 2> fds = {answer.api.get(), answer.fd.get()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof fds)> control{};
  if (answer.reply.result == Result::kOpened) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* const item = CMSG_FIRSTHDR(&header);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(sizeof fds);
    std::memcpy(CMSG_DATA(item), fds.data(), sizeof fds);
  }
  // An agent that is gone asks again when it is back.
  (void)::sendmsg(fd, &header, MSG_NOSIGNAL);
}

}  // namespace

UniqueFd ListenAt(const char* path) noexcept {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t length = std::strlen(path);
  if (length == 0 || length >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return {};
  }
  std::memcpy(address.sun_path, path, length);
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd.valid() || (::unlink(path) != 0 && errno != ENOENT)) return {};
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
  if (::chmod(path, kMode) != 0 || ::listen(fd.get(), kBacklog) != 0) return {};
  return fd;
}

bool ServeOne(const UniqueFd& listener, uid_t uid, const Entrance& entrance) {
  const UniqueFd client(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!client.valid()) {
    if (errno == EBADF || errno == EINVAL || errno == ENOTSOCK) return false;
    // Out of descriptors or memory: that passes.
    if (errno != EINTR && errno != ECONNABORTED) (void)::poll(nullptr, 0, kPauseMs);
    return true;
  }
  if (!IsUser(client.get(), uid)) return true;
  for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO}) {
    if (::setsockopt(client.get(), SOL_SOCKET, option, &kPatience, sizeof kPatience) != 0) {
      return true;
    }
  }
  // One byte more than a request: a longer record is not taken for one. There is no room for
  // descriptors, so the kernel drops them.
  std::array<char, sizeof(Request) + 1> buffer;
  const ssize_t length = ::recv(client.get(), buffer.data(), buffer.size(), 0);
  if (length <= 0) return true;
  Send(client.get(), entrance.Handle(buffer.data(), static_cast<std::size_t>(length)));
  return true;
}

}  // namespace shimmy::netns
