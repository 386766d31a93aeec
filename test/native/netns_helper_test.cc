// shimmy-netns-helper: what it makes of cgroups, of hostile requests and of processes that are not
// what the request says. The namespaces of real pods are in test/integration/pod-sockets.test.ts.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "cgroup.h"
#include "entrance.h"
#include "server.h"

namespace shimmy::netns {
namespace {

constexpr const char* kPod = "2c48913c-b29f-11e7-9350-020968147796";
constexpr pid_t kPid = 4242;
constexpr uint64_t kStartTime = 1234567;

struct Layout {
  std::string name;
  std::string expected;  // the pod, or empty
  std::string text;
};

std::vector<Layout> Layouts() {
  std::ifstream file(SHIMMY_FIXTURES "/cgroups.txt");
  std::vector<Layout> layouts;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("== ")) {
      layouts.push_back({.name = line.substr(3), .expected = {}, .text = {}});
    } else if (line.starts_with("-> ")) {
      std::istringstream words(line.substr(3));
      std::string kind;
      words >> kind;
      if (kind == "pod") words >> layouts.back().expected;
    } else if (!layouts.empty() && !line.empty()) {
      layouts.back().text += line + "\n";
    }
  }
  return layouts;
}

TEST(PodOf, ReadsEveryLayoutAsTheAgentDoes) {
  const std::vector<Layout> layouts = Layouts();
  ASSERT_GT(layouts.size(), 40U);
  for (const Layout& layout : layouts)
    EXPECT_EQ(PodOf(layout.text), layout.expected) << layout.name;
}

TEST(PodOf, NeverNamesAnotherPodThanTheOneItIsBelow) {
  const std::string own = "/kubepods/burstable/pod" + std::string(kPod);
  const std::vector<std::string> parts = {"kubepods",
                                          "kubepods.slice",
                                          "burstable",
                                          "..",
                                          "",
                                          "pod",
                                          "user.slice",
                                          std::string(64, 'a'),
                                          "podb33b9af4-e0c2-4f5e-8c37-1f9f3f2f4e0b",
                                          "kubepods-podb33b9af4_e0c2_4f5e_8c37_1f9f3f2f4e0b.slice",
                                          "pod" + std::string(kPod)};
  std::mt19937 random(1);
  std::size_t named = 0;
  for (int round = 0; round < 20'000; round++) {
    std::string text = "0::" + own;
    for (std::size_t i = random() % 6; i > 0; i--) text += "/" + parts[random() % parts.size()];
    const bool names_other = text.find("b33b9af4") != std::string::npos;
    EXPECT_EQ(PodOf(text), names_other ? "" : kPod) << text;
    named += names_other ? 0 : 1;
  }
  EXPECT_GT(named, 1000U);
}

// A folder that looks like /proc, with one process in it.
class EntranceTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "shimmy-proc-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    proc_ = name;
    Link("self/ns/net", "/proc/self/ns/net");
    WriteStat("S", kStartTime);
    WriteCgroup(kPod);
    Link(std::to_string(kPid) + "/ns/net", "/proc/self/ns/net");
    ASSERT_EQ(entrance_.Open(proc_.c_str(), "/proc/self/ns/net"), 0);
  }

  void TearDown() override { std::filesystem::remove_all(proc_); }

  void WriteStat(const std::string& state, uint64_t start_time) const {
    // A name may hold what looks like the rest of the line.
    Write("stat", std::to_string(kPid) + " (a) S 1 (b) " + state +
                      " 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 " + std::to_string(start_time) +
                      " 99 100\n");
  }

  void WriteCgroup(const std::string& pod) const {
    Write("cgroup", "0::/kubepods/burstable/pod" + pod + "/" + std::string(64, 'a') + "\n");
  }

  void Write(const std::string& name, const std::string& text) const {
    const auto path = proc_ / std::to_string(kPid) / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }

  void Link(const std::string& name, const std::string& target) const {
    const auto path = proc_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::filesystem::remove(path);
    std::filesystem::create_symlink(target, path);
  }

  static Request MakeRequest() {
    Request request{};
    request.magic = kRequestMagic;
    request.version = kProtocolVersion;
    request.pid = kPid;
    request.start_time = kStartTime;
    std::strcpy(static_cast<char*>(request.pod), kPod);
    return request;
  }

  [[nodiscard]] Result Ask(const Request& request) const {
    const Answer answer = entrance_.Handle(&request, sizeof request);
    EXPECT_EQ(answer.reply.magic, kReplyMagic);
    EXPECT_EQ(answer.api.valid(), answer.reply.result == Result::kOpened);
    EXPECT_EQ(answer.fd.valid(), answer.reply.result == Result::kOpened);
    return answer.reply.result;
  }

  std::filesystem::path proc_;
  Entrance entrance_;
};

