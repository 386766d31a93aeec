// relay/endpoint_table.h: which endpoint a connection goes to, with a clock of the test's own.
#include "endpoint_table.h"

#include <gtest/gtest.h>

#include <map>

namespace shimmy::relay {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

Endpoint At(uint16_t port, bool is_near) {
  Endpoint endpoint;
  endpoint.pod = "pod-" + std::to_string(port);
  endpoint.address = "127.0.0.1";
  endpoint.port = port;
  endpoint.shm = is_near;
  return endpoint;
}

class EndpointTableTest : public testing::Test {
 protected:
  void Set(const std::vector<Endpoint>& endpoints) {
    Upstream upstream;
    upstream.service = "default/x";
    upstream.endpoints = endpoints;
    table_.Set(1, upstream);
  }
  EndpointTable::Choice Pick(const std::vector<EndpointRef>& tried = {}) {
    return table_.Pick(1, tried, now_);
  }
  std::map<uint16_t, int> PickMany(int count) {
    std::map<uint16_t, int> picked;
    for (int i = 0; i < count; i++) picked[Pick().endpoint.port]++;
    return picked;
  }
  // One connection to `port` that fails; the other endpoints are counted as tried.
  void FailOnce(uint16_t port) {
    std::vector<EndpointRef> tried;
    for (;;) {
      const EndpointTable::Choice choice = Pick(tried);
      ASSERT_NE(choice.state, nullptr);
      if (choice.endpoint.port == port) return table_.Fail(choice.state, now_);
      table_.Release(choice.state);
      tried.push_back(choice.state);
    }
  }

  EndpointTable table_;
  uint64_t now_ = kSecond;
};

TEST_F(EndpointTableTest, NothingToChooseFrom) {
  EXPECT_EQ(Pick().state, nullptr);
  Set({});
  EXPECT_EQ(Pick().state, nullptr);
  EXPECT_EQ(Pick().service, "default/x");
}

TEST_F(EndpointTableTest, SpreadsEvenly) {
  Set({At(1, false), At(2, false), At(3, false)});
  const auto picked = PickMany(30);
  for (const uint16_t port : std::initializer_list<uint16_t>{1, 2, 3})
    EXPECT_EQ(picked.at(port), 10);
}

TEST_F(EndpointTableTest, PrefersTheSameNodeUpToOneAndAHalfTimesTheMean) {
  Set({At(1, true), At(2, false), At(3, false)});
  const auto picked = PickMany(90);
  EXPECT_GT(picked.at(1), picked.at(2));
  EXPECT_GT(picked.at(1), picked.at(3));
  // Of n connections the near one gets at most 1.5 n / 3, and one.
  EXPECT_LE(picked.at(1), 46);
  EXPECT_GE(picked.at(1), 44);
}

TEST_F(EndpointTableTest, AnIdleTableAlwaysTakesTheNearOne) {
  Set({At(1, false), At(2, true)});
  for (int i = 0; i < 10; i++) {
    const EndpointTable::Choice choice = Pick();
    EXPECT_EQ(choice.endpoint.port, 2);
    table_.Release(choice.state);
  }
}

TEST_F(EndpointTableTest, TriesEachOnceThenGivesUp) {
  Set({At(1, true), At(2, false)});
  const EndpointRef first = Pick().state;
  const EndpointRef second = Pick({first}).state;
  EXPECT_NE(first, second);
  EXPECT_EQ(Pick({first, second}).state, nullptr);
}

TEST_F(EndpointTableTest, ThreeFailuresInARowEjectForTenSeconds) {
  Set({At(1, false), At(2, false)});
  for (int i = 0; i < 3; i++) FailOnce(1);
  EXPECT_EQ(PickMany(10).count(1), 0U);
  now_ += 10 * kSecond - 1;
  EXPECT_EQ(PickMany(10).count(1), 0U);
  now_ += 1;
  EXPECT_EQ(PickMany(10).at(1), 10) << "it has no connections, the other has thirty";
}

TEST_F(EndpointTableTest, SuccessForgetsFailures) {
  Set({At(1, false), At(2, false)});
  FailOnce(1);
  FailOnce(1);
  const EndpointTable::Choice choice = Pick();
  table_.Succeed(choice.state);
  FailOnce(choice.endpoint.port);
  FailOnce(choice.endpoint.port);
  EXPECT_EQ(PickMany(10).count(choice.endpoint.port), 1U);
}

TEST_F(EndpointTableTest, EjectionsDoubleToFiveMinutes) {
  Set({At(1, false), At(2, false)});
  for (const uint64_t seconds : std::initializer_list<uint64_t>{10, 20, 40, 80, 160, 300, 300}) {
    for (int i = 0; i < 3; i++) FailOnce(1);
    now_ += seconds * kSecond - 1;
    EXPECT_EQ(Pick().endpoint.port, 2) << seconds;
    now_ += 1;
    const EndpointTable::Choice back = Pick();
    EXPECT_EQ(back.endpoint.port, 1) << seconds;
    table_.Release(back.state);
  }
}

TEST_F(EndpointTableTest, WhenAllAreEjectedTheFirstToComeBackIsTried) {
  Set({At(1, false), At(2, false)});
  for (int i = 0; i < 3; i++) FailOnce(2);
  now_ += kSecond;
  for (int i = 0; i < 3; i++) FailOnce(1);
  EXPECT_EQ(Pick().endpoint.port, 2);
}

TEST_F(EndpointTableTest, StateSurvivesAnUpdate) {
  Set({At(1, false), At(2, false)});
  for (int i = 0; i < 3; i++) FailOnce(1);
  Set({At(2, false), At(1, false), At(3, false)});
  EXPECT_EQ(PickMany(10).count(1), 0U);
  Set({At(1, true)});
  const EndpointTable::Choice choice = Pick();
  EXPECT_EQ(choice.endpoint.port, 1);
  EXPECT_TRUE(choice.endpoint.shm) << "the new transport";
}

TEST_F(EndpointTableTest, ConnectionsOfARemovedListenerMayEnd) {
  Set({At(1, false)});
  const EndpointTable::Choice choice = Pick();
  table_.Remove(1);
  EXPECT_EQ(Pick().state, nullptr);
  table_.Release(choice.state);
  table_.Fail(choice.state, now_);
  EXPECT_EQ(choice.state->open, 0U);
}

}  // namespace
}  // namespace shimmy::relay
