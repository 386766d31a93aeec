// Carries bytes between one application socket and one stream until both directions ended.
//
// The socket and the doorbell are watched edge-triggered; what is readable and writable is
// remembered here. One copy in (recv straight into the ring), one out (send from the ring).
#ifndef SHIMMY_RELAY_STREAM_RELAY_H_
#define SHIMMY_RELAY_STREAM_RELAY_H_

#include <string>

#include "endpoint_table.h"
#include "session.h"
#include "worker.h"

namespace shimmy::relay {

struct StreamInit {
  bool is_outbound = false;
  UniqueFd app;
  UniqueFd doorbell;
  Pair pair;
  std::string session;  // id; the session may end before the stream
  std::string pod;
  std::string service;
  uint16_t port = 0;
  EndpointRef endpoint;  // outbound only
};

class StreamRelay final : public Task, public HotStream {
 public:
  StreamRelay(Worker* worker, Session* session, StreamInit init);
  ~StreamRelay() override;

  // Registers both fds and moves what is there already.
  void Begin();
  void Run(uint64_t now) override;
  void OnTimer(uint64_t now) override;
  void Abort(EndReason reason) override { End(reason); }
  [[nodiscard]] bool Describe(uint64_t now, StreamInfo* out) const override;
  [[nodiscard]] bool IsConnection() const override { return true; }
  [[nodiscard]] bool IsUnder(const std::string& session, const Grant& grant) const override;

  bool PollHot() override;
  bool ArmHot() override;
  void DisarmHot() override;
  void SpinMissed(uint64_t limit_ns) override;
  [[nodiscard]] bool CpuToFollow(uint64_t* cpu) const override;
  void AnnounceCpu(uint64_t cpu) override { end_.AnnounceCpu(cpu); }

 private:
  void OnApp(uint32_t events);
  void OnDoorbell(uint32_t events);
  Status PumpToPeer();    // app socket -> our ring
  Status PumpFromPeer();  // peer's ring -> app socket
  Status ReceiveFromApp(uint64_t room);
  Status WaitForRoom(bool* may_go_on);
  [[nodiscard]] bool Grow();
  void Shrink();
  void PlanTimer(uint64_t now);
  [[nodiscard]] uint64_t IdleNs() const;
  [[nodiscard]] uint64_t ShrinkNs() const;
  [[nodiscard]] bool ReplaceOwn(uint64_t capacity);
  Status SendToApp(uint64_t unread);
  Status PeerEnded(Status status);
  void LearnWaits(uint64_t now, bool has_sent, bool has_received);
  void AfterTurn(uint64_t now, bool has_moved);
  void HarvestCounts();
  [[nodiscard]] uint64_t NextBytes() const;
  [[nodiscard]] Status Arm();
  void End(EndReason reason);
  void CloseDoorbell(bool is_orderly);
  void GivePairBack(bool is_orderly);
  [[nodiscard]] Session* FindSession() const;

  StreamInit init_;
  const uint64_t id_;
  EndState state_;
  RelayEnd end_;
  EndCounts harvested_;
  uint64_t peer_bytes_counted_ = 0;
  Watch<StreamRelay, &StreamRelay::OnApp> app_watch_{this};
  Watch<StreamRelay, &StreamRelay::OnDoorbell> doorbell_watch_{this};

  bool app_readable_ = true;
  bool app_writable_ = true;
  bool app_hung_ = false;     // RDHUP seen: read until the end of file
  bool app_failed_ = false;   // ERR seen
  bool app_ended_ = false;    // end of file read, FIN sent
  bool peer_ended_ = false;   // FIN consumed, app's socket shut for writing
  bool bell_hung_ = false;    // the peer ended its direction of the doorbell, or all of it
  bool bell_closed_ = false;  // all of it
  bool is_plugged_ = false;   // waits for room, EPOLLOUT of the doorbell is watched
  bool has_plugged_ = false;  // plugged since the ring was last left satisfied
  bool is_armed_ = true;      // a bell will come for the next byte
  bool is_over_ = false;
  bool is_grown_ = false;
  bool is_over_limit_ = false;  // the peer made us map more than we announced
  uint32_t futile_plugs_ = 0;   // waits for room in a row that were over without room

  uint64_t started_ns_;
  uint64_t active_ns_;          // last time something moved
  uint64_t asked_ns_ = 0;       // when we published last and nothing came back since; 0: our turn
  uint64_t answer_average_ns_;  // how long the peer takes to answer
  uint64_t bytes_to_peer_ = 0;
  uint64_t bytes_from_peer_ = 0;
};

}  // namespace shimmy::relay

#endif  // SHIMMY_RELAY_STREAM_RELAY_H_