TEST_F(EntranceTest, NeverEntersItsOwnNamespace) {
  EXPECT_EQ(Ask(MakeRequest()), Result::kHostNamespace);
}

TEST_F(EntranceTest, NeverEntersTheNamespaceOfTheNode) {
  // The node's is another one than ours, as it is in a cluster.
  const pid_t child = ::fork();
  if (child == 0) {
    // A user namespace wants a process of one thread, and TSan has one of its own.
    const int user = ::geteuid() == 0 ? 0 : CLONE_NEWUSER;
    const bool is_apart = ::unshare(user | CLONE_NEWNET) == 0;
    ::_exit(is_apart && ::pause() == 0 ? 0 : 1);
  }
  const std::string theirs = "/proc/" + std::to_string(child) + "/ns/net";
  const auto own = std::filesystem::read_symlink("/proc/self/ns/net");
  std::error_code error;
  auto found = own;
  for (int i = 0; i < 1000 && !error && found == own; i++) {
    ::usleep(1000);
    found = std::filesystem::read_symlink(theirs, error);
  }
  ASSERT_FALSE(error) << "the child has ended: " << error.message();
  ASSERT_NE(found, own);
  Link(std::to_string(kPid) + "/ns/net", theirs);
  Entrance entrance;
  ASSERT_EQ(entrance.Open(proc_.c_str(), theirs.c_str()), 0);
  const Request request = MakeRequest();
  const Answer answer = entrance.Handle(&request, sizeof request);
  EXPECT_EQ(answer.reply.result, Result::kHostNamespace);
  EXPECT_FALSE(answer.api.valid());
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

TEST_F(EntranceTest, RefusesWhatIsNoNetworkNamespace) {
  Link(std::to_string(kPid) + "/ns/net", "/proc/self/ns/mnt");
  EXPECT_EQ(Ask(MakeRequest()), Result::kSystemError);
  Link(std::to_string(kPid) + "/ns/net", "/dev/null");
  EXPECT_EQ(Ask(MakeRequest()), Result::kSystemError);
}

TEST_F(EntranceTest, RefusesAProcessWhoseCgroupDoesNotNameThePod) {
  WriteCgroup("b33b9af4-e0c2-4f5e-8c37-1f9f3f2f4e0b");
  EXPECT_EQ(Ask(MakeRequest()), Result::kNotOfPod);
  Write("cgroup", "0::/system.slice/sshd.service\n");
  EXPECT_EQ(Ask(MakeRequest()), Result::kNotOfPod);
  Write("cgroup", "");
  EXPECT_EQ(Ask(MakeRequest()), Result::kNotOfPod);
  Write("cgroup", std::string(1024 * 1024, 'x'));
  EXPECT_EQ(Ask(MakeRequest()), Result::kNotOfPod);
}

TEST_F(EntranceTest, RefusesAProcessThatHasTheNumberOfAnother) {
  WriteStat("S", kStartTime + 1);
  EXPECT_EQ(Ask(MakeRequest()), Result::kGone);
}

TEST_F(EntranceTest, RefusesAProcessThatIsGone) {
  Request request = MakeRequest();
  request.pid = kPid + 1;
  EXPECT_EQ(Ask(request), Result::kGone);
  for (const char* const text :
       {"", "4242", "4242 (a) S 1 2 3", "4242 (a) S 1 1 1 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 x"}) {
    Write("stat", text);
    EXPECT_EQ(Ask(MakeRequest()), Result::kGone) << text;
  }
  WriteStat("Z", kStartTime);
  std::filesystem::remove(proc_ / std::to_string(kPid) / "ns/net");
  EXPECT_EQ(Ask(MakeRequest()), Result::kGone);
}

TEST_F(EntranceTest, RefusesRequestsThatAreNone) {
  const Request good = MakeRequest();
  const auto expect_bad = [this, good](const char* what, auto change) {
    Request request = good;
    change(request);
    EXPECT_EQ(Ask(request), Result::kBadRequest) << what;
  };
  expect_bad("magic", [](Request& request) { request.magic++; });
  expect_bad("version", [](Request& request) { request.version++; });
  expect_bad("reserved", [](Request& request) { request.reserved = 1; });
  expect_bad("pid 0", [](Request& request) { request.pid = 0; });
  expect_bad("all pids", [](Request& request) { request.pid = -1; });
  expect_bad("no pod", [](Request& request) { request.pod[0] = '\0'; });
  expect_bad("endless pod", [](Request& request) { std::memset(request.pod, 'a', kPodBytes); });
  expect_bad("path for a pod", [](Request& request) { request.pod[3] = '/'; });
  expect_bad("after the pod", [](Request& request) { request.pod[kPodBytes - 1] = 'a'; });
  for (std::size_t length = 0; length < sizeof good; length++) {
    EXPECT_EQ(entrance_.Handle(&good, length).reply.result, Result::kBadRequest) << length;
  }
  std::array<char, sizeof good + 1> longer{};
  std::memcpy(longer.data(), &good, sizeof good);
  EXPECT_EQ(entrance_.Handle(longer.data(), longer.size()).reply.result, Result::kBadRequest);
}

TEST_F(EntranceTest, SurvivesAnyBytes) {
  std::mt19937 random(2);
  for (int round = 0; round < 20'000; round++) {
    Request request = MakeRequest();
    auto* const bytes = reinterpret_cast<unsigned char*>(&request);
    for (int i = 0; i < 3; i++)
      bytes[random() % sizeof request] = static_cast<unsigned char>(random());
    EXPECT_NE(Ask(request), Result::kOpened);
  }
}

class ServerTest : public EntranceTest {
 protected:
  void SetUp() override {
    EntranceTest::SetUp();
    path_ = (proc_ / "helper.sock").string();
    listener_ = ListenAt(path_.c_str());
    ASSERT_TRUE(listener_.valid());
  }

  [[nodiscard]] UniqueFd Connect() const {
    UniqueFd client(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(static_cast<char*>(address.sun_path), path_.c_str());
    EXPECT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return client;
  }

  std::string path_;
  UniqueFd listener_;
};

TEST_F(ServerTest, AnswersItsUser) {
  const UniqueFd client = Connect();
  const Request request = MakeRequest();
  ASSERT_EQ(::send(client.get(), &request, sizeof request, 0), ssize_t{sizeof request});
  ASSERT_TRUE(ServeOne(listener_, ::geteuid(), entrance_));
  Reply reply{};
  ASSERT_EQ(::recv(client.get(), &reply, sizeof reply, 0), ssize_t{sizeof reply});
  EXPECT_EQ(reply.result, Result::kHostNamespace);
  EXPECT_EQ(::recv(client.get(), &reply, sizeof reply, 0), 0);
}

TEST_F(ServerTest, AnswersNobodyElse) {
  const UniqueFd client = Connect();
  const Request request = MakeRequest();
  ASSERT_EQ(::send(client.get(), &request, sizeof request, 0), ssize_t{sizeof request});
  ASSERT_TRUE(ServeOne(listener_, ::geteuid() + 1, entrance_));
  Reply reply{};
  EXPECT_LE(::recv(client.get(), &reply, sizeof reply, 0), 0);
}

TEST_F(ServerTest, GoesOnAfterAClientThatLeavesOrStuffsDescriptors) {
  Connect().Reset();
  ASSERT_TRUE(ServeOne(listener_, ::geteuid(), entrance_));

  const UniqueFd client = Connect();
  std::array<char, 4096> bytes{};
  iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  cmsghdr* const item = CMSG_FIRSTHDR(&header);
  item->cmsg_level = SOL_SOCKET;
  item->cmsg_type = SCM_RIGHTS;
  item->cmsg_len = CMSG_LEN(sizeof(int));
  const int own = client.get();
  std::memcpy(CMSG_DATA(item), &own, sizeof own);
  ASSERT_GT(::sendmsg(client.get(), &header, 0), 0);
  const int next_before = ::dup(0);
  ::close(next_before);
  ASSERT_TRUE(ServeOne(listener_, ::geteuid(), entrance_));
  const int next_after = ::dup(0);
  ::close(next_after);
  EXPECT_EQ(next_after, next_before);
  Reply reply{};
  ASSERT_EQ(::recv(client.get(), &reply, sizeof reply, 0), ssize_t{sizeof reply});
  EXPECT_EQ(reply.result, Result::kBadRequest);
}

TEST_F(ServerTest, ReplacesWhatAnEarlierRunLeft) {
  const UniqueFd again = ListenAt(path_.c_str());
  EXPECT_TRUE(again.valid());
  EXPECT_FALSE(ListenAt(std::string(200, 'x').c_str()).valid());
  EXPECT_FALSE(ListenAt("").valid());
}

}  // namespace
}  // namespace shimmy::netns
