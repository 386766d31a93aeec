// A subscriber of a lock-free channel: the rings of all publishers, in turn.
#ifndef SHIMMY_CHANNEL_SUBSCRIBER_H_
#define SHIMMY_CHANNEL_SUBSCRIBER_H_

#include <memory>
#include <string>
#include <vector>

#include "endpoint.h"
#include "shimmy/lockfree_subscriber.h"
#include "view.h"

namespace shimmy::channel {

class SubscriberEndpoint final : public Endpoint {
 public:
  using Endpoint::Endpoint;

 private:
  using Core = LockfreeSubscriber<RawSys>;

  struct Ring {
    uint64_t serial = 0;
    uint64_t generation = 0;
    uint64_t number = 0;  // of our link
    std::string writer;   // UID of its pod
    RegionOwner data, global, local;
    PrivateView view;
    LockfreeSubscriberState state;
    Core core{&state};
    Bell bell;
    bool is_joined = false;  // the publisher is there, or will not come
    bool is_ended = false;   // by its publisher, and all of it was read
    bool is_behind = false;  // an older ring of the same pod, left behind, is read first
    bool is_again = false;   // its pod had a ring before: what lies between is not known
    uint64_t missed = 0;     // told so far
    uint64_t leaves_at = kNever;
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

  // Calls `attempt` with ring after ring until there is a message or the deadline is over.
  template <class Attempt>
  int Repeat(Deadline deadline, Attempt attempt, Ring** from);
  // One round. SHIMMY_AGAIN: nothing anywhere.
  template <class Attempt>
  int TryAll(Attempt attempt, Ring** from);
  int Wait(Deadline deadline);
  [[nodiscard]] Status WaitForAny(const WaitOptions& options);
  [[nodiscard]] bool HasNews() const;
  void Offered(AgentMessage* message);
  [[nodiscard]] Status Map(Ring* ring, AgentMessage* message);
  void Join(Ring* ring, relay::UniqueFd doorbell);
  void TellDead(Ring* ring);
  void LodgeLink(const Ring& ring);
  [[nodiscard]] Ring* Find(uint64_t number);
  // The ring is read to its end, or cannot be read.
  void Finish(Ring* ring);
  void Retire(Ring* ring);
  // Which ring comes behind which, and what a wait is to be told by.
  void Sort();
  [[nodiscard]] static bool IsBefore(const Ring& one, const Ring& other);
  [[nodiscard]] bool HasLivingSister(const Ring& ring) const;
  void Filled(Ring* ring, const LockfreeMessage& from, shimmy_message* message);

  std::vector<std::unique_ptr<Ring>> rings_;
  std::vector<std::unique_ptr<Ring>> retired_;  // for loans that are still out
  std::vector<std::string> seen_;               // writers
  size_t turn_ = 0;
  bool has_ended_ = false;  // by a publisher that ended it, and not only left
  bool is_end_told_ = false;
  WaitCounts before_;  // of retired rings
  uint64_t missed_before_ = 0;
  uint64_t last_serial_ = 0;
};

}  // namespace shimmy::channel

#endif  // SHIMMY_CHANNEL_SUBSCRIBER_H_
