// Ping-pong between two processes over sockets or channels: the paper's Figure 3.
//
//   channel_ping --transport tcp|udp|unix|lock|lockfree --moving copy|loan --waiting
//   spin|default|sleep
//                --size BYTES --count N --warmup N --sockets CLIENT,SERVER --topic NAME
//
// Each message is made before it is sent, word by word, and every byte of what comes is looked at:
// in the program's own buffers, or with loans in place. Channels are the public C API's, by the
// sockets of two pods; two of them make a ping-pong.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "ping.h"
#include "shimmy.h"

namespace shimmy::bench {
namespace {

struct Options {
  std::string transport = "tcp";
  bool by_loan = false;
  Waiting waiting = Waiting::kDefault;
  size_t size = 100;
  uint64_t count = 10000;
  uint64_t warmup = 1000;
  std::string sockets[2];
  std::string topic = "ping";
};

[[noreturn]] void Die(const char* what, const char* why) {
  std::fprintf(stderr, "channel_ping: %s: %s\n", what, why);
  std::exit(1);
}

void Check(bool ok, const char* what) {
  if (!ok) Die(what, strerror(errno));
}

void CheckChannel(int status, const char* what) {
  if (status == SHIMMY_OK) return;
  shimmy_error error;
  shimmy_last_error(&error);
  Die(what, error.message);
}

// One end: a place to make a message in, and the message that came.
class End {
 public:
  End() = default;
  End(const End&) = delete;
  End& operator=(const End&) = delete;
  virtual ~End() = default;
  virtual unsigned char* Begin(size_t size) = 0;
  virtual void Send(size_t size) = 0;
  virtual const unsigned char* Receive(size_t size) = 0;
  virtual void Done() = 0;
  virtual void Describe() {}
};

class SocketEnd final : public End {
 public:
  SocketEnd(int fd, Waiting waiting, size_t size)
      : fd_(fd),
        flags_(MSG_NOSIGNAL | (waiting == Waiting::kSpin ? MSG_DONTWAIT : 0)),
        out_(size),
        in_(size) {}
  unsigned char* Begin(size_t) override { return out_.data(); }
  void Send(size_t size) override {
    for (size_t done = 0; done < size;) {
      const ssize_t sent = send(fd_, out_.data() + done, size - done, flags_);
      if (sent > 0)
        done += static_cast<size_t>(sent);
      else
        Check(errno == EAGAIN || errno == EINTR, "send");
    }
  }
  const unsigned char* Receive(size_t size) override {
    for (size_t done = 0; done < size;) {
      const ssize_t got = recv(fd_, in_.data() + done, size - done, flags_);
      if (got > 0)
        done += static_cast<size_t>(got);
      else
        Check(got < 0 && (errno == EAGAIN || errno == EINTR), "recv");
    }
    return in_.data();
  }
  void Done() override {}

