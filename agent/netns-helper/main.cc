// shimmy-netns-helper: the one program of a node that enters pods' network namespaces.
//
// It stands beside the agent, which has no privileges, and makes for it the two sockets on which a
// pod's sidecar finds the agent. docs/architecture.md, "Agent sockets".
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "server.h"

namespace {

constexpr uid_t kDefaultUser = 65532;
constexpr const char* kNodeNet = "/proc/1/ns/net";
constexpr const char* kUsage =
    "usage: shimmy-netns-helper [--uid UID] [--node-net FILE] SOCKET\n"
    "\n"
    "Makes the sockets of pods for the agent, which asks on SOCKET and runs as user UID\n"
    "(default 65532). FILE is the node's network namespace (default /proc/1/ns/net), which is\n"
    "never entered. Needs CAP_SYS_ADMIN and CAP_SYS_PTRACE, and the node's process ids.\n";

struct Arguments {
  uid_t uid = kDefaultUser;
  const char* node_net = kNodeNet;
  const char* path = nullptr;
};

bool ReadUid(std::string_view text, uid_t* uid) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *uid);
  return error == std::errc() && end == text.data() + text.size();
}

// Returns false when they are not understood.
bool ReadArguments(int count, char** values, Arguments* arguments) {
  for (int i = 1; i < count; i++) {
    const std::string_view value = values[i];
    if (value == "--uid") {
      if (++i == count || !ReadUid(values[i], &arguments->uid)) return false;
    } else if (value == "--node-net") {
      if (++i == count) return false;
      arguments->node_net = values[i];
    } else if (value.starts_with("-") || arguments->path != nullptr) {
      return false;
    } else {
      arguments->path = values[i];
    }
  }
  return arguments->path != nullptr;
}

// Keeps the two capabilities it needs, whatever it was given, and none for a child. Returns 0 or
// an errno.
int DropPrivileges() noexcept {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, 2> data{};
  data[0].effective = (1U << CAP_SYS_ADMIN) | (1U << CAP_SYS_PTRACE);
  data[0].permitted = data[0].effective;
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
  return ::syscall(SYS_capset, &header, data.data()) == 0 ? 0 : errno;
}

int Fail(const char* what, int error) {
  // perror(), unlike strerror(), is safe in any thread.
  errno = error;
  std::perror((std::string("shimmy-netns-helper: ") + what).c_str());
  return 1;
}

}  // namespace

int main(int count, char** values) {
  Arguments arguments;
  if (count == 2 && std::string_view(values[1]) == "--version") {
    std::puts(SHIMMY_VERSION);
    return 0;
  }
  if (!ReadArguments(count, values, &arguments)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  const shimmy::netns::UniqueFd listener = shimmy::netns::ListenAt(arguments.path);
  if (!listener.valid()) return Fail(arguments.path, errno);
  if (const int error = DropPrivileges(); error != 0) return Fail("capabilities", error);
  shimmy::netns::Entrance entrance;
  if (const int error = entrance.Open("/proc", arguments.node_net); error != 0) {
    return Fail(arguments.node_net, -error);
  }
  std::fprintf(stderr, "shimmy-netns-helper %s: serving user %u on %s\n", SHIMMY_VERSION,
               arguments.uid, arguments.path);
  while (shimmy::netns::ServeOne(listener, arguments.uid, entrance)) {
  }
  return Fail("accept", errno);
}
