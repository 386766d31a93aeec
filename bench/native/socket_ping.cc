// Ping-pong over TCP on loopback (TCP_NODELAY) or a Unix socket pair: the ring bench's baselines.
//
//   socket_ping --transport tcp|unix --waiting spin|default|sleep --size BYTES --duration-ms T
//
// spin: the socket is non-blocking and asked again at once. default and sleep: it blocks.
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

#include "ping.h"

namespace shimmy::bench {
namespace {

void Check(bool ok, const char* what) {
  if (ok) return;
  std::perror(what);
  std::exit(1);
}

class SocketEnd {
 public:
  SocketEnd(int fd, Waiting waiting)
      : fd_(fd), flags_(MSG_NOSIGNAL | (waiting == Waiting::kSpin ? MSG_DONTWAIT : 0)) {}

  bool Write(const std::byte* from, size_t size) const {
    for (size_t done = 0; done < size;) {
      const ssize_t sent = send(fd_, from + done, size - done, flags_);
      if (sent > 0)
        done += static_cast<size_t>(sent);
      else if (!IsAgain(sent))
        return false;
    }
    return true;
  }

  bool Read(std::byte* to, size_t size) const {
    for (size_t done = 0; done < size;) {
      const ssize_t got = recv(fd_, to + done, size - done, flags_);
      if (got > 0)
        done += static_cast<size_t>(got);
      else if (!IsAgain(got))
        return false;
    }
    return true;
  }

 private:
  static bool IsAgain(ssize_t result) { return result < 0 && (errno == EAGAIN || errno == EINTR); }

  const int fd_;
  const int flags_;
};

void UnixPair(int out[2]) {
  Check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out) == 0, "socketpair");
}

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
  for (const int fd : {out[0], out[1]}) {
    const int one = 1;
    Check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0, "TCP_NODELAY");
  }
}

int Main(const PingOptions& options) {
  int fds[2];
  if (options.transport == "tcp")
    TcpPair(fds);
  else if (options.transport == "unix")
    UnixPair(fds);
  else
    Check(false, "--transport is tcp or unix");

  const pid_t child = fork();
  Check(child >= 0, "fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(fds[0]);
    PinIfSpinning(options.waiting, kServer);
    SocketEnd end(fds[1], options.waiting);
    _exit(ServePings(end, options.size));
  }
  close(fds[1]);
  PinIfSpinning(options.waiting, kClient);
  SocketEnd end(fds[0], options.waiting);
  const int code = RunPings(end, options);
  close(fds[0]);
  waitpid(child, nullptr, 0);
  return code;
}

}  // namespace
}  // namespace shimmy::bench

int main(int argc, char** argv) {
  return shimmy::bench::Main(shimmy::bench::ParsePingOptions(argc, argv));
}
