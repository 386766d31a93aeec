#include "endpoint.h"

#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace shimmy::channel {

namespace {

constexpr const char* kRoles[] = {"", "producer", "consumer", "publisher", "subscriber"};

uint32_t Number32(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number_unsigned() ? found->get<uint32_t>() : 0;
}

std::string Text(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// An agent that has just been started again may have too much to do, or no registry yet.
constexpr uint64_t kRetryNs = 1'000'000'000;
bool IsForNow(const std::string& code) {
  return code == "SHIMMY_ERR_RATE_LIMITED" || code == "SHIMMY_ERR_REGISTRY_UNAVAILABLE";
}

void AddParameter(Json* parameters, const char* name, uint32_t value) {
  if (value != 0) (*parameters)[name] = value;
}

}  // namespace

// E1: mutex_ for as long as it lives. Empties the inbox first.
class Endpoint::Call {
 public:
  explicit Call(Endpoint* endpoint) : endpoint_(*endpoint) {
    // SYNC users_ (acq_rel): pairs with the load in Leave(), which waits until nobody is in a call.
    endpoint_.users_.fetch_add(1, std::memory_order_acq_rel);
    endpoint_.mutex_.lock();
    endpoint_.TookInbox();
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call() {
    endpoint_.mutex_.unlock();
    endpoint_.users_.fetch_sub(1, std::memory_order_acq_rel);  // SYNC as above
  }
  // The result, with words for it.
  [[nodiscard]] int Return(int status) const {
    if (status == SHIMMY_OK) return status;
    if (status == SHIMMY_CLOSED && endpoint_.failure_.failed()) return Fail(endpoint_.failure_);
    return Fail(status);
  }
  [[nodiscard]] bool is_over() const { return endpoint_.is_over_; }

 private:
  Endpoint& endpoint_;
};

Endpoint::Endpoint(std::shared_ptr<Client> client, EndpointOptions options)
    : spin_(options.wait_mode),
      client_(std::move(client)),
      options_(std::move(options)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  epoll_event event{};
  event.events = EPOLLIN;
  if (event_.valid()) epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, event_.get(), &event);
}

Endpoint::~Endpoint() = default;

int StatusOf(Status status) {
  switch (status) {
    case Status::kOk: return SHIMMY_OK;
    case Status::kWouldBlock: return SHIMMY_AGAIN;
    case Status::kEof:
    case Status::kEnded: return SHIMMY_END;
    case Status::kTooLarge: return SHIMMY_MESSAGE_TOO_BIG;
    case Status::kInterrupted: return SHIMMY_INTERRUPTED;
    case Status::kNoMemory: return SHIMMY_NO_MEMORY;
    default: return SHIMMY_SYSTEM;
  }
}

// ---- attaching ----

Json Endpoint::Role(const char* type) const {
  return {{"type", type},
          {"role", kRoles[options_.role]},
          {"start", options_.start == SHIMMY_OLDEST ? "oldest" : "newest"}};
}

Json Endpoint::AttachRequest() const {
  Json request = Role("attachChannel");
  request["topic"] = options_.topic;
  if ((options_.flags & SHIMMY_CREATE) == 0) return request;
  const shimmy_parameters& wanted = options_.parameters;
  const bool is_lock_based = wanted.kind == SHIMMY_LOCK_BASED;
  Json parameters = {{"kind", is_lock_based ? "lock" : "lockfree"}};
  AddParameter(&parameters, "blocks", wanted.blocks);
  AddParameter(&parameters, "blockBytes", wanted.block_bytes);
  AddParameter(&parameters, "readers", wanted.readers);
  AddParameter(&parameters, "timeToLiveMs", wanted.time_to_live_ms);
  AddParameter(&parameters, "maxLoans", wanted.max_loans);
  request["parameters"] = std::move(parameters);
  return request;
}

Failure Endpoint::Attach() {
  if (!epoll_.valid() || !event_.valid()) {
    return {SHIMMY_SYSTEM, "SHIMMY_ERR_SYSTEM", SystemText("epoll", errno), ""};
  }
  const std::lock_guard lock(mutex_);  // until it has begun, the watcher finds it in a call
  Failure failure = client_->Attach(Self(), AttachRequest());
  if (failure.failed()) return failure;
  Became(is_live_, first_generation_);
  return failure_;
}

// Under the client's lock; Attach() waits for it.
void Endpoint::Attached(const AgentMessage& message) {
  attachment_ = message.Text("attachment");
  is_live_ = message.Text("state") == "live";
  state_.Set(is_live_ ? SHIMMY_LIVE : SHIMMY_STANDBY);
  info_ = message.json.value("channel", Json::object());
  const Json& channel = info_;
  const std::lock_guard lock(info_mutex_);
  topic_ = Text(channel, "topic");
  channel_ = std::strtoull(Text(channel, "id").c_str(), nullptr, 10);
  parameters_.kind = Text(channel, "kind") == "lock" ? SHIMMY_LOCK_BASED : SHIMMY_LOCK_FREE;
  parameters_.blocks = Number32(channel, "blocks");
  parameters_.block_bytes = Number32(channel, "blockBytes");
  parameters_.readers = Number32(channel, "readers");
  parameters_.time_to_live_ms = Number32(channel, "timeToLiveMs");
  parameters_.max_loans = Number32(channel, "maxLoans");
  first_generation_ = message.Number("generation");
}

ChannelShape Endpoint::ShapeOf(uint64_t generation) const {
  ChannelShape shape;
  shape.channel = channel_;
  shape.generation = generation;
  shape.page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  shape.blocks = parameters_.blocks;
  shape.block_bytes = parameters_.block_bytes;
  return shape;
}

void Endpoint::Leave() {
  is_closing_.store(true);  // seq_cst: read before and behind every wait
  TellCurrent();
  {
    const std::lock_guard lock(mutex_);
    if (!is_over_) EndBy({SHIMMY_CLOSED, "SHIMMY_ERR_CLOSED", "the endpoint is closed", ""});
    client_->Forget(Self(), attachment_);
  }
  // SYNC users_ (acquire): see Call.
  while (users_.load(std::memory_order_acquire) > 0) sched_yield();
}

void Endpoint::EndBy(Failure failure) {
  failure.status = SHIMMY_CLOSED;
  failure_ = std::move(failure);
  is_over_ = true;
  is_live_ = false;
  state_.Set(SHIMMY_OVER);
  RefreshSums();
  SetCurrent(&idle_);
  LetGo();
  peers_.Set(0);
}

// ---- the inbox ----

bool Endpoint::Post(AgentMessage message) {
  {
    const std::lock_guard lock(inbox_mutex_);
    inbox_.push_back(std::move(message));
    has_inbox_.store(true);  // seq_cst: E2, before the current waiter is told
  }
  if (TryEmptyInbox()) {
    TellPoller();
    return true;
  }
  TellCurrent();
  return false;
}

bool Endpoint::TryEmptyInbox() {
  if (!mutex_.try_lock()) return false;
  TookInbox();
  mutex_.unlock();
  return true;
}

bool Endpoint::TookInbox() {
  // SYNC has_inbox_ (acquire): pairs with the store in Post().
  if (!has_inbox_.load(std::memory_order_acquire)) return false;
  EmptyInbox();
  return true;
}

void Endpoint::EmptyInbox() {
  std::vector<AgentMessage> messages;
  {
    const std::lock_guard lock(inbox_mutex_);
    messages.swap(inbox_);
    has_inbox_.store(false);
  }
  for (AgentMessage& message : messages) {
    if (!is_over_) HandleOne(&message);
  }
}

void Endpoint::HandleOne(AgentMessage* message) {
  const std::string type = message->type();
  if (type == "channelAttached" || type == "channelRefused") {
    HandleAnswer(message);
  } else if (type == "connected") {
    ShowAgain();
  } else if (type == "channelState") {
    is_live_ = message->Text("state") == "live";
    state_.Set(is_live_ ? SHIMMY_LIVE : SHIMMY_STANDBY);
    Became(is_live_, message->Number("generation"));
  } else if (type == "tick") {
    (void)TickOnce(NowNanos());
  } else if (type == "channelDetached") {
    EndBy({SHIMMY_CLOSED, message->Text("code"), message->Text("message"), ""});
  } else {
    Handle(message);
  }
}

void Endpoint::ShowAgain() {
  Json request = Role("reattachChannel");
  request["attachment"] = attachment_;
  request["channel"] = info_;
  request["links"] = Json::array();
  Show(&request);
  has_shown_ = true;
  client_->Ask(Self(), std::move(request));
}

void Endpoint::HandleAnswer(AgentMessage* message) {
  if (message->type() == "channelRefused") {
    if (has_shown_ && message->Text("code") == "SHIMMY_ERR_CHANNEL_MISMATCH") {
      has_shown_ = false;
      StartOver();
      client_->Ask(Self(), AttachRequest());
      return;
    }
    if (has_shown_ && IsForNow(message->Text("code"))) {
      retry_at_ = NowNanos() + kRetryNs;
      client_->Tend(Self());
      return;
    }
    EndBy(
        {SHIMMY_CLOSED, message->Text("code"), message->Text("message"), message->Text("reason")});
    return;
  }
  const Json before = info_;
  Attached(*message);
  if (has_shown_ && info_ == before) {
    Relodge();
  } else {
    StartOver();
  }
  has_shown_ = false;
  Became(is_live_, first_generation_);
}

// ---- waiting ----

void Endpoint::TellCurrent() {
  {
    const std::lock_guard lock(current_mutex_);  // E3
    Notify<RawSys>(current_, ChannelWaiter::kInterrupted);
  }
  TellLoop();
}

void Endpoint::TellLoop() { TellPoller(); }

// Whoever polls looks again: what it armed for may be another ring's by now.
void Endpoint::TellPoller() {
  const uint64_t one = 1;
  (void)!write(event_.get(), &one, sizeof one);  // full: it is readable
}

Status Endpoint::PollFd(uint64_t deadline) {
  int timeout_ms = -1;
  if (deadline != kNever) {
    const uint64_t now = NowNanos();
    const uint64_t left = deadline > now ? (deadline - now + 999'999) / 1'000'000 : 0;
    timeout_ms = static_cast<int>(std::min<uint64_t>(left, 0x7fffffff));
  }
  const long events = RawSys::Poll(epoll_.get(), POLLIN, timeout_ms);
  uint64_t told = 0;
  (void)!read(event_.get(), &told, sizeof told);
  if (events == -EINTR) return Status::kInterrupted;
  return events == 0 ? Status::kWouldBlock : Status::kOk;
}

void Endpoint::SetCurrent(ChannelWaiter* waiter) {
  const std::lock_guard lock(current_mutex_);
  current_ = waiter;
}

int Endpoint::BeforeWait() {
  // SYNC is_closing_ (seq_cst): set before we are told, so that one of the two is seen.
  if (is_over_ || is_closing_.load(std::memory_order_seq_cst)) return SHIMMY_CLOSED;
  return is_interrupted_.exchange(false) ? SHIMMY_INTERRUPTED : SHIMMY_OK;
}

int Endpoint::AfterWait(ChannelWaiter* waiter, Status result) {
  // SYNC flags (acquire): pairs with Notify().
  const bool is_told =
      (waiter->flags.load(std::memory_order_acquire) & ChannelWaiter::kInterrupted) != 0;
  if (is_told) {
    {
      // Who tells is done by then: it would take a waiter that sleeps again for one that still
      // does.
      const std::lock_guard lock(current_mutex_);
      ClearInterrupt(waiter);
    }
    TookInbox();
    return BeforeWait();
  }
  if (result == Status::kWouldBlock) return SHIMMY_AGAIN;
  if (result == Status::kInterrupted) return SHIMMY_INTERRUPTED;  // by a signal
  return SHIMMY_OK;                                               // what it is says the next look
}

int Endpoint::WaitIdle(Deadline deadline) {
  return WaitBy(&idle_, deadline, [this](const WaitOptions& options) {
    sums_.sleeps.Add(1);
    return internal::SleepOnFutex<RawSys>(&idle_, &idle_.flags, 0, options.deadline);
  });
}

Endpoint::Deadline Endpoint::DeadlineOf(int64_t timeout) {
  if (timeout < 0) return {kNever};
  if (timeout == 0) return {0};
  return {NowNanos() + static_cast<uint64_t>(timeout)};
}

void Endpoint::Interrupt() {
  is_interrupted_.store(true);  // seq_cst: before we are told
  TellCurrent();
}

// ---- for each kind ----

void Endpoint::Lodge(uint64_t generation, uint64_t number, const std::vector<const char*>& kinds,
                     const std::vector<int>& fds) {
  Json message = {{"type", "lodgeRegions"},
                  {"attachment", attachment_},
                  {"generation", generation},
                  {"regions", kinds}};
  if (number != 0) message["number"] = number;
  client_->Send(message, fds);
}

void Endpoint::Tell(const char* type, uint64_t generation, uint64_t number) {
  Json message = {{"type", type}, {"attachment", attachment_}, {"generation", generation}};
  if (number != 0) message["number"] = number;
  client_->Send(message, {});
}

Bell Endpoint::Adopt(relay::UniqueFd doorbell, uint64_t number) {
  Bell bell;
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP;
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, doorbell.get(), &event);
  bell.token = client_->Watch(doorbell.get(), Self(), number);
  bell.fd = std::move(doorbell);
  return bell;
}

void Endpoint::Close(Bell* bell) {
  if (!bell->fd.valid()) return;
  client_->Unwatch(bell->token, bell->fd.get());
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, bell->fd.get(), nullptr);
  *bell = Bell{};
}

