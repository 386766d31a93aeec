// What asks the agent and waits for its answer: on a thread of libuv's pool.
//
// The environment is not torn down before the last request is done (WaitLoop). Until then it may
// have shut down: what comes too late is given up again, and JavaScript is not told.
#include <uv.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "addon_state.h"
#include "addon_status.h"
#include "arguments.h"
#include "channel_wrap.h"
#include "object_reader.h"

namespace shimmy::addon {
namespace {

class Request {
 public:
  Request(AddonState& state, uint32_t number)
      : state_(state), table_(state.channel_table), loop_(*state.waits), number_(number) {
    work_.data = this;
  }
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;
  virtual ~Request() = default;

  // Belongs to the loop if it returns 0, else -errno.
  [[nodiscard]] static int32_t Start(std::unique_ptr<Request> request) {
    Request* const self = request.get();
    const int error = uv_queue_work(self->loop_.loop(), &self->work_, &OnWork, &OnDone);
    if (error < 0) return error;
    self->loop_.HandleOpened();
    static_cast<void>(request.release());
    return 0;
  }

 protected:
  // On a thread of the pool. Returns a shimmy_status.
  [[nodiscard]] virtual int Run() = 0;
  // On the environment's thread, when Run() succeeded. Returns an id, or 0.
  [[nodiscard]] virtual uint32_t Keep(AddonState& state) = 0;

 private:
  static void OnWork(uv_work_t* work) {
    auto* const self = static_cast<Request*>(work->data);
    self->status_ = self->Run();
    if (self->status_ == SHIMMY_OK) return;
    shimmy_error error{};
    shimmy_last_error(&error);
    self->failure_ = std::string(error.code) + "\n" + error.reason + "\n" + error.message;
  }

  static void OnDone(uv_work_t* work, int cancelled) {
    std::unique_ptr<Request> self(static_cast<Request*>(work->data));
    WaitLoop& loop = self->loop_;
    if (cancelled == 0 && !self->table_.expired()) self->Tell();
    self.reset();
    loop.HandleClosed();
  }

  void Tell();

  AddonState& state_;  // there as long as table_ is
  const std::weak_ptr<ChannelTable> table_;
  WaitLoop& loop_;
  const uint32_t number_;
  uv_work_t work_{};
  int status_ = SHIMMY_OK;
  std::string failure_;
};

// (kChannelAnswer, request, id or status, failure)
class AnswerEvent final : public Event {
 public:
  AnswerEvent(uint32_t request, int64_t result, const std::string& failure)
      : request_(request), result_(result), failure_(failure) {}
  void Deliver(EventCall& call) override {
    call.Kind(EventKind::kChannelAnswer)
        .Number(request_)
        .Number(static_cast<double>(result_))
        .Text(failure_)
        .Send();
  }

 private:
  const uint32_t request_;
  const int64_t result_;
  const std::string& failure_;
};

void Request::Tell() {
  const int64_t result =
      status_ == SHIMMY_OK ? int64_t{Keep(state_)} : int64_t{ChannelCode(status_)};
  AnswerEvent event(number_, result, failure_);
  state_.sink.Call(event);
}

class OpenRequest final : public Request {
 public:
  OpenRequest(AddonState& state, uint32_t number, std::optional<std::string> socket,
              int64_t timeout)
      : Request(state, number), socket_(std::move(socket)), timeout_(timeout) {}

 private:
  int Run() override {
    shimmy_client_options options{};
    options.struct_size = sizeof options;
    options.socket = socket_.has_value() ? socket_->c_str() : nullptr;
    options.timeout = timeout_;
    shimmy_client* client = nullptr;
    const int status = shimmy_client_open(&options, &client);
    if (status == SHIMMY_OK) client_ = std::make_shared<ChannelClient>(client);
    return status;
  }
  uint32_t Keep(AddonState& state) override {
    const uint32_t id = state.NextId();
    state.channel_table->clients.emplace(id, std::move(client_));
    return id;
  }

  const std::optional<std::string> socket_;
  const int64_t timeout_;
  std::shared_ptr<ChannelClient> client_;
};

class AttachRequest final : public Request {
 public:
  AttachRequest(AddonState& state, uint32_t number, std::shared_ptr<ChannelClient> client,
                std::string topic, const shimmy_endpoint_options& options)
      : Request(state, number),
        client_(std::move(client)),
        topic_(std::move(topic)),
        options_(options) {}
  ~AttachRequest() override { shimmy_detach(endpoint_); }

