// shimmy/doorbell.h: what the kernel must do for the doorbell, and what is taken out of it.
#include "shimmy/doorbell.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <vector>

#include "core_fixture.h"
#include "process_counts.h"

namespace shimmy::test {
namespace {

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76  // Linux 6.5, include/uapi/asm-generic/socket.h
#endif

class DoorbellTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(ProbeDoorbell<TestSys>(&sizes_), Status::kOk);
    ASSERT_EQ(CreateDoorbell<TestSys>(sizes_, ends_), Status::kOk);
  }
  void TearDown() override {
    close(ends_[0]);
    close(ends_[1]);
  }
  bool IsWritable(int end) const { return (RawSys::Poll(ends_[end], POLLOUT, 0) & POLLOUT) != 0; }
  Record Eat() { return EatRecord<TestSys>(ends_[1]); }
  void SendRaw(size_t bytes, const std::vector<int>& fds = {}) {
    std::vector<unsigned char> data(bytes, 7);
    iovec part{data.data(), data.size()};
    std::vector<unsigned char> control(CMSG_SPACE(fds.size() * sizeof(int)));
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* const c = CMSG_FIRSTHDR(&message);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
      std::memcpy(CMSG_DATA(c), fds.data(), fds.size() * sizeof(int));
    }
    ASSERT_EQ(sendmsg(ends_[0], &message, MSG_DONTWAIT), static_cast<ssize_t>(bytes));
  }

  DoorbellSizes sizes_;
  int ends_[2] = {-1, -1};
};

TEST_F(DoorbellTest, D2PlugMakesItUnwritableAndBellsStillFit) {
  ASSERT_EQ(SendPlug<TestSys>(ends_[0]), SendResult::kSent);
  EXPECT_FALSE(IsWritable(0));
  for (int i = 0; i < kBellsThatFit; i++) {
    EXPECT_EQ(SendBell<TestSys>(ends_[0]), SendResult::kSent) << i;
  }
  EXPECT_EQ(Eat().kind, RecordKind::kPlug);
  EXPECT_TRUE(IsWritable(0));
}

TEST_F(DoorbellTest, D2RaisingTheBufferTakesAPlugBack) {
  ASSERT_EQ(SendPlug<TestSys>(ends_[0]), SendResult::kSent);
  ASSERT_GE(TestSys::SetSendBuffer(ends_[0], sizes_.raised), 0);
  EXPECT_TRUE(IsWritable(0));
  ASSERT_GE(TestSys::SetSendBuffer(ends_[0], sizes_.normal), 0);
  EXPECT_FALSE(IsWritable(0));
}

TEST_F(DoorbellTest, D3TenBellsLeaveItWritable) {
  for (int i = 0; i < kBellsThatFit; i++) {
    ASSERT_EQ(SendBell<TestSys>(ends_[0]), SendResult::kSent);
  }
  EXPECT_TRUE(IsWritable(0));
  EXPECT_LT(TestSys::QueuedOut(ends_[0]), long{kPlugBytes});
}

TEST_F(DoorbellTest, D4FullIsNotAnErrorForABell) {
  SendResult result = SendResult::kSent;
  for (int i = 0; i < 10000 && result == SendResult::kSent; i++) {
    result = SendBell<TestSys>(ends_[0]);
  }
  EXPECT_EQ(result, SendResult::kFull);
}

TEST_F(DoorbellTest, EatsRecordsInOrder) {
  EXPECT_EQ(Eat().kind, RecordKind::kNone);
  ASSERT_EQ(SendBell<TestSys>(ends_[0]), SendResult::kSent);
  ASSERT_EQ(SendPlug<TestSys>(ends_[0]), SendResult::kSent);
  EXPECT_EQ(TestSys::QueuedIn(ends_[1]), long{kBellBytes + kPlugBytes});
  EXPECT_EQ(Eat().kind, RecordKind::kBell);
  const Record plug = Eat();
  EXPECT_EQ(plug.kind, RecordKind::kPlug);
  EXPECT_EQ(plug.bytes, kPlugBytes);
  EXPECT_EQ(Eat().kind, RecordKind::kNone);
}

