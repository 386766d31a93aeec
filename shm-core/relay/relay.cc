#include "relay.h"

#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <mutex>

#include "listener.h"
#include "outbound.h"
#include "session.h"
#include "shared.h"
#include "worker.h"

namespace shimmy::relay {

namespace {

int UsableCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) < 0 ? 1 : CPU_COUNT(&set);
}

// Watches a drain until nothing is left or the time is over. One on each thread; the last one
// to finish reports.
struct DrainState {
  std::atomic<uint32_t> threads_left;
  std::atomic<uint32_t> drained{0};
  std::atomic<uint32_t> aborted{0};
};

constexpr uint64_t kDrainLookNs = 20'000'000;

class Drainer final : public Task {
 public:
  Drainer(Worker* worker, std::shared_ptr<DrainState> state, uint64_t deadline)
      : Task(worker), state_(std::move(state)), deadline_(deadline) {}

  void Begin() {
    worker_.is_draining = true;
    worker_.ForEachTask([](Task* task) {
      if (task->AsListener() != nullptr) task->Abort(EndReason::kDrained);
    });
    at_start_ = Count();
    OnTimer(worker_.now());
  }
  void OnTimer(uint64_t now) override {
    const uint32_t left = Count();
    if (left > 0 && now < deadline_) {
      return worker_.SetTimer(this, std::min(now + kDrainLookNs, deadline_));
    }
    worker_.ForEachTask([](Task* task) {
      if (task->IsConnection()) task->Abort(EndReason::kDrained);
    });
    // SYNC drained aborted threads_left (seq_cst): sums of all threads, read by the last one.
    state_->aborted.fetch_add(left, std::memory_order_seq_cst);
    state_->drained.fetch_add(at_start_ > left ? at_start_ - left : 0, std::memory_order_seq_cst);
    if (state_->threads_left.fetch_sub(1, std::memory_order_seq_cst) == 1) Report();
    worker_.Retire(this);
  }
  void Abort(EndReason) override { worker_.Retire(this); }

 private:
  uint32_t Count() const {
    uint32_t count = 0;
    worker_.ForEachTask([&](Task* task) { count += task->IsConnection() ? 1 : 0; });
    return count;
  }
  void Report() const {
    Event event;
    event.kind = Event::Kind::kDrained;
    // SYNC drained aborted (seq_cst): all threads have added theirs.
    event.drained = state_->drained.load(std::memory_order_seq_cst);
    event.aborted = state_->aborted.load(std::memory_order_seq_cst);
    worker_.shared().sink(event);
  }

  std::shared_ptr<DrainState> state_;
  const uint64_t deadline_;
  uint32_t at_start_ = 0;
};

class RelayImpl final : public Relay {
 public:
  RelayImpl(const RelayOptions& options, EventSink sink) {
    shared_.options = options;
    shared_.sink = std::move(sink);
    shared_.page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    shared_.has_doorbell = ProbeDoorbell<RelaySys>(&shared_.sizes) == Status::kOk;
    shared_.can_spin = options.spin_micros > 0 && UsableCpus() > 1;
  }
  ~RelayImpl() override {
    for (auto& worker : workers_) worker->Stop();
  }

  int Begin() {
    for (uint32_t i = 0; i < shared_.options.threads; i++) {
      workers_.push_back(std::make_unique<Worker>(&shared_, i));
      workers_.back()->session_listener = std::make_unique<SessionWaits>(workers_.back().get());
      shared_.workers.push_back(workers_.back().get());
    }
    for (auto& worker : workers_) {
      const int result = worker->Start();
      if (result < 0) return result;
    }
    return 0;
  }

  int Listen(const std::string& address, uint16_t port, const Upstream& upstream,
             uint16_t* bound_port) override {
    SocketAddress parsed;
    if (!ParseAddress(address, port, &parsed)) return -EINVAL;
    const int fd = ListenTcp(parsed, bound_port);
    if (fd < 0) return fd;
    const int id = next_listener_++;
    shared_.table.Set(id, upstream);
    Worker* const worker = workers_[static_cast<size_t>(id) % workers_.size()].get();
    worker->Call([&] {
      auto* const waits = static_cast<SessionWaits*>(worker->session_listener.get());
      auto listener = std::make_unique<Listener>(worker, waits, id, UniqueFd(fd));
      Listener* const raw = listener.get();
      worker->Own(std::move(listener));
      raw->Begin();
    });
    listeners_[id] = worker;
    return id;
  }

  int SetUpstream(int listener, const Upstream& upstream) override {
    if (!listeners_.contains(listener)) return -ENOENT;
    shared_.table.Set(listener, upstream);
    return 0;
  }

  int Unlisten(int listener) override {
    const auto found = listeners_.find(listener);
    if (found == listeners_.end()) return -ENOENT;
    Worker* const worker = found->second;
    worker->Call([&] {
      worker->ForEachTask([&](Task* task) {
        Listener* const candidate = task->AsListener();
        if (candidate != nullptr && candidate->id() == listener) {
          candidate->Abort(EndReason::kClosed);
        }
      });
    });
    shared_.table.Remove(listener);
    listeners_.erase(found);
    return 0;
  }

