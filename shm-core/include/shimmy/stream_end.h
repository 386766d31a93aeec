// One end of a stream: writes the ring of its own half, reads the ring of the peer's half,
// and keeps the doorbell's readiness true.
//
//   I8   ring not empty => a byte is in the doorbell, or a publish that will ring is in
//        progress (unless this end is known to be awake and polls: Arm() restores it)
//   I9   tail - head <= capacity, positions count up for ever
//   I10  a word of the peer is loaded once into a local and range-checked, unsigned
//   I11  an end that sleeps for room has a plug in the doorbell that the reader will eat
//   I12  FIN is a position (tail + 1): end of file comes after the last byte, never before
//   I13  `moved` is the last store in a half; the first store in the next one comes after
//        REPLACE was sent; no second REPLACE before the peer reads from the first's half
//   I14  a hang-up decides nothing before tail, fin and rst were loaded again after it
//
// Proved by shm-core/model/*.pml; docs/architecture.md tells the story. Not thread-safe: one
// thread at a time uses an end. Freestanding: system calls are `Sys`, and everything that has
// to survive fork or be shared lives in an EndState that the user places.
#ifndef SHIMMY_STREAM_END_H_
#define SHIMMY_STREAM_END_H_

#include "shimmy/doorbell.h"
#include "shimmy/half.h"
#include "shimmy/layout.h"
#include "shimmy/status.h"

namespace shimmy {

// Statistics of one end; plain sums.
struct EndCounts {
  uint64_t publishes = 0;
  uint64_t bells_sent = 0;
  uint64_t bells_eaten = 0;
  uint64_t plugs_sent = 0;
  uint64_t plugs_taken_back = 0;
  uint64_t replaces_sent = 0;
  uint64_t replaces_taken = 0;
};

// Everything an end knows, in memory that the peer cannot write. Plain data.
struct EndState {
  int bell_fd = -1;
  DoorbellSizes sizes;
  uint64_t page_bytes = 4096;
  uint64_t max_peer_capacity = kMaxCapacity;

  HalfMap mine;       // the half we write
  HalfMap reading;    // the peer's half whose ring we read
  HalfMap next;       // valid: the peer's newest half; `reading` ends at next.start
  uint64_t tail = 0;  // own cursors; the shared copies are only written
  uint64_t head = 0;
  uint64_t wake_at = 0;
  uint64_t plugs_sent = 0;
  uint64_t plugs_eaten = 0;
  uint64_t known_head = 0;   // where our ring began to be unread when we looked last; >= mine.start
  bool plug_queued = false;  // may be: SIOCOUTQ decides
  bool raised = false;
  bool fin_sent = false;
  bool rst_sent = false;
  bool hung_up = false;         // the doorbell said so; I14 still holds
  Status broken = Status::kOk;  // first rule that the peer broke
  EndCounts counts;
};

struct Span {
  unsigned char* data = nullptr;
  uint64_t bytes = 0;
};

template <class Sys>
class StreamEnd {
 public:
  // `state` must outlive the end and be used by no other end at the same time.
  explicit StreamEnd(EndState* state) noexcept : s_(*state) {}
  StreamEnd(const StreamEnd&) = delete;
  StreamEnd& operator=(const StreamEnd&) = delete;

  EndState& state() noexcept { return s_; }
  const EndState& state() const noexcept { return s_; }

  // Writes the start values into a half of ours, before the peer may look at it: `mine.start`
  // is where we begin to write, `peer_start` where we begin to read.
  static void Prepare(const HalfMap& mine, uint64_t peer_start) noexcept {
    ControlPage& page = *mine.control;
    // SYNC tail head wake_at fin rst plugs moved half cpu (relaxed): the peer gets the fd (or the
    // message that lets it look again) by a later sendmsg, and nothing of ours before.
    page.tail.store(mine.start, std::memory_order_relaxed);
    page.head.store(peer_start, std::memory_order_relaxed);
    page.wake_at.store(peer_start, std::memory_order_relaxed);
    page.fin.store(0, std::memory_order_relaxed);
    page.rst.store(0, std::memory_order_relaxed);
    page.plugs.store(0, std::memory_order_relaxed);
    page.moved.store(0, std::memory_order_relaxed);
    page.half.store(1, std::memory_order_relaxed);
    page.cpu.store(0, std::memory_order_relaxed);
  }