uint64_t Endpoint::Tick(uint64_t now) {
  constexpr uint64_t kLaterNs = 10'000'000;
  if (!mutex_.try_lock()) {
    AgentMessage tick;
    tick.json = {{"type", "tick"}};
    return Post(std::move(tick)) ? now : now + kLaterNs;
  }
  TookInbox();
  const uint64_t next = TickOnce(now);
  mutex_.unlock();
  if (next == kNever) TellPoller();
  return next;
}

uint64_t Endpoint::TickOnce(uint64_t now) {
  if (is_over_) return kNever;
  if (retry_at_ <= now) {
    retry_at_ = kNever;
    ShowAgain();
  }
  return std::min(DoTick(now), retry_at_);
}

uint64_t Endpoint::DoTick(uint64_t now) {
  (void)now;
  return kNever;
}

int Endpoint::DoPublish(const void*, size_t, Deadline) { return SHIMMY_MISUSE; }
int Endpoint::DoReserve(size_t, Deadline, shimmy_room*) { return SHIMMY_MISUSE; }
int Endpoint::DoCommit(shimmy_room*, size_t) { return SHIMMY_MISUSE; }
int Endpoint::DoCancel(shimmy_room*) { return SHIMMY_MISUSE; }
int Endpoint::DoEnd() { return SHIMMY_MISUSE; }
int Endpoint::DoDrain(Deadline) { return SHIMMY_MISUSE; }
int Endpoint::DoTake(void*, size_t, Deadline, shimmy_message*) { return SHIMMY_MISUSE; }
int Endpoint::DoLoan(Deadline, shimmy_message*) { return SHIMMY_MISUSE; }
int Endpoint::DoRelease(shimmy_message*) { return SHIMMY_MISUSE; }
int Endpoint::DoArm(size_t) { return SHIMMY_MISUSE; }

