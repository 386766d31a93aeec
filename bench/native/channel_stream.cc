// Sessions side by side, each a producer's process and a consumer's: the paper's Figures 5 and 6.
//
//   channel_stream --transport tcp|lock --moving copy|loan --sessions N --messages N --size BYTES
//                  --sockets PRODUCERS,CONSUMERS --topic NAME
//
// Producers make each message word by word, consumers look at every byte: in their own buffers, or
// with loans in place. Channels are the public C API's.
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
#include <string>
#include <string_view>
#include <vector>

#include "ping.h"
#include "shimmy.h"

namespace shimmy::bench {
namespace {

struct Options {
  std::string transport = "tcp";
  bool by_loan = false;
  unsigned sessions = 1;
  uint64_t messages = 10000;
  size_t size = 10000;
  std::string sockets[2];
  std::string topic = "stream";
};

[[noreturn]] void Die(const char* what, const char* why) {
  std::fprintf(stderr, "channel_stream: %s: %s\n", what, why);
  _exit(1);
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

void Make(unsigned char* to, size_t size, uint64_t number) {
  for (size_t at = 0; at + 8 <= size; at += 8) std::memcpy(to + at, &number, 8);
  for (size_t at = size / 8 * 8; at < size; at++) to[at] = 1;
}

void Look(const unsigned char* at, size_t size, uint64_t number) {
  const uint64_t sum = TouchEveryByte(reinterpret_cast<const std::byte*>(at), size);
  if (sum != number * (size / 8) + size % 8) Die("message", "differs from what was sent");
}

// ---- TCP ----

void TcpPair(int out[2]) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  Check(listener >= 0 && bind(listener, generic, length) == 0, "bind");
  Check(listen(listener, 1) == 0 && getsockname(listener, generic, &length) == 0, "listen");
  out[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  Check(out[0] >= 0 && connect(out[0], generic, length) == 0, "connect");
  out[1] = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  Check(out[1] >= 0, "accept4");
  close(listener);
  const int one = 1;
  Check(setsockopt(out[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0, "TCP_NODELAY");
}

void ProduceTcp(const Options& options, int fd) {
  std::vector<unsigned char> message(options.size);
  for (uint64_t i = 0; i < options.messages; i++) {
    Make(message.data(), options.size, i);
    for (size_t done = 0; done < options.size;) {
      const ssize_t sent = send(fd, message.data() + done, options.size - done, MSG_NOSIGNAL);
      Check(sent > 0 || errno == EINTR, "send");
      if (sent > 0) done += static_cast<size_t>(sent);
    }
  }
}

void ConsumeTcp(const Options& options, int fd) {
  std::vector<unsigned char> message(options.size);
  for (uint64_t i = 0; i < options.messages; i++) {
    for (size_t done = 0; done < options.size;) {
      const ssize_t got = recv(fd, message.data() + done, options.size - done, 0);
      Check(got > 0 || (got < 0 && errno == EINTR), "recv");
      if (got > 0) done += static_cast<size_t>(got);
    }
    Look(message.data(), options.size, i);
  }
}

// ---- channels ----

struct Channel {
  shimmy_client* client = nullptr;
  shimmy_endpoint* endpoint = nullptr;
};

Channel Attach(const Options& options, PingSide side, unsigned session) {
  // The defaults of a channel whose messages take a block each: what a TCP socket buffers at first.
  constexpr uint32_t kBlocks = 16;
  Channel channel;
  const shimmy_client_options client_options{sizeof client_options, options.sockets[side].c_str(),
                                             0};
  CheckChannel(shimmy_client_open(&client_options, &channel.client), "shimmy_client_open");
  const std::string topic = options.topic + "-" + std::to_string(session);
  shimmy_endpoint_options attach{};
  attach.struct_size = sizeof attach;
  attach.topic = topic.c_str();
  attach.role = side == kClient ? SHIMMY_PRODUCER : SHIMMY_CONSUMER;
  attach.flags = SHIMMY_CREATE;
  attach.parameters.kind = SHIMMY_LOCK_BASED;
  attach.parameters.blocks = kBlocks;
  attach.parameters.block_bytes = static_cast<uint32_t>((options.size + 63) / 64 * 64);
  CheckChannel(shimmy_attach(channel.client, &attach, &channel.endpoint), "shimmy_attach");
  return channel;
}

uint64_t Counted(const Channel& channel) {
  struct shimmy_counters counters {};
  counters.struct_size = sizeof counters;
  CheckChannel(shimmy_counters(channel.endpoint, &counters), "shimmy_counters");
  return counters.messages;
}

void Produce(const Options& options, unsigned session) {
  const Channel channel = Attach(options, kClient, session);
  std::vector<unsigned char> message(options.size);
  for (uint64_t i = 0; i < options.messages; i++) {
    if (options.by_loan) {
      shimmy_room room;
      CheckChannel(shimmy_reserve(channel.endpoint, options.size, SHIMMY_FOREVER, &room),
                   "shimmy_reserve");
      Make(static_cast<unsigned char*>(room.data), options.size, i);
      CheckChannel(shimmy_commit(channel.endpoint, &room, options.size), "shimmy_commit");
    } else {
      Make(message.data(), options.size, i);
      CheckChannel(shimmy_publish(channel.endpoint, message.data(), options.size, SHIMMY_FOREVER),
                   "shimmy_publish");
    }
  }
  CheckChannel(shimmy_drain(channel.endpoint, SHIMMY_FOREVER), "shimmy_drain");
  if (Counted(channel) != options.messages) Die("producer", "messages went another way");
  shimmy_client_close(channel.client);
  shimmy_detach(channel.endpoint);
}

void Consume(const Options& options, unsigned session) {
  const Channel channel = Attach(options, kServer, session);
  std::vector<unsigned char> buffer(options.size);
  for (uint64_t i = 0; i < options.messages; i++) {
    shimmy_message message;
    if (options.by_loan) {
      CheckChannel(shimmy_loan(channel.endpoint, SHIMMY_FOREVER, &message), "shimmy_loan");
      Look(static_cast<const unsigned char*>(message.data), message.bytes, i);
      CheckChannel(shimmy_release(channel.endpoint, &message), "shimmy_release");
    } else {
      CheckChannel(
          shimmy_take(channel.endpoint, buffer.data(), buffer.size(), SHIMMY_FOREVER, &message),
          "shimmy_take");
      Look(buffer.data(), message.bytes, i);
    }
  }
  if (Counted(channel) != options.messages) Die("consumer", "messages went another way");
  shimmy_client_close(channel.client);
  shimmy_detach(channel.endpoint);
}

pid_t Fork() {
  const pid_t child = fork();
  Check(child >= 0, "fork");
  if (child == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
  return child;
}

void StartSession(const Options& options, unsigned session) {
  int fds[2] = {-1, -1};
  const bool is_tcp = options.transport == "tcp";
  if (is_tcp) TcpPair(fds);
  for (const PingSide side : {kClient, kServer}) {
    if (Fork() != 0) continue;
    if (is_tcp) {
      close(fds[1 - side]);
      side == kClient ? ProduceTcp(options, fds[0]) : ConsumeTcp(options, fds[1]);
    } else {
      side == kClient ? Produce(options, session) : Consume(options, session);
    }
    _exit(0);
  }
  for (const int fd : fds) {
    if (fd >= 0) close(fd);
  }
}

int Main(const Options& options) {
  const uint64_t since = PingNowNanos();
  for (unsigned session = 0; session < options.sessions; session++) StartSession(options, session);
  int how = 0;
  while (wait(&how) > 0) {
    if (how != 0) Die("session", "failed");
  }
  const double seconds = static_cast<double>(PingNowNanos() - since) / 1e9;
  const auto total = static_cast<double>(options.messages) * options.sessions;
  std::printf("{\"perSecond\":%.3f,\"seconds\":%.6f,\"messages\":%.0f}\n", total / seconds, seconds,
              total);
  return 0;
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
    else if (name == "--sessions")
      options.sessions = static_cast<unsigned>(std::stoul(value));
    else if (name == "--messages")
      options.messages = std::stoull(value);
    else if (name == "--size")
      options.size = std::stoull(value);
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

}  // namespace
}  // namespace shimmy::bench

int main(int argc, char** argv) { return shimmy::bench::Main(shimmy::bench::Parse(argc, argv)); }
