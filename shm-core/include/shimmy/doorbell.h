// The doorbell: a SEQPACKET socketpair beside the rings, whose kernel readiness is the
// stream's readiness under any event loop.
//
//   D1  records are bells (1 byte), plugs (8192) and REPLACE (32, with exactly one fd); any
//       other length or fd count is stray and ends the stream
//   D2  a plug makes its sender's end unwritable until the peer eats it; bells still fit behind
//   D3  bells alone (at most 10 queued) leave it writable
//   D4  a full doorbell is success for a bell: the peer is readable already
//
// D2 and D3 hold for a send buffer size that ProbeDoorbell() finds, because what a record is
// charged depends on kernel and page size.
#ifndef SHIMMY_DOORBELL_H_
#define SHIMMY_DOORBELL_H_

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "shimmy/layout.h"
#include "shimmy/status.h"

namespace shimmy {

inline constexpr unsigned char kPlug[kPlugBytes] = {};
inline constexpr int kBellsThatFit = 10;

// SO_SNDBUF values (as given to setsockopt; the kernel doubles them).
struct DoorbellSizes {
  int normal = 16384;  // a plug makes the end unwritable
  int raised = 65536;  // writable in spite of one queued plug
};

enum class RecordKind : uint8_t { kNone, kBell, kPlug, kReplace, kHangUp, kStray };

struct Record {
  RecordKind kind = RecordKind::kNone;
  size_t bytes = 0;  // as FIONREAD counts them
  int fd = -1;       // REPLACE only; owned by whoever reads the record; -1: we had no fd free
  ReplaceRecord replace{};
};

// Outcome of sending into the doorbell.
enum class SendResult : uint8_t { kSent, kFull, kPeerGone };

namespace internal {

inline constexpr int kScmPidfd = 0x04;  // Linux 6.5, include/linux/socket.h

inline SendResult ToSendResult(long result) noexcept {
  if (result >= 0) return SendResult::kSent;
  const bool is_full = result == -EAGAIN || result == -ENOBUFS || result == -ENOMEM ||
                       result == -EINTR || result == -ETOOMANYREFS;
  if (is_full) {
    return SendResult::kFull;
  }
  return SendResult::kPeerGone;
}

// Closes what came with a record that must not carry fds. Returns how many there were, and
// keeps the first one in *kept when `kept` is not null. Whoever made the doorbell may have asked
// for a pidfd with each record (SO_PASSPIDFD): those are fds as well.
template <class Sys>
int CollectFds(msghdr* message, int* kept) noexcept {
  int count = 0;
  for (cmsghdr* c = CMSG_FIRSTHDR(message); c != nullptr; c = CMSG_NXTHDR(message, c)) {
    if (c->cmsg_level != SOL_SOCKET) continue;
    if (c->cmsg_type != SCM_RIGHTS && c->cmsg_type != kScmPidfd) continue;
    const size_t fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < fds; i++) {
      int fd;
      __builtin_memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      if (count++ == 0 && kept != nullptr) {
        *kept = fd;
      } else {
        Sys::Close(fd);
      }
    }
  }
  return count;
}

}  // namespace internal

template <class Sys>
[[nodiscard]] SendResult SendBell(int fd) noexcept {
  const unsigned char bell = 1;
  return internal::ToSendResult(Sys::Send(fd, &bell, kBellBytes));
}

template <class Sys>
[[nodiscard]] SendResult SendPlug(int fd) noexcept {
  return internal::ToSendResult(Sys::Send(fd, kPlug, kPlugBytes));
}

// Sends REPLACE with the fd of the new half.
template <class Sys>
[[nodiscard]] SendResult SendReplace(int fd, const ReplaceRecord& record, int half_fd) noexcept {
  iovec part{const_cast<ReplaceRecord*>(&record), sizeof record};
  alignas(cmsghdr) unsigned char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* const c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int));
  __builtin_memcpy(CMSG_DATA(c), &half_fd, sizeof half_fd);
  return internal::ToSendResult(Sys::SendMessage(fd, &message));
}

