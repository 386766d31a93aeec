// Plain TCP clients and servers for relay tests. Every wait is bounded; a hang is a failure.
#ifndef SHIMMY_TEST_NET_HELPERS_H_
#define SHIMMY_TEST_NET_HELPERS_H_

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <utility>

#include "unique_fd.h"

namespace shimmy::test {

using relay::UniqueFd;

// Sanitized builds on a busy machine are slow; a real hang lasts for ever.
inline constexpr int kHangMs = 15000;

inline bool WaitFor(const std::function<bool()>& is_so, int timeout_ms = kHangMs) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  while (!is_so()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

inline sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// A listening socket on a port of its own.
class TcpServer {
 public:
  TcpServer() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_in address = Loopback(0);
    socklen_t length = sizeof address;
    EXPECT_EQ(bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(listen(fd_.get(), 4096), 0);
    EXPECT_EQ(getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
    port_ = ntohs(address.sin_port);
  }
  uint16_t port() const { return port_; }
  int fd() const { return fd_.get(); }
  void Close() { fd_.Reset(); }

 private:
  UniqueFd fd_;
  uint16_t port_ = 0;
};

// One end of a TCP connection, blocking with a time limit.
class TcpConnection {
 public:
  TcpConnection() = default;
  explicit TcpConnection(UniqueFd fd) : fd_(std::move(fd)) {}
  static TcpConnection To(uint16_t port) {
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in address = Loopback(port);
    if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      fd.Reset();
    }
    return TcpConnection(std::move(fd));
  }
  static TcpConnection From(const TcpServer& server) {
    pollfd entry{server.fd(), POLLIN, 0};
    if (poll(&entry, 1, kHangMs) <= 0) return {};
    return TcpConnection(UniqueFd(accept4(server.fd(), nullptr, nullptr, SOCK_CLOEXEC)));
  }

  bool is_open() const { return fd_.valid(); }
  int fd() const { return fd_.get(); }
  bool Send(const std::string& text) {
    for (size_t done = 0; done < text.size();) {
      if (!WaitUntil(POLLOUT)) return false;
      const ssize_t sent =
          send(fd_.get(), text.data() + done, text.size() - done, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0 && errno != EAGAIN) return false;
      if (sent > 0) done += static_cast<size_t>(sent);
    }
    return true;
  }
  // As much as the kernels and rings between take; returns how much that was.
  size_t SendUntilFull(size_t most) {
    const std::string block(65536, 'f');
    size_t total = 0;
    while (total < most) {
      pollfd entry{fd_.get(), POLLOUT, 0};
      if (poll(&entry, 1, 150) <= 0) break;
      const ssize_t sent = send(fd_.get(), block.data(), block.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0 && errno != EAGAIN) break;
      if (sent > 0) total += static_cast<size_t>(sent);
    }
    return total;
  }
  // Up to `most` bytes, less only at the end of file, an error or a hang; see error().
  std::string Read(size_t most) {
    std::string text(most, '\0');
    size_t got = 0;
    error_ = 0;
    while (got < most) {
      if (!WaitUntil(POLLIN)) {
        error_ = ETIMEDOUT;
        break;
      }
      const ssize_t n = recv(fd_.get(), text.data() + got, most - got, MSG_DONTWAIT);
      if (n < 0 && errno == EAGAIN) continue;
      if (n < 0) error_ = errno;
      if (n <= 0) break;
      got += static_cast<size_t>(n);
    }
    text.resize(got);
    return text;
  }
  // 0: end of file; ECONNRESET; ETIMEDOUT: hung.
  int ReadEnd() {
    Read(1);
    return error_;
  }
  int error() const { return error_; }
  void ShutWrite() { shutdown(fd_.get(), SHUT_WR); }
  void Close() { fd_.Reset(); }
  void Abort() {
    const linger now{1, 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    fd_.Reset();
  }

 private:
  bool WaitUntil(short events) const {
    pollfd entry{fd_.get(), events, 0};
    return poll(&entry, 1, kHangMs) > 0;
  }

  UniqueFd fd_;
  int error_ = 0;
};

// Echoes every connection on a thread of its own; half-closes when its client did.
class EchoServer {
 public:
  EchoServer()
      : epoll_(epoll_create1(EPOLL_CLOEXEC)), stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    Watch(stop_.get(), EPOLLIN, EPOLL_CTL_ADD);
    Watch(server_.fd(), EPOLLIN, EPOLL_CTL_ADD);
    thread_ = std::thread([this] { Loop(); });
  }
  ~EchoServer() {
    const uint64_t one = 1;
    EXPECT_EQ(write(stop_.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
    thread_.join();
  }
  EchoServer(const EchoServer&) = delete;
  EchoServer& operator=(const EchoServer&) = delete;
  uint16_t port() const { return server_.port(); }

 private:
  struct Client {
    UniqueFd fd;
    std::string pending;
    bool has_ended = false;
  };

  void Watch(int fd, uint32_t events, int operation) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    epoll_ctl(epoll_.get(), operation, fd, &event);
  }
  void Loop() {
    epoll_event events[64];
    for (;;) {
      const int count = epoll_wait(epoll_.get(), events, 64, -1);
      for (int i = 0; i < count; i++) {
        const int fd = events[i].data.fd;
        if (fd == stop_.get()) return;
        if (fd == server_.fd()) {
          Accept();
        } else if (!Serve(&clients_[fd])) {
          clients_.erase(fd);
        }
      }
    }
  }
  void Accept() {
    for (;;) {
      UniqueFd fd(accept4(server_.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!fd.valid()) return;
      const int number = fd.get();
      Watch(number, EPOLLIN, EPOLL_CTL_ADD);
      clients_[number].fd = std::move(fd);
    }
  }
  bool Serve(Client* client) {
    char buffer[65536];
    if (client->pending.empty() && !client->has_ended) {
      const ssize_t got = recv(client->fd.get(), buffer, sizeof buffer, MSG_DONTWAIT);
      if (got < 0 && errno != EAGAIN) return false;
      if (got == 0) client->has_ended = true;
      if (got > 0) client->pending.assign(buffer, static_cast<size_t>(got));
    }
    while (!client->pending.empty()) {
      const ssize_t sent = send(client->fd.get(), client->pending.data(), client->pending.size(),
                                MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN) return false;
      if (sent < 0) {
        Watch(client->fd.get(), EPOLLOUT, EPOLL_CTL_MOD);
        return true;
      }
      client->pending.erase(0, static_cast<size_t>(sent));
    }
    Watch(client->fd.get(), EPOLLIN, EPOLL_CTL_MOD);
    return !client->has_ended;  // closing sends the end of file
  }

  TcpServer server_;
  UniqueFd epoll_;
  UniqueFd stop_;
  std::map<int, Client> clients_;
  std::thread thread_;
};

}  // namespace shimmy::test

#endif  // SHIMMY_TEST_NET_HELPERS_H_
