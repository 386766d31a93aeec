// A process's connection to its node's agent, and the thread that watches over all its endpoints.
//
//   W1  the watcher never waits for an endpoint: what it has for one that is in a call is put into
//       that endpoint's inbox, and the call is woken; it comes back to it until it was taken
//   W2  a death is told by a doorbell, whatever the agent says, and goes the same way
//   W3  a lost connection is made again for ever, and every endpoint shows itself to the new one;
//       messages between processes do not stop meanwhile
#ifndef SHIMMY_CHANNEL_CLIENT_H_
#define SHIMMY_CHANNEL_CLIENT_H_

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "agent_socket.h"
#include "failure.h"
#include "relay/unique_fd.h"

namespace shimmy::channel {

class Endpoint;

class Client : public std::enable_shared_from_this<Client> {
 public:
  Client() = default;
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client();

  // Connects, waits for the agent's welcome, and begins to watch.
  [[nodiscard]] Failure Open(const std::string& path, uint64_t timeout_ns);
  // Detaches every endpoint and stops watching.
  void Close();

  // ---- for endpoints ----

  // Asks for a role and waits for the answer.
  [[nodiscard]] Failure Attach(const std::shared_ptr<Endpoint>& endpoint, Json request);
  // Sends a request whose answer goes to the endpoint's inbox.
  void Ask(const std::shared_ptr<Endpoint>& endpoint, Json request);
  // Sends, or drops it when there is no connection: the endpoint shows itself to the next one.
  void Send(const Json& message, const std::vector<int>& fds);
  // Gives an attachment up.
  void Forget(const std::shared_ptr<Endpoint>& endpoint, const std::string& attachment);

  // Tells the endpoint once when this doorbell hangs up. Returns a token for Unwatch(), or 0.
  [[nodiscard]] uint64_t Watch(int doorbell, const std::shared_ptr<Endpoint>& endpoint,
                               uint64_t number);
  void Unwatch(uint64_t token, int doorbell);
  // Looks after this endpoint by Endpoint::Tick() until that says otherwise.
  void Tend(const std::shared_ptr<Endpoint>& endpoint);

 private:
  struct Watched {
    std::weak_ptr<Endpoint> endpoint;
    uint64_t number = 0;
    int doorbell = -1;
    bool is_told = false;
  };
  struct Request {
    std::shared_ptr<Endpoint> endpoint;
    bool is_first = false;  // somebody waits for the answer in Attach()
  };

  void Run();
  void Dispatch(uint64_t token, AgentMessage* message);
  void ReceiveAll(AgentMessage* message);
  void Route(AgentMessage* message);
  void Answer(AgentMessage* message);
  void EndAll(const AgentMessage& error);
  void Disconnected(const std::string& why);
  void Reconnect();
  void Tend();
  [[nodiscard]] int TimeoutMs();
  void Wake();
  [[nodiscard]] bool SendHello();
  [[nodiscard]] Failure AwaitWelcome(uint64_t timeout_ns);
  void Post(const std::shared_ptr<Endpoint>& endpoint, const char* type, uint64_t number);

  std::string path_;
  uint64_t timeout_ns_ = 0;
  std::thread watcher_;
  relay::UniqueFd epoll_;
  relay::UniqueFd wake_;
  std::atomic<bool> is_stopping_{false};

  // The watcher's own.
  std::vector<std::shared_ptr<Endpoint>> untaken_;  // W1
  std::vector<std::shared_ptr<Endpoint>> back_;     // who is to show itself to the new agent
  uint64_t next_tick_ = ~uint64_t{0};

  // SYNC mutex_ guards everything below.
  std::mutex mutex_;
  std::condition_variable answered_;
  AgentSocket socket_;
  bool is_welcome_ = false;
  bool is_closed_ = false;
  uint64_t reconnect_at_ = 0;
  uint64_t backoff_ns_ = 0;
  uint64_t last_request_ = 0;
  uint64_t last_token_ = 0;
  std::unordered_map<uint64_t, Request> requests_;
  std::unordered_map<uint64_t, Failure> first_answers_;
  std::unordered_map<uint64_t, Watched> watched_;
  std::map<std::string, std::shared_ptr<Endpoint>> attachments_;
  std::vector<std::shared_ptr<Endpoint>> tended_;
};

}  // namespace shimmy::channel

#endif  // SHIMMY_CHANNEL_CLIENT_H_
