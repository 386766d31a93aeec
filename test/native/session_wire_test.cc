// shimmy/session_wire.h: what is taken for a message. What a relay does about the rest is in
// hostile_session_test.cc.
#include "shimmy/session_wire.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace shimmy {
namespace {

std::vector<unsigned char> Open(const std::string& service, uint32_t is_kept = 0) {
  OpenMessage open{};
  open.header = HeaderOf<OpenMessage>(MessageType::kOpen, service.size());
  open.id = 1;
  open.pair = 2;
  open.port = 80;
  open.service_bytes = static_cast<uint16_t>(service.size());
  open.is_kept = is_kept;
  std::vector<unsigned char> bytes(sizeof open + service.size());
  std::memcpy(bytes.data(), &open, sizeof open);
  std::memcpy(bytes.data() + sizeof open, service.data(), service.size());
  return bytes;
}
bool Parses(const std::vector<unsigned char>& bytes, size_t fds, Message* out) {
  return ParseMessage(bytes.data(), bytes.size(), fds, out);
}

TEST(SessionWireTest, TakesAnOpen) {
  Message message;
  ASSERT_TRUE(Parses(Open("default/orders"), 2, &message));
  EXPECT_EQ(message.type, MessageType::kOpen);
  EXPECT_EQ(std::string(message.service), "default/orders");
  EXPECT_EQ(message.open.port, 80);
  EXPECT_TRUE(Parses(Open("a/b", 1), 1, &message)) << "a kept pair brings its doorbell only";
}

TEST(SessionWireTest, CountsFds) {
  Message message;
  for (const size_t fds : {size_t{0}, size_t{1}, size_t{3}}) {
    EXPECT_FALSE(Parses(Open("a/b"), fds, &message)) << fds;
  }
  EXPECT_FALSE(Parses(Open("a/b", 1), 2, &message));
  EXPECT_FALSE(Parses(Open("a/b", 2), 2, &message));
}

TEST(SessionWireTest, EveryTruncationIsRefused) {
  Message message;
  const std::vector<unsigned char> whole = Open("default/orders");
  for (size_t length = 0; length < whole.size(); length++) {
    EXPECT_FALSE(ParseMessage(whole.data(), length, 2, &message)) << length;
  }
}

TEST(SessionWireTest, LongestNameFits) {
  Message message;
  EXPECT_TRUE(Parses(Open("n/" + std::string(kMaxServiceBytes - 2, 'x')), 2, &message));
  EXPECT_EQ(std::strlen(message.service), kMaxServiceBytes);
  EXPECT_FALSE(Parses(Open("n/" + std::string(kMaxServiceBytes - 1, 'x')), 2, &message));
}

TEST(SessionWireTest, NamesAreDnsTextWithOneSlash) {
  Message message;
  for (const char* name : {"", "a", "ab", "/a", "a/", "a//b", "a/b/c", "A/b", "a/b c", "a/b\n",
                           "a/\xc3\xa9", "a_b/c", "a/\"x"}) {
    EXPECT_FALSE(Parses(Open(name), 2, &message)) << name;
  }
  EXPECT_FALSE(Parses(Open(std::string("a/b\0c", 5)), 2, &message));
}

}  // namespace
}  // namespace shimmy
