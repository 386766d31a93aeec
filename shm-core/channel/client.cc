#include "client.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "endpoint.h"
#include "spin.h"

namespace shimmy::channel {

namespace {

constexpr int kProtocolVersion = 3;  // docs/reference/channel-protocol.md
constexpr uint64_t kAgentToken = 0;  // other tokens are doorbells'
constexpr uint64_t kWakeToken = ~uint64_t{0};
constexpr uint64_t kFirstBackoffNs = 50'000'000;
constexpr uint64_t kLastBackoffNs = 2'000'000'000;
// An endpoint in a call takes what it is told when it is woken; one between two instructions of a
// call is looked at again after this time.
constexpr int kRetryMs = 1;

bool AddTo(int epoll, int fd, uint32_t events, uint64_t token) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = token;
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

Failure Refusal(const AgentMessage& message) {
  return {SHIMMY_REFUSED, message.Text("code"), message.Text("message"), message.Text("reason")};
}

Failure Unavailable(const std::string& why) {
  return {SHIMMY_UNAVAILABLE, "SHIMMY_ERR_AGENT_UNAVAILABLE", why, ""};
}

}  // namespace

Client::~Client() { Close(); }

Failure Client::Open(const std::string& path, uint64_t timeout_ns) {
  path_ = path;
  timeout_ns_ = timeout_ns;
  Failure failure = socket_.Connect(path);
  if (failure.failed()) return failure;
  epoll_.Reset(epoll_create1(EPOLL_CLOEXEC));
  wake_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll_.valid() || !wake_.valid() || !AddTo(epoll_.get(), wake_.get(), EPOLLIN, kWakeToken)) {
    return {SHIMMY_SYSTEM, "SHIMMY_ERR_SYSTEM", SystemText("epoll", errno), ""};
  }
  if (!SendHello()) return Unavailable("the agent closed the connection");
  failure = AwaitWelcome(timeout_ns);
  if (failure.failed()) return failure;
  is_welcome_ = true;
  if (!AddTo(epoll_.get(), socket_.fd(), EPOLLIN, kAgentToken)) {
    return {SHIMMY_SYSTEM, "SHIMMY_ERR_SYSTEM", SystemText("epoll_ctl", errno), ""};
  }
  // Signals are for the program's own threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  watcher_ = std::thread([this] { Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return {};
}

bool Client::SendHello() {
  return socket_.Send({{"type", "channelsHello"}, {"version", kProtocolVersion}, {"pid", getpid()}},
                      {});
}

Failure Client::AwaitWelcome(uint64_t timeout_ns) {
  const uint64_t deadline = NowNanos() + timeout_ns;
  AgentMessage message;
  for (;;) {
    const Received received = socket_.Receive(&message);
    if (received == Received::kOver) return Unavailable("the agent closed the connection");
    if (received == Received::kMessage) {
      if (message.type() == "welcome") return {};
      if (message.type() == "error") return Refusal(message);
      continue;
    }
    const uint64_t now = NowNanos();
    if (now >= deadline) return Unavailable("the agent did not answer in time");
    pollfd query{socket_.fd(), POLLIN, 0};
    poll(&query, 1, static_cast<int>((deadline - now) / 1'000'000) + 1);
  }
}

void Client::Close() {
  std::vector<std::shared_ptr<Endpoint>> endpoints;
  {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    answered_.notify_all();
    for (const auto& [name, endpoint] : attachments_) endpoints.push_back(endpoint);
  }
  for (const auto& endpoint : endpoints) endpoint->Leave();
  // SYNC is_stopping_ (relaxed): the eventfd wakes who reads it.
  is_stopping_.store(true, std::memory_order_relaxed);
  Wake();
  if (watcher_.joinable()) watcher_.join();
  const std::lock_guard lock(mutex_);
  socket_.Close();
  attachments_.clear();
  requests_.clear();
  watched_.clear();
  tended_.clear();
  // They have a share of us in turn.
  untaken_.clear();
  back_.clear();
}

void Client::Wake() {
  const uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof one);  // full: it is awake
}

// ---- for endpoints ----

Failure Client::Attach(const std::shared_ptr<Endpoint>& endpoint, Json request) {
  std::unique_lock lock(mutex_);
  if (is_closed_) return {SHIMMY_CLOSED, "SHIMMY_ERR_CLOSED", "the client is closed", ""};
  const uint64_t number = ++last_request_;
  request["request"] = number;
  requests_[number] = {endpoint, true};
  if (!is_welcome_ || !socket_.Send(request, {})) {
    requests_.erase(number);
    return Unavailable("the connection to the agent is lost, and is being made again");
  }
  const auto is_answered = [&] { return first_answers_.contains(number) || is_closed_; };
  answered_.wait_for(lock, std::chrono::nanoseconds(timeout_ns_), is_answered);
  requests_.erase(number);
  const auto found = first_answers_.find(number);
  if (found == first_answers_.end()) return Unavailable("the agent did not answer in time");
  Failure failure = std::move(found->second);
  first_answers_.erase(found);
  return failure;
}

