// A consumer of a lock-based channel: one ring after the other, the oldest first.
#ifndef SHIMMY_CHANNEL_CONSUMER_H_
#define SHIMMY_CHANNEL_CONSUMER_H_

#include <memory>
#include <optional>
#include <vector>

#include "endpoint.h"
#include "shimmy/lock_consumer.h"
#include "view.h"

namespace shimmy::channel {

class ConsumerEndpoint final : public Endpoint {
 public:
  using Endpoint::Endpoint;

 private:
  using Core = LockConsumer<RawSys>;

  struct Ring {
    uint64_t serial = 0;
    uint64_t generation = 0;
    uint64_t number = 0;  // of our link
    RegionOwner data, producer, words;
    PrivateView view;
    LockConsumerState state;
    Core core{&state};
    Bell bell;
    bool is_joined = false;  // the producer is there, or will not come
    bool is_end_told = false;
    uint64_t leaves_at = kNever;  // the agent says that the producer is gone: so it is, by then
    std::vector<uint64_t> loans;
  };

  int DoTake(void* to, size_t room, Deadline deadline, shimmy_message* message) override;
  int DoLoan(Deadline deadline, shimmy_message* message) override;
  int DoRelease(shimmy_message* message) override;
  int DoArm(size_t bytes) override;
  void Handle(AgentMessage* message) override;
  void Became(bool is_live, uint64_t generation) override;
  void Show(Json* request) override;
  void Relodge() override;
  void StartOver() override;
  void LetGo() override;
  void RefreshSums() override;
  uint64_t DoTick(uint64_t now) override;

  // Calls `attempt` until there is a message or the deadline is over.
  template <class Attempt>
  int Repeat(Deadline deadline, Attempt attempt);
  void Offered(AgentMessage* message);
  [[nodiscard]] Status Map(Ring* ring, AgentMessage* message);
  void Join(relay::UniqueFd doorbell);
  void PeerGone(bool is_over);
  void TellDead();
  void LodgeLink();
  // The ring is read to its end, or cannot be read.
  void Finish();
  void Retire();
  void Filled(const LockMessage& from, shimmy_message* message);
  void Released(Ring* ring, uint64_t loan);

  std::unique_ptr<Ring> ring_;
  std::vector<std::unique_ptr<Ring>> retired_;  // for loans that are still out
  std::optional<AgentMessage> offered_;         // a ring that is read after this one
  WaitCounts before_;                           // of retired rings
  uint64_t last_serial_ = 0;
};

}  // namespace shimmy::channel

#endif  // SHIMMY_CHANNEL_CONSUMER_H_