  // Begins with a prepared half of ours and the peer's half as MapAsReader() gave it.
  void Begin(int bell_fd, const HalfMap& mine, const HalfMap& peer, uint64_t peer_start) noexcept {
    s_.bell_fd = bell_fd;
    s_.mine = mine;
    s_.reading = peer;
    s_.tail = mine.start;
    s_.known_head = mine.start;
    s_.head = peer_start;
    s_.wake_at = peer_start;
  }

  // ---- writing ----

  // Free bytes of our ring as of now, or a Status.
  [[nodiscard]] Status Room(uint64_t* room) noexcept {
    // SYNC head (acquire): pairs with the release store in Consume(), so that the reader's
    // copy has ended before its bytes are overwritten (I9).
    const uint64_t head = Newest().head.load(std::memory_order_acquire);  // PEER
    // Before the reader moves to our newest half its head lies before that half's start, and
    // the whole new ring is free.
    const uint64_t from = static_cast<int64_t>(head - s_.mine.start) < 0 ? s_.mine.start : head;
    const uint64_t used = s_.tail - from;
    if (used > s_.mine.capacity) return Break(Status::kCursorOutOfRange);  // I9
    *room = s_.mine.capacity - used;
    s_.known_head = from;
    return Status::kOk;
  }

  // At least `wanted` bytes of room if there are so many; may leave out what became free since
  // we looked last. The peer's word is loaded when that is not enough, and only then: between two
  // looks its line stays with the peer, who stores in it at each read.
  [[nodiscard]] Status RoomFor(uint64_t wanted, uint64_t* room) noexcept {
    *room = s_.mine.capacity - (s_.tail - s_.known_head);
    return *room >= wanted ? Status::kOk : Room(room);
  }

  // Where the next `room` bytes go; may be shorter when the ring is mapped once.
  [[nodiscard]] Span WriteSpan(uint64_t room) noexcept {
    return {s_.mine.at(s_.tail), s_.mine.contiguous(s_.tail, room)};
  }

  // Makes `bytes` (at most the room) visible and rings if the reader waits for them.
  [[nodiscard]] Status Publish(uint64_t bytes) noexcept {
    const uint64_t old = s_.tail;
    s_.tail += bytes;
    s_.counts.publishes++;
    // SYNC tail (release): pairs with the acquire load in Available(), so that the bytes are
    // visible with it.
    s_.mine.control->tail.store(s_.tail, std::memory_order_release);
    return Published(old);
  }

  // What comes behind the store of tail, which was `old` before. For who stores it by himself.
  [[nodiscard]] Status Published(uint64_t old) noexcept {
    Fence();  // FENCE 1: store tail | load moved, wake_at. Pairs with FENCE 3 in Arm().
    const Status looked = Look();
    if (looked != Status::kOk) return looked;
    // SYNC wake_at (acquire): with FENCE 1 and FENCE 3, either this sees the armed position
    // or Arm() sees the new tail (I8). Crossing test: one bell an arming.
    const uint64_t wake_at = Newest().wake_at.load(std::memory_order_acquire);  // PEER
    if (wake_at - old < s_.tail - old) RingBell();  // old <= wake_at < tail, unsigned
    return Status::kOk;
  }