 private:
  int fd_;
  int flags_;
  std::vector<unsigned char> out_, in_;
};

class ChannelEnd final : public End {
 public:
  ChannelEnd(const Options& options, PingSide side) : by_loan_(options.by_loan) {
    const std::string& socket = options.sockets[side];
    const shimmy_client_options client_options{sizeof client_options, socket.c_str(), 0};
    CheckChannel(shimmy_client_open(&client_options, &client_), "shimmy_client_open");
    const bool is_lock = options.transport == "lock";
    const std::string there = options.topic + (side == kClient ? "-there" : "-back");
    const std::string back = options.topic + (side == kClient ? "-back" : "-there");
    writer_ = Attach(options, there, is_lock ? SHIMMY_PRODUCER : SHIMMY_PUBLISHER);
    reader_ = Attach(options, back, is_lock ? SHIMMY_CONSUMER : SHIMMY_SUBSCRIBER);
    buffer_.resize(options.size);
    out_.resize(options.size);
    AwaitPeers();
  }
  ~ChannelEnd() override {
    shimmy_detach(writer_);
    shimmy_detach(reader_);
    shimmy_client_close(client_);
  }
  unsigned char* Begin(size_t size) override {
    if (!by_loan_) return out_.data();
    CheckChannel(shimmy_reserve(writer_, size, SHIMMY_FOREVER, &room_), "shimmy_reserve");
    return static_cast<unsigned char*>(room_.data);
  }
  void Send(size_t size) override {
    if (by_loan_) {
      CheckChannel(shimmy_commit(writer_, &room_, size), "shimmy_commit");
    } else {
      CheckChannel(shimmy_publish(writer_, out_.data(), size, SHIMMY_FOREVER), "shimmy_publish");
    }
  }
  const unsigned char* Receive(size_t size) override {
    if (by_loan_) {
      CheckChannel(shimmy_loan(reader_, SHIMMY_FOREVER, &message_), "shimmy_loan");
    } else {
      CheckChannel(shimmy_take(reader_, buffer_.data(), buffer_.size(), SHIMMY_FOREVER, &message_),
                   "shimmy_take");
    }
    if (message_.bytes != size || message_.missed != 0) Die("message", "not the one expected");
    return static_cast<const unsigned char*>(message_.data);
  }
  void Done() override {
    if (by_loan_) CheckChannel(shimmy_release(reader_, &message_), "shimmy_release");
  }
  // What went over the channels, by their own counters.
  void Describe() override {
    struct shimmy_counters sent {};
    struct shimmy_counters got {};
    sent.struct_size = got.struct_size = sizeof sent;
    CheckChannel(shimmy_counters(writer_, &sent), "shimmy_counters");
    CheckChannel(shimmy_counters(reader_, &got), "shimmy_counters");
    std::printf(",\"published\":%llu,\"taken\":%llu,\"sleeps\":%llu",
                static_cast<unsigned long long>(sent.messages),
                static_cast<unsigned long long>(got.messages),
                static_cast<unsigned long long>(got.sleeps));
  }

 private:
  shimmy_endpoint* Attach(const Options& options, const std::string& topic, uint32_t role) const {
    // The defaults; but a lock-free channel lends a subscriber a sixteenth of its blocks, which is
    // to be enough for a message.
    constexpr uint32_t kBlockBytes = 4096;
    const bool is_lock = options.transport == "lock";
    const auto per_message = static_cast<uint32_t>((options.size + kBlockBytes - 1) / kBlockBytes);
    const bool is_large = !is_lock && per_message > 4;
    shimmy_endpoint_options attach{};
    attach.struct_size = sizeof attach;
    attach.topic = topic.c_str();
    attach.role = role;
    attach.wait_mode = options.waiting == Waiting::kSpin    ? SHIMMY_SPIN
                       : options.waiting == Waiting::kSleep ? SHIMMY_SLEEP
                                                            : SHIMMY_ADAPTIVE;
    attach.flags = SHIMMY_CREATE;
    attach.parameters.kind = is_lock ? SHIMMY_LOCK_BASED : SHIMMY_LOCK_FREE;
    attach.parameters.block_bytes = is_large ? kBlockBytes * per_message : kBlockBytes;
    attach.parameters.blocks = is_large ? 16 : 64;
    shimmy_endpoint* endpoint = nullptr;
    CheckChannel(shimmy_attach(client_, &attach, &endpoint), "shimmy_attach");
    return endpoint;
  }
  // Set-up is not counted, and a publisher does not wait for subscribers by itself.
  void AwaitPeers() {
    for (shimmy_endpoint* const endpoint : {writer_, reader_}) {
      shimmy_info info{};
      info.struct_size = sizeof info;
      do {
        usleep(1000);
        CheckChannel(shimmy_describe(endpoint, &info), "shimmy_describe");
      } while (info.peers == 0);
    }
  }

