// A loopback port on which local apps call an upstream.
#ifndef SHIMMY_RELAY_LISTENER_H_
#define SHIMMY_RELAY_LISTENER_H_

#include "outbound.h"
#include "worker.h"

namespace shimmy::relay {

class Listener final : public Task {
 public:
  Listener(Worker* worker, SessionWaits* waits, int id, UniqueFd fd)
      : Task(worker), waits_(*waits), id_(id), fd_(std::move(fd)) {}
  void Begin();
  void Abort(EndReason reason) override;
  void OnTimer(uint64_t now) override;
  [[nodiscard]] int id() const { return id_; }
  [[nodiscard]] Listener* AsListener() override { return this; }

 private:
  void OnEvents(uint32_t events);
  void Take(UniqueFd app);

  SessionWaits& waits_;
  const int id_;
  UniqueFd fd_;
  Watch<Listener, &Listener::OnEvents> watch_{this};
};

}  // namespace shimmy::relay

#endif  // SHIMMY_RELAY_LISTENER_H_