  // The ring is full, first time in this call (also after a partial copy): leaves a plug that
  // the reader eats when a quarter is free (I11). The caller looks at Room() once more, then
  // waits for the doorbell to become writable.
  [[nodiscard]] Status PlugFull() noexcept {
    if (s_.raised) {
      Sys::SetSendBuffer(s_.bell_fd, s_.sizes.normal);
      s_.raised = false;
    }
    if (Sys::QueuedOut(s_.bell_fd) < long{kPlugBytes}) {
      const SendResult sent = SendPlug<Sys>(s_.bell_fd);
      if (sent == SendResult::kPeerGone) s_.hung_up = true;
      if (sent == SendResult::kSent) {
        s_.plugs_sent++;
        s_.counts.plugs_sent++;
        RingBell();  // behind the plug: the fd stays readable when the plug was the last record
      }
    }
    s_.plug_queued = true;
    // SYNC plugs (release): pairs with the acquire load in EatPlugs(); a plug is counted after
    // it was sent, so the reader finds as many as the count says.
    s_.mine.control->plugs.store(s_.plugs_sent, std::memory_order_release);
    Fence();  // FENCE 2: store plugs | load head, moved. Pairs with FENCE 4 in Consume().
    return Look();
  }

  // The writer leaves with everything written: takes a plug back that may still be queued, so
  // that the doorbell is writable again.
  void Satisfied() noexcept {
    if (!s_.plug_queued || s_.raised) return;
    if (Sys::QueuedOut(s_.bell_fd) >= long{kPlugBytes}) {
      Sys::SetSendBuffer(s_.bell_fd, s_.sizes.raised);
      s_.raised = true;
      s_.counts.plugs_taken_back++;
    } else {
      s_.plug_queued = false;
    }
  }

  // Copies as much of `data` as fits. kOk: everything. kWouldBlock: `*written` bytes (maybe
  // none), and the doorbell becomes writable when there is room. Other: the stream is over.
  [[nodiscard]] Status Write(const void* data, uint64_t bytes, uint64_t* written) noexcept {
    const auto* from = static_cast<const unsigned char*>(data);
    *written = 0;
    for (bool plugged = false;;) {
      uint64_t some = 0;
      Status status = WriteSome(from + *written, bytes - *written, &some);
      *written += some;
      if (status != Status::kWouldBlock) {
        if (status == Status::kOk) Satisfied();
        return status;
      }
      if (plugged) return Status::kWouldBlock;
      plugged = true;
      status = PlugFull();
      if (status != Status::kOk) return status;
    }
  }

  // Copies as much of `data` as there is room for, and asks for no wake-up: for who looks again by
  // itself, before it sleeps by Write(). kOk: everything. kWouldBlock: less.
  [[nodiscard]] Status WriteSome(const void* data, uint64_t bytes, uint64_t* written) noexcept {
    const auto* from = static_cast<const unsigned char*>(data);
    *written = 0;
    if (s_.fin_sent || s_.rst_sent) return Status::kEnded;
    if (s_.broken != Status::kOk) return s_.broken;
    while (*written < bytes) {
      // In pieces, so that the reader copies out while we copy in.
      const uint64_t left = bytes - *written;
      const uint64_t piece = left < kPublishBytes ? left : kPublishBytes;
      uint64_t room = 0;
      Status status = RoomFor(piece, &room);
      if (status != Status::kOk) return status;
      if (room == 0) return Status::kWouldBlock;
      const Span span = WriteSpan(room < piece ? room : piece);
      Sys::Copy(span.data, from + *written, span.bytes);
      *written += span.bytes;
      status = Publish(span.bytes);
      PrefetchForWrite(span.bytes);
      if (status != Status::kOk) return status;
    }
    return Status::kOk;
  }

  // ---- reading ----

  // Unread bytes of the half that is read now; moves on to the peer's next half when the old
  // one is used up.
  [[nodiscard]] Status Available(uint64_t* bytes) noexcept {
    if (s_.next.valid() && s_.head == s_.next.start) SwitchHalf();
    // SYNC tail (acquire): pairs with the release store in Publish().
    const uint64_t tail = s_.next.valid()
                              ? s_.next.start
                              : s_.reading.control->tail.load(std::memory_order_acquire);  // PEER
    const uint64_t unread = tail - s_.head;
    if (unread > s_.reading.capacity) return Break(Status::kCursorOutOfRange);  // I9
    *bytes = unread;
    return Status::kOk;
  }

  // The oldest `available` unread bytes, in place; may be shorter when the ring is mapped once.
  [[nodiscard]] Span ReadSpan(uint64_t available) noexcept {
    return {s_.reading.at(s_.head), s_.reading.contiguous(s_.head, available)};
  }