void Client::Ask(const std::shared_ptr<Endpoint>& endpoint, Json request) {
  const std::lock_guard lock(mutex_);
  if (is_closed_ || !is_welcome_) return;
  const uint64_t number = ++last_request_;
  request["request"] = number;
  requests_[number] = {endpoint, false};
  if (!socket_.Send(request, {})) requests_.erase(number);
}

void Client::Send(const Json& message, const std::vector<int>& fds) {
  const std::lock_guard lock(mutex_);
  if (is_welcome_) (void)socket_.Send(message, fds);  // W3
}

void Client::Forget(const std::shared_ptr<Endpoint>& endpoint, const std::string& attachment) {
  const std::lock_guard lock(mutex_);
  if (is_welcome_ && attachments_.contains(attachment)) {
    (void)socket_.Send({{"type", "detachChannel"}, {"attachment", attachment}}, {});
  }
  std::erase_if(attachments_, [&](const auto& entry) { return entry.second == endpoint; });
  std::erase_if(requests_, [&](const auto& entry) { return entry.second.endpoint == endpoint; });
  std::erase(tended_, endpoint);
}

uint64_t Client::Watch(int doorbell, const std::shared_ptr<Endpoint>& endpoint, uint64_t number) {
  const std::lock_guard lock(mutex_);
  const uint64_t token = ++last_token_;
  // Bells are not for us: only the end of the connection is asked for.
  if (!AddTo(epoll_.get(), doorbell, EPOLLRDHUP, token)) return 0;
  watched_[token] = {endpoint, number, doorbell, false};
  return token;
}

void Client::Unwatch(uint64_t token, int doorbell) {
  const std::lock_guard lock(mutex_);
  const auto found = watched_.find(token);
  if (found == watched_.end()) return;
  if (!found->second.is_told) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, doorbell, nullptr);
  watched_.erase(found);
}

void Client::Tend(const std::shared_ptr<Endpoint>& endpoint) {
  {
    const std::lock_guard lock(mutex_);
    if (is_closed_ || std::find(tended_.begin(), tended_.end(), endpoint) != tended_.end()) return;
    tended_.push_back(endpoint);
  }
  Wake();
}

// ---- the watcher ----

void Client::Run() {
  AgentMessage message;
  std::array<epoll_event, 32> events;
  // SYNC is_stopping_ (relaxed): behind the eventfd.
  while (!is_stopping_.load(std::memory_order_relaxed)) {
    const int count = epoll_wait(epoll_.get(), events.data(), events.size(), TimeoutMs());
    for (int i = 0; i < count; i++) {
      const epoll_event& event = events[static_cast<size_t>(i)];
      Dispatch(event.data.u64, &message);
    }
    Reconnect();
    Tend();
  }
}

// Readiness of one descriptor.
void Client::Dispatch(uint64_t token, AgentMessage* message) {
  if (token == kWakeToken) {
    uint64_t wakes = 0;
    (void)!read(wake_.get(), &wakes, sizeof wakes);
    return;
  }
  if (token == kAgentToken) {
    ReceiveAll(message);
    return;
  }
  std::shared_ptr<Endpoint> endpoint;
  uint64_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto found = watched_.find(token);
    if (found == watched_.end()) return;
    endpoint = found->second.endpoint.lock();
    number = found->second.number;
    if (found->second.is_told) return;
    found->second.is_told = true;
    // It is hung up for good, and would be told again and again.
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second.doorbell, nullptr);
  }
  if (endpoint != nullptr) Post(endpoint, "hangUp", number);
}

void Client::ReceiveAll(AgentMessage* message) {
  constexpr int kMost = 64;
  for (int i = 0; i < kMost; i++) {
    Received received = Received::kNothing;
    {
      const std::lock_guard lock(mutex_);
      if (!socket_.valid()) return;
      received = socket_.Receive(message);
    }
    if (received == Received::kNothing) return;
    if (received == Received::kOver) {
      Disconnected("the agent closed the connection");
      return;
    }
    Route(message);
  }
}

void Client::Post(const std::shared_ptr<Endpoint>& endpoint, const char* type, uint64_t number) {
  AgentMessage message;
  message.json = {{"type", type}, {"number", number}};
  if (!endpoint->Post(std::move(message))) untaken_.push_back(endpoint);
}

