// The closed lists of reasons that native code can give. The one file of all lists is
// common/reasons.ts; a test keeps both in the same order. A reason is a metric label, so
// names never change and numbers are only added at the end.
#ifndef SHIMMY_REASONS_H_
#define SHIMMY_REASONS_H_

#include <cstdint>

namespace shimmy {

// Why a connection travels over plain TCP.
#define SHIMMY_FALLBACK_REASONS(X)              \
  X(kDisabled, "disabled")                      \
  X(kPeerNotInjected, "peer_not_injected")      \
  X(kOtherNodeNoFabric, "other_node_no_fabric") \
  X(kPolicyDenied, "policy_denied")             \
  X(kPolicyUnknown, "policy_unknown")           \
  X(kQuota, "quota")                            \
  X(kAgentUnavailable, "agent_unavailable")     \
  X(kVersionMismatch, "version_mismatch")       \
  X(kPeerRefused, "peer_refused")               \
  X(kFdPassingRefused, "fd_passing_refused")

// Why a stream or a relayed connection ended.
#define SHIMMY_END_REASONS(X)                 \
  X(kClosed, "closed")                        \
  X(kResetByApp, "reset_by_app")              \
  X(kResetByPeer, "reset_by_peer")            \
  X(kPeerDied, "peer_died")                   \
  X(kAppUnreachable, "app_unreachable")       \
  X(kConnectTimeout, "connect_timeout")       \
  X(kIdleTimeout, "idle_timeout")             \
  X(kRevoked, "revoked")                      \
  X(kDrained, "drained")                      \
  X(kStrayIo, "stray_io")                     \
  X(kCursorOutOfRange, "cursor_out_of_range") \
  X(kBadHalf, "bad_half")                     \
  X(kBadReplace, "bad_replace")               \
  X(kNoMemory, "no_memory")                   \
  X(kLimit, "limit")                          \
  X(kInternal, "internal")

// Why a session between two sidecars ended.
#define SHIMMY_SESSION_END_REASONS(X)        \
  X(kClosed, "closed")                       \
  X(kPeerGone, "peer_gone")                  \
  X(kRevoked, "revoked")                     \
  X(kProtocolError, "protocol_error")        \
  X(kVersionMismatch, "version_mismatch")    \
  X(kFdPassingRefused, "fd_passing_refused") \
  X(kBadFd, "bad_fd")                        \
  X(kLimit, "limit")

#define SHIMMY_REASON_ENUM(name, text) name,
enum class FallbackReason : uint8_t { SHIMMY_FALLBACK_REASONS(SHIMMY_REASON_ENUM) kCount };
enum class EndReason : uint8_t { SHIMMY_END_REASONS(SHIMMY_REASON_ENUM) kCount };
enum class SessionEndReason : uint8_t { SHIMMY_SESSION_END_REASONS(SHIMMY_REASON_ENUM) kCount };
#undef SHIMMY_REASON_ENUM

#define SHIMMY_REASON_TEXT(name, text) text,
inline constexpr const char* kFallbackReasonNames[] = {SHIMMY_FALLBACK_REASONS(SHIMMY_REASON_TEXT)};
inline constexpr const char* kEndReasonNames[] = {SHIMMY_END_REASONS(SHIMMY_REASON_TEXT)};
inline constexpr const char* kSessionEndReasonNames[] = {
    SHIMMY_SESSION_END_REASONS(SHIMMY_REASON_TEXT)};
#undef SHIMMY_REASON_TEXT

}  // namespace shimmy

#endif  // SHIMMY_REASONS_H_