  // Gives `bytes` back to the writer; the caller is done with them. `available` is what
  // Available() said before.
  [[nodiscard]] Status Consume(uint64_t bytes, uint64_t available) noexcept {
    s_.head += bytes;
    // SYNC head (release): pairs with the acquire load in Room(); our reads come before it.
    s_.mine.control->head.store(s_.head, std::memory_order_release);
    const uint64_t free = s_.reading.capacity - (available - bytes);
    if (free < s_.reading.capacity / 4) return Status::kOk;
    Fence();  // FENCE 4: store head | load plugs. Pairs with FENCE 2 in PlugFull().
    return EatPlugs();
  }

  // The ring looked empty: announces where we wait, so that the next publish rings, and looks
  // again (I8). kOk: there is something to read after all. kWouldBlock: nothing, armed.
  // kEof, kReset, kPeerDied: the end. `look_for_hang_up`: ask the kernel if the queue is empty.
  [[nodiscard]] Status Arm(bool look_for_hang_up) noexcept {
    if (s_.broken != Status::kOk) return s_.broken;  // found by a call that had bytes to report
    for (int turn = 0; turn < kMaxTurns; turn++) {
      long queued = Sys::QueuedIn(s_.bell_fd);  // sampled BEFORE arming: these bells are old
      s_.wake_at = s_.head;
      // SYNC wake_at (release): pairs with the acquire load in Publish().
      s_.mine.control->wake_at.store(s_.wake_at, std::memory_order_release);
      Fence();  // FENCE 3: store wake_at | load tail, fin, rst. Pairs with FENCE 1 and FENCE 5.
      uint64_t unread = 0;
      Status status = Available(&unread);
      if (status != Status::kOk) return status;
      const uint64_t fin = NewestFin();
      // Exactly n - 1 of the old records when there is something (one must stay, so that the
      // fd stays readable), all n when there is not.
      const long keep = unread == 0 && fin == 0 ? 0 : 1;
      bool replaced = false;
      status = EatOld(queued, keep, &replaced);
      if (status != Status::kOk) return status;
      if (replaced) continue;
      if (unread > 0) return Status::kOk;
      if (fin != 0 && fin != s_.head + 1) continue;  // I12: FIN is ahead of what we loaded
      status = Ending(fin, look_for_hang_up && queued <= 0);
      if (status != Status::kNotNow) return status;
    }
    return Break(Status::kCursorOutOfRange);  // only a peer that lies keeps us turning
  }

  // While this end is awake and polls, it wants no bells: takes the announcement back. Arm()
  // has to come before it sleeps (I8). Needs no fence: a bell too many does no harm.
  void Disarm() noexcept {
    s_.wake_at = s_.head - 1;  // passed already, whatever the tail is
    // SYNC wake_at (relaxed): see above.
    s_.mine.control->wake_at.store(s_.wake_at, std::memory_order_relaxed);
  }

  // Tells the peer on which CPU we run, so that it can come there. A hint: nothing depends on it.
  void AnnounceCpu(uint64_t cpu) noexcept {
    // SYNC cpu (relaxed): nothing is ordered by it; only we store it.
    std::atomic<uint64_t>& word = s_.mine.control->cpu;
    if (word.load(std::memory_order_relaxed) != cpu + 1) {
      word.store(cpu + 1, std::memory_order_relaxed);
    }
  }

  // The CPU that the peer announced; false when it did not. Any value: the peer may lie.
  [[nodiscard]] bool PeerCpu(uint64_t* cpu) const noexcept {
    // SYNC cpu (relaxed): as above.
    const uint64_t word = s_.reading.control->cpu.load(std::memory_order_relaxed);
    *cpu = word - 1;
    return word != 0;
  }