// ---- calls of the program ----

int Endpoint::Publish(const void* data, size_t bytes, int64_t timeout) {
  const Call call(this);
  if (call.is_over()) return call.Return(SHIMMY_CLOSED);
  return call.Return(DoPublish(data, bytes, DeadlineOf(timeout)));
}

int Endpoint::Reserve(size_t bytes, int64_t timeout, shimmy_room* room) {
  const Call call(this);
  *room = {};
  if (call.is_over()) return call.Return(SHIMMY_CLOSED);
  return call.Return(DoReserve(bytes, DeadlineOf(timeout), room));
}

int Endpoint::Commit(shimmy_room* room, size_t bytes) {
  const Call call(this);
  if (call.is_over()) return call.Return(SHIMMY_CLOSED);
  if (room->id == 0 || bytes > room->bytes) return call.Return(SHIMMY_MISUSE);
  return call.Return(DoCommit(room, bytes));
}

int Endpoint::Cancel(shimmy_room* room) {
  const Call call(this);
  if (call.is_over()) return call.Return(SHIMMY_CLOSED);
  if (room->id == 0) return call.Return(SHIMMY_MISUSE);
  return call.Return(DoCancel(room));
}

int Endpoint::End() {
  const Call call(this);
  return call.Return(call.is_over() ? SHIMMY_CLOSED : DoEnd());
}