  void SetDelivery(const std::vector<DeliveryRule>& rules) override {
    std::map<uint16_t, std::string> delivery;
    for (const DeliveryRule& rule : rules) delivery[rule.port] = rule.address;
    for (auto& worker : workers_) worker->Call([&] { worker->delivery = delivery; });
  }

  int AddSession(const SessionInit& init) override {
    UniqueFd fd(init.fd);
    int type = 0;
    socklen_t length = sizeof type;
    if (getsockopt(fd.get(), SOL_SOCKET, SO_TYPE, &type, &length) < 0) return -errno;
    if (type != SOCK_SEQPACKET) return -EINVAL;
    Worker* const worker = shared_.OwnerOf(init.peer.pod);
    int result = 0;
    worker->Call([&] {
      if (worker->sessions_by_id.contains(init.id)) {
        result = -EEXIST;
        return;
      }
      SessionInit owned = init;
      owned.fd = fd.Release();
      auto session = std::make_unique<Session>(worker, std::move(owned));
      Session* const raw = session.get();
      worker->Own(std::move(session));
      worker->sessions_by_id[init.id] = raw;
      worker->sessions_by_pod[init.peer.pod] = raw;
      raw->Begin();
    });
    return result;
  }

  void FailSession(const std::string& pod, FallbackReason reason) override {
    Worker* const worker = shared_.OwnerOf(pod);
    worker->Call([&] { worker->session_listener->OnSessionFailed(pod, reason); });
  }

  int SetGrants(const std::string& session, const std::vector<Grant>& accept) override {
    return WithSession(session, [&](Worker*, Session* found) { found->SetGrants(accept); });
  }

  int Revoke(const std::string& session, const std::vector<Grant>& grants) override {
    const auto reset = [&](Worker* worker) {
      worker->ForEachTask([&](Task* task) {
        const bool is_hit = std::any_of(grants.begin(), grants.end(), [&](const Grant& grant) {
          return task->IsUnder(session, grant);
        });
        if (is_hit) task->Abort(EndReason::kRevoked);
      });
    };
    const int result = WithSession(session, [&](Worker* worker, Session* found) {
      found->RemoveGrants(grants);
      reset(worker);
    });
    // A session may be gone and its streams not.
    if (result < 0) {
      for (auto& worker : workers_) worker->Call([&] { reset(worker.get()); });
    }
    return result;
  }

  int CloseSession(const std::string& session) override {
    return WithSession(session,
                       [](Worker*, Session* found) { found->End(SessionEndReason::kClosed); });
  }

  std::vector<SessionInfo> Sessions() override {
    std::vector<SessionInfo> all;
    for (auto& worker : workers_) {
      worker->Call([&] {
        for (const auto& [id, session] : worker->sessions_by_id) all.push_back(session->Info());
      });
    }
    return all;
  }

  std::vector<StreamInfo> Streams(size_t limit) override {
    std::vector<StreamInfo> all;
    for (auto& worker : workers_) {
      worker->Call([&] {
        worker->ForEachTask([&](Task* task) {
          StreamInfo info;
          if (all.size() < limit && task->Describe(worker->now(), &info)) all.push_back(info);
        });
      });
    }
    return all;
  }

  const Counters& counters() const override { return shared_.counters; }

  void Drain(uint32_t timeout_ms) override {
    auto state = std::make_shared<DrainState>();
    // SYNC threads_left (relaxed): set before any thread sees the state.
    state->threads_left.store(static_cast<uint32_t>(workers_.size()), std::memory_order_relaxed);
    const uint64_t deadline = Now() + uint64_t{timeout_ms} * 1'000'000;
    for (auto& worker : workers_) {
      worker->Post([raw = worker.get(), state, deadline] {
        auto drainer = std::make_unique<Drainer>(raw, state, deadline);
        Drainer* const begun = drainer.get();
        raw->Own(std::move(drainer));
        begun->Begin();
      });
    }
    listeners_.clear();
  }

 private:
  template <class Function>
  int WithSession(const std::string& id, Function&& function) {
    int result = -ENOENT;
    for (auto& worker : workers_) {
      worker->Call([&] {
        const auto found = worker->sessions_by_id.find(id);
        if (found == worker->sessions_by_id.end()) return;
        function(worker.get(), found->second);
        result = 0;
      });
    }
    return result;
  }

  Shared shared_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::map<int, Worker*> listeners_;
  int next_listener_ = 1;
};

}  // namespace

int Relay::Start(const RelayOptions& options, EventSink sink, std::unique_ptr<Relay>* out) {
  const bool is_valid =
      options.threads >= 1 && options.threads <= 64 && IsPowerOfTwo(options.max_ring_bytes) &&
      options.max_ring_bytes >= kFirstCapacity && options.max_ring_bytes <= kMaxCapacity &&
      options.open_timeout_ms > 0 && options.connect_timeout_ms > 0;
  if (!is_valid) return -EINVAL;
  auto relay = std::make_unique<RelayImpl>(options, std::move(sink));
  const int result = relay->Begin();
  if (result < 0) return result;
  *out = std::move(relay);
  return 0;
}

}  // namespace shimmy::relay
