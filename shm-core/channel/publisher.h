// The publisher of a lock-free channel: its ring, the subscribers that are at it, and the scanner.
//
// The scanner is the client's watcher, every kScanNs while there is anything to take back; who
// publishes scans by itself when it needs room.
#ifndef SHIMMY_CHANNEL_PUBLISHER_H_
#define SHIMMY_CHANNEL_PUBLISHER_H_

#include <memory>
#include <vector>

#include "endpoint.h"
#include "shimmy/lockfree_publisher.h"

namespace shimmy::channel {

class PublisherEndpoint final : public Endpoint {
 public:
  using Endpoint::Endpoint;

 private:
  using Core = LockfreePublisher<RawSys>;

  struct Link {
    uint64_t number = 0;
    uint32_t place = 0;  // at the core
    RegionOwner region;
    Bell bell;
  };
  struct Ring {
    uint64_t serial = 0;
    uint64_t generation = 0;
    RegionOwner data, words;
    std::vector<LockfreeShadow> shadow;
    LockfreePublisherState state;
    Core core{&state};
    std::vector<std::unique_ptr<Link>> links;
    uint64_t room = 0;  // number of the one that is out, or 0
    uint64_t last_room = 0;
  };

  int DoPublish(const void* data, size_t bytes, Deadline deadline) override;
  int DoReserve(size_t bytes, Deadline deadline, shimmy_room* room) override;
  int DoCommit(shimmy_room* room, size_t bytes) override;
  int DoCancel(shimmy_room* room) override;
  int DoEnd() override;
  int DoArm(size_t bytes) override;
  void Handle(AgentMessage* message) override;
  void Became(bool is_live, uint64_t generation) override;
  void Show(Json* request) override;
  void Relodge() override;
  void StartOver() override;
  void LetGo() override;
  void RefreshSums() override;
  uint64_t DoTick(uint64_t now) override;

  // Calls `attempt` with the time until it is done or the deadline is over.
  template <class Attempt>
  int Repeat(Deadline deadline, Attempt attempt);
  [[nodiscard]] uint64_t ExpiryFrom(uint64_t now) const;
  void LodgeRing();
  void Meet(AgentMessage* message);
  void Part(uint64_t number);
  void Drop(Link* link);
  // Lets go of those whom the core has detached (L9).
  void DropBroken();
  void Published(size_t bytes);
  void Retire();

  std::unique_ptr<Ring> ring_;
  std::vector<std::unique_ptr<Ring>> retired_;  // for a room that is still out
  WaitCounts before_;                           // of retired rings
  uint64_t expired_before_ = 0;
  uint64_t last_serial_ = 0;
  size_t wanted_ = 0;  // an event loop waits for room for so many bytes less one
  bool is_ended_ = false;
  bool is_scanned_ = false;  // the watcher comes again by itself
};

}  // namespace shimmy::channel

#endif  // SHIMMY_CHANNEL_PUBLISHER_H_
