// The producer of a lock-based channel: its ring, and the consumer that is at it.
#ifndef SHIMMY_CHANNEL_PRODUCER_H_
#define SHIMMY_CHANNEL_PRODUCER_H_

#include <memory>
#include <vector>

#include "endpoint.h"
#include "shimmy/lock_producer.h"

namespace shimmy::channel {

class ProducerEndpoint final : public Endpoint {
 public:
  using Endpoint::Endpoint;

 private:
  using Core = LockProducer<RawSys>;

  struct Link {
    uint64_t number = 0;
    RegionOwner region;
    Bell bell;
    bool is_leaving = false;  // its consumer is to go; we wait for its hang-up (C10)
    uint64_t leaves_at = kNever;
  };
  struct Ring {
    uint64_t serial = 0;
    uint64_t generation = 0;
    RegionOwner data, words;
    LockProducerState state;
    Core core{&state};
    Link link;                    // at the core while its number is not 0
    std::unique_ptr<Link> next;   // comes when the one before has gone
    std::vector<uint64_t> rooms;  // reserved and neither committed nor cancelled
  };

  int DoPublish(const void* data, size_t bytes, Deadline deadline) override;
  int DoReserve(size_t bytes, Deadline deadline, shimmy_room* room) override;
  int DoCommit(shimmy_room* room, size_t bytes) override;
  int DoCancel(shimmy_room* room) override;
  int DoEnd() override;
  int DoDrain(Deadline deadline) override;
  int DoArm(size_t bytes) override;
  void Handle(AgentMessage* message) override;
  void Became(bool is_live, uint64_t generation) override;
  void Show(Json* request) override;
  void Relodge() override;
  void StartOver() override;
  void LetGo() override;
  void RefreshSums() override;
  uint64_t DoTick(uint64_t now) override;

  // Calls `attempt` until it is done or the deadline is over; waits for room for `bytes` between.
  template <class Attempt>
  int Repeat(size_t bytes, Deadline deadline, Attempt attempt);
  // The ring of a room that is out, or null.
  Ring* FindRoom(const shimmy_room& room, uint64_t* id);
  void Forget(Ring* ring, uint64_t id);
  void LodgeRing();
  void Meet(AgentMessage* message);
  void Join(std::unique_ptr<Link> link);
  void Part();
  void Leaving(uint64_t number);
  void DropBroken();
  void Retire();

  std::unique_ptr<Ring> ring_;
  std::vector<std::unique_ptr<Ring>> retired_;  // for rooms that are still out
  WaitCounts before_;                           // of retired rings
  uint64_t last_serial_ = 0;
  bool is_ended_ = false;
};

}  // namespace shimmy::channel

#endif  // SHIMMY_CHANNEL_PRODUCER_H_