// Takes one record out of the doorbell. Never blocks; kNone when there is none.
template <class Sys>
[[nodiscard]] Record EatRecord(int fd) noexcept {
  Record record;
  unsigned char buffer[64];
  // Room for two fds: more are dropped by the kernel and flagged, one too many is closed here.
  alignas(cmsghdr) unsigned char control[CMSG_SPACE(2 * sizeof(int))];
  iovec part{buffer, sizeof buffer};
  // All of it: musl has padding where the kernel reads the upper halves of sizes.
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  long length = Sys::ReceiveMessage(fd, &message);
  // A peer that closed with records unread; told once, and before what it sent us itself.
  if (length == -ECONNRESET) length = Sys::ReceiveMessage(fd, &message);
  if (length < 0) {
    const bool empty = length == -EAGAIN || length == -EINTR;
    record.kind = empty ? RecordKind::kNone : RecordKind::kHangUp;
    return record;
  }
  int passed = -1;
  const int fds = internal::CollectFds<Sys>(&message, &passed);
  const bool truncated_fds = (message.msg_flags & MSG_CTRUNC) != 0;
  record.bytes = static_cast<size_t>(length);
  if (length == 0 && fds == 0 && !truncated_fds) {
    // End of file and a record of no bytes look alike; only the first comes with a hang-up.
    const long events = Sys::Poll(fd, POLLRDHUP, 0);
    record.kind = events > 0 && (events & (POLLRDHUP | POLLHUP)) != 0 ? RecordKind::kHangUp
                                                                      : RecordKind::kStray;
    return record;
  }
  record.kind = RecordKind::kStray;
  if (fds == 0 && !truncated_fds) {
    if (length == kBellBytes) record.kind = RecordKind::kBell;
    if (length == kPlugBytes) record.kind = RecordKind::kPlug;
  } else if (fds == 1 && !truncated_fds && length == sizeof(ReplaceRecord)) {
    record.kind = RecordKind::kReplace;
    record.fd = passed;
    __builtin_memcpy(&record.replace, buffer, sizeof record.replace);
    return record;
  } else if (fds == 0 && length == sizeof(ReplaceRecord)) {
    record.kind = RecordKind::kReplace;  // the kernel dropped the fd: our limit, not the peer's lie
    return record;
  }
  if (passed >= 0) Sys::Close(passed);
  return record;
}

// Makes a doorbell: two non-blocking, close-on-exec ends with the right send buffers.
template <class Sys>
[[nodiscard]] Status CreateDoorbell(const DoorbellSizes& sizes, int ends[2]) noexcept {
  if (Sys::SocketPair(ends) < 0) return Status::kNoMemory;
  if (Sys::SetSendBuffer(ends[0], sizes.normal) < 0 ||
      Sys::SetSendBuffer(ends[1], sizes.normal) < 0) {
    Sys::Close(ends[0]);
    Sys::Close(ends[1]);
    return Status::kInternal;
  }
  return Status::kOk;
}

namespace internal {

template <class Sys>
bool IsWritable(int fd) noexcept {
  const long events = Sys::Poll(fd, POLLOUT, 0);
  return events > 0 && (events & POLLOUT) != 0;
}

// D2 and D3 on a fresh pair with these sizes, and that raising makes a plugged end writable.
template <class Sys>
bool DoorbellHolds(const DoorbellSizes& sizes) noexcept {
  int ends[2];
  if (CreateDoorbell<Sys>(sizes, ends) != Status::kOk) return false;
  bool good = true;
  for (int i = 0; i < kBellsThatFit; i++)
    good = good && SendBell<Sys>(ends[0]) == SendResult::kSent;
  good = good && IsWritable<Sys>(ends[0]) && Sys::QueuedOut(ends[0]) < long{kPlugBytes};
  for (int i = 0; good && i < kBellsThatFit; i++) {
    good = EatRecord<Sys>(ends[1]).kind == RecordKind::kBell;
  }
  good = good && SendPlug<Sys>(ends[0]) == SendResult::kSent && !IsWritable<Sys>(ends[0]) &&
         Sys::QueuedOut(ends[0]) >= long{kPlugBytes};
  for (int i = 0; good && i < kBellsThatFit; i++)
    good = SendBell<Sys>(ends[0]) == SendResult::kSent;
  good = good && Sys::SetSendBuffer(ends[0], sizes.raised) >= 0 && IsWritable<Sys>(ends[0]);
  Sys::Close(ends[0]);
  Sys::Close(ends[1]);
  return good;
}

}  // namespace internal

// Finds send buffer sizes for which D2 and D3 hold on this kernel. kInternal when none do:
// then streams cannot be had here and everything goes over TCP.
template <class Sys>
[[nodiscard]] Status ProbeDoorbell(DoorbellSizes* sizes) noexcept {
  for (int normal = 16384; normal <= 65536; normal += 4096) {
    const DoorbellSizes candidate{normal, normal * 4};
    if (internal::DoorbellHolds<Sys>(candidate)) {
      *sizes = candidate;
      return Status::kOk;
    }
  }
  return Status::kInternal;
}

}  // namespace shimmy

#endif  // SHIMMY_DOORBELL_H_
