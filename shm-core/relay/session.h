// A session: how two sidecars of one node open streams to each other. See session_wire.h.
//
//   S1  ids of the initiator are odd, of the responder even; an id is used once
//   S2  at most kMaxUnanswered OPENs of ours wait for an answer; more wait here
//   S3  the peer opens only what its grants name, and the client shown is the attested one
//   S4  a session's end ends unanswered OPENs only; streams go on
//   S5  a pair of halves is reused only by the process pair that made it, by its opener, after
//       the acceptor said RELEASED; cursors go on, and each owner zeroes its own ring first
//   S6  a malformed message, an id or pair out of turn, or a bad fd ends the session
#ifndef SHIMMY_RELAY_SESSION_H_
#define SHIMMY_RELAY_SESSION_H_

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "shimmy/session_wire.h"
#include "worker.h"

namespace shimmy::relay {

inline constexpr size_t kMaxKeptPairs = 64;

// Two halves of a stream: ours and the peer's, and where the cursors stand.
struct Pair {
  uint32_t id = 0;
  HalfMap mine;
  HalfMap peer;
  uint64_t tail = 0;
  uint64_t head = 0;
  uint64_t idle_since = 0;
};

// Who waits for the answer to an OPEN.
class OpenWaiter {
 public:
  virtual ~OpenWaiter() = default;
  // The stream stands; takes the doorbell and the pair.
  virtual void OnAccepted(UniqueFd doorbell, const Pair& pair) = 0;
  virtual void OnRefused(RefuseReason reason) = 0;
  // No stream can be had by this session now.
  virtual void OnNoStream(FallbackReason reason) = 0;
};

class Session final : public Task {
 public:
  Session(Worker* worker, SessionInit init);
  ~Session() override;

  void Begin();  // registers and says HELLO
  void Abort(EndReason reason) override;
  void End(SessionEndReason reason);

  [[nodiscard]] bool is_ready() const { return state_ == State::kReady; }
  [[nodiscard]] const SessionInit& init() const { return init_; }
  [[nodiscard]] SessionInfo Info() const;
  void SetGrants(std::vector<Grant> accept) { init_.accept = std::move(accept); }
  void RemoveGrants(const std::vector<Grant>& gone);
  [[nodiscard]] bool IsGranted(const std::string& service, uint16_t port) const;

  // Asks the peer for a stream. The waiter hears exactly once, unless Cancel() comes first.
  // It may hear before this returns.
  void Open(OpenWaiter* waiter, const std::string& service, uint16_t port);
  void Cancel(OpenWaiter* waiter);

  // The acceptor's answers.
  enum class SendState : uint8_t { kSent, kEnded, kTooManyFds };
  // kTooManyFds: nothing was sent, the OPEN still waits for its answer.
  [[nodiscard]] SendState Accept(uint64_t id, int half_fd, bool is_kept);
  void Refuse(uint64_t id, RefuseReason reason);

  // A stream is over. Its pair is kept when `is_reusable` (both sides read everything).
  void ReleaseOpened(const Pair& pair, bool is_reusable);
  void ReleaseAccepted(const Pair& pair, bool is_reusable);
  // A kept pair whose OPEN was refused after all; untouched.
  void ParkAgain(const Pair& pair);
  void ForgetAccepted(uint32_t pair) { accepted_pairs_.erase(pair); }
  void DropPair(Pair* pair);

  uint32_t streams = 0;          // open now, both directions
  uint64_t peer_ring_limit = 0;  // largest ring that the peer maps
  [[nodiscard]] bool MayGrow(uint64_t more_bytes) const;
  // Rings of the peer that are mapped here; the bound that HELLO announced is kept by us, not by
  // the peer's good will.
  void CountPeerBytes(int64_t change) { peer_bytes_ += static_cast<uint64_t>(change); }
  [[nodiscard]] bool HasPeerTooMuch() const {
    return peer_bytes_ > worker_.options().ring_budget_bytes;
  }
  void CountOwnBytes(int64_t change) { own_bytes_ += static_cast<uint64_t>(change); }

 private:
  enum class State : uint8_t { kGreeting, kReady, kEnded };
  struct Unanswered {
    OpenWaiter* waiter = nullptr;  // null: cancelled, the answer is thrown away
    UniqueFd doorbell;
    Pair pair;
    bool is_kept = false;
  };
  struct Waiting {
    OpenWaiter* waiter;
    std::string service;
    uint16_t port;
  };
  struct Outgoing {
    std::vector<unsigned char> bytes;
    UniqueFd fds[kMaxMessageFds];
  };
  enum class PairState : uint8_t { kInUse, kReleasedByPeer, kKept, kWaitsForPeer };
  struct OpenedPair {
    Pair pair;
    PairState state = PairState::kInUse;
  };

  void OnEvents(uint32_t events);
  void OnTimer(uint64_t now) override;
  bool ReceiveOne();
  // `is_short`: the kernel left fds out.
  bool Handle(const Message& message, UniqueFd fds[kMaxMessageFds], bool is_short);
  bool HandleHello(const HelloMessage& hello, UniqueFd fd);
  bool HandleWelcome(const WelcomeMessage& welcome);
  bool HandleOpen(const Message& message, UniqueFd fds[kMaxMessageFds]);
  bool HandleAccept(const AcceptMessage& accept, UniqueFd half, bool is_short);
  bool HandleRefuse(const RefuseMessage& refuse);
  bool HandleReleased(const PairMessage& released);
  bool HandleForget(const PairMessage& forget);
  void BecomeReadyIfGreeted();
  WelcomeStatus JudgeHello(const HelloMessage& hello, int fd) const;

  bool Send(const void* bytes, size_t length);
  SendState SendFds(const void* bytes, size_t length, int fd0, int fd1);
  [[nodiscard]] int TrySend(const void* bytes, size_t length, int fd0, int fd1);
  void Flush();
  void SendOpen(Waiting waiting);
  [[nodiscard]] bool TakeKeptPair(Pair* pair);
  [[nodiscard]] Status MakePair(Pair* pair, UniqueFd* half_fd);
  void OpenNext();
  void KeepOpened(OpenedPair* entry);
  [[nodiscard]] uint64_t KeepPairsNs() const;
  void FailAll(FallbackReason reason);

  SessionInit init_;
  UniqueFd fd_;
  Watch<Session, &Session::OnEvents> watch_{this};
  State state_ = State::kGreeting;
  bool got_hello_ = false;
  bool got_welcome_ = false;
  FallbackReason failure_ = FallbackReason::kAgentUnavailable;
  uint64_t next_id_;
  uint64_t last_peer_id_ = 0;
  uint32_t next_pair_ = 1;
  uint32_t peer_max_streams_ = 0;
  uint64_t peer_max_bytes_ = 0;
  uint64_t peer_bytes_ = 0;
  uint64_t own_bytes_ = 0;  // of ours that the peer has mapped
  std::map<uint64_t, Unanswered> unanswered_;
  std::deque<Waiting> waiting_;
  std::deque<Outgoing> outgoing_;
  std::unordered_map<uint32_t, OpenedPair> opened_pairs_;
  std::vector<uint32_t> kept_;                         // ids in opened_pairs_, oldest first
  std::unordered_map<uint32_t, Pair> parked_;          // the acceptor's side of kept pairs
  std::unordered_map<uint32_t, bool> accepted_pairs_;  // pairs of the peer in use here
  uint32_t being_accepted_ = 0;                        // OPENs of the peer without an answer
};

}  // namespace shimmy::relay

#endif  // SHIMMY_RELAY_SESSION_H_
