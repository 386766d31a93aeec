// Two relays with a session between them: what two apps see of each other through them.
#include "relay.h"

#include <sys/resource.h>

#include "relay_fixture.h"

namespace shimmy::test {
namespace {

using namespace std::chrono_literals;
using relay::Counter;

// Sends and reads at once, as the echo of more than the rings hold needs.
void ExpectEcho(uint16_t port, uint64_t bytes, uint64_t salt = 0) {
  TcpConnection client = TcpConnection::To(port);
  ASSERT_TRUE(client.is_open());
  const std::string sent = Pattern(salt, bytes);
  std::thread writer([&] {
    EXPECT_TRUE(client.Send(sent));
    client.ShutWrite();
  });
  const std::string got = client.Read(bytes);
  EXPECT_EQ(client.error(), 0);
  writer.join();
  EXPECT_TRUE(got == sent) << got.size() << " of " << bytes;
  EXPECT_EQ(client.ReadEnd(), 0);
}

TEST(RelayTest, CarriesAnEchoOverSharedMemory) {
  EchoServer echo;
  RelayPair pair;
  const uint16_t port = pair.ServeAndConnect(echo.port());
  ExpectEcho(port, 5);
  EXPECT_EQ(pair.a.Count(relay::kOutboundShm), 1U);
  EXPECT_EQ(pair.b.Count(relay::kInboundShm), 1U);
  EXPECT_EQ(pair.a.Count(relay::kBytesToShm), 5U);
  EXPECT_TRUE(pair.a.WaitForEnds(EndReason::kClosed, 1));
  EXPECT_TRUE(pair.b.WaitForEnds(EndReason::kClosed, 1));
}

TEST(RelayTest, CarriesTenMegabytesBothWaysAndGrowsItsRings) {
  EchoServer echo;
  RelayPair pair;
  const uint16_t port = pair.ServeAndConnect(echo.port());
  ExpectEcho(port, 10 << 20, 3);
  EXPECT_GT(pair.a.Count(relay::kReplacesSent), 0U);
  EXPECT_GT(pair.b.Count(relay::kReplacesTaken), 0U);
  ASSERT_TRUE(pair.a.WaitForIdle());
  ASSERT_TRUE(pair.b.WaitForIdle());
  EXPECT_EQ(pair.a.Count(relay::kOutboundTcp), 0U);
  EXPECT_EQ(pair.a.Count(relay::kRingBytesOwn), 0U) << "a grown pair is not kept";
  EXPECT_EQ(pair.a.Count(relay::kRingBytesPeer), 0U);
  EXPECT_EQ(pair.b.Count(relay::kRingBytesOwn), 0U);
  EXPECT_EQ(pair.b.Count(relay::kRingBytesPeer), 0U);
}

TEST(RelayTest, ThousandsOfConnectionsReusePairsAndLeakNothing) {
  EchoServer echo;
  RelayPair pair;
  const uint16_t port = pair.ServeAndConnect(echo.port());
  ExpectEcho(port, 100);
  ASSERT_TRUE(pair.a.WaitForIdle() && pair.b.WaitForIdle());
  const size_t fds = CountFds();
  const size_t mappings = CountHalfMappings();
  constexpr uint64_t kConnections = 1000;
  for (uint64_t i = 0; i < kConnections; i++) {
    TcpConnection client = TcpConnection::To(port);
    const std::string text = Pattern(i, 1 + i * 7 % 9000);
    ASSERT_TRUE(client.Send(text)) << i;
    client.ShutWrite();
    ASSERT_TRUE(client.Read(text.size() + 1) == text) << i;
  }
  ASSERT_TRUE(pair.a.WaitForIdle() && pair.b.WaitForIdle());
  EXPECT_EQ(pair.a.Count(relay::kOutboundShm), kConnections + 1);
  EXPECT_GT(pair.a.Count(relay::kPairsReused), kConnections / 2);
  EXPECT_TRUE(WaitFor([&] { return CountFds() <= fds; })) << CountFds() << " from " << fds;
  EXPECT_LE(CountHalfMappings(), mappings + 40) << "a few pairs more may be kept";
}

void FiveHundredAtOnce(uint32_t threads) {
  EchoServer echo;
  RelayOptions options;
  options.threads = threads;
  RelayPair pair(options, options);
  const uint16_t port = pair.ServeAndConnect(echo.port());
  constexpr size_t kClients = 500;
  std::vector<TcpConnection> clients;
  for (size_t i = 0; i < kClients; i++) {
    clients.push_back(TcpConnection::To(port));
    ASSERT_TRUE(clients.back().is_open());
    ASSERT_TRUE(clients[i].Send(Pattern(i, 3000)));
  }
  for (size_t i = 0; i < kClients; i++) {
    ASSERT_TRUE(clients[i].Read(3000) == Pattern(i, 3000)) << i;
  }
  for (size_t i = 0; i < kClients; i++) ASSERT_TRUE(clients[i].Send(Pattern(i + 1, 100)));
  for (size_t i = 0; i < kClients; i++) {
    ASSERT_TRUE(clients[i].Read(100) == Pattern(i + 1, 100)) << i;
    clients[i].Close();
  }
  ASSERT_TRUE(pair.a.WaitForIdle() && pair.b.WaitForIdle());
  EXPECT_EQ(pair.a.Count(relay::kOutboundShm) + pair.a.Count(relay::kOutboundTcp), kClients);
  EXPECT_GE(pair.a.Count(relay::kOutboundShm), kClients * 9 / 10);
}
TEST(RelayTest, FiveHundredConnectionsAtOnce) { FiveHundredAtOnce(1); }
TEST(RelayTest, FiveHundredConnectionsAtOnceOnThreeThreads) { FiveHundredAtOnce(3); }

// ---- ends ----

TEST(RelayTest, HalfCloseByTheClientLeavesTheAnswerToCome) {
  TcpServer server;
  RelayPair pair;
  const uint16_t port = pair.ServeAndConnect(server.port());
  TcpConnection client = TcpConnection::To(port);
  TcpConnection app = TcpConnection::From(server);
  ASSERT_TRUE(client.Send("request"));
  client.ShutWrite();
  EXPECT_EQ(app.Read(100), "request");
  EXPECT_EQ(app.error(), 0);
  std::thread answer([&] {
    EXPECT_TRUE(app.Send(Pattern(0, 1 << 20)));
    app.Close();
  });
  EXPECT_TRUE(client.Read((1 << 20) + 1) == Pattern(0, 1 << 20));
  EXPECT_EQ(client.error(), 0);
  answer.join();
  EXPECT_TRUE(pair.a.WaitForEnds(EndReason::kClosed, 1));
}

TEST(RelayTest, HalfCloseByTheServerLeavesTheClientSending) {
  TcpServer server;
  RelayPair pair;
  const uint16_t port = pair.ServeAndConnect(server.port());
  TcpConnection client = TcpConnection::To(port);
  TcpConnection app = TcpConnection::From(server);
  ASSERT_TRUE(app.Send("bye"));
  app.ShutWrite();
  EXPECT_EQ(client.Read(100), "bye");
  std::thread sender([&] {
    EXPECT_TRUE(client.Send(Pattern(0, 1 << 20)));
    client.Close();
  });
  EXPECT_TRUE(app.Read((1 << 20) + 1) == Pattern(0, 1 << 20));
  sender.join();
  EXPECT_TRUE(pair.b.WaitForEnds(EndReason::kClosed, 1));
}

TEST(RelayTest, ResetByTheClientReachesTheServer) {
  TcpServer server;
  RelayPair pair;
  const uint16_t port = pair.ServeAndConnect(server.port());
  TcpConnection client = TcpConnection::To(port);
  TcpConnection app = TcpConnection::From(server);
  ASSERT_TRUE(client.Send("x"));
  ASSERT_EQ(app.Read(1), "x");
  client.Abort();
  EXPECT_EQ(app.ReadEnd(), ECONNRESET);
  EXPECT_TRUE(pair.a.WaitForEnds(EndReason::kResetByApp, 1));
  EXPECT_TRUE(pair.b.WaitForEnds(EndReason::kResetByPeer, 1));
}

TEST(RelayTest, ResetByTheServerReachesTheClient) {
  TcpServer server;
  RelayPair pair;
  const uint16_t port = pair.ServeAndConnect(server.port());
  TcpConnection client = TcpConnection::To(port);
  TcpConnection app = TcpConnection::From(server);
  ASSERT_TRUE(client.Send("x"));
  ASSERT_EQ(app.Read(1), "x");
  app.Abort();
  EXPECT_EQ(client.ReadEnd(), ECONNRESET);
  EXPECT_TRUE(pair.b.WaitForEnds(EndReason::kResetByApp, 1));
  EXPECT_TRUE(pair.a.WaitForEnds(EndReason::kResetByPeer, 1));
}

TEST(RelayTest, DeathOfTheOtherRelayResetsTheConnection) {
  TcpServer server;
  RelayPair pair;
  const uint16_t port = pair.ServeAndConnect(server.port());
  TcpConnection client = TcpConnection::To(port);
  TcpConnection app = TcpConnection::From(server);
  pair.b.Stop();
  EXPECT_EQ(client.ReadEnd(), ECONNRESET);
}

TEST(RelayTest, IdleConnectionIsResetAfterItsTimeout) {
  TcpServer server;
  RelayOptions options;
  options.idle_timeout_ms = 100;
  RelayPair pair(options);
  const uint16_t port = pair.ServeAndConnect(server.port());
  TcpConnection client = TcpConnection::To(port);
  ASSERT_TRUE(client.Send("x"));
  EXPECT_EQ(client.ReadEnd(), ECONNRESET);
  EXPECT_TRUE(pair.a.WaitForEnds(EndReason::kIdleTimeout, 1));
  EXPECT_TRUE(pair.b.WaitForEnds(EndReason::kResetByPeer, 1));
}

// ---- rings that grew ----

class ShrinkTest : public testing::TestWithParam<uint32_t> {};
TEST_P(ShrinkTest, GrownRingGoesBackToItsFirstSizeAndGoesOn) {
  TcpServer server;
  RelayOptions options;
  options.shrink_after_ms = 60;
  options.idle_timeout_ms = GetParam();
  RelayPair pair(options);
  const uint16_t port = pair.ServeAndConnect(server.port());
  TcpConnection client = TcpConnection::To(port);
  TcpConnection app = TcpConnection::From(server);
  ASSERT_TRUE(WaitFor([&] { return pair.a.Count(relay::kActiveShm) == 1; }));
  const auto ring_bytes = [&] { return pair.a->Streams(1).at(0).ring_bytes; };
  const uint64_t first = ring_bytes();
  for (int round = 0; round < 2; round++) {
    const size_t sent = client.SendUntilFull(64 << 20);
    EXPECT_GT(ring_bytes(), first) << "and while it is full it stays so";
    ASSERT_EQ(app.Read(sent).size(), sent);
    EXPECT_TRUE(WaitFor([&] { return ring_bytes() == first; }));
    ASSERT_TRUE(client.Send("after"));
    EXPECT_EQ(app.Read(5), "after");
  }
}
INSTANTIATE_TEST_SUITE_P(IdleTimeouts, ShrinkTest, testing::Values(0, 60000));

// ---- nothing moves: no CPU may be used ----

// Both apps write and neither reads: both directions are full.
TEST(RelayTest, MutualBackpressureCostsNoCpu) {
  TcpServer server;
  RelayPair pair;
  const uint16_t port = pair.ServeAndConnect(server.port());
  TcpConnection client = TcpConnection::To(port);
  TcpConnection app = TcpConnection::From(server);
  const size_t to = client.SendUntilFull(64 << 20);
  const size_t from = app.SendUntilFull(64 << 20);
  const uint64_t before = ProcessCpuMs();
  std::this_thread::sleep_for(300ms);
  EXPECT_LT(ProcessCpuMs() - before, 60U);
  // And it all arrives once they read.
  std::thread reader([&] { EXPECT_EQ(app.Read(to).size(), to); });
  EXPECT_EQ(client.Read(from).size(), from);
  reader.join();
}

// The peer's relay dies while the app writes and does not read.
TEST(RelayTest, DeadPeerOfAnAppThatOnlyWritesCostsNoCpu) {
  TcpServer server;
  RelayPair pair;
  const uint16_t port = pair.ServeAndConnect(server.port());
  TcpConnection client = TcpConnection::To(port);
  TcpConnection app = TcpConnection::From(server);
  app.SendUntilFull(64 << 20);
  client.SendUntilFull(64 << 20);
  pair.b.Stop();
  std::this_thread::sleep_for(50ms);
  const uint64_t before = ProcessCpuMs();
  std::this_thread::sleep_for(300ms);
  EXPECT_LT(ProcessCpuMs() - before, 60U);
  client.Abort();
  EXPECT_TRUE(pair.a.WaitForIdle());
}

TEST(RelayTest, IdleStreamsCostNoCpu) {
  EchoServer echo;
  RelayPair pair;
  const uint16_t port = pair.ServeAndConnect(echo.port());
  std::vector<TcpConnection> clients;
  for (int i = 0; i < 50; i++) {
    clients.push_back(TcpConnection::To(port));
    ASSERT_TRUE(clients.back().Send("x"));
    ASSERT_EQ(clients.back().Read(1), "x");
  }
  std::this_thread::sleep_for(50ms);
  const uint64_t before = ProcessCpuMs();
  std::this_thread::sleep_for(300ms);
  EXPECT_LT(ProcessCpuMs() - before, 30U);
}

// ---- sessions that come late, fail, or go ----

TEST(RelayTest, ParksUntilTheSessionComes) {
  EchoServer echo;
  RelayPair pair;
  const uint16_t port = pair.Serve(echo.port());
  TcpConnection client = TcpConnection::To(port);
  ASSERT_TRUE(client.Send("early"));
  ASSERT_TRUE(pair.a.WaitForEvent(Event::Kind::kSessionNeeded, "pod-b"));
  pair.Connect();
  EXPECT_EQ(client.Read(5), "early");
  EXPECT_EQ(pair.a.Count(relay::kOutboundShm), 1U);
}

TEST(RelayTest, FailedSessionMeansTcpWithItsReason) {
  EchoServer echo;
  RelayPair pair;
  const uint16_t port = pair.Serve(echo.port());
  TcpConnection client = TcpConnection::To(port);
  ASSERT_TRUE(pair.a.WaitForEvent(Event::Kind::kSessionNeeded, "pod-b"));
  pair.a->FailSession("pod-b", FallbackReason::kPolicyUnknown);
  ASSERT_TRUE(client.Send("tcp"));
  EXPECT_EQ(client.Read(3), "tcp");
  EXPECT_EQ(pair.a.Fallbacks(FallbackReason::kPolicyUnknown), 1U);
  EXPECT_EQ(pair.a.Count(relay::kOutboundTcp), 1U);
}

TEST(RelayTest, SessionThatNeverComesMeansTcpAgentUnavailable) {
  EchoServer echo;
  RelayOptions options;
  options.open_timeout_ms = 50;
  RelayPair pair(options);
  ExpectEcho(pair.Serve(echo.port()), 100);
  EXPECT_EQ(pair.a.Fallbacks(FallbackReason::kAgentUnavailable), 1U);
}

TEST(RelayTest, SessionThatStillGreetsIsNotAskedForAgain) {
  EchoServer echo;
  RelayOptions options;
  options.open_timeout_ms = 30;
  RelayPair pair(options);
  const uint16_t port = pair.Serve(echo.port());
  ExpectEcho(port, 10);  // asks, and goes over TCP
  int ends[2];
  SessionSockets(ends);
  const UniqueFd silent(ends[1]);
  ASSERT_EQ(pair.a->AddSession(MakeSession("s1", ends[0], true)), 0);
  for (int i = 0; i < 3; i++) ExpectEcho(port, 10);
  uint64_t asked = 0;
  for (const Event& event : pair.a.events()) asked += event.kind == Event::Kind::kSessionNeeded;
  EXPECT_EQ(asked, 1U);
}

TEST(RelayTest, SessionDeathLeavesLiveStreams) {
  EchoServer echo;
  RelayPair pair;
  const uint16_t port = pair.ServeAndConnect(echo.port());
  TcpConnection client = TcpConnection::To(port);
  ASSERT_TRUE(client.Send("one"));
  ASSERT_EQ(client.Read(3), "one");
  ASSERT_EQ(pair.a->CloseSession("s1"), 0);
  EXPECT_EQ(pair.a.WaitForSessionEnd("s1"), SessionEndReason::kClosed);
  EXPECT_EQ(pair.b.WaitForSessionEnd("s1"), SessionEndReason::kPeerGone);
  ASSERT_TRUE(client.Send("two"));
  EXPECT_EQ(client.Read(3), "two");
  client.Close();
  ASSERT_TRUE(pair.a.WaitForIdle() && pair.b.WaitForIdle());
  EXPECT_EQ(pair.a.Count(relay::kRingBytesOwn), 0U);
  EXPECT_EQ(pair.b.Count(relay::kRingBytesPeer), 0U);
}

// The agent keeps a duplicate of each session's socket: closing ours does not take it out of
// epoll by itself, and events of a session that is gone must find nobody.
TEST(RelayTest, SessionEndedWhileSomeoneHoldsADuplicate) {
  EchoServer echo;
  RelayPair pair;
  int ends[2];
  SessionSockets(ends);
  const UniqueFd duplicate(fcntl(ends[0], F_DUPFD_CLOEXEC, 0));
  const UniqueFd far(ends[1]);
  ASSERT_EQ(pair.a->AddSession(MakeSession("s1", ends[0], true)), 0);
  ASSERT_EQ(pair.a->CloseSession("s1"), 0);
  const uint64_t before = ProcessCpuMs();
  for (int i = 0; i < 50; i++) {
    static_cast<void>(send(far.get(), "stray", 5, MSG_DONTWAIT | MSG_NOSIGNAL));
    std::this_thread::sleep_for(2ms);
  }
  EXPECT_LT(ProcessCpuMs() - before, 60U) << "events nobody takes out come again for ever";
  ExpectEcho(pair.ServeAndConnect(echo.port()), 100);
}

// ---- revoking, draining, limits ----

TEST(RelayTest, RevokeResetsStreamsUnderTheGrantAndRefusesNewOnes) {
  TcpServer server;
  RelayPair pair;
  const uint16_t port = pair.ServeAndConnect(server.port());
  TcpConnection client = TcpConnection::To(port);
  TcpConnection app = TcpConnection::From(server);
  ASSERT_EQ(pair.b->Revoke("s1", {{kService, server.port()}}), 0);
  EXPECT_EQ(client.ReadEnd(), ECONNRESET);
  EXPECT_EQ(app.ReadEnd(), ECONNRESET);
  EXPECT_EQ(pair.b.Ends(EndReason::kRevoked), 1U);
  TcpConnection again = TcpConnection::To(port);
  EXPECT_TRUE(WaitFor([&] { return pair.a.Fallbacks(FallbackReason::kPolicyDenied) == 1; }));
}

TEST(RelayTest, RevokeOfAnotherGrantLeavesTheStream) {
  EchoServer echo;
  RelayPair pair;
  const uint16_t port = pair.ServeAndConnect(echo.port());
  TcpConnection client = TcpConnection::To(port);
  ASSERT_TRUE(client.Send("a"));
  ASSERT_EQ(client.Read(1), "a");
  ASSERT_EQ(pair.b->Revoke("s1", {{kService, 1}, {"default/other", echo.port()}}), 0);
  ASSERT_TRUE(client.Send("b"));
  EXPECT_EQ(client.Read(1), "b");
}

TEST(RelayTest, DrainWaitsForConnectionsThenCutsTheRest) {
  EchoServer echo;
  RelayPair pair;
  const uint16_t port = pair.ServeAndConnect(echo.port());
  TcpConnection ends = TcpConnection::To(port);
  TcpConnection stays = TcpConnection::To(port);
  for (TcpConnection* client : {&ends, &stays}) {
    ASSERT_TRUE(client->Send("x"));
    ASSERT_EQ(client->Read(1), "x");
  }
  pair.a->Drain(300);
  EXPECT_TRUE(WaitFor([&] { return !TcpConnection::To(port).is_open(); })) << "accepts no more";
  ends.Close();
  EXPECT_EQ(stays.ReadEnd(), ECONNRESET);
  ASSERT_TRUE(pair.a.WaitForEvent(Event::Kind::kDrained));
  for (const Event& event : pair.a.events()) {
    if (event.kind != Event::Kind::kDrained) continue;
    EXPECT_GE(event.drained, 1U) << "one more may have come in before the drain";
    EXPECT_EQ(event.aborted, 1U);
  }
  EXPECT_EQ(pair.a.Ends(EndReason::kDrained), 1U);
}

TEST(RelayTest, DrainWaitsForConnectionsThatAreNotThroughYet) {
  EchoServer echo;
  RelayPair pair;
  const uint16_t port = pair.Serve(echo.port());
  TcpConnection client = TcpConnection::To(port);
  ASSERT_TRUE(client.Send("parked"));
  ASSERT_TRUE(pair.a.WaitForEvent(Event::Kind::kSessionNeeded));
  pair.a->Drain(5000);
  std::this_thread::sleep_for(60ms);
  EXPECT_FALSE(pair.a.Saw(Event::Kind::kDrained));
  pair.Connect();
  EXPECT_EQ(client.Read(6), "parked");
  client.Close();
  ASSERT_TRUE(pair.a.WaitForEvent(Event::Kind::kDrained));
  EXPECT_EQ(pair.a.Ends(EndReason::kDrained), 0U);
}

TEST(RelayTest, ConnectionsAboveTheLimitAreReset) {
  EchoServer echo;
  RelayOptions options;
  options.max_connections = 3;
  RelayPair pair(options);
  const uint16_t port = pair.ServeAndConnect(echo.port());
  std::vector<TcpConnection> clients;
  for (int i = 0; i < 3; i++) {
    clients.push_back(TcpConnection::To(port));
    ASSERT_TRUE(clients.back().Send("x"));
    ASSERT_EQ(clients.back().Read(1), "x") << i;
  }
  TcpConnection fourth = TcpConnection::To(port);
  EXPECT_EQ(fourth.ReadEnd(), ECONNRESET);
  EXPECT_EQ(pair.a.Ends(EndReason::kLimit), 1U);
  EXPECT_EQ(pair.a.Count(relay::kOutboundRefused), 1U);
  clients.clear();
  ASSERT_TRUE(pair.a.WaitForIdle());
  ExpectEcho(port, 10);
}

TEST(RelayTest, RingBudgetUsedUpMeansTcpQuota) {
  EchoServer echo;
  RelayOptions options;
  options.ring_budget_bytes = 50000;  // two first halves and their control pages
  RelayPair pair(options);
  const uint16_t port = pair.ServeAndConnect(echo.port());
  std::vector<TcpConnection> clients;
  for (int i = 0; i < 4; i++) {
    clients.push_back(TcpConnection::To(port));
    ASSERT_TRUE(clients.back().Send("x"));
    ASSERT_EQ(clients.back().Read(1), "x");
  }
  EXPECT_EQ(pair.a.Count(relay::kOutboundShm), 2U);
  EXPECT_EQ(pair.a.Fallbacks(FallbackReason::kQuota), 2U);
  EXPECT_LE(pair.a.Count(relay::kRingBytesOwn), options.ring_budget_bytes);
}

TEST(RelayTest, AcceptorsRingBudgetUsedUpMeansTcpQuota) {
  EchoServer echo;
  RelayOptions options;
  options.ring_budget_bytes = 21000;
  RelayPair pair({}, options);
  const uint16_t port = pair.ServeAndConnect(echo.port());
  std::vector<TcpConnection> clients;
  for (int i = 0; i < 3; i++) {
    clients.push_back(TcpConnection::To(port));
    ASSERT_TRUE(clients.back().Send("x"));
    ASSERT_EQ(clients.back().Read(1), "x");
  }
  EXPECT_EQ(pair.a.Count(relay::kOutboundShm), 1U);
  EXPECT_EQ(pair.a.Fallbacks(FallbackReason::kQuota), 2U);
}

TEST(RelayTest, StreamsPerPeerAreLimited) {
  EchoServer echo;
  RelayOptions options;
  options.max_streams_per_peer = 2;
  RelayPair pair({}, options);
  const uint16_t port = pair.ServeAndConnect(echo.port());
  std::vector<TcpConnection> clients;
  for (int i = 0; i < 4; i++) {
    clients.push_back(TcpConnection::To(port));
    ASSERT_TRUE(clients.back().Send("x"));
    ASSERT_EQ(clients.back().Read(1), "x");
  }
  EXPECT_EQ(pair.a.Count(relay::kOutboundShm), 2U);
  EXPECT_EQ(pair.a.Fallbacks(FallbackReason::kQuota), 2U);
}

// ---- endpoints ----

TEST(RelayTest, RefusedEndpointIsFollowedByTheNext) {
  EchoServer echo;
  TcpServer gone;
  const uint16_t dead_port = gone.port();
  gone.Close();
  TestRelay a;
  Upstream upstream;
  upstream.service = kService;
  upstream.endpoints = {TcpEndpoint(dead_port, FallbackReason::kPeerNotInjected),
                        TcpEndpoint(echo.port(), FallbackReason::kPeerNotInjected)};
  uint16_t port = 0;
  ASSERT_GT(a->Listen("127.0.0.1", 0, upstream, &port), 0);
  for (int i = 0; i < 4; i++) ExpectEcho(port, 100);
  EXPECT_GE(a.Count(relay::kConnectRetries), 1U);
  EXPECT_EQ(a.Fallbacks(FallbackReason::kPeerNotInjected), 4U);
  EXPECT_TRUE(a.WaitForEnds(EndReason::kClosed, 4));
}

TEST(RelayTest, WhenNoEndpointAnswersTheAppIsReset) {
  TcpServer gone;
  RelayPair pair;
  const uint16_t dead_port = gone.port();
  gone.Close();
  TcpConnection client = TcpConnection::To(pair.ServeAndConnect(dead_port));
  EXPECT_EQ(client.ReadEnd(), ECONNRESET);
  EXPECT_EQ(pair.a.Ends(EndReason::kAppUnreachable), 1U);
  EXPECT_EQ(pair.a.Count(relay::kOutboundFailed), 1U);
}

TEST(RelayTest, OpenOutsideTheGrantMeansTcpPolicyDenied) {
  EchoServer echo;
  RelayPair pair;
  const uint16_t port = pair.ServeAndConnect(echo.port());
  ASSERT_EQ(pair.b->SetGrants("s1", {}), 0);
  ExpectEcho(port, 100);
  EXPECT_EQ(pair.a.Fallbacks(FallbackReason::kPolicyDenied), 1U);
  EXPECT_EQ(pair.b.Count(relay::kInboundRefused), 1U);
}

TEST(RelayTest, UndeclaredPortIsNotDeliveredTo) {
  EchoServer echo;
  RelayPair pair;
  const uint16_t port = pair.ServeAndConnect(echo.port());
  pair.b->SetDelivery({});
  ExpectEcho(port, 100);
  EXPECT_EQ(pair.a.Fallbacks(FallbackReason::kPolicyDenied), 1U);
}

TEST(RelayTest, KeptPairThatWasRefusedCanBeUsedAgain) {
  EchoServer echo;
  RelayPair pair;
  const uint16_t port = pair.ServeAndConnect(echo.port());
  ExpectEcho(port, 10);
  ASSERT_TRUE(WaitFor([&] { return pair.a.Count(relay::kPairsPooled) == 1; }));
  pair.b->SetDelivery({});
  ExpectEcho(port, 10);  // refused on the kept pair, goes by TCP
  EXPECT_EQ(pair.a.Fallbacks(FallbackReason::kPolicyDenied), 1U);
  pair.b->SetDelivery({{echo.port(), "127.0.0.1"}});
  for (uint64_t i = 0; i < 5; i++) ExpectEcho(port, 12000, i);
  EXPECT_EQ(pair.a.Count(relay::kOutboundShm), 6U);
}

TEST(RelayTest, KeptPairThatIsIdleIsLetGoOfByBothSides) {
  EchoServer echo;
  RelayOptions options;
  options.keep_pairs_ms = 50;
  RelayPair pair(options);
  const uint16_t port = pair.ServeAndConnect(echo.port());
  for (uint64_t i = 0; i < 3; i++) {
    ExpectEcho(port, 10, i);
    ASSERT_TRUE(pair.a.WaitForIdle() && pair.b.WaitForIdle());
    const auto is_empty = [](TestRelay& relay) {
      return relay->Sessions()[0].pooled_pairs == 0 && relay.Count(relay::kRingBytesOwn) == 0 &&
             relay.Count(relay::kRingBytesPeer) == 0;
    };
    EXPECT_TRUE(WaitFor([&] { return is_empty(pair.a) && is_empty(pair.b); }));
  }
  EXPECT_EQ(pair.a.Count(relay::kPairsPooled), 0U);
  EXPECT_EQ(pair.a.Count(relay::kOutboundShm), 3U);
}

// ---- fds ----

TEST(RelayTest, ComesBackAfterFdsRanOut) {
  EchoServer echo;
  RelayOptions options;
  options.open_timeout_ms = 300;
  RelayPair pair(options);
  const uint16_t port = pair.ServeAndConnect(echo.port());
  ExpectEcho(port, 10);
  std::vector<TcpConnection> clients;
  clients.reserve(20);
  for (int i = 0; i < 20; i++) {
    clients.push_back(TcpConnection(UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))));
  }
  rlimit old{};
  getrlimit(RLIMIT_NOFILE, &old);
  const rlimit low{CountFds() + 6, old.rlim_max};
  setrlimit(RLIMIT_NOFILE, &low);
  const sockaddr_in address = Loopback(port);
  for (const TcpConnection& client : clients) {
    EXPECT_EQ(connect(client.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  std::this_thread::sleep_for(300ms);
  setrlimit(RLIMIT_NOFILE, &old);
  clients.clear();
  EXPECT_GT(pair.a.Count(relay::kAcceptErrors) + pair.a.Count(relay::kOutboundFailed), 0U);
  ASSERT_TRUE(pair.a.WaitForIdle() && pair.b.WaitForIdle());
  if (pair.a->Sessions().empty()) pair.Connect("s2");
  ExpectEcho(port, 50000);
}

// ---- the API's own edges ----

TEST(RelayTest, RefusesBadArguments) {
  std::unique_ptr<Relay> out;
  RelayOptions options;
  options.threads = 0;
  EXPECT_EQ(Relay::Start(
                options, [](const Event&) {}, &out),
            -EINVAL);
  options = {};
  options.max_ring_bytes = 100000;
  EXPECT_EQ(Relay::Start(
                options, [](const Event&) {}, &out),
            -EINVAL);
  TestRelay a;
  uint16_t port = 0;
  EXPECT_EQ(a->Listen("localhost", 0, {}, &port), -EINVAL);
  EXPECT_EQ(a->SetUpstream(7, {}), -ENOENT);
  EXPECT_EQ(a->Unlisten(7), -ENOENT);
  EXPECT_EQ(a->CloseSession("none"), -ENOENT);
  EXPECT_EQ(a->AddSession(MakeSession("s", -1, true)), -EBADF);
  EXPECT_EQ(a->AddSession(MakeSession("s", socket(AF_UNIX, SOCK_STREAM, 0), true)), -EINVAL);
  TcpServer taken;
  EXPECT_EQ(a->Listen("127.0.0.1", taken.port(), {}, &port), -EADDRINUSE);
}

TEST(RelayTest, UnlistenStopsAccepting) {
  EchoServer echo;
  RelayPair pair;
  const uint16_t port = pair.ServeAndConnect(echo.port());
  ASSERT_EQ(pair.a->Unlisten(pair.listener), 0);
  EXPECT_FALSE(TcpConnection::To(port).is_open());
}

TEST(RelayTest, StopWithEverythingInFlightLeavesNothingBehind) {
  const size_t fds = CountFds();
  const size_t mappings = CountHalfMappings();
  {
    TcpServer server;
    RelayPair pair;
    const uint16_t port = pair.ServeAndConnect(server.port());
    std::vector<TcpConnection> clients;
    for (int i = 0; i < 30; i++) {
      clients.push_back(TcpConnection::To(port));
      ASSERT_TRUE(clients.back().Send(Pattern(0, 30000)));
    }
    pair.a.Stop();
  }
  EXPECT_EQ(CountFds(), fds);
  EXPECT_EQ(CountHalfMappings(), mappings);
}

}  // namespace
}  // namespace shimmy::test