void Client::Route(AgentMessage* message) {
  const std::string type = message->type();
  if (type == "channelAttached" || type == "channelRefused") {
    Answer(message);
    return;
  }
  if (type == "error") {
    EndAll(*message);
    Disconnected(message->Text("message"));
    return;
  }
  std::shared_ptr<Endpoint> endpoint;
  {
    const std::lock_guard lock(mutex_);
    if (type == "welcome" && !is_welcome_) {
      is_welcome_ = true;
      backoff_ns_ = 0;
      back_.clear();
      for (const auto& [name, each] : attachments_) back_.push_back(each);
    }
    const auto found = attachments_.find(message->Text("attachment"));
    if (found != attachments_.end()) endpoint = found->second;
  }
  for (const auto& each : std::exchange(back_, {})) Post(each, "connected", 0);
  if (endpoint != nullptr && !endpoint->Post(std::move(*message))) untaken_.push_back(endpoint);
}

// Whose connection the agent ended with an error stops using its channels; one that is refused
// before the welcome tries again.
void Client::EndAll(const AgentMessage& error) {
  std::vector<std::shared_ptr<Endpoint>> endpoints;
  {
    const std::lock_guard lock(mutex_);
    if (!is_welcome_) return;
    for (const auto& [name, endpoint] : attachments_) endpoints.push_back(endpoint);
  }
  for (const auto& endpoint : endpoints) {
    AgentMessage over;
    over.json = {{"type", "channelDetached"},
                 {"code", error.Text("code")},
                 {"message", error.Text("message")}};
    if (!endpoint->Post(std::move(over))) untaken_.push_back(endpoint);
  }
}

void Client::Answer(AgentMessage* message) {
  const uint64_t number = message->Number("request");
  const std::string name = message->Text("attachment");
  const bool is_taken = message->type() == "channelAttached";
  std::shared_ptr<Endpoint> endpoint;
  {
    const std::lock_guard lock(mutex_);
    const auto found = requests_.find(number);
    if (found == requests_.end()) {
      // Nobody waits for it any more.
      if (is_taken) (void)socket_.Send({{"type", "detachChannel"}, {"attachment", name}}, {});
      return;
    }
    const Request request = found->second;
    requests_.erase(found);
    if (is_taken) {
      std::erase_if(attachments_,
                    [&](const auto& entry) { return entry.second == request.endpoint; });
      attachments_[name] = request.endpoint;
    }
    if (request.is_first) {
      if (is_taken) request.endpoint->Attached(*message);
      first_answers_[number] = is_taken ? Failure{} : Refusal(*message);
      answered_.notify_all();
      return;
    }
    endpoint = request.endpoint;
  }
  if (!endpoint->Post(std::move(*message))) untaken_.push_back(endpoint);
}

void Client::Disconnected(const std::string& why) {
  const std::lock_guard lock(mutex_);
  // By hand: a child of fork() may have the socket still.
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, socket_.fd(), nullptr);
  socket_.Close();
  is_welcome_ = false;
  backoff_ns_ = std::clamp(backoff_ns_ * 2, kFirstBackoffNs, kLastBackoffNs);
  reconnect_at_ = NowNanos() + backoff_ns_;
  for (auto& [number, request] : requests_) {
    if (request.is_first) first_answers_[number] = Unavailable(why);
  }
  std::erase_if(requests_, [](const auto& entry) { return !entry.second.is_first; });
  answered_.notify_all();
}

void Client::Reconnect() {
  const std::lock_guard lock(mutex_);
  if (socket_.valid() || is_closed_ || NowNanos() < reconnect_at_) return;
  const bool is_there = !socket_.Connect(path_).failed() && SendHello() &&
                        AddTo(epoll_.get(), socket_.fd(), EPOLLIN, kAgentToken);
  if (is_there) return;  // the welcome does the rest
  socket_.Close();
  backoff_ns_ = std::clamp(backoff_ns_ * 2, kFirstBackoffNs, kLastBackoffNs);
  reconnect_at_ = NowNanos() + backoff_ns_;
}

void Client::Tend() {
  // W1
  std::erase_if(untaken_, [](const auto& endpoint) { return endpoint->TryEmptyInbox(); });
  std::vector<std::shared_ptr<Endpoint>> tended;
  {
    const std::lock_guard lock(mutex_);
    tended = std::exchange(tended_, {});  // who asks for it from here on is not forgotten
  }
  next_tick_ = kNever;
  for (const auto& endpoint : tended) {
    const uint64_t next = endpoint->Tick(NowNanos());
    if (next == kNever) continue;
    next_tick_ = std::min(next_tick_, next);
    const std::lock_guard lock(mutex_);
    if (!is_closed_ && std::find(tended_.begin(), tended_.end(), endpoint) == tended_.end()) {
      tended_.push_back(endpoint);
    }
  }
}

int Client::TimeoutMs() {
  if (!untaken_.empty()) return kRetryMs;
  uint64_t at = next_tick_;
  {
    const std::lock_guard lock(mutex_);
    if (!socket_.valid() && !is_closed_) at = std::min(at, reconnect_at_);
  }
  if (at == kNever) return -1;
  const uint64_t now = NowNanos();
  return at <= now ? 0 : static_cast<int>(std::min<uint64_t>((at - now) / 1'000'000 + 1, 60'000));
}

}  // namespace shimmy::channel