  bool by_loan_;
  shimmy_client* client_ = nullptr;
  shimmy_endpoint* writer_ = nullptr;
  shimmy_endpoint* reader_ = nullptr;
  shimmy_room room_{};
  shimmy_message message_{};
  std::vector<unsigned char> buffer_, out_;
};

void InetPair(int type, int out[2]) {
  sockaddr_in addresses[2] = {};
  socklen_t length = sizeof addresses[0];
  int listener = -1;
  for (int i = 0; i < 2; i++) {
    out[i] = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    addresses[i].sin_family = AF_INET;
    addresses[i].sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* const address = reinterpret_cast<sockaddr*>(&addresses[i]);
    Check(out[i] >= 0 && bind(out[i], address, length) == 0, "bind");
    Check(getsockname(out[i], address, &length) == 0, "getsockname");
  }
  if (type == SOCK_DGRAM) {
    for (int i = 0; i < 2; i++) {
      const int bytes = 1 << 20;
      setsockopt(out[i], SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
      const auto* const peer = reinterpret_cast<const sockaddr*>(&addresses[1 - i]);
      Check(connect(out[i], peer, length) == 0, "connect");
    }
    return;
  }
  listener = out[1];
  Check(listen(listener, 1) == 0, "listen");
  Check(connect(out[0], reinterpret_cast<const sockaddr*>(&addresses[1]), length) == 0, "connect");
  out[1] = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  Check(out[1] >= 0, "accept4");
  close(listener);
  for (int i = 0; i < 2; i++) {
    const int one = 1;
    Check(setsockopt(out[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0, "TCP_NODELAY");
  }
}

std::unique_ptr<End> MakeEnd(const Options& options, PingSide side, const int fds[2]) {
  if (fds[side] >= 0) {
    return std::make_unique<SocketEnd>(fds[side], options.waiting, options.size);
  }
  return std::make_unique<ChannelEnd>(options, side);
}

void Make(unsigned char* to, size_t size, uint64_t number) {
  for (size_t at = 0; at + 8 <= size; at += 8) std::memcpy(to + at, &number, 8);
  for (size_t at = size / 8 * 8; at < size; at++) to[at] = 1;
}

void Look(const unsigned char* at, size_t size, uint64_t number) {
  const uint64_t sum = TouchEveryByte(reinterpret_cast<const std::byte*>(at), size);
  if (sum != number * (size / 8) + size % 8) Die("message", "differs from what was sent");
}

void Play(End* end, const Options& options, PingSide side) {
  Histogram latencies;
  const uint64_t rounds = options.warmup + options.count;
  uint64_t since = 0;
  for (uint64_t i = 1; i <= rounds; i++) {
    if (i == options.warmup + 1) since = PingNowNanos();
    const uint64_t before = PingNowNanos();
    if (side == kClient) {
      Make(end->Begin(options.size), options.size, i);
      end->Send(options.size);
    }
    Look(end->Receive(options.size), options.size, i);
    end->Done();
    if (side == kServer) {
      Make(end->Begin(options.size), options.size, i);
      end->Send(options.size);
    } else if (i > options.warmup) {
      latencies.Record(PingNowNanos() - before);
    }
  }
  if (side == kServer) return;
  const double seconds = static_cast<double>(PingNowNanos() - since) / 1e9;
  std::printf("{");
  latencies.PrintJsonFields(stdout);
  std::printf(",\"operations\":%llu,\"perSecond\":%.3f", static_cast<unsigned long long>(rounds),
              static_cast<double>(options.count) / seconds);
  end->Describe();
  std::printf("}\n");
}

Options Parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    const std::string value = argv[i + 1];
    if (name == "--transport")
      options.transport = value;
    else if (name == "--moving")
      options.by_loan = value == "loan";
    else if (name == "--waiting")
      options.waiting = ParseWaiting(value);
    else if (name == "--size")
      options.size = std::stoull(value);
    else if (name == "--count")
      options.count = std::stoull(value);
    else if (name == "--warmup")
      options.warmup = std::stoull(value);
    else if (name == "--topic")
      options.topic = value;
    else if (name == "--sockets") {
      options.sockets[0] = value.substr(0, value.find(','));
      options.sockets[1] = value.substr(value.find(',') + 1);
    } else {
      Die("unknown argument", argv[i]);
    }
  }
  return options;
}

int Main(const Options& options) {
  int fds[2] = {-1, -1};
  if (options.transport == "tcp") InetPair(SOCK_STREAM, fds);
  if (options.transport == "udp") InetPair(SOCK_DGRAM, fds);
  if (options.transport == "unix") {
    Check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0, "socketpair");
  }
  const pid_t child = fork();
  Check(child >= 0, "fork");
  const PingSide side = child == 0 ? kServer : kClient;
  if (child == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
  {
    const std::unique_ptr<End> end = MakeEnd(options, side, fds);
    PinIfSpinning(options.waiting, side);
    Play(end.get(), options, side);
    // The other side still reads what was published last; who detaches first is seen as gone.
    if (child != 0) waitpid(child, nullptr, 0);
  }
  if (child == 0) _exit(0);
  return 0;
}

}  // namespace
}  // namespace shimmy::bench

int main(int argc, char** argv) { return shimmy::bench::Main(shimmy::bench::Parse(argc, argv)); }
