// Streams of messages from producers to consumers, over TCP or lock-based channels: the paper's
// Figures 5 to 8.
//
//   channel_flow --transport none|tcp|lock --moving copy|loan --sessions N --size BYTES --count N
//                [--rate PER_SECOND] [--frames FILE] [--from COMMAND --to COMMAND]
//                [--block-bytes N --blocks N] --sockets A,B --topic NAME --gate PATH
//
// Two processes a session. Messages are made word by word, or copied from a file of frames, or read
// from a command's output; consumers look at every byte, or write it to a command's input. With
// `none` the second process of a session makes and looks, and the first one waits: what a transport
// takes beyond that is what it adds.
//
// It creates PATH.ready when all are connected, waits for PATH.go, creates PATH.done when all
// messages were consumed, and ends when PATH.end is there: whoever measures looks in between.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ping.h"
#include "shimmy.h"

namespace shimmy::bench {
namespace {

struct Options {
  std::string transport = "tcp";
  bool by_loan = false;
  uint64_t sessions = 1;
  size_t size = 10000;
  uint64_t count = 10000;
  uint64_t rate = 0;  // messages per second; 0: as fast as it goes
  std::string frames, from, to, gate;
  uint32_t block_bytes = 0;  // 0: the defaults of channels
  uint32_t blocks = 0;
  std::string sockets[2];
  std::string topic = "flow";
};

// What a session's two processes tell the parent. Shared anonymous memory, one writer each.
struct Tally {
  uint64_t sent, received;        // messages, as the program counts them
  uint64_t published, taken;      // the same by the channel's own counters
  uint64_t sleeps, wakes, bells;  // of both ends
};

[[noreturn]] void Die(const char* what, const char* why) {
  std::fprintf(stderr, "channel_flow: %s: %s\n", what, why);
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

bool ReadFully(int fd, unsigned char* to, size_t size) {
  for (size_t done = 0; done < size;) {
    const ssize_t got = read(fd, to + done, size - done);
    if (got == 0) {
      if (done > 0) Die("read", "ends within a message");
      return false;
    }
    Check(got > 0 || errno == EINTR, "read");
    if (got > 0) done += static_cast<size_t>(got);
  }
  return true;
}

void WriteFully(int fd, const unsigned char* from, size_t size) {
  for (size_t done = 0; done < size;) {
    const ssize_t put = write(fd, from + done, size - done);
    Check(put > 0 || errno == EINTR, "write");
    if (put > 0) done += static_cast<size_t>(put);
  }
}

uint64_t SumOf(const unsigned char* at, size_t size) {
  return TouchEveryByte(reinterpret_cast<const std::byte*>(at), size);
}

// Frames of a file, and what each adds up to.
class Frames {
 public:
  Frames(const std::string& path, size_t size) : size_(size) {
    if (path.empty()) return;
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat status {};
    Check(fd >= 0 && fstat(fd, &status) == 0, path.c_str());
    count_ = static_cast<size_t>(status.st_size) / size;
    if (count_ == 0) Die(path.c_str(), "holds no frame");
    void* const memory = mmap(nullptr, count_ * size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
    Check(memory != MAP_FAILED, "mmap");
    close(fd);
    bytes_ = static_cast<const unsigned char*>(memory);
    for (size_t i = 0; i < count_; i++) sums_.push_back(SumOf(bytes_ + i * size, size));
  }
  void Make(unsigned char* to, uint64_t number) const {
    if (count_ > 0) {
      std::memcpy(to, bytes_ + (number % count_) * size_, size_);
      return;
    }
    for (size_t at = 0; at + 8 <= size_; at += 8) std::memcpy(to + at, &number, 8);
    for (size_t at = size_ / 8 * 8; at < size_; at++) to[at] = 1;
  }
  void Look(const unsigned char* at, uint64_t number) const {
    const uint64_t expected =
        count_ > 0 ? sums_[number % count_] : number * (size_ / 8) + size_ % 8;
    if (SumOf(at, size_) != expected) Die("message", "differs from what was sent");
  }

 private:
  size_t size_;
  size_t count_ = 0;
  const unsigned char* bytes_ = nullptr;
  std::vector<uint64_t> sums_;
};

class Sender {
 public:
  Sender() = default;
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;
  virtual ~Sender() = default;
  virtual unsigned char* Begin() = 0;
  virtual void Send() = 0;
  virtual void Cancel() {}
  virtual void End() = 0;
  virtual void Describe(Tally*) {}
};

class Receiver {
 public:
  Receiver() = default;
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;
  virtual ~Receiver() = default;
  virtual const unsigned char* Receive() = 0;  // null at the end
  virtual void Done() {}
  virtual void Describe(Tally*) {}
};

class SocketSender final : public Sender {
 public:
  SocketSender(int fd, size_t size) : fd_(fd), out_(size) {}
  unsigned char* Begin() override { return out_.data(); }
  void Send() override { WriteFully(fd_, out_.data(), out_.size()); }
  void End() override { Check(shutdown(fd_, SHUT_WR) == 0, "shutdown"); }

 private:
  int fd_;
  std::vector<unsigned char> out_;
};

class SocketReceiver final : public Receiver {
 public:
  SocketReceiver(int fd, size_t size) : fd_(fd), in_(size) {}
  const unsigned char* Receive() override {
    return ReadFully(fd_, in_.data(), in_.size()) ? in_.data() : nullptr;
  }

 private:
  int fd_;
  std::vector<unsigned char> in_;
};

// A role in a topic, and the client it came by.
class Attached {
 public:
  Attached(const Options& options, const std::string& topic, uint32_t role) {
    const std::string& socket = options.sockets[role == SHIMMY_PRODUCER ? 0 : 1];
    const shimmy_client_options client_options{sizeof client_options, socket.c_str(), 0};
    CheckChannel(shimmy_client_open(&client_options, &client_), "shimmy_client_open");
    shimmy_endpoint_options attach{};
    attach.struct_size = sizeof attach;
    attach.topic = topic.c_str();
    attach.role = role;
    attach.flags = SHIMMY_CREATE;
    attach.parameters.kind = SHIMMY_LOCK_BASED;
    attach.parameters.block_bytes = options.block_bytes;
    attach.parameters.blocks = options.blocks;
    CheckChannel(shimmy_attach(client_, &attach, &endpoint_), "shimmy_attach");
  }
  Attached(const Attached&) = delete;
  Attached& operator=(const Attached&) = delete;
  ~Attached() {
    shimmy_detach(endpoint_);
    shimmy_client_close(client_);
  }
  // Set-up is not counted.
  void AwaitPeer() const {
    shimmy_info info{};
    info.struct_size = sizeof info;
    do {
      usleep(1000);
      CheckChannel(shimmy_describe(endpoint_, &info), "shimmy_describe");
    } while (info.peers == 0);
  }
  uint64_t Describe(Tally* tally) const {
    struct shimmy_counters counters {};
    counters.struct_size = sizeof counters;
    CheckChannel(shimmy_counters(endpoint_, &counters), "shimmy_counters");
    __atomic_fetch_add(&tally->sleeps, counters.sleeps, __ATOMIC_RELAXED);
    __atomic_fetch_add(&tally->wakes, counters.wakes, __ATOMIC_RELAXED);
    __atomic_fetch_add(&tally->bells, counters.bells, __ATOMIC_RELAXED);
    return counters.messages;
  }
  shimmy_endpoint* endpoint() const { return endpoint_; }

 private:
  shimmy_client* client_ = nullptr;
  shimmy_endpoint* endpoint_ = nullptr;
};

class ChannelSender final : public Sender {
 public:
  ChannelSender(const Options& options, const std::string& topic)
      : by_loan_(options.by_loan),
        size_(options.size),
        at_(options, topic, SHIMMY_PRODUCER),
        out_(options.by_loan ? 0 : options.size) {
    at_.AwaitPeer();
  }
  unsigned char* Begin() override {
    if (!by_loan_) return out_.data();
    CheckChannel(shimmy_reserve(at_.endpoint(), size_, SHIMMY_FOREVER, &room_), "shimmy_reserve");
    return static_cast<unsigned char*>(room_.data);
  }
  void Send() override {
    if (by_loan_) {
      CheckChannel(shimmy_commit(at_.endpoint(), &room_, size_), "shimmy_commit");
    } else {
      CheckChannel(shimmy_publish(at_.endpoint(), out_.data(), size_, SHIMMY_FOREVER),
                   "shimmy_publish");
    }
  }
  void Cancel() override {
    if (by_loan_) CheckChannel(shimmy_cancel(at_.endpoint(), &room_), "shimmy_cancel");
  }
  void End() override {
    CheckChannel(shimmy_end(at_.endpoint()), "shimmy_end");
    CheckChannel(shimmy_drain(at_.endpoint(), SHIMMY_FOREVER), "shimmy_drain");
  }
  void Describe(Tally* tally) override { tally->published = at_.Describe(tally); }

 private:
  bool by_loan_;
  size_t size_;
  Attached at_;
  shimmy_room room_{};
  std::vector<unsigned char> out_;
};

class ChannelReceiver final : public Receiver {
 public:
  ChannelReceiver(const Options& options, const std::string& topic)
      : by_loan_(options.by_loan),
        size_(options.size),
        at_(options, topic, SHIMMY_CONSUMER),
        in_(options.by_loan ? 0 : options.size) {
    at_.AwaitPeer();
  }
  const unsigned char* Receive() override {
    const int status =
        by_loan_ ? shimmy_loan(at_.endpoint(), SHIMMY_FOREVER, &message_)
                 : shimmy_take(at_.endpoint(), in_.data(), in_.size(), SHIMMY_FOREVER, &message_);
    if (status == SHIMMY_END) return nullptr;
    CheckChannel(status, by_loan_ ? "shimmy_loan" : "shimmy_take");
    if (message_.bytes != size_) Die("message", "of another size");
    return static_cast<const unsigned char*>(message_.data);
  }
  void Done() override {
    if (by_loan_) CheckChannel(shimmy_release(at_.endpoint(), &message_), "shimmy_release");
  }
  void Describe(Tally* tally) override { tally->taken = at_.Describe(tally); }

 private:
  bool by_loan_;
  size_t size_;
  Attached at_;
  shimmy_message message_{};
  std::vector<unsigned char> in_;
};

// Sleeps until message `number` is due.
class Pace {
 public:
  explicit Pace(uint64_t rate) : rate_(rate), start_(PingNowNanos()) {}
  void Await(uint64_t number) const {
    if (rate_ == 0) return;
    const uint64_t due = start_ + number * 1'000'000'000 / rate_;
    const timespec at{static_cast<time_t>(due / 1'000'000'000),
                      static_cast<long>(due % 1'000'000'000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr) == EINTR) {
    }
  }

 private:
  uint64_t rate_;
  uint64_t start_;
};

struct Pipe {
  int ends[2];
  Pipe() { Check(pipe2(ends, O_CLOEXEC) == 0, "pipe2"); }
};

struct CommandCloser {
  void operator()(FILE* command) const {
    if (pclose(command) != 0) Die("command", "failed");
  }
};
using Command = std::unique_ptr<FILE, CommandCloser>;

Command Run(const std::string& command, const char* mode) {
  if (command.empty()) return nullptr;
  Command running(popen(command.c_str(), mode));
  Check(running != nullptr, "popen");
  return running;
}

// What all processes of a run share.
struct Scene {
  const Options& options;
  const Frames& frames;
  const Pipe& ready;  // a byte from each process that is connected
  const Pipe& go;     // end of file: begin
  const Pipe& done;   // a byte from each process that has done its part
  const Pipe& end;    // end of file: let go of everything
};

void AwaitClose(const Pipe& pipe) {
  close(pipe.ends[1]);
  char byte;
  while (read(pipe.ends[0], &byte, 1) < 0 && errno == EINTR) {
  }
}

void Tell(const Pipe& pipe) { Check(write(pipe.ends[1], "x", 1) == 1, "write"); }

bool MakeNext(const Scene& scene, FILE* from, unsigned char* to, uint64_t number) {
  if (from != nullptr) return ReadFully(fileno(from), to, scene.options.size);
  if (number > scene.options.count) return false;
  scene.frames.Make(to, number);
  return true;
}

void LookAt(const Scene& scene, FILE* to, const unsigned char* at, uint64_t number) {
  if (to != nullptr) {
    WriteFully(fileno(to), at, scene.options.size);
  } else {
    scene.frames.Look(at, number);
  }
}

void Produce(const Scene& scene, Sender* sender, Tally* tally) {
  Tell(scene.ready);
  AwaitClose(scene.go);
  const Command from = Run(scene.options.from, "r");
  const Pace pace(scene.options.rate);
  for (uint64_t number = 1;; number++) {
    pace.Await(number);
    if (number > scene.options.count && from == nullptr) break;
    if (!MakeNext(scene, from.get(), sender->Begin(), number)) {
      sender->Cancel();
      break;
    }
    sender->Send();
    tally->sent = number;
  }
  sender->End();
  sender->Describe(tally);
  Tell(scene.done);
  AwaitClose(scene.end);
}

void Consume(const Scene& scene, Receiver* receiver, Tally* tally) {
  Tell(scene.ready);
  AwaitClose(scene.go);
  {
    const Command to = Run(scene.options.to, "w");
    for (uint64_t number = 1;; number++) {
      const unsigned char* const message = receiver->Receive();
      if (message == nullptr) break;
      LookAt(scene, to.get(), message, number);
      receiver->Done();
      tally->received = number;
    }
  }
  receiver->Describe(tally);
  Tell(scene.done);
  AwaitClose(scene.end);
}

// Both parts without a transport.
void MakeAndLook(const Scene& scene, Tally* tally) {
  std::vector<unsigned char> buffer(scene.options.size);
  Tell(scene.ready);
  AwaitClose(scene.go);
  {
    const Command from = Run(scene.options.from, "r");
    const Command to = Run(scene.options.to, "w");
    const Pace pace(scene.options.rate);
    for (uint64_t number = 1;; number++) {
      pace.Await(number);
      if (!MakeNext(scene, from.get(), buffer.data(), number)) break;
      LookAt(scene, to.get(), buffer.data(), number);
      tally->sent = tally->received = number;
    }
  }
  Tell(scene.done);
  AwaitClose(scene.end);
}

void Idle(const Scene& scene) {
  Tell(scene.ready);
  AwaitClose(scene.go);
  Tell(scene.done);
  AwaitClose(scene.end);
}

void TcpPair(int out[2]) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  out[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* const name = reinterpret_cast<sockaddr*>(&address);
  socklen_t length = sizeof address;
  Check(listener >= 0 && bind(listener, name, length) == 0 && listen(listener, 1) == 0, "listen");
  Check(getsockname(listener, name, &length) == 0, "getsockname");
  Check(connect(out[0], name, length) == 0, "connect");
  out[1] = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  Check(out[1] >= 0, "accept4");
  close(listener);
  const int one = 1;
  for (int i = 0; i < 2; i++) {
    Check(setsockopt(out[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0, "TCP_NODELAY");
  }
}

template <class Body>
pid_t Fork(Body body) {
  const pid_t child = fork();
  Check(child >= 0, "fork");
  if (child > 0) return child;
  signal(SIGCHLD, SIG_DFL);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  body();
  _exit(0);
}

void StartSession(const Scene& scene, uint64_t number, Tally* tally, std::vector<pid_t>* children) {
  const Options& options = scene.options;
  if (options.transport == "none") {
    children->push_back(Fork([&] { Idle(scene); }));
    children->push_back(Fork([&] { MakeAndLook(scene, tally); }));
    return;
  }
  if (options.transport == "tcp") {
    int fds[2];
    TcpPair(fds);
    children->push_back(Fork([&] {
      close(fds[1]);
      SocketSender sender(fds[0], options.size);
      Produce(scene, &sender, tally);
    }));
    children->push_back(Fork([&] {
      close(fds[0]);
      SocketReceiver receiver(fds[1], options.size);
      Consume(scene, &receiver, tally);
    }));
    close(fds[0]);
    close(fds[1]);
    return;
  }
  if (options.transport != "lock") Die("unknown transport", options.transport.c_str());
  const std::string topic = options.topic + "-" + std::to_string(number);
  children->push_back(Fork([&] {
    ChannelSender sender(options, topic);
    Produce(scene, &sender, tally);
  }));
  children->push_back(Fork([&] {
    ChannelReceiver receiver(options, topic);
    Consume(scene, &receiver, tally);
  }));
}

// A byte from each, or the first that died.
void AwaitAll(const Pipe& pipe, size_t count) {
  char byte;
  for (size_t i = 0; i < count; i++) {
    ssize_t got;
    while ((got = read(pipe.ends[0], &byte, 1)) < 0 && errno == EINTR) {
    }
    if (got != 1) Die("a process", "ended early");
  }
}

void Touch(const std::string& path) {
  const int fd = open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  Check(fd >= 0, path.c_str());
  close(fd);
}

void AwaitFile(const std::string& path) {
  while (access(path.c_str(), F_OK) != 0) usleep(2000);
}

void Print(const Options& options, const Tally* tallies) {
  Tally sum{};
  for (uint64_t i = 0; i < options.sessions; i++) {
    const Tally& one = tallies[i];
    if (one.sent != one.received) Die("session", "not every message was consumed");
    sum.sent += one.sent;
    sum.received += one.received;
    sum.published += one.published;
    sum.taken += one.taken;
    sum.sleeps += one.sleeps;
    sum.wakes += one.wakes;
    sum.bells += one.bells;
  }
  const auto number = [](uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "{\"sent\":%llu,\"received\":%llu,\"published\":%llu,\"taken\":%llu,\"sleeps\":%llu,"
      "\"wakes\":%llu,\"bells\":%llu}\n",
      number(sum.sent), number(sum.received), number(sum.published), number(sum.taken),
      number(sum.sleeps), number(sum.wakes), number(sum.bells));
}

// A process that fails ends the run, and so the others.
void EndWithChild(int) {
  int status = 0;
  while (waitpid(-1, &status, WNOHANG) > 0) {
    if (status != 0) _exit(1);
  }
}

int Main(const Options& options) {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGCHLD, EndWithChild);
  const Frames frames(options.frames, options.size);
  const size_t bytes = options.sessions * sizeof(Tally);
  void* const shared =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  Check(shared != MAP_FAILED, "mmap");
  auto* const tallies = static_cast<Tally*>(shared);
  const Pipe ready, go, done, end;
  const Scene scene{options, frames, ready, go, done, end};
  std::vector<pid_t> children;
  for (uint64_t i = 0; i < options.sessions; i++) StartSession(scene, i, &tallies[i], &children);
  close(ready.ends[1]);
  close(done.ends[1]);
  AwaitAll(ready, children.size());
  Touch(options.gate + ".ready");
  AwaitFile(options.gate + ".go");
  close(go.ends[1]);
  AwaitAll(done, children.size());
  Touch(options.gate + ".done");
  AwaitFile(options.gate + ".end");
  close(end.ends[1]);
  for (const pid_t child : children) {
    while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  Print(options, tallies);
  return 0;
}

Options Parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    const std::string value = argv[i + 1];
    const auto text = [&](std::string_view wanted, std::string* to) {
      if (name == wanted) *to = value;
      return name == wanted;
    };
    const auto number = [&](std::string_view wanted, auto* to) {
      if (name == wanted)
        *to = static_cast<std::remove_pointer_t<decltype(to)>>(std::stoull(value));
      return name == wanted;
    };
    if (name == "--moving") {
      options.by_loan = value == "loan";
    } else if (name == "--sockets") {
      options.sockets[0] = value.substr(0, value.find(','));
      options.sockets[1] = value.substr(value.find(',') + 1);
    } else if (!(text("--transport", &options.transport) || text("--frames", &options.frames) ||
                 text("--from", &options.from) || text("--to", &options.to) ||
                 text("--gate", &options.gate) || text("--topic", &options.topic) ||
                 number("--sessions", &options.sessions) || number("--size", &options.size) ||
                 number("--count", &options.count) || number("--rate", &options.rate) ||
                 number("--blocks", &options.blocks) ||
                 number("--block-bytes", &options.block_bytes))) {
      Die("unknown argument", argv[i]);
    }
  }
  return options;
}

}  // namespace
}  // namespace shimmy::bench

int main(int argc, char** argv) { return shimmy::bench::Main(shimmy::bench::Parse(argc, argv)); }
