// A connection from a local app on its way to an endpoint: chooses, asks for a stream or
// connects by TCP, tries the next endpoint when one does not answer. Bytes are never retried:
// none are read before a path stands.
#ifndef SHIMMY_RELAY_OUTBOUND_H_
#define SHIMMY_RELAY_OUTBOUND_H_

#include <string>
#include <vector>

#include "endpoint_table.h"
#include "session.h"
#include "worker.h"

namespace shimmy::relay {

// Sessions that are asked for but not there yet, and those that the agent did not give.
class SessionWaits final : public SessionListener {
 public:
  explicit SessionWaits(Worker* worker) : worker_(*worker) {}
  // Parks `waiter` until the pod has a ready session or none is to be had. False: none is to
  // be had right now, for `*reason`.
  bool Park(const std::string& pod, class Outbound* waiter, FallbackReason* reason);
  void Leave(const std::string& pod, class Outbound* waiter);
  void OnSessionReady(const std::string& pod) override;
  void OnSessionFailed(const std::string& pod, FallbackReason reason) override;

 private:
  struct Wait {
    std::vector<class Outbound*> waiters;
    uint64_t failed_until = 0;
    FallbackReason reason = FallbackReason::kAgentUnavailable;
    bool is_asked = false;
  };
  Worker& worker_;
  std::unordered_map<std::string, Wait> waits_;
};

class Outbound final : public Task, public OpenWaiter {
 public:
  Outbound(Worker* worker, SessionWaits* waits, int listener, UniqueFd app);

  void TryNext();
  void OnSessionReady();
  void OnSessionFailed(FallbackReason reason) { GoTcp(reason); }

  void OnAccepted(UniqueFd doorbell, const Pair& pair) override;
  void OnRefused(RefuseReason reason) override;
  void OnNoStream(FallbackReason reason) override;
  void OnTimer(uint64_t now) override;
  void Abort(EndReason reason) override;
  [[nodiscard]] bool IsConnection() const override { return true; }
  [[nodiscard]] bool IsUnder(const std::string& session, const Grant& grant) const override;

 private:
  enum class State : uint8_t { kChoosing, kParked, kOpening, kConnecting, kDone };
  struct Moved {
    UniqueFd app;
    EndpointTable::Choice choice;
    std::vector<EndpointRef> tried;
    uint64_t accepted_ns = 0;
  };
  void Begin();
  void MoveTo(Worker* owner);
  void GoTcp(FallbackReason reason);
  void StartTcp();
  void OnRemote(uint32_t events);
  void TcpConnected();
  void Failed();
  void Finish();
  void CloseRemote();
  void LeaveWaits();
  [[nodiscard]] Session* FindSession() const;

  SessionWaits& waits_;
  const int listener_;
  UniqueFd app_;
  UniqueFd remote_;
  State state_ = State::kChoosing;
  Session* session_ = nullptr;  // that was asked; kOpening only, and it tells before it goes
  EndpointTable::Choice choice_;
  std::vector<EndpointRef> tried_;
  FallbackReason reason_ = FallbackReason::kDisabled;
  uint64_t accepted_ns_;
  Watch<Outbound, &Outbound::OnRemote> remote_watch_{this};
};

}  // namespace shimmy::relay

#endif  // SHIMMY_RELAY_OUTBOUND_H_
