#include "seqpacket.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "addon_status.h"
#include "control_limits.h"

namespace shimmy::addon {
namespace {

constexpr std::size_t kFdBytes = kMaxMessageFds * sizeof(int);
// Exactly the limit: were there padding, the kernel could install one more descriptor.
static_assert(CMSG_SPACE(kFdBytes) == CMSG_LEN(kFdBytes));

// Room for unread messages to discard at a close; a peer that keeps sending does not hold us.
constexpr int kMaxDiscarded = 1024;

struct alignas(cmsghdr) ControlBuffer {
  std::array<std::byte, CMSG_SPACE(kFdBytes)> bytes;
};

// Takes ownership of every descriptor the kernel installed, whatever else is wrong.
void TakeFds(msghdr& header, std::vector<UniqueFd>& fds) {
  for (cmsghdr* item = CMSG_FIRSTHDR(&header); item != nullptr; item = CMSG_NXTHDR(&header, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; i++) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(item) + i * sizeof(int), sizeof fd);
      fds.emplace_back(fd);
    }
  }
}

// recvmsg() answers 0 for an empty record and for the end alike; only the end is a hang-up.
bool IsPeerGone(int fd) noexcept {
  pollfd query{.fd = fd, .events = POLLRDHUP, .revents = 0};
  return ::poll(&query, 1, 0) > 0;
}

}  // namespace

int32_t SendMessage(int fd, std::span<const std::byte> data, std::span<const int> fds) noexcept {
  // sendmsg() does not write to the data: the cast is what struct iovec asks for.
  iovec part{.iov_base = const_cast<std::byte*>(data.data()), .iov_len = data.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  ControlBuffer control{};
  if (!fds.empty()) {
    header.msg_control = control.bytes.data();
    header.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* const item = CMSG_FIRSTHDR(&header);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(item), fds.data(), fds.size_bytes());
  }
  for (;;) {
    if (::sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return 0;
    if (errno != EINTR) return -errno;
  }
}

int32_t ReceiveMessage(int fd, Message& out) {
  out = {};
  std::array<std::byte, kMaxMessageBytes> buffer;
  ControlBuffer control;
  iovec part{.iov_base = buffer.data(), .iov_len = buffer.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  ssize_t length = 0;
  do {
    header.msg_control = control.bytes.data();
    header.msg_controllen = control.bytes.size();
    length = ::recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (length < 0 && errno == EINTR);
  if (length < 0) return -errno;

  TakeFds(header, out.fds);
  int32_t result = static_cast<int32_t>(length);
  if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    result = Code(AddonStatus::kTruncated);
  } else if (length == 0 && !IsPeerGone(fd)) {
    result = Code(AddonStatus::kEmptyMessage);
  }
  if (result <= 0) {
    out.fds.clear();
    return result;
  }
  out.data.assign(buffer.data(), buffer.data() + length);
  return result;
}

void CloseOrderly(UniqueFd fd) noexcept {
  ::shutdown(fd.get(), SHUT_RDWR);
  std::byte unused{};
  // Without a control buffer the kernel drops the descriptors of what is received.
  for (int i = 0; i < kMaxDiscarded; i++) {
    if (::recv(fd.get(), &unused, sizeof unused, MSG_DONTWAIT | MSG_TRUNC) <= 0) return;
  }
}

}  // namespace shimmy::addon
