#include "agent_socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

namespace shimmy::channel {

namespace {

constexpr size_t kFdBytes = kMaxMessageFds * sizeof(int);
constexpr int kSendTimeoutMs = 5000;

struct alignas(cmsghdr) ControlBuffer {
  std::array<unsigned char, CMSG_SPACE(kFdBytes)> bytes{};
};

// Takes ownership of every descriptor that the kernel installed.
void TakeFds(msghdr* header, std::vector<UniqueFd>* fds) {
  for (cmsghdr* item = CMSG_FIRSTHDR(header); item != nullptr; item = CMSG_NXTHDR(header, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(item) + i * sizeof(int), sizeof fd);
      fds->emplace_back(fd);
    }
  }
}

}  // namespace

std::string AgentMessage::Text(const char* name) const {
  const auto found = json.find(name);
  return found != json.end() && found->is_string() ? found->get_ref<const std::string&>()
                                                   : std::string();
}

uint64_t AgentMessage::Number(const char* name) const {
  const auto found = json.find(name);
  return found != json.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

bool AgentMessage::Flag(const char* name) const {
  const auto found = json.find(name);
  return found != json.end() && found->is_boolean() && found->get<bool>();
}

UniqueFd AgentMessage::TakeRegion(const char* kind, size_t skip) {
  const auto regions = json.find("regions");
  if (regions == json.end() || !regions->is_array()) return {};
  for (size_t i = 0; i < regions->size(); i++) {
    const Json& name = (*regions)[i];
    const bool is_it = name.is_string() && name.get_ref<const std::string&>() == kind;
    if (is_it && i + skip < fds.size()) return std::move(fds[i + skip]);
  }
  return {};
}

Failure AgentSocket::Connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return {SHIMMY_UNAVAILABLE, "SHIMMY_ERR_INVALID_OPTION",
            "the path of the agent's socket is empty or longer than 107 bytes", ""};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  if (path[0] == '@') address.sun_path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() +
                                             (path[0] == '@' ? 0 : 1));
  UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) {
    return {SHIMMY_SYSTEM, "SHIMMY_ERR_SYSTEM", SystemText("socket", errno), ""};
  }
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) < 0) {
    return {SHIMMY_UNAVAILABLE, "SHIMMY_ERR_AGENT_UNAVAILABLE",
            SystemText(("no agent answers at " + path).c_str(), errno) +
                "; is the agent running on this node, and is this pod one of its own?",
            ""};
  }
  fd_ = std::move(fd);
  return {};
}

bool AgentSocket::Send(const Json& message, const std::vector<int>& fds) const {
  std::string text = message.dump(-1, ' ', false, Json::error_handler_t::replace);
  iovec part{text.data(), text.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  ControlBuffer control;
  if (!fds.empty()) {
    const size_t bytes = fds.size() * sizeof(int);
    header.msg_control = control.bytes.data();
    header.msg_controllen = CMSG_SPACE(bytes);
    cmsghdr* const item = CMSG_FIRSTHDR(&header);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(bytes);
    std::memcpy(CMSG_DATA(item), fds.data(), bytes);
  }
  for (;;) {
    if (sendmsg(fd_.get(), &header, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return true;
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return false;
    pollfd query{fd_.get(), POLLOUT, 0};
    if (poll(&query, 1, kSendTimeoutMs) <= 0 && errno != EINTR) return false;
  }
}

Received AgentSocket::Receive(AgentMessage* out) const {
  *out = {};
  // SYNC thread_local: each thread its own.
  static thread_local std::array<char, kMaxMessageBytes> buffer;
  ControlBuffer control;
  iovec part{buffer.data(), buffer.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  ssize_t length = 0;
  do {
    header.msg_control = control.bytes.data();
    header.msg_controllen = control.bytes.size();
    length = recvmsg(fd_.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (length < 0 && errno == EINTR);
  if (length < 0) return errno == EAGAIN ? Received::kNothing : Received::kOver;
  TakeFds(&header, &out->fds);
  if (length == 0 || (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) return Received::kOver;
  out->json = Json::parse(buffer.data(), buffer.data() + length, nullptr, false);
  return out->json.is_object() ? Received::kMessage : Received::kOver;
}

}  // namespace shimmy::channel
