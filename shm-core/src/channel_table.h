// Clients and endpoints of channels of one JavaScript environment.
//
//   T1  used on the environment's thread only; requests that take time have a share of it, and find
//       out by a weak one that the environment is gone
//   T2  memory that JavaScript was lent is detached before the runtime may unmap it: when it is
//       given back, and when its endpoint is closed
//   T3  an endpoint is closed before the client that it belongs to
//   T4  memory that JavaScript has transferred away (postMessage, ArrayBuffer.transfer) cannot be
//       taken back: the loan stays out and the endpoint open, until the process ends, so that
//       nobody ever finds other bytes there, or none
//   T5  at its end the environment detaches all views by itself, the last one first: before that
//       nobody can tell any more which were transferred, so all are taken back by a hook that is
//       always the last one added
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>

#include "relay/contention.h"
#include "shimmy.h"
#include "spin_policy.h"
#include "stream_waiter.h"

namespace shimmy::addon {

// Messages up to this size JavaScript reads from a copy. Same number in sdk/typescript/reader.ts.
inline constexpr std::size_t kCopiedLoanBytes = 16'384;

// Closes the client with the last share of it.
class ChannelClient {
 public:
  explicit ChannelClient(shimmy_client* client) noexcept : client_(client) {}
  ChannelClient(const ChannelClient&) = delete;
  ChannelClient& operator=(const ChannelClient&) = delete;
  ~ChannelClient() { shimmy_client_close(client_); }

  [[nodiscard]] shimmy_client* get() const noexcept { return client_; }

 private:
  shimmy_client* const client_;
};

// A message, or room for one, that is out.
struct ChannelLoan {
  shimmy_message message{};
  shimmy_room room{};
  napi_ref view = nullptr;  // weak; null: JavaScript has a copy
};

class ChannelEndpoint {
 public:
  ChannelEndpoint(uint32_t id, shimmy_endpoint* endpoint, relay::Contention& contention,
                  EventSink& sink, WaitLoop& loop);
  ChannelEndpoint(const ChannelEndpoint&) = delete;
  ChannelEndpoint& operator=(const ChannelEndpoint&) = delete;
  ~ChannelEndpoint();

  [[nodiscard]] shimmy_endpoint* get() const noexcept { return endpoint_; }
  [[nodiscard]] StreamWaiter& waiter() noexcept { return *waiter_; }

  // Calls `attempt(timeout)` as `wait` says: 0 once, above 0 for so many ms, below 0 as long as
  // spinning has paid lately. Returns a shimmy_status.
  template <typename Attempt>
  [[nodiscard]] int Try(double wait, Attempt attempt) noexcept {
    if (wait > 0) return attempt(static_cast<int64_t>(wait * 1e6));
    int status = attempt(0);
    if (wait == 0) return status;
    if (status == SHIMMY_AGAIN) {
      spin_.Waiting();
      if (contention_.IsContended(NowNanos(), false)) return status;
      spin_.SpinUntil(Spin::kLearned, [&] {
        status = attempt(0);
        return status != SHIMMY_AGAIN;
      });
    }
    if (status != SHIMMY_AGAIN) spin_.Done();
    return status;
  }

  // Keeps what is out, and lends `data` of it to JavaScript unless that is null. Returns its number
  // and the view, which is null for a copy or when there is an exception pending.
  [[nodiscard]] uint32_t Lend(Napi::Env env, const ChannelLoan& loan, void* data, std::size_t bytes,
                              napi_value* view);
  [[nodiscard]] ChannelLoan* FindLoan(uint32_t number);
  // Whether it is out of our hands (T4).
  [[nodiscard]] static bool IsTransferred(Napi::Env env, const ChannelLoan& loan);
  // Takes the memory back (T2) and forgets the number. False: it is not there to be taken (T4).
  [[nodiscard]] bool TakeBack(Napi::Env env, uint32_t number, ChannelLoan* loan);
  void TakeBackAll(Napi::Env env);

 private:
  shimmy_endpoint* const endpoint_;
  const std::shared_ptr<StreamWaiter> waiter_;
  SpinPolicy spin_;
  relay::Contention& contention_;
  std::unordered_map<uint32_t, ChannelLoan> loans_;
  uint32_t last_loan_ = 0;
  bool is_stolen_ = false;  // T4
};

// What a call says beside its result, in the order of `ChannelResult` in lib/channel-native.ts.
struct ChannelResult {
  double bytes;
  double sequence;
  double generation;
  double missed;  // below 0: not known
  double loan;    // its number; 0: none
};

class ChannelTable {
 public:
  ChannelTable() = default;
  ChannelTable(const ChannelTable&) = delete;
  ChannelTable& operator=(const ChannelTable&) = delete;
  ~ChannelTable() { endpoints.clear(); }  // T3

  // A view was lent: takes all back at the environment's end (T5).
  void ExpectEnd(napi_env env);

  // Of the environment's thread; begins with its first endpoint.
  [[nodiscard]] relay::Contention& Judge() {
    if (!std::exchange(has_begun_, true)) contention_.Begin(NowNanos());
    return contention_;
  }

  std::unordered_map<uint32_t, std::shared_ptr<ChannelClient>> clients;
  std::unordered_map<uint32_t, std::unique_ptr<ChannelEndpoint>> endpoints;
  napi_ref result_buffer = nullptr;  // keeps `result` alive; freed with the environment
  ChannelResult* result = nullptr;   // in memory of JavaScript

 private:
  static void OnEnd(void* self);

  napi_env env_ = nullptr;
  relay::Contention contention_;
  bool has_begun_ = false;
};

}  // namespace shimmy::addon