 private:
  int Run() override {
    options_.struct_size = sizeof options_;
    options_.topic = topic_.c_str();
    return shimmy_attach(client_->get(), &options_, &endpoint_);
  }
  uint32_t Keep(AddonState& state) override {
    const uint32_t id = state.NextId();
    shimmy_endpoint* const endpoint = std::exchange(endpoint_, nullptr);
    state.channel_table->endpoints.emplace(
        id, std::make_unique<ChannelEndpoint>(id, endpoint, state.channel_table->Judge(),
                                              state.sink, *state.waits));
    return id;
  }

  const std::shared_ptr<ChannelClient> client_;
  const std::string topic_;
  shimmy_endpoint_options options_;
  shimmy_endpoint* endpoint_ = nullptr;
};

class CloseRequest final : public Request {
 public:
  CloseRequest(AddonState& state, uint32_t number, std::shared_ptr<ChannelClient> client)
      : Request(state, number), client_(std::move(client)) {}

 private:
  int Run() override {
    client_.reset();
    return SHIMMY_OK;
  }
  uint32_t Keep(AddonState& /*state*/) override { return 0; }

  std::shared_ptr<ChannelClient> client_;
};

// channelOpen(request, socket: string | undefined, timeoutMs): 0 | negative
Napi::Value Open(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 0) || !IsNumber(info, 2)) {
    return ThrowSignature(env, "channelOpen(request: number, socket?: string, timeoutMs: number)");
  }
  std::optional<std::string> socket;
  if (IsString(info, 1)) socket = info[1].As<Napi::String>().Utf8Value();
  const auto timeout = static_cast<int64_t>(info[2].As<Napi::Number>().DoubleValue() * 1e6);
  return Integer(env, Request::Start(std::make_unique<OpenRequest>(AddonState::Of(env), Id(info[0]),
                                                                   std::move(socket), timeout)));
}

// channelAttach(request, client, topic, options): 0 | negative
Napi::Value Attach(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  constexpr const char* kSignature =
      "channelAttach(request, client: number, topic: string, options: NativeEndpointOptions)";
  if (!IsNumber(info, 0) || !IsNumber(info, 1) || !IsString(info, 2) || info.Length() < 4) {
    return ThrowSignature(env, kSignature);
  }
  AddonState& state = AddonState::Of(env);
  const auto found = state.channel_table->clients.find(Id(info[1]));
  if (found == state.channel_table->clients.end()) {
    return Integer(env, Code(AddonStatus::kClosed));
  }
  ObjectReader reader(info[3]);
  shimmy_endpoint_options options{};
  options.role = reader.Integer32("role");
  options.start = reader.Integer32("start");
  options.wait_mode = reader.Integer32("waitMode");
  options.parameters.kind = reader.Integer32("kind");
  options.parameters.blocks = reader.Integer32("blocks");
  options.parameters.block_bytes = reader.Integer32("blockBytes");
  options.parameters.readers = reader.Integer32("readers");
  options.parameters.time_to_live_ms = reader.Integer32("timeToLiveMs");
  options.parameters.max_loans = reader.Integer32("maxLoans");
  if (!reader.ok()) return ThrowSignature(env, kSignature);
  options.flags = SHIMMY_PRIVATE_VIEWS;
  if (options.parameters.kind != 0) options.flags |= SHIMMY_CREATE;
  return Integer(env, Request::Start(std::make_unique<AttachRequest>(
                          state, Id(info[0]), found->second, info[2].As<Napi::String>().Utf8Value(),
                          options)));
}

// channelDisconnect(request, client): 0 | negative; its endpoints were closed before
Napi::Value Disconnect(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 0) || !IsNumber(info, 1)) {
    return ThrowSignature(env, "channelDisconnect(request, client: number)");
  }
  AddonState& state = AddonState::Of(env);
  auto client = state.channel_table->clients.extract(Id(info[1]));
  if (client.empty()) return Integer(env, Code(AddonStatus::kClosed));
  return Integer(env, Request::Start(std::make_unique<CloseRequest>(state, Id(info[0]),
                                                                    std::move(client.mapped()))));
}

}  // namespace

void ExportChannelRequests(Napi::Env env, Napi::Object exports) {
  exports.Set("channelOpen", Napi::Function::New(env, Open));
  exports.Set("channelAttach", Napi::Function::New(env, Attach));
  exports.Set("channelDisconnect", Napi::Function::New(env, Disconnect));
}

}  // namespace shimmy::addon
