// Makes a pod's two sockets in its network namespace, and never in another one.
//
// Whoever asks is not trusted: it is the agent, which reads what pods send.
//
//   I1  a namespace is entered only while the process it was opened through is the one named, and
//       its cgroup names the pod, both before and after it was opened
//   I2  the namespaces of the node and of this program are never entered
//   I3  between entering and leaving nothing happens but socket(2), twice
//   I4  nothing is kept: no namespace, no socket
#pragma once

#include <sys/stat.h>

#include "process.h"
#include "protocol.h"

namespace shimmy::netns {

// Sockets of a pod, listening, or why there are none.
struct Answer {
  Reply reply{};
  UniqueFd api;
  UniqueFd fd;
};

class Entrance {
 public:
  // Opens `proc_path` ("/proc"), our own namespace and that of the node ("/proc/1/ns/net"). Returns
  // 0 or -errno.
  [[nodiscard]] int Open(const char* proc_path, const char* node_path) noexcept;

  // Any bytes.
  [[nodiscard]] Answer Handle(const void* data, std::size_t length) const;

 private:
  [[nodiscard]] Answer Enter(const Request& request) const;
  [[nodiscard]] Answer MakeSockets(const UniqueFd& net, uint64_t inode) const;
  [[nodiscard]] bool IsForbidden(const struct stat& net) const noexcept;

  UniqueFd proc_;
  UniqueFd own_;  // open, so that their inodes stay theirs
  UniqueFd node_;
  struct stat own_stat_ {};
  struct stat node_stat_ {};
};

}  // namespace shimmy::netns
