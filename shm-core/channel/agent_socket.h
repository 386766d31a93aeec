// The socket to the node's agent: one JSON message a record, descriptors beside it. See
// docs/reference/channel-protocol.md.
#ifndef SHIMMY_CHANNEL_AGENT_SOCKET_H_
#define SHIMMY_CHANNEL_AGENT_SOCKET_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "failure.h"
#include "relay/unique_fd.h"

namespace shimmy::channel {

using relay::UniqueFd;
using Json = nlohmann::json;

inline constexpr size_t kMaxMessageBytes = 65536;  // agent/api-limits.ts
inline constexpr size_t kMaxMessageFds = 8;

struct AgentMessage {
  Json json;
  std::vector<UniqueFd> fds;

  // The type of the message, or "".
  [[nodiscard]] std::string type() const { return Text("type"); }
  // Fields of the kind that is asked for, or nothing of it.
  [[nodiscard]] std::string Text(const char* name) const;
  [[nodiscard]] uint64_t Number(const char* name) const;
  [[nodiscard]] bool Flag(const char* name) const;
  [[nodiscard]] bool Has(const char* name) const { return json.contains(name); }
  // The descriptor that came for this kind of region, or -1; `skip` others come before the first.
  [[nodiscard]] UniqueFd TakeRegion(const char* kind, size_t skip);
};

enum class Received { kMessage, kNothing, kOver };

class AgentSocket {
 public:
  [[nodiscard]] bool valid() const { return fd_.valid(); }
  [[nodiscard]] int fd() const { return fd_.get(); }

  // `path` begins with '@' for an abstract socket. Never waits.
  [[nodiscard]] Failure Connect(const std::string& path);
  void Close() { fd_.Reset(); }

  // Waits for room, as agents always read. False: the connection is over.
  [[nodiscard]] bool Send(const Json& message, const std::vector<int>& fds) const;
  // Never waits. What is not JSON is the end of the connection.
  [[nodiscard]] Received Receive(AgentMessage* out) const;

 private:
  UniqueFd fd_;
};

}  // namespace shimmy::channel

#endif  // SHIMMY_CHANNEL_AGENT_SOCKET_H_
