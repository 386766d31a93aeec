// relay/placement.h, relay/contention.h, and the word in the control page that tells where to go.
#include "relay/placement.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

#include "core_fixture.h"
#include "relay/contention.h"
#include "relay/net.h"

namespace shimmy::relay {
namespace {

cpu_set_t Allowed() {
  cpu_set_t allowed;
  EXPECT_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
  return allowed;
}

// A thread of its own, whose affinity is nobody else's.
template <class Function>
void OnThread(Function&& function) {
  std::thread(function).join();
}

// The CPU that the calling thread is not on, of those it may use; its own if it has one only.
uint64_t OtherCpu() {
  const cpu_set_t allowed = Allowed();
  for (uint64_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (CPU_ISSET(cpu, &allowed) && cpu != Placement::Cpu()) return cpu;
  }
  return Placement::Cpu();
}

TEST(PlacementTest, MovesAndStaysFree) {
  OnThread([] {
    const cpu_set_t before = Allowed();
    Placement placement;
    placement.Begin();
    int moves = 0;
    for (int i = 0; i < 10; i++) moves += placement.MoveTo(OtherCpu()) ? 1 : 0;
    const cpu_set_t after = Allowed();
    EXPECT_TRUE(CPU_EQUAL(&before, &after));
    EXPECT_TRUE(moves > 0 || CPU_COUNT(&before) == 1) << moves;
  });
}

TEST(PlacementTest, StaysWithinTheMaskThatItWasGiven) {
  OnThread([] {
    const uint64_t elsewhere = OtherCpu();
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(Placement::Cpu(), &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    Placement placement;
    placement.Begin();
    EXPECT_FALSE(placement.MoveTo(elsewhere));
    const cpu_set_t after = Allowed();
    EXPECT_TRUE(CPU_EQUAL(&one, &after));
  });
}

TEST(PlacementTest, RefusesCpusThatAreNotThere) {
  OnThread([] {
    Placement placement;
    EXPECT_FALSE(placement.MoveTo(OtherCpu())) << "before Begin()";
    placement.Begin();
    for (const uint64_t cpu : {uint64_t{CPU_SETSIZE} - 1, uint64_t{CPU_SETSIZE}, UINT64_MAX}) {
      EXPECT_FALSE(placement.MoveTo(cpu)) << cpu;
    }
  });
}

TEST(PlacementTest, PeersTellWhereTheyRun) {
  test::TestStream s;
  uint64_t cpu = 0;
  EXPECT_FALSE(s.end(1).PeerCpu(&cpu)) << "not said yet";
  s.end(0).AnnounceCpu(3);
  ASSERT_TRUE(s.end(1).PeerCpu(&cpu));
  EXPECT_EQ(cpu, 3U);
}

TEST(ContentionTest, NoticesWhenNoCpuWasIdle) {
  Contention contention;
  const uint64_t begin = Now();
  contention.Begin(begin);
  EXPECT_TRUE(contention.HasIdleTime(begin)) << "nothing known yet";
  // As if so much time had passed without a hundredth of a second of it idle.
  EXPECT_FALSE(contention.HasIdleTime(begin + 300'000'000));
}

}  // namespace
}  // namespace shimmy::relay
