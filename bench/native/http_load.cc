// HTTP/1.1 keep-alive load from one thread, with latencies to the microsecond.
//
//   http_load --host A --port N --path /x --connections C --duration-ms T [--warmup-ms W] [--rate
//   R]
//
// Without --rate the loop is closed: each connection asks again as soon as it has its answer.
// With --rate the schedule is fixed: request k is due at start + k / R whatever happened before,
// waits for a free connection if there is none, and its latency counts from when it was DUE, so
// that a stall is not left out of the figures (coordinated omission).
//
// Prints one JSON object. Exit code 1: bad arguments or a system call failed; 2: a bad response.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "histogram.h"

namespace shimmy::bench {
namespace {

constexpr uint64_t kNanosPerMilli = 1'000'000;
constexpr uint64_t kNanosPerSecond = 1'000'000'000;
constexpr size_t kReadBytes = 256 * 1024;

struct Options {
  std::string host = "127.0.0.1";
  uint16_t port = 0;
  std::string path = "/";
  size_t connections = 1;
  uint64_t duration_ms = 1000;
  uint64_t warmup_ms = 100;
  double rate = 0;  // requests a second; 0: closed loop
};

[[noreturn]] void Fail(int code, const char* what) {
  std::fprintf(stderr, "http_load: %s: %s\n", what, std::strerror(errno));
  std::exit(code);
}

uint64_t NowNanos() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * kNanosPerSecond + static_cast<uint64_t>(now.tv_nsec);
}

// One response at a time: headers up to the blank line, then Content-Length bytes.
class ResponseReader {
 public:
  // Takes bytes of the response. Returns true when it is complete.
  bool Take(std::string_view bytes) {
    if (!in_body_) {
      head_.append(bytes);
      const size_t end = head_.find("\r\n\r\n");
      if (end == std::string::npos) return false;
      ParseHead(end);
      bytes = {};
      body_seen_ = head_.size() - (end + 4);
    }
    body_seen_ += bytes.size();
    if (body_seen_ < body_size_) return false;
    if (body_seen_ > body_size_) Fail(2, "more bytes than Content-Length");
    *this = ResponseReader();
    return true;
  }

 private:
  void ParseHead(size_t end) {
    if (head_.compare(0, 12, "HTTP/1.1 200") != 0) Fail(2, "status is not 200");
    // nginx and Envoy differ in the case of header names.
    for (size_t at = 0; at < end; at = head_.find("\r\n", at) + 2) {
      constexpr std::string_view kName = "content-length:";
      if (strncasecmp(head_.c_str() + at, kName.data(), kName.size()) != 0) continue;
      body_size_ = std::strtoull(head_.c_str() + at + kName.size(), nullptr, 10);
      in_body_ = true;
      return;
    }
    Fail(2, "no Content-Length");
  }

  std::string head_;
  bool in_body_ = false;
  uint64_t body_size_ = 0;
  uint64_t body_seen_ = 0;
};

struct Connection {
  int fd = -1;
  bool busy = false;
  uint64_t due = 0;  // latency counts from here
  ResponseReader response;
};

class Load {
 public:
  explicit Load(const Options& options)
      : options_(options),
        request_("GET " + options.path + " HTTP/1.1\r\nHost: " + options.host + "\r\n\r\n"),
        connections_(options.connections),
        buffer_(kReadBytes) {}

  void Run() {
    Connect();
    start_ = NowNanos();
    measure_from_ = start_ + options_.warmup_ms * kNanosPerMilli;
    end_ = measure_from_ + options_.duration_ms * kNanosPerMilli;
    if (options_.rate == 0) {
      for (Connection& connection : connections_) Ask(connection, NowNanos());
    }
    while (Step()) {
    }
    Print();
    for (const Connection& connection : connections_) close(connection.fd);
    close(epoll_);
  }

 private:
  void Connect() {
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_ < 0) Fail(1, "epoll_create1");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(options_.port);
    if (inet_pton(AF_INET, options_.host.c_str(), &address.sin_addr) != 1) Fail(1, "bad --host");
    for (Connection& connection : connections_) {
      connection.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      if (connection.fd < 0) Fail(1, "socket");
      if (connect(connection.fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
        Fail(1, "connect");
      }
      const int one = 1;
      setsockopt(connection.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.ptr = &connection;
      if (epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.fd, &event) != 0) Fail(1, "epoll_ctl");
    }
  }

