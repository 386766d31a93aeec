// One end of a stream for JavaScript: the core's StreamEnd with the memory and descriptors it
// needs, and the spinning that comes before a sleep.
//
//   I1  used on one thread, its environment's; only the doorbell is watched, by its loop
//   I2  spinning happens before the end announces that it waits, so a writer that is quick
//       enough sends no bell; whoever returns kWouldBlock has announced it
//   I3  a stream that is dropped without Close() is reset: the peer must not take it for EOF
//   I4  `mode` says what JavaScript may do by itself with the memory it was lent; it changes only
//       within a call of ours, at its end, so that both sides never act at the same time
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

// What JavaScript may do without us, see lib/stream-memory.ts. Same numbers there.
enum class StreamMode : uint32_t {
  kAsk = 0,     // nothing: the next call has to be ours
  kDirect = 1,  // copy and move cursors
  kStale = 2,   // nothing: the halves that it was lent are gone
};

// The end's private state and the mode beside it, in memory that JavaScript is lent.
struct LentState {
  EndState end;
  StreamMode mode = StreamMode::kStale;
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

  // For JavaScript that did by itself what Read() and Write() do: `published` bytes were written,
  // and it saw that a bell, a plug or a new half of the peer needs us.
  void Settle(uint64_t published) noexcept;

  // The state to lend; the halves lent with it are those of this moment, until mode is kStale.
  [[nodiscard]] LentState& Lend() noexcept;
  [[nodiscard]] StreamMode mode() const noexcept { return lent_.mode; }
  [[nodiscard]] uint64_t page_bytes() const noexcept { return host_.page_bytes; }

  // Sleeps until the doorbell may have changed what Read (or Write) said.
  void Wait(bool for_write, int timeout_ms) noexcept;

  void Fin() noexcept {
    end_.Fin();
    UpdateMode();
  }
  void Close() noexcept;
  void Reset() noexcept;

  // Gives the end away; nothing may be called afterwards. kNotNow when it cannot be moved.
  [[nodiscard]] Status Detach(StreamHandover* handover, HandoverFds* fds) noexcept;

  [[nodiscard]] int doorbell() const noexcept { return doorbell_.get(); }
  [[nodiscard]] const EndCounts& counts() const noexcept { return state_.counts; }

 private:
  explicit Stream(const StreamHost& host) noexcept : host_(host), end_(&state_) {}

  [[nodiscard]] int64_t ReadNow(std::span<std::byte> out) noexcept;
  [[nodiscard]] int64_t WriteNow(std::span<const std::byte> data) noexcept;
  void UpdateMode() noexcept;  // I4

  [[nodiscard]] bool IsPeerGone() const noexcept;
  [[nodiscard]] bool HasBytes() noexcept;
  [[nodiscard]] bool HasRoom() noexcept;
  void Unmap() noexcept;

  const StreamHost& host_;
  LentState lent_;
  EndState& state_ = lent_.end;
  StreamEnd<StreamSys> end_;
  uint32_t lent_mine_ = 0;  // numbers of the halves that JavaScript was lent; 0: none
  uint32_t lent_peer_ = 0;
  UniqueFd doorbell_;
  UniqueFd peer_half_;  // kept so that the end can be handed over (design of replacement)
  SpinPolicy read_spin_;
  SpinPolicy write_spin_;
};

}  // namespace shimmy::addon
