// What the agent asks of the helper, and what it is answered: one record each way on a connection
// of its own, over a SEQPACKET Unix socket. Both are processes of one pod and one image; numbers
// are in the machine's own order. agent/netns-client.ts has the same layout; a test compares.
#pragma once

#include <cstdint>
#include <type_traits>

namespace shimmy::netns {

inline constexpr uint32_t kRequestMagic = 0x51484e53;  // "SNHQ"
inline constexpr uint32_t kReplyMagic = 0x52484e53;    // "SNHR"
inline constexpr uint32_t kProtocolVersion = 1;
inline constexpr int kPodBytes = 64;

// "Make both sockets in the network namespace of this process, which is one of that pod."
struct Request {
  uint32_t magic;
  uint32_t version;
  int32_t pid;
  uint32_t reserved;         // 0
  uint64_t start_time;       // as in /proc/PID/stat: tells the process from a later one
  uint64_t known_namespace;  // inode of the namespace that has sockets already, or 0
  char pod[kPodBytes];       // UID, filled up with NUL
};
static_assert(sizeof(Request) == 96 && std::is_trivially_copyable_v<Request>);

enum class Result : int32_t {
  kOpened = 0,         // two descriptors come along: `api`, then `fd`
  kSame = 1,           // the namespace is the one that has sockets already
  kGone = 2,           // there is no such process any more
  kNotOfPod = 3,       // its cgroup does not name the pod
  kHostNamespace = 4,  // it is in the node's network namespace, or in ours
  kNameTaken = 5,      // a process in the namespace listens under one of our names
  kBadRequest = 6,
  kSystemError = 7,  // `error` has the errno
};

struct Reply {
  uint32_t magic;
  uint32_t version;
  Result result;
  int32_t error;
  uint64_t net_namespace;  // inode, for kOpened and kSame
};
static_assert(sizeof(Reply) == 24 && std::is_trivially_copyable_v<Reply>);

}  // namespace shimmy::netns
