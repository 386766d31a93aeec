#include "entrance.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace shimmy::netns {
namespace {

// In agent/api-sockets.ts as ABSTRACT_API_SOCKET and ABSTRACT_FD_SOCKET; a test compares.
constexpr std::string_view kApiName = "shimmy/api";
constexpr std::string_view kFdName = "shimmy/fd";
constexpr int kBacklog = 128;

Answer Fail(Result result, int error = 0) {
  Answer answer;
  answer.reply = {kReplyMagic, kProtocolVersion, result, error, 0};
  return answer;
}

// UIDs and the hashes of static pods; NUL up to the end.
bool IsPodUid(const char (&pod)[kPodBytes]) {
  const char* const end = std::find(std::begin(pod), std::end(pod), '\0');
  if (end == std::begin(pod) || end == std::end(pod)) return false;
  const bool is_text = std::all_of(std::begin(pod), end, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || c == '-';
  });
  return is_text && std::all_of(end, std::end(pod), [](char c) { return c == '\0'; });
}

bool IsSame(const struct stat& one, const struct stat& other) noexcept {
  return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

// Returns 0 or an errno. The caller of listen() is whom clients see as their peer: root, which a
// process of a restricted pod cannot be.
int ListenAbstract(const UniqueFd& socket, std::string_view name) noexcept {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::copy(name.begin(), name.end(), address.sun_path + 1);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) return errno;
  return ::listen(socket.get(), kBacklog) == 0 ? 0 : errno;
}

}  // namespace

int Entrance::Open(const char* proc_path, const char* node_path) noexcept {
  proc_.Reset(::open(proc_path, O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!proc_.valid()) return -errno;
  own_.Reset(::openat(proc_.get(), "self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!own_.valid() || ::fstat(own_.get(), &own_stat_) != 0) return -errno;
  node_.Reset(::open(node_path, O_RDONLY | O_CLOEXEC));
  if (!node_.valid() || ::fstat(node_.get(), &node_stat_) != 0) return -errno;
  return 0;
}

Answer Entrance::Handle(const void* data, std::size_t length) const {
  Request request;
  if (length != sizeof request) return Fail(Result::kBadRequest);
  std::memcpy(&request, data, sizeof request);
  if (request.magic != kRequestMagic || request.version != kProtocolVersion ||
      request.reserved != 0 || request.pid <= 0 || !IsPodUid(request.pod)) {
    return Fail(Result::kBadRequest);
  }
  return Enter(request);
}

Answer Entrance::Enter(const Request& request) const {
  const Process process = Process::Open(proc_.get(), request.pid);
  if (!process.valid() || process.StartTime() != request.start_time) return Fail(Result::kGone);
  if (process.Pod() != request.pod) return Fail(Result::kNotOfPod);
  const UniqueFd net = process.OpenNetNamespace();
  if (!net.valid()) {
    const int error = errno;
    // A process that has ended and waits for its parent has no namespaces any more.
    return error == ENOENT || error == ESRCH ? Fail(Result::kGone)
                                             : Fail(Result::kSystemError, error);
  }
  struct stat found {};
  if (::fstat(net.get(), &found) != 0) return Fail(Result::kSystemError, errno);
  if (::ioctl(net.get(), NS_GET_NSTYPE) != CLONE_NEWNET) return Fail(Result::kSystemError, EINVAL);
  // I1: it may have been moved to another cgroup while its namespace was opened.
  if (process.StartTime() != request.start_time) return Fail(Result::kGone);
  if (process.Pod() != request.pod) return Fail(Result::kNotOfPod);
  if (IsForbidden(found)) return Fail(Result::kHostNamespace);  // I2
  if (found.st_ino == request.known_namespace) {
    Answer answer = Fail(Result::kSame);
    answer.reply.net_namespace = found.st_ino;
    return answer;
  }
  return MakeSockets(net, found.st_ino);
}

Answer Entrance::MakeSockets(const UniqueFd& net, uint64_t inode) const {
  if (::setns(net.get(), CLONE_NEWNET) != 0) return Fail(Result::kSystemError, errno);
  // I3. A socket belongs to the namespace in which it was made, wherever it is bound.
  UniqueFd api(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  int error = api.valid() ? 0 : errno;
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) error = errno;
  // A helper that cannot get out again must not go on.
  if (::setns(own_.get(), CLONE_NEWNET) != 0) std::abort();

  if (error == 0) error = ListenAbstract(api, kApiName);
  if (error == 0) error = ListenAbstract(fd, kFdName);
  if (error == EADDRINUSE) return Fail(Result::kNameTaken, error);
  if (error != 0) return Fail(Result::kSystemError, error);
  Answer answer = Fail(Result::kOpened);
  answer.reply.net_namespace = inode;
  answer.api = std::move(api);
  answer.fd = std::move(fd);
  return answer;
}

bool Entrance::IsForbidden(const struct stat& net) const noexcept {
  return IsSame(net, own_stat_) || IsSame(net, node_stat_);
}

}  // namespace shimmy::netns
