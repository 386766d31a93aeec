// One end of a stream for JavaScript: the core's StreamEnd with the memory and descriptors it
// needs, and the spinning that comes before a sleep.
//
//   I1  used on one thread, its environment's; only the doorbell is watched by the poller
//   I2  spinning happens before the end announces that it waits, so a writer that is quick
//       enough sends no bell; whoever returns kWouldBlock has announced it
//   I3  a stream that is dropped without Close() is reset: the peer must not take it for EOF
#pragma once

#include <memory>
#include <span>

#include "shimmy/stream_end.h"
#include "shimmy/sys_raw.h"
#include "spin_policy.h"
#include "stream_handover.h"
#include "unique_fd.h"

namespace shimmy::addon {

// The core's system calls, with libc's tuned copy.
struct StreamSys : RawSys {
  static void Copy(void* to, const void* from, std::size_t bytes) noexcept {
    __builtin_memcpy(to, from, bytes);
  }
};

// What all streams of an environment share.
struct StreamHost {
  DoorbellSizes sizes;
  uint64_t page_bytes = 4096;
  bool can_spin = false;  // more than one CPU to run on

  // Returns kInternal when this kernel's sockets cannot be doorbells.
  [[nodiscard]] static Status Open(StreamHost* out) noexcept;
};

class Stream {
 public:
  using Pair = std::unique_ptr<Stream>[2];

  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Two connected ends with rings of `capacity` bytes each.
  [[nodiscard]] static Status CreatePair(const StreamHost& host, uint64_t capacity, Pair& out);

  // Goes on with an end that Detach() gave away, here or in another process. Takes both
  // descriptors, also when it fails. `handover` comes from outside and is checked.
  [[nodiscard]] static Status Attach(const StreamHost& host, StreamHandover handover,
                                     HandoverFds fds, std::unique_ptr<Stream>* out);

  // Copies out what is there. Returns a length (> 0) or a core Status: kWouldBlock, kEof, ...
  [[nodiscard]] int64_t Read(std::span<std::byte> out, Spin spin) noexcept;

  // Copies in what fits. Returns a length (> 0 unless `data` is empty) or a core Status.
  [[nodiscard]] int64_t Write(std::span<const std::byte> data, Spin spin) noexcept;

  // Sleeps until the doorbell may have changed what Read (or Write) said.
  void Wait(bool for_write, int timeout_ms) noexcept;

  void Fin() noexcept { end_.Fin(); }
  void Close() noexcept;
  void Reset() noexcept;

  // Gives the end away; nothing may be called afterwards. kNotNow when it cannot be moved.
  [[nodiscard]] Status Detach(StreamHandover* handover, HandoverFds* fds) noexcept;

  [[nodiscard]] int doorbell() const noexcept { return doorbell_.get(); }
  [[nodiscard]] const EndCounts& counts() const noexcept { return state_.counts; }

 private:
  explicit Stream(const StreamHost& host) noexcept : host_(host), end_(&state_) {}

  [[nodiscard]] bool IsPeerGone() const noexcept;
  [[nodiscard]] bool HasBytes() noexcept;
  [[nodiscard]] bool HasRoom() noexcept;
  void Unmap() noexcept;

  const StreamHost& host_;
  EndState state_;
  StreamEnd<StreamSys> end_;
  UniqueFd doorbell_;
  UniqueFd peer_half_;  // kept so that the end can be handed over (design of replacement)
  SpinPolicy read_spin_;
  SpinPolicy write_spin_;
};

}  // namespace shimmy::addon