TEST_F(DoorbellTest, TakesAReplaceWithItsFd) {
  const int half = memfd_create("half", MFD_CLOEXEC);
  const ReplaceRecord sent{kReplaceVersion, 2, 65536, 77, 0};
  ASSERT_EQ(SendReplace<TestSys>(ends_[0], sent, half), SendResult::kSent);
  const Record record = Eat();
  ASSERT_EQ(record.kind, RecordKind::kReplace);
  EXPECT_GE(record.fd, 0);
  EXPECT_EQ(fcntl(record.fd, F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(record.replace.start, 77U);
  close(record.fd);
  close(half);
}

// D1: lengths that no record has.
TEST_F(DoorbellTest, D1OtherLengthsAreStray) {
  for (const size_t bytes : {size_t{0}, size_t{2}, size_t{31}, size_t{32}, size_t{33}, size_t{64},
                             size_t{65}, size_t{8191}, size_t{8193}}) {
    SendRaw(bytes);
    EXPECT_EQ(Eat().kind, RecordKind::kStray) << bytes;
  }
}

TEST_F(DoorbellTest, D1OtherFdCountsAreStrayAndNothingLeaks) {
  const int fd = eventfd(0, EFD_CLOEXEC);
  const size_t before = CountFds();
  const std::pair<size_t, size_t> cases[] = {{1, 1},    {8192, 1}, {32, 2}, {32, 3}, {32, 10},
                                             {32, 250}, {1, 2},    {31, 1}, {33, 1}, {2, 253}};
  for (const auto& [bytes, count] : cases) {
    SendRaw(bytes, std::vector<int>(count, fd));
    EXPECT_EQ(Eat().kind, RecordKind::kStray) << bytes << " bytes, " << count << " fds";
    EXPECT_EQ(CountFds(), before);
  }
  close(fd);
}

// Whoever made the doorbell may have set options on the end it gave away.
TEST_F(DoorbellTest, D1PidfdsThatTheMakerAskedForDoNotLeak) {
  const int on = 1;
  if (setsockopt(ends_[1], SOL_SOCKET, SO_PASSPIDFD, &on, sizeof on) != 0) {
    GTEST_SKIP() << "this kernel has no SO_PASSPIDFD";
  }
  const size_t before = CountFds();
  for (int i = 0; i < 8; i++) {
    SendRaw(1);
    static_cast<void>(Eat());
  }
  EXPECT_EQ(CountFds(), before);
}

TEST_F(DoorbellTest, HangUpAndEmptyRecordAreToldApart) {
  SendRaw(0);
  EXPECT_EQ(Eat().kind, RecordKind::kStray);
  shutdown(ends_[0], SHUT_WR);
  EXPECT_EQ(Eat().kind, RecordKind::kHangUp);
}

TEST_F(DoorbellTest, RecordsQueuedBeforeAResetAreStillEaten) {
  ASSERT_EQ(SendBell<TestSys>(ends_[1]), SendResult::kSent);  // unread: the close is a reset
  ASSERT_EQ(SendPlug<TestSys>(ends_[0]), SendResult::kSent);
  close(ends_[0]);
  EXPECT_EQ(Eat().kind, RecordKind::kPlug);
  EXPECT_EQ(Eat().kind, RecordKind::kHangUp);
  ends_[0] = dup(ends_[1]);
}

TEST_F(DoorbellTest, SendingToNobodySaysSo) {
  shutdown(ends_[1], SHUT_RDWR);
  EXPECT_EQ(SendBell<TestSys>(ends_[0]), SendResult::kPeerGone);
  EXPECT_EQ(SendPlug<TestSys>(ends_[0]), SendResult::kPeerGone);
}

// A kernel on which no size works must be found out, not assumed.
struct NoPlugSys : TestSys {
  static long Poll(int, short events, int) noexcept { return events; }  // always writable
};
TEST(ProbeDoorbellTest, FailsWhereAPlugDoesNotHold) {
  DoorbellSizes sizes;
  EXPECT_EQ(ProbeDoorbell<NoPlugSys>(&sizes), Status::kInternal);
}

TEST(ProbeDoorbellTest, LeavesNoFdBehind) {
  const size_t before = CountFds();
  DoorbellSizes sizes;
  EXPECT_EQ(ProbeDoorbell<TestSys>(&sizes), Status::kOk);
  EXPECT_EQ(CountFds(), before);
}

}  // namespace
}  // namespace shimmy::test