  // Copies out up to `bytes`. kOk: `*got` > 0. kWouldBlock: nothing there, armed. kEof, kReset,
  // kPeerDied and broken rules come after the last byte.
  [[nodiscard]] Status Read(void* data, uint64_t bytes, uint64_t* got) noexcept {
    auto* to = static_cast<unsigned char*>(data);
    *got = 0;
    for (;;) {
      uint64_t unread = 0;
      Status status = Available(&unread);
      if (status != Status::kOk) return status;
      const uint64_t left = bytes - *got;
      if (unread > 0 && left > 0) {
        const Span span = ReadSpan(unread < left ? unread : left);
        Sys::Copy(to + *got, span.data, span.bytes);
        *got += span.bytes;
        status = Consume(span.bytes, unread);
        if (status != Status::kOk) return status;
        continue;
      }
      if (unread > 0) return Status::kOk;  // the doorbell still holds a byte for the rest
      status = Arm(*got == 0);
      if (status == Status::kOk && *got < bytes) continue;
      if (*got > 0) return Status::kOk;  // an ending is reported by the next call
      return status;
    }
  }

  // ---- closing ----

  // Ends our direction: the peer reads end of file after our last byte.
  void Fin() noexcept {
    if (s_.fin_sent || s_.rst_sent) return;
    s_.fin_sent = true;
    // SYNC fin (release): pairs with the acquire load in NewestFin(); tail was stored before.
    s_.mine.control->fin.store(s_.tail + 1, std::memory_order_release);
    Fence();  // FENCE 5: store fin (or rst) | the shutdown (or bell). Pairs with FENCE 3.
    Sys::Shutdown(s_.bell_fd, SHUT_WR);
  }

  // Ends both directions abruptly; the peer reads what is there, then kReset. The caller
  // closes the doorbell.
  void Reset() noexcept {
    if (s_.rst_sent || !s_.mine.valid()) return;
    s_.rst_sent = true;
    // SYNC rst (release): pairs with the acquire load in Ending().
    s_.mine.control->rst.store(1, std::memory_order_release);
    Fence();  // FENCE 5
    RingBell();
  }

  // ---- replacing our half ----

  // May our half be replaced now? Not after FIN (the doorbell takes nothing any more), and not
  // before the peer reads from the last one (I13).
  [[nodiscard]] bool CanReplace() const noexcept {
    if (s_.fin_sent || s_.rst_sent || s_.hung_up) return false;
    // SYNC half (acquire): pairs with the release store in SwitchHalf(). A lie only lets the
    // peer confuse itself: we keep one old half at most.
    return Newest().half.load(std::memory_order_acquire) == s_.mine.number &&  // PEER
           Sys::QueuedOut(s_.bell_fd) < long{s_.sizes.normal} * 2 - 4096;  // REPLACE and bell fit
  }

  // Moves on to `half` (mapped as writer with start = tail and number = ours + 1, sealed).
  // Takes the mapping; unmaps the old one. `half_fd` stays the caller's. Only if CanReplace().
  [[nodiscard]] Status Replace(const HalfMap& half, int half_fd) noexcept {
    ControlPage& page = *half.control;
    // SYNC all words of the new half (relaxed): the peer sees them through the fd in REPLACE.
    page.tail.store(s_.tail, std::memory_order_relaxed);
    page.head.store(s_.head, std::memory_order_relaxed);
    page.wake_at.store(s_.wake_at, std::memory_order_relaxed);
    page.fin.store(0, std::memory_order_relaxed);
    page.rst.store(0, std::memory_order_relaxed);
    page.plugs.store(s_.plugs_sent, std::memory_order_relaxed);
    page.moved.store(0, std::memory_order_relaxed);
    page.half.store(s_.reading.number, std::memory_order_relaxed);
    // SYNC moved (release): pairs with the acquire load in Look(); the last store here (I13).
    s_.mine.control->moved.store(1, std::memory_order_release);
    Fence();  // FENCE 6: store moved | send REPLACE. Pairs with FENCE 1 of the peer's Publish().
    const ReplaceRecord record{kReplaceVersion, half.number, half.capacity, half.start, 0};
    const SendResult sent = SendReplace<Sys>(s_.bell_fd, record, half_fd);
    HalfMap old = s_.mine;
    s_.mine = half;
    s_.known_head = half.start;  // the new ring is empty, wherever the reader is
    UnmapHalf<Sys>(&old);
    if (sent == SendResult::kPeerGone) {
      s_.hung_up = true;
      return Status::kOk;  // the hang-up is found by whoever reads
    }
    // CanReplace() saw room in the queue: memory is short, or too many fds are in flight.
    if (sent == SendResult::kFull) return Break(Status::kNoMemory);
    RingBell();
    s_.counts.replaces_sent++;
    Satisfied();  // a queued plug is taken back: the new ring has room
    return Status::kOk;
  }

