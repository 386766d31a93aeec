// A stream that a peer opens: connects to the app, then answers and relays.
#ifndef SHIMMY_RELAY_INBOUND_H_
#define SHIMMY_RELAY_INBOUND_H_

#include <string>

#include "session.h"
#include "worker.h"

namespace shimmy::relay {

struct InboundOpen {
  uint64_t id = 0;
  std::string service;
  uint16_t port = 0;
  bool is_kept = false;
  Pair pair;         // the peer's half is mapped, ours is made
  UniqueFd half_fd;  // of ours, to be sent; invalid for a kept pair
  UniqueFd doorbell;
};

class Inbound final : public Task {
 public:
  Inbound(Worker* worker, Session* session, InboundOpen open);
  void Begin();
  void Abort(EndReason reason) override;
  [[nodiscard]] Inbound* AsInbound() override { return this; }
  [[nodiscard]] bool IsConnection() const override { return true; }
  [[nodiscard]] bool IsUnder(const std::string& session, const Grant& grant) const override {
    return session_id_ == session && open_.service == grant.service && open_.port == grant.port;
  }
  // The session is gone: so is the wish for a stream.
  void ForgetSession() { session_ = nullptr; }
  [[nodiscard]] const std::string& session_id() const { return session_id_; }

 private:
  void OnApp(uint32_t events);
  void OnDoorbell(uint32_t events);
  void OnTimer(uint64_t now) override;
  void Connected();
  void Fail(RefuseReason reason);
  void Finish();

  Session* session_;
  std::string session_id_;
  InboundOpen open_;
  UniqueFd app_;
  bool is_watching_doorbell_ = false;
  bool is_finished_ = false;
  Watch<Inbound, &Inbound::OnApp> app_watch_{this};
  Watch<Inbound, &Inbound::OnDoorbell> doorbell_watch_{this};
};

}  // namespace shimmy::relay

#endif  // SHIMMY_RELAY_INBOUND_H_
