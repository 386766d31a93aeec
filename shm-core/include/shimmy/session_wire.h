// Messages between two sidecars on their session socket (SOCK_SEQPACKET, one message a record).
//
//   HELLO    both sides, first; carries one small half: proof that fds can be passed
//   WELCOME  the answer to HELLO; 0, or why there will be no session
//   OPEN     a new stream: its doorbell, and the opener's half (or the number of a kept pair)
//   ACCEPT   the app answered: the acceptor's half (none for a kept pair)
//   REFUSE   no stream; try another way
//   RELEASED the acceptor let go of a pair; the opener may use it again (or forget it)
//   FORGET   the opener gives a kept pair up
//
// Everything a peer sends is copied out first and parsed by ParseMessage() alone, which checks
// lengths, fd counts, reserved fields and text. Fields are little-endian: both ends share a node.
// See docs/reference/session-protocol.md.
#ifndef SHIMMY_SESSION_WIRE_H_
#define SHIMMY_SESSION_WIRE_H_

#include <cstddef>
#include <cstdint>

namespace shimmy {

inline constexpr uint32_t kSessionMagic = 0x31534d53;  // "SMS1"
inline constexpr uint16_t kSessionVersion = 1;
inline constexpr uint16_t kSessionVersionMin = 1;
inline constexpr size_t kMaxServiceBytes = 320;  // namespace (63) + "/" + name (253)
inline constexpr size_t kMaxMessageBytes = 512;
inline constexpr size_t kMaxMessageFds = 2;
inline constexpr uint32_t kMaxUnanswered = 8;

enum class MessageType : uint16_t {
  kHello = 1,
  kWelcome = 2,
  kOpen = 3,
  kAccept = 4,
  kRefuse = 5,
  kReleased = 6,
  kForget = 7,
};

enum class WelcomeStatus : uint32_t {
  kOk = 0,
  kVersionMismatch = 1,
  kFdPassingRefused = 2,
  kPageSizeMismatch = 3,
};

enum class RefuseReason : uint32_t {
  kAppRefused = 1,   // the app's port does not answer: another endpoint may
  kAppTimeout = 2,   // the same, after the connect time-out
  kNotGranted = 3,   // (service, port) is not granted, or not declared by the pod
  kNoMemory = 4,     // the acceptor's ring budget is used up
  kLimit = 5,        // too many streams or fds
  kDraining = 6,     // the acceptor is going away
  kUnknownPair = 7,  // a kept pair is not kept here any more
};

struct MessageHeader {
  uint16_t type;
  uint16_t reserved;
  uint32_t bytes;  // of the whole message
};
static_assert(sizeof(MessageHeader) == 8);

struct HelloMessage {
  MessageHeader header;
  uint32_t magic;
  uint16_t version_min;
  uint16_t version_max;
  uint32_t page_bytes;
  uint32_t max_streams;      // that the sender lets its peer open
  uint64_t max_ring_bytes;   // largest ring that the sender maps
  uint64_t max_total_bytes;  // all rings of the peer together
};
static_assert(sizeof(HelloMessage) == 40);

struct WelcomeMessage {
  MessageHeader header;
  uint32_t status;
  uint32_t version;  // the one both will use
};
static_assert(sizeof(WelcomeMessage) == 16);

struct OpenMessage {
  MessageHeader header;
  uint64_t id;
  uint32_t pair;
  uint16_t port;           // target port
  uint16_t service_bytes;  // text follows the struct
  uint32_t is_kept;        // 1: the pair exists, only the doorbell comes along
  uint32_t reserved;
};
static_assert(sizeof(OpenMessage) == 32);

struct AcceptMessage {
  MessageHeader header;
  uint64_t id;
};
static_assert(sizeof(AcceptMessage) == 16);

struct RefuseMessage {
  MessageHeader header;
  uint64_t id;
  uint32_t reason;
  uint32_t reserved;
};
static_assert(sizeof(RefuseMessage) == 24);

struct PairMessage {  // RELEASED and FORGET
  MessageHeader header;
  uint32_t pair;
  uint32_t is_reusable;  // RELEASED only
};
static_assert(sizeof(PairMessage) == 16);

// The header of a message of type T with `extra` bytes behind it.
template <class T>
constexpr MessageHeader HeaderOf(MessageType type, size_t extra = 0) noexcept {
  return {static_cast<uint16_t>(type), 0, static_cast<uint32_t>(sizeof(T) + extra)};
}

// A parsed message; which member is set follows from `type`.
struct Message {
  MessageType type = MessageType::kHello;
  HelloMessage hello{};
  WelcomeMessage welcome{};
  OpenMessage open{};
  AcceptMessage accept{};
  RefuseMessage refuse{};
  PairMessage pair{};
  char service[kMaxServiceBytes + 1] = {};
};

namespace internal {

template <class T>
bool Take(const unsigned char* bytes, size_t length, bool exact, T* out) noexcept {
  if (length < sizeof(T) || (exact && length != sizeof(T))) return false;
  __builtin_memcpy(out, bytes, sizeof(T));
  return true;
}

// Names of services are DNS labels with one slash: anything else is not for logs or metrics.
inline bool IsServiceText(const char* text, size_t bytes) noexcept {
  size_t slashes = 0;
  for (size_t i = 0; i < bytes; i++) {
    const char c = text[i];
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
    if (c == '/') slashes++;
    if (!plain && c != '/') return false;
  }
  return bytes >= 3 && slashes == 1 && text[0] != '/' && text[bytes - 1] != '/';
}

inline bool ParseOpen(const unsigned char* bytes, size_t length, size_t fds,
                      Message* out) noexcept {
  OpenMessage& open = out->open;
  if (!Take(bytes, length, false, &open)) return false;
  if (open.service_bytes > kMaxServiceBytes || length != sizeof open + open.service_bytes) {
    return false;
  }
  for (size_t i = 0; i < open.service_bytes; i++) {
    out->service[i] = static_cast<char>(bytes[sizeof open + i]);
  }
  out->service[open.service_bytes] = '\0';
  return open.id != 0 && open.port != 0 && open.pair != 0 && open.reserved == 0 &&
         open.is_kept <= 1 && fds == (open.is_kept == 1 ? 1 : 2) &&
         IsServiceText(out->service, open.service_bytes);
}

}  // namespace internal

// Parses one record that came with `fds` file descriptors. False: malformed, and the session
// has to end. HELLO is taken with no fd as well: its receiver says why that will not do.
[[nodiscard]] inline bool ParseMessage(const unsigned char* bytes, size_t length, size_t fds,
                                       Message* out) noexcept {
  MessageHeader header;
  if (length > kMaxMessageBytes || !internal::Take(bytes, length, false, &header)) return false;
  if (header.bytes != length || header.reserved != 0) return false;
  out->type = static_cast<MessageType>(header.type);
  switch (out->type) {
    case MessageType::kHello:
      // A later version may send a longer one.
      return fds <= 1 && internal::Take(bytes, length, false, &out->hello) &&
             out->hello.magic == kSessionMagic;
    case MessageType::kWelcome:
      return fds == 0 && internal::Take(bytes, length, true, &out->welcome);
    case MessageType::kOpen: return internal::ParseOpen(bytes, length, fds, out);
    case MessageType::kAccept: return fds <= 1 && internal::Take(bytes, length, true, &out->accept);
    case MessageType::kRefuse:
      return fds == 0 && internal::Take(bytes, length, true, &out->refuse) &&
             out->refuse.reserved == 0;
    case MessageType::kReleased:
    case MessageType::kForget:
      return fds == 0 && internal::Take(bytes, length, true, &out->pair) &&
             out->pair.is_reusable <= 1;
  }
  return false;
}

}  // namespace shimmy

#endif  // SHIMMY_SESSION_WIRE_H_