 private:
  static constexpr int kMaxTurns = 64;
  // A long write is published in pieces, so that the reader copies out while the rest is copied
  // in, and finds the piece in the cache that both cores share.
  static constexpr uint64_t kPublishBytes = 4096;

  // The next bytes will likely be as many as the last: have their lines ready for writing. Only
  // what the reader has given back, or the lines would be taken from it while it reads them.
  void PrefetchForWrite(uint64_t bytes) noexcept {
    const uint64_t free = s_.mine.capacity - (s_.tail - s_.known_head);
    Sys::PrefetchForWrite(s_.mine.at(s_.tail), bytes < free ? bytes : free);
  }

  static void Fence() noexcept {
    // SYNC fence (seq_cst): a full barrier between our store and our next load, see the call.
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }

  // The peer's words are in the newest half that we know of.
  const ControlPage& Newest() const noexcept {
    return s_.next.valid() ? *s_.next.control : *s_.reading.control;
  }

  uint64_t NewestFin() const noexcept {
    // SYNC fin (acquire): pairs with the release store in Fin().
    return Newest().fin.load(std::memory_order_acquire);  // PEER
  }

  Status Break(Status status) noexcept {
    if (s_.broken == Status::kOk) s_.broken = status;
    return status;
  }

  void RingBell() noexcept {
    const SendResult sent = SendBell<Sys>(s_.bell_fd);
    if (sent == SendResult::kPeerGone) s_.hung_up = true;
    if (sent == SendResult::kSent) s_.counts.bells_sent++;
  }

  void SwitchHalf() noexcept {
    UnmapHalf<Sys>(&s_.reading);
    s_.reading = s_.next;
    s_.next = HalfMap{};
    // SYNC half (release): pairs with the acquire load in CanReplace(); we read nothing of the
    // old half any more.
    s_.mine.control->half.store(s_.reading.number, std::memory_order_release);
  }

  // One record out of the doorbell, acted on. `*bytes` is 0 when there was none.
  [[nodiscard]] Status EatOne(size_t* bytes, bool* replaced) noexcept {
    Record record = EatRecord<Sys>(s_.bell_fd);
    *bytes = 0;
    switch (record.kind) {
      case RecordKind::kNone: return Status::kOk;
      case RecordKind::kHangUp: s_.hung_up = true; return Status::kOk;
      case RecordKind::kStray: return Break(Status::kStrayIo);
      case RecordKind::kBell: s_.counts.bells_eaten++; break;
      case RecordKind::kPlug: s_.plugs_eaten++; break;
      case RecordKind::kReplace: {
        *replaced = true;
        if (record.fd < 0) return Break(Status::kNoMemory);
        const Status status = TakeReplace(record);
        Sys::Close(record.fd);
        if (status != Status::kOk) return Break(status);
        break;
      }
    }
    *bytes = record.bytes;
    return Status::kOk;
  }

  // Payload was copied out of the record before it is parsed; the new half is checked like the
  // first one, and must begin where the old one may end (I13).
  [[nodiscard]] Status TakeReplace(const Record& record) noexcept {
    const ReplaceRecord& r = record.replace;
    if (s_.next.valid() || r.version != kReplaceVersion || r.reserved != 0 ||
        r.number != s_.reading.number + 1 || r.start - s_.head > s_.reading.capacity) {
      return Status::kBadReplace;
    }
    HalfBounds bounds;
    bounds.max_capacity = s_.max_peer_capacity;
    bounds.page_bytes = s_.page_bytes;
    bounds.start = r.start;
    bounds.number = r.number;
    bounds.twice = s_.mine.twice;
    const Status status = MapAsReader<Sys>(record.fd, bounds, &s_.next);
    if (status != Status::kOk) return status;
    if (s_.next.capacity != r.capacity) {
      UnmapHalf<Sys>(&s_.next);
      return Status::kBadReplace;
    }
    s_.counts.replaces_taken++;
    return Status::kOk;
  }

