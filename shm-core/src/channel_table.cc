#include "channel_table.h"

#include <utility>

#include "channel/private_views.h"

namespace shimmy::addon {

ChannelEndpoint::ChannelEndpoint(uint32_t id, shimmy_endpoint* endpoint,
                                 relay::Contention& contention, EventSink& sink, WaitLoop& loop)
    : endpoint_(endpoint),
      waiter_(std::make_shared<StreamWaiter>(id, shimmy_fd(endpoint), sink, loop,
                                             EventKind::kChannelReady)),
      contention_(contention) {
  channel::ShowSharedUpTo(endpoint, kCopiedLoanBytes);
}

ChannelEndpoint::~ChannelEndpoint() {
  waiter_->Stop();
  if (!is_stolen_) shimmy_detach(endpoint_);
}

uint32_t ChannelEndpoint::Lend(Napi::Env env, const ChannelLoan& loan, void* data,
                               std::size_t bytes, napi_value* view) {
  ChannelLoan kept = loan;
  *view = nullptr;
  if (data != nullptr) {
    if (napi_create_external_arraybuffer(env, data, bytes, nullptr, nullptr, view) != napi_ok ||
        napi_create_reference(env, *view, 0, &kept.view) != napi_ok) {
      *view = nullptr;
      return 0;
    }
  }
  const uint32_t number = ++last_loan_;
  loans_.emplace(number, kept);
  return number;
}

ChannelLoan* ChannelEndpoint::FindLoan(uint32_t number) {
  const auto found = loans_.find(number);
  return found == loans_.end() ? nullptr : &found->second;
}

// A view that was collected as garbage was not transferred: that leaves an empty one behind.
bool ChannelEndpoint::IsTransferred(Napi::Env env, const ChannelLoan& loan) {
  napi_value view = nullptr;
  bool is_detached = false;
  return loan.view != nullptr && napi_get_reference_value(env, loan.view, &view) == napi_ok &&
         view != nullptr && napi_is_detached_arraybuffer(env, view, &is_detached) == napi_ok &&
         is_detached;
}

bool ChannelEndpoint::TakeBack(Napi::Env env, uint32_t number, ChannelLoan* loan) {
  const auto found = loans_.find(number);
  *loan = found->second;
  loans_.erase(found);
  if (loan->view == nullptr) return true;
  const bool is_transferred = IsTransferred(env, *loan);
  napi_value view = nullptr;
  if (!is_transferred && napi_get_reference_value(env, loan->view, &view) == napi_ok &&
      view != nullptr) {
    napi_detach_arraybuffer(env, view);
  }
  napi_delete_reference(env, std::exchange(loan->view, nullptr));
  is_stolen_ = is_stolen_ || is_transferred;
  return !is_transferred;
}

void ChannelEndpoint::TakeBackAll(Napi::Env env) {
  const Napi::HandleScope handles(env);
  while (!loans_.empty()) {
    ChannelLoan loan;
    static_cast<void>(TakeBack(env, loans_.begin()->first, &loan));
  }
}

void ChannelTable::ExpectEnd(napi_env env) {
  if (env_ != nullptr) napi_remove_env_cleanup_hook(env_, &OnEnd, this);
  env_ = env;
  napi_add_env_cleanup_hook(env, &OnEnd, this);
}

void ChannelTable::OnEnd(void* self) {
  auto* const table = static_cast<ChannelTable*>(self);
  const napi_env env = std::exchange(table->env_, nullptr);
  for (const auto& [id, endpoint] : table->endpoints) endpoint->TakeBackAll(env);
}

}  // namespace shimmy::addon
