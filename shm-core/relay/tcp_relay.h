// Carries bytes between two TCP sockets: the fallback when no stream can be had.
#ifndef SHIMMY_RELAY_TCP_RELAY_H_
#define SHIMMY_RELAY_TCP_RELAY_H_

#include <string>
#include <vector>

#include "endpoint_table.h"
#include "worker.h"

namespace shimmy::relay {

struct TcpInit {
  UniqueFd app;
  UniqueFd remote;
  std::string pod;
  std::string service;
  EndpointRef endpoint;
};

class TcpRelay final : public Task {
 public:
  TcpRelay(Worker* worker, TcpInit init);
  ~TcpRelay() override;
  void Begin();
  void Run(uint64_t now) override;
  void OnTimer(uint64_t now) override;
  void Abort(EndReason reason) override { End(reason); }
  [[nodiscard]] bool Describe(uint64_t now, StreamInfo* out) const override;
  [[nodiscard]] bool IsConnection() const override { return true; }

 private:
  // One direction: what was read from `from` and not yet taken by `to` waits in `pending`.
  struct Side {
    UniqueFd fd;
    bool is_readable = true;
    bool is_writable = true;
    bool has_hung = false;
    bool has_ended = false;              // end of file was read
    bool is_shut = false;                // and passed on to the other side
    std::vector<unsigned char> pending;  // read from here, not yet written to the other side
    size_t pending_from = 0;
    uint64_t bytes = 0;
  };
  void OnApp(uint32_t events) { OnSide(&app_, events); }
  void OnRemote(uint32_t events) { OnSide(&remote_, events); }
  void OnSide(Side* side, uint32_t events);
  // False: the connection is over.
  bool Pump(Side* from, Side* to, bool* is_unfinished);
  bool FlushPending(Side* from, Side* to);
  bool ReadOnce(Side* from, Side* to);
  void End(EndReason reason);

  TcpInit init_;
  const uint64_t id_;
  Side app_;
  Side remote_;
  Watch<TcpRelay, &TcpRelay::OnApp> app_watch_{this};
  Watch<TcpRelay, &TcpRelay::OnRemote> remote_watch_{this};
  bool is_over_ = false;
  uint64_t started_ns_;
  uint64_t active_ns_;
};

}  // namespace shimmy::relay

#endif  // SHIMMY_RELAY_TCP_RELAY_H_