  // A peer that moved stores no more in its old half; take its REPLACE if it is there, so that
  // our words are looked for in the right place. Its bell stays in the doorbell. Without the
  // REPLACE the old words are frozen and true, and a bell is still to come.
  [[nodiscard]] Status Look() noexcept {
    // SYNC moved (acquire): pairs with the release store in Replace().
    if (Newest().moved.load(std::memory_order_acquire) == 0) return Status::kOk;  // PEER
    bool replaced = false;
    for (int i = 0; i < kMaxTurns && !replaced; i++) {
      size_t bytes = 0;
      const Status status = EatOne(&bytes, &replaced);
      if (status != Status::kOk) return status;
      if (bytes == 0) break;
    }
    return Status::kOk;
  }

  // Eats old records while more than `keep` bytes of them are left; stops behind a REPLACE.
  [[nodiscard]] Status EatOld(long queued, long keep, bool* replaced) noexcept {
    while (queued > keep && !*replaced) {
      size_t bytes = 0;
      const Status status = EatOne(&bytes, replaced);
      if (status != Status::kOk) return status;
      if (bytes == 0) return Status::kOk;
      queued -= static_cast<long>(bytes);
    }
    return Status::kOk;
  }

  [[nodiscard]] Status EatPlugs() noexcept {
    // SYNC plugs (acquire): pairs with the release store in PlugFull().
    const uint64_t plugs = Newest().plugs.load(std::memory_order_acquire);  // PEER
    for (int i = 0; i<kMaxTurns&& static_cast<int64_t>(plugs - s_.plugs_eaten)> 0; i++) {
      size_t bytes = 0;
      bool replaced = false;
      const Status status = EatOne(&bytes, &replaced);
      if (status != Status::kOk) return status;
      if (bytes == 0) break;
    }
    return Status::kOk;
  }

  // Nothing is unread as far as we loaded: is this the end? kNotNow: something changed, look
  // again.
  [[nodiscard]] Status Ending(uint64_t fin, bool look_for_hang_up) noexcept {
    // SYNC rst (acquire): pairs with the release store in Reset(); bytes come before it.
    if (Newest().rst.load(std::memory_order_acquire) != 0) {  // PEER
      return AgainOr(fin, Status::kReset);
    }
    if (fin != 0) return Status::kEof;
    if (look_for_hang_up && !s_.hung_up) {
      const long events = Sys::Poll(s_.bell_fd, POLLRDHUP, 0);
      if (events > 0 && (events & (POLLRDHUP | POLLHUP)) != 0) s_.hung_up = true;
    }
    if (!s_.hung_up) return Status::kWouldBlock;
    return AgainOr(fin, Status::kPeerDied);  // I14
  }

  // A last look after a marker or hang-up was seen: what was published before it is visible now.
  [[nodiscard]] Status AgainOr(uint64_t fin, Status verdict) noexcept {
    uint64_t unread = 0;
    const Status status = Available(&unread);
    if (status != Status::kOk) return status;
    if (unread > 0) return Status::kOk;
    if (fin == 0 && NewestFin() != 0) return Status::kNotNow;
    if (verdict != Status::kPeerDied) return verdict;
    // A REPLACE may still be queued: its half may hold more.
    size_t bytes = 0;
    bool replaced = false;
    const Status eaten = EatOne(&bytes, &replaced);
    if (eaten != Status::kOk) return eaten;
    if (bytes != 0) return Status::kNotNow;
    // SYNC rst (acquire): pairs with the release store in Reset(), seen after the hang-up.
    if (Newest().rst.load(std::memory_order_acquire) != 0) return Status::kReset;  // PEER
    return Status::kPeerDied;
  }

  EndState& s_;
};

}  // namespace shimmy

#endif  // SHIMMY_STREAM_END_H_
