// What control sockets tell JavaScript.
#pragma once

#include <memory>

#include "event_sink.h"
#include "seqpacket.h"

namespace shimmy::addon {

class ControlChannel;
class ControlListener;

// (kMessage, socket id, data: Buffer, fds: number[]): the receiver owns the descriptors.
class MessageEvent final : public Event {
 public:
  MessageEvent(std::shared_ptr<ControlChannel> channel, Message message)
      : channel_(std::move(channel)), message_(std::move(message)) {}
  void Deliver(EventCall& call) override;

 private:
  std::shared_ptr<ControlChannel> channel_;
  Message message_;
};

// (kSocketClosed, socket id, status): 0 when the peer closed in order.
class SocketClosedEvent final : public Event {
 public:
  SocketClosedEvent(std::shared_ptr<ControlChannel> channel, int32_t status)
      : channel_(std::move(channel)), status_(status) {}
  void Deliver(EventCall& call) override;

 private:
  std::shared_ptr<ControlChannel> channel_;
  const int32_t status_;
};

// (kConnection, listener id, socket id).
class ConnectionEvent final : public Event {
 public:
  ConnectionEvent(std::shared_ptr<ControlListener> listener, UniqueFd fd)
      : listener_(std::move(listener)), fd_(std::move(fd)) {}
  void Deliver(EventCall& call) override;

 private:
  std::shared_ptr<ControlListener> listener_;
  UniqueFd fd_;
};

// (kAcceptPaused, listener id, -errno): accepting goes on after controlResumeAccept().
class AcceptPausedEvent final : public Event {
 public:
  AcceptPausedEvent(uint32_t listener, int32_t error) : listener_(listener), error_(error) {}
  void Deliver(EventCall& call) override;

 private:
  const uint32_t listener_;
  const int32_t error_;
};

}  // namespace shimmy::addon