  // One wait and what it brought. Returns false when the run is over.
  bool Step() {
    const uint64_t now = NowNanos();
    if (now >= end_) return false;
    if (options_.rate > 0) StartDue(now);
    const uint64_t until = options_.rate > 0 ? std::min(NextDue(), end_) : end_;
    const uint64_t left = until > now ? until - now : 0;
    const timespec timeout{static_cast<time_t>(left / kNanosPerSecond),
                           static_cast<long>(left % kNanosPerSecond)};
    epoll_event events[64];
    const int ready = epoll_pwait2(epoll_, events, 64, &timeout, nullptr);
    if (ready < 0 && errno != EINTR) Fail(1, "epoll_pwait2");
    for (int i = 0; i < ready; ++i) Receive(*static_cast<Connection*>(events[i].data.ptr));
    return true;
  }

  uint64_t DueAt(uint64_t number) const {
    return start_ + static_cast<uint64_t>(static_cast<double>(number) / options_.rate * 1e9);
  }
  uint64_t NextDue() const { return DueAt(scheduled_); }

  void StartDue(uint64_t now) {
    for (; NextDue() <= now; ++scheduled_) waiting_.push_back(NextDue());
    for (Connection& connection : connections_) {
      if (waiting_.empty()) return;
      if (connection.busy) continue;
      Ask(connection, waiting_.front());
      waiting_.pop_front();
    }
  }

  void Ask(Connection& connection, uint64_t due) {
    connection.busy = true;
    connection.due = due;
    const ssize_t sent = send(connection.fd, request_.data(), request_.size(), MSG_NOSIGNAL);
    if (sent != static_cast<ssize_t>(request_.size())) Fail(2, "send");
  }

  void Receive(Connection& connection) {
    const ssize_t got = recv(connection.fd, buffer_.data(), buffer_.size(), 0);
    if (got == 0) errno = ECONNRESET;
    if (got <= 0) Fail(2, "recv");
    if (!connection.response.Take({buffer_.data(), static_cast<size_t>(got)})) return;
    const uint64_t now = NowNanos();
    ++requests_;
    if (connection.due >= measure_from_) latencies_.Record(now - connection.due);
    connection.busy = false;
    if (options_.rate == 0) {
      Ask(connection, now);
    } else if (!waiting_.empty()) {
      Ask(connection, waiting_.front());
      waiting_.pop_front();
    }
  }

  // Requests that are still owed at the end have been late for at least this long: they count.
  void CountUnanswered() {
    if (options_.rate == 0) return;
    for (const Connection& connection : connections_) {
      if (connection.busy && connection.due >= measure_from_)
        latencies_.Record(end_ - connection.due);
    }
    for (const uint64_t due : waiting_) {
      if (due >= measure_from_ && due < end_) latencies_.Record(end_ - due);
    }
  }

  void Print() {
    const uint64_t answered = latencies_.count();
    CountUnanswered();
    std::printf("{");
    latencies_.PrintJsonFields(stdout);
    std::printf(",\"requests\":%llu,\"perSecond\":%.3f,\"unanswered\":%llu}\n",
                static_cast<unsigned long long>(requests_),
                static_cast<double>(answered) * 1e3 / static_cast<double>(options_.duration_ms),
                static_cast<unsigned long long>(latencies_.count() - answered));
  }

  const Options options_;
  const std::string request_;
  std::vector<Connection> connections_;
  std::vector<char> buffer_;
  int epoll_ = -1;
  uint64_t start_ = 0;
  uint64_t measure_from_ = 0;
  uint64_t end_ = 0;
  uint64_t scheduled_ = 0;        // requests of the schedule that have come due
  std::deque<uint64_t> waiting_;  // due, no connection free
  uint64_t requests_ = 0;         // all that were answered, those of the warm-up included
  Histogram latencies_;
};

Options Parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    const char* const value = argv[i + 1];
    if (name == "--host")
      options.host = value;
    else if (name == "--port")
      options.port = static_cast<uint16_t>(std::atoi(value));
    else if (name == "--path")
      options.path = value;
    else if (name == "--connections")
      options.connections = std::strtoull(value, nullptr, 10);
    else if (name == "--duration-ms")
      options.duration_ms = std::strtoull(value, nullptr, 10);
    else if (name == "--warmup-ms")
      options.warmup_ms = std::strtoull(value, nullptr, 10);
    else if (name == "--rate")
      options.rate = std::strtod(value, nullptr);
    else
      Fail(1, argv[i]);
  }
  if (options.port == 0 || options.connections == 0 || argc % 2 == 0) {
    errno = EINVAL;
    Fail(1, "usage: --host A --port N --path /x --connections C --duration-ms T");
  }
  return options;
}

}  // namespace
}  // namespace shimmy::bench

int main(int argc, char** argv) {
  // The default slack of 50 us would be added to every due time of the schedule.
  prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
  shimmy::bench::Load(shimmy::bench::Parse(argc, argv)).Run();
  return 0;
}