int Endpoint::Drain(int64_t timeout) {
  const Call call(this);
  return call.Return(call.is_over() ? SHIMMY_CLOSED : DoDrain(DeadlineOf(timeout)));
}

int Endpoint::Take(void* to, size_t room, int64_t timeout, shimmy_message* message) {
  const Call call(this);
  *message = {};
  if (call.is_over()) return call.Return(SHIMMY_CLOSED);
  return call.Return(DoTake(to, room, DeadlineOf(timeout), message));
}

int Endpoint::Loan(int64_t timeout, shimmy_message* message) {
  const Call call(this);
  *message = {};
  if (call.is_over()) return call.Return(SHIMMY_CLOSED);
  return call.Return(DoLoan(DeadlineOf(timeout), message));
}

int Endpoint::Release(shimmy_message* message) {
  const Call call(this);
  if (call.is_over()) return call.Return(SHIMMY_CLOSED);
  return call.Return(message->loan == 0 ? SHIMMY_MISUSE : DoRelease(message));
}

int Endpoint::Arm(size_t bytes) {
  const Call call(this);
  uint64_t events = 0;
  (void)!read(event_.get(), &events, sizeof events);
  if (TookInbox() || call.is_over()) return call.Return(is_over_ ? SHIMMY_CLOSED : SHIMMY_OK);
  return call.Return(DoArm(bytes));
}

