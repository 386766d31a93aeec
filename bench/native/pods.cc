// Processes that are to an agent what the sidecars of its node's pods are: each in a network
// namespace and a cgroup of its own, connected to the agent's socket there.
//
//   pods FILE
//
// A line of FILE is one pod, its fields apart by tabs: the cgroup.procs of its container, and the
// messages hello, watch and report. Each message that a pod receives is written to standard output,
// with the time of day in milliseconds and the number of the pod's line before it, tabs between.
//
// It goes on until it is stopped. Exit code 1: something failed, or the agent ended a connection.
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace shimmy::bench {
namespace {

// In agent/api-sockets.ts as ABSTRACT_FD_SOCKET, MAX_MESSAGE_BYTES in api-limits.ts, and
// REPORT_INTERVAL_MS in api.ts.
constexpr std::string_view kSocketName = "shimmy/fd";
constexpr size_t kMaxMessageBytes = 65'536;
constexpr int64_t kReportIntervalMs = 2000;

// As sidecars do: sidecar/agent-client.ts.
constexpr unsigned kFirstRetryMs = 100;
constexpr unsigned kLongestRetryMs = 5000;

constexpr int kFields = 4;

struct Pod {
  std::string cgroup;
  std::string hello;
  std::string watch;
  std::string report;
};

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "pods: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

timespec Now(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return now;
}

int64_t MonotonicMs() {
  const timespec now = Now(CLOCK_MONOTONIC);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

std::vector<Pod> ReadPods(const char* path) {
  std::ifstream file(path);
  if (!file) Fail(path);
  std::vector<Pod> pods;
  for (std::string line; std::getline(file, line);) {
    std::string fields[kFields];
    size_t at = 0;
    for (std::string& field : fields) {
      const size_t end = std::min(line.find('\t', at), line.size());
      field = line.substr(at, end - at);
      at = std::min(end + 1, line.size());
    }
    pods.push_back({fields[0], fields[1], fields[2], fields[3]});
  }
  return pods;
}

void JoinCgroup(const std::string& path) {
  std::ofstream file(path);
  // 0 is whoever writes.
  if (!(file << "0" << std::flush)) Fail(path.c_str());
}

// Waits for the agent as long as it takes, less and less often.
int Connect() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::copy(kSocketName.begin(), kSocketName.end(), address.sun_path + 1);
  const auto length =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + kSocketName.size());
  for (unsigned wait_ms = kFirstRetryMs;; wait_ms = std::min(2 * wait_ms, kLongestRetryMs)) {
    const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0) Fail("socket");
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), length) == 0) return fd;
    if (errno != ECONNREFUSED) Fail("connect");
    ::close(fd);
    ::usleep(wait_ms * 1000);
  }
}

void Send(int fd, const std::string& message) {
  if (::send(fd, message.data(), message.size(), MSG_NOSIGNAL) < 0) Fail("send");
}

// One write, so that lines of several processes do not mix.
void Print(size_t index, std::string_view message) {
  const timespec now = Now(CLOCK_REALTIME);
  char head[64];
  const int length =
      std::snprintf(head, sizeof head, "%lld.%03ld\t%zu\t",
                    static_cast<long long>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000,
                    now.tv_nsec / 1000 % 1000, index);
  std::string line(head, static_cast<size_t>(length));
  line.append(message).push_back('\n');
  if (::write(STDOUT_FILENO, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    Fail("write");
  }
}

// What a sidecar does that carries nothing: it watches its services, and reports.
[[noreturn]] void Live(size_t index, const Pod& pod) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  JoinCgroup(pod.cgroup);
  if (::unshare(CLONE_NEWNET) != 0) Fail("unshare");
  const int fd = Connect();
  Send(fd, pod.hello);
  std::string buffer(kMaxMessageBytes, '\0');
  bool is_welcome = false;
  int64_t next_report = 0;
  for (;;) {
    const int64_t wait_ms = is_welcome ? std::max<int64_t>(next_report - MonotonicMs(), 0) : -1;
    pollfd polled{.fd = fd, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&polled, 1, static_cast<int>(wait_ms));
    if (ready < 0) Fail("poll");
    if (ready == 0) {
      Send(fd, pod.report);
      next_report += kReportIntervalMs;
      continue;
    }
    const ssize_t length = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (length < 0) Fail("recv");
    if (length == 0) Fail("the agent closed the connection");
    Print(index, std::string_view(buffer.data(), static_cast<size_t>(length)));
    if (is_welcome) continue;
    is_welcome = true;
    Send(fd, pod.watch);
    next_report = MonotonicMs() + kReportIntervalMs;
  }
}

}  // namespace
}  // namespace shimmy::bench

int main(int count, char** values) {
  using namespace shimmy::bench;
  if (count != 2) {
    std::fputs("usage: pods FILE\n", stderr);
    return 1;
  }
  const std::vector<Pod> pods = ReadPods(values[1]);
  for (size_t index = 0; index < pods.size(); index++) {
    const pid_t pid = ::fork();
    if (pid < 0) Fail("fork");
    if (pid == 0) Live(index, pods[index]);
  }
  // None ends by itself but by a fault, which it has printed; the others end with this process.
  int status = 0;
  ::wait(&status);
  return 1;
}
