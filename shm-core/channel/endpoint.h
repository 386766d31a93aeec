// One role in one channel: what its four kinds have in common.
//
//   E1  one call at a time, under mutex_, also while it sleeps; who holds it is the only one who
//       touches rings, links and loans
//   E2  what comes from the watcher is put into the inbox first, then the current waiter is told;
//       who holds mutex_ empties the inbox before it waits and whenever it is told
//   E3  the current waiter is changed under current_mutex_, before what it lies in is unmapped
#ifndef SHIMMY_CHANNEL_ENDPOINT_H_
#define SHIMMY_CHANNEL_ENDPOINT_H_

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "agent_socket.h"
#include "client.h"
#include "failure.h"
#include "region_owner.h"
#include "shimmy.h"
#include "shimmy/channel_wait.h"
#include "shimmy/region.h"
#include "spin.h"

namespace shimmy::channel {

struct EndpointOptions {
  std::string topic;
  uint32_t role = 0;
  uint32_t start = SHIMMY_NEWEST;
  uint32_t wait_mode = SHIMMY_ADAPTIVE;
  uint32_t flags = 0;
  shimmy_parameters parameters{};
};

// What an endpoint did so far. One thread at a time adds, any thread reads.
class Sum {
 public:
  void Add(uint64_t count) {
    // SYNC value (relaxed): a count for people.
    value_.store(value_.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
  }
  void Set(uint64_t count) { value_.store(count, std::memory_order_relaxed); }  // relaxed: as above
  [[nodiscard]] uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

struct Sums {
  Sum messages, bytes, missed, missed_unknown, expired, wakes, bells, sleeps, links, rings,
      dropped_peers;
};

// A doorbell that is watched.
struct Bell {
  relay::UniqueFd fd;
  uint64_t token = 0;
};

class Endpoint : public std::enable_shared_from_this<Endpoint> {
 public:
  Endpoint(std::shared_ptr<Client> client, EndpointOptions options);
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;
  virtual ~Endpoint();

  // ---- calls of the program: a shimmy_status ----

  [[nodiscard]] Failure Attach();
  int Publish(const void* data, size_t bytes, int64_t timeout);
  int Reserve(size_t bytes, int64_t timeout, shimmy_room* room);
  int Commit(shimmy_room* room, size_t bytes);
  int Cancel(shimmy_room* room);
  int End();
  int Drain(int64_t timeout);
  int Take(void* to, size_t room, int64_t timeout, shimmy_message* message);
  int Loan(int64_t timeout, shimmy_message* message);
  int Release(shimmy_message* message);
  int Arm(size_t bytes);
  [[nodiscard]] int fd() const { return epoll_.get(); }
  void Interrupt();
  void Describe(shimmy_info* info);
  // See private_views.h.
  void ShowSharedUpTo(size_t bytes);
  void Count(struct shimmy_counters* counters);
  // Gives the role up. Calls of other threads are ended.
  void Leave();

  // ---- for the watcher ----

  // Puts a message of the agent, or an event of our own, into the inbox. True: it was taken.
  [[nodiscard]] bool Post(AgentMessage message);
  // Empties the inbox if nobody else is at it. True: it is empty.
  [[nodiscard]] bool TryEmptyInbox();
  // Does what is to be done from time to time, or has it done by who is in a call; returns when to
  // come again, kNever: not until Client::Tend().
  [[nodiscard]] uint64_t Tick(uint64_t now);
  // The first answer of the agent. Only before anybody else has the endpoint.
  void Attached(const AgentMessage& message);

 protected:
  struct Deadline {
    uint64_t at = 0;  // CLOCK_MONOTONIC, ns; 0: does not wait
    [[nodiscard]] bool waits() const { return at != 0; }
  };

  // ---- what each kind does; under mutex_ ----

  virtual int DoPublish(const void* data, size_t bytes, Deadline deadline);
  virtual int DoReserve(size_t bytes, Deadline deadline, shimmy_room* room);
  virtual int DoCommit(shimmy_room* room, size_t bytes);
  virtual int DoCancel(shimmy_room* room);
  virtual int DoEnd();
  virtual int DoDrain(Deadline deadline);
  virtual int DoTake(void* to, size_t room, Deadline deadline, shimmy_message* message);
  virtual int DoLoan(Deadline deadline, shimmy_message* message);
  virtual int DoRelease(shimmy_message* message);
  virtual int DoArm(size_t bytes);
  // A message of the agent, or "hangUp" of link `number`.
  virtual void Handle(AgentMessage* message) = 0;
  // The role was given, or given again: `message` says with which generation.
  virtual void Became(bool is_live, uint64_t generation) = 0;
  // What reattachChannel shows, if anything: adds `generation` and `links`.
  virtual void Show(Json* request) = 0;
  // The agent took it back: regions are lodged again.
  virtual void Relodge() = 0;
  // The agent has another view of what we showed: rings and links are given up.
  virtual void StartOver() = 0;
  // Closes doorbells; the endpoint is over. What is lent stays mapped until it is destroyed: it may
  // end by the agent's will while the program reads.
  virtual void LetGo() = 0;
  virtual void RefreshSums() {}
  // See Tick().
  virtual uint64_t DoTick(uint64_t now);

  // ---- for each kind ----

  // Waits by `wait(options)`, which returns a Status. SHIMMY_OK: look again.
  template <class Wait>
  int WaitBy(ChannelWaiter* waiter, Deadline deadline, Wait wait) {
    if (!deadline.waits()) return SHIMMY_AGAIN;
    if (TookInbox()) return SHIMMY_OK;  // what `wait` stands on may be gone
    const int status = BeforeWait();
    if (status != SHIMMY_OK) return status;
    const uint64_t since = NowNanos();
    WaitOptions options;
    options.deadline = deadline.at;
    options.spins = spin_.Turns(since);
    const Status result = wait(options);
    spin_.Done(since);
    return AfterWait(waiter, result);
  }
  // Waits for something to happen to the endpoint itself.
  int WaitIdle(Deadline deadline);
  // Empties the inbox if there is anything in it.
  bool TookInbox();
  // Whether somebody wants the call to end.
  int BeforeWait();
  int AfterWait(ChannelWaiter* waiter, Status result);
  void SetCurrent(ChannelWaiter* waiter);
  // Makes fd() readable until the next Arm().
  void TellLoop();
  // Waits for fd() to be readable.
  [[nodiscard]] Status PollFd(uint64_t deadline);

  [[nodiscard]] std::shared_ptr<Endpoint> Self() { return shared_from_this(); }
  [[nodiscard]] Client& client() { return *client_; }
  [[nodiscard]] ChannelShape ShapeOf(uint64_t generation) const;
  [[nodiscard]] const EndpointOptions& options() const { return options_; }
  [[nodiscard]] const shimmy_parameters& parameters() const { return parameters_; }
  void Lodge(uint64_t generation, uint64_t number, const std::vector<const char*>& kinds,
             const std::vector<int>& fds);
  void Tell(const char* type, uint64_t generation, uint64_t number);
  // Watches a doorbell, also for event loops.
  [[nodiscard]] Bell Adopt(relay::UniqueFd doorbell, uint64_t number);
  void Close(Bell* bell);
  // The endpoint is over, for this reason.
  void EndBy(Failure failure);
  void set_peers(uint64_t count) { peers_.Set(count); }
  [[nodiscard]] bool is_over() const { return is_over_; }
  [[nodiscard]] size_t shared_up_to() const { return shared_up_to_; }
  [[nodiscard]] bool is_live() const { return is_live_; }

  Sums sums_;
  ChannelWaiter idle_;
  Spin spin_;

 private:
  class Call;

  void EmptyInbox();
  void HandleOne(AgentMessage* message);
  void HandleAnswer(AgentMessage* message);
  [[nodiscard]] uint64_t TickOnce(uint64_t now);
  void ShowAgain();
  [[nodiscard]] Json AttachRequest() const;
  [[nodiscard]] Json Role(const char* type) const;
  [[nodiscard]] static Deadline DeadlineOf(int64_t timeout);
  void TellCurrent();
  void TellPoller();

  const std::shared_ptr<Client> client_;
  const EndpointOptions options_;
  std::mutex info_mutex_;  // stores to, and Describe() of, what the agent said of the channel
  shimmy_parameters parameters_{};
  std::string topic_;
  uint64_t channel_ = 0;
  relay::UniqueFd epoll_;
  relay::UniqueFd event_;
  Sum peers_;
  Sum state_;

  std::atomic<int> users_{0};
  std::atomic<bool> is_closing_{false};
  std::atomic<bool> is_interrupted_{false};
  std::atomic<bool> has_inbox_{false};

  std::mutex mutex_;  // E1
  bool is_over_ = false;
  size_t shared_up_to_ = 0;
  bool is_live_ = false;
  Failure failure_;
  uint64_t retry_at_ = kNever;  // ShowAgain()
  bool has_shown_ = false;      // reattachChannel is under way, not attachChannel
  std::string attachment_;
  Json info_;  // of the channel, as we were told
  uint64_t first_generation_ = 0;

  std::mutex inbox_mutex_;  // inbox_
  std::vector<AgentMessage> inbox_;

  std::mutex current_mutex_;  // current_, and E3
  ChannelWaiter* current_ = &idle_;
};

// Makes the kind of endpoint that the role asks for.
std::shared_ptr<Endpoint> MakeEndpoint(std::shared_ptr<Client> client, EndpointOptions options);

// SHIMMY_… of a status of the core.
int StatusOf(Status status);

}  // namespace shimmy::channel

#endif  // SHIMMY_CHANNEL_ENDPOINT_H_