void Endpoint::ShowSharedUpTo(size_t bytes) {
  const std::lock_guard lock(mutex_);
  shared_up_to_ = bytes;
}

void Endpoint::Describe(shimmy_info* info) {
  const size_t given = std::min(info->struct_size, sizeof *info);
  shimmy_info all{};
  all.struct_size = given;
  const std::lock_guard lock(info_mutex_);
  std::memcpy(all.topic, topic_.data(), std::min(topic_.size(), sizeof all.topic - 1));
  all.channel = channel_;
  all.parameters = parameters_;
  all.state = static_cast<uint32_t>(state_.value());
  all.peers = static_cast<uint32_t>(peers_.value());
  const ChannelShape shape = ShapeOf(1);
  all.max_bytes = shape.data_blocks() * shape.block_bytes;
  std::memcpy(info, &all, given);
}

void Endpoint::Count(struct shimmy_counters* counters) {
  {
    // Sums of the core are brought up to date where nobody is at them.
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (lock.owns_lock() && !is_over_) RefreshSums();
  }
  const size_t given = std::min(counters->struct_size, sizeof *counters);
  struct shimmy_counters all {};
  all.struct_size = given;
  all.messages = sums_.messages.value();
  all.bytes = sums_.bytes.value();
  all.missed = sums_.missed.value();
  all.missed_unknown = sums_.missed_unknown.value();
  all.expired = sums_.expired.value();
  all.wakes = sums_.wakes.value();
  all.bells = sums_.bells.value();
  all.sleeps = sums_.sleeps.value();
  all.links = sums_.links.value();
  all.rings = sums_.rings.value();
  all.dropped_peers = sums_.dropped_peers.value();
  std::memcpy(counters, &all, given);
}

}  // namespace shimmy::channel
