// sdk/c/include/shimmy.h over clients and endpoints.
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "client.h"
#include "endpoint.h"
#include "failure.h"
#include "private_views.h"
#include "shimmy.h"

using shimmy::channel::Client;
using shimmy::channel::Endpoint;
using shimmy::channel::EndpointOptions;
using shimmy::channel::Fail;
using shimmy::channel::Failure;

struct shimmy_client {
  std::shared_ptr<Client> client;
};

struct shimmy_endpoint {
  std::shared_ptr<Endpoint> endpoint;
};

namespace {

constexpr uint64_t kDefaultTimeoutNs = 5'000'000'000;

// The caller's struct as this version knows it: fields that it does not have are zeros.
template <class Options>
Options Known(const Options* given) {
  Options known{};
  if (given != nullptr) {
    std::memcpy(&known, given, std::min(given->struct_size, sizeof known));
  }
  return known;
}

Failure Invalid(const char* message) {
  return {SHIMMY_MISUSE, "SHIMMY_ERR_INVALID_OPTION", message, ""};
}

bool IsWithin(uint32_t value, uint32_t low, uint32_t high) {
  return value == 0 || (value >= low && value <= high);
}

// What is wrong with the parameters, or null. Bounds of agent/channels/parameters.ts: an agent ends
// the connection of who sends others.
const char* ParametersProblem(const shimmy_parameters& wanted) {
  constexpr uint64_t kMostBytes = uint64_t{1} << 30;
  constexpr uint32_t kDay = 86'400'000;
  const bool is_lock_based = wanted.kind == SHIMMY_LOCK_BASED;
  if (!is_lock_based && wanted.kind != SHIMMY_LOCK_FREE) return "kind is none of the two";
  if (!IsWithin(wanted.blocks, 2, 65536)) return "blocks is not from 2 to 65,536";
  if (!IsWithin(wanted.block_bytes, 64, 1 << 20) || wanted.block_bytes % 64 != 0) {
    return "block_bytes is not a multiple of 64 from 64 to 1,048,576";
  }
  if (uint64_t{wanted.blocks} * wanted.block_bytes > kMostBytes) return "more than 1 GiB of blocks";
  if (!IsWithin(wanted.max_loans, 1, 16)) return "max_loans is more than 16";
  if (is_lock_based && (wanted.readers != 0 || wanted.time_to_live_ms != 0)) {
    return "readers and time_to_live_ms are for lock-free channels";
  }
  if (!IsWithin(wanted.readers, 1, 1024)) return "readers is more than 1,024";
  return IsWithin(wanted.time_to_live_ms, 1, kDay) ? nullptr : "time_to_live_ms is more than a day";
}

int Null() { return Fail(Invalid("a pointer that must not be null is null")); }

}  // namespace

void shimmy::channel::ShowSharedUpTo(shimmy_endpoint* endpoint, size_t bytes) {
  endpoint->endpoint->ShowSharedUpTo(bytes);
}

extern "C" {

uint32_t shimmy_abi_version(void) { return SHIMMY_ABI_VERSION; }

const char* shimmy_version(void) { return SHIMMY_VERSION; }

const char* shimmy_status_name(int status) {
  switch (status) {
    case SHIMMY_OK: return "SHIMMY_OK";
    case SHIMMY_AGAIN: return "SHIMMY_AGAIN";
    case SHIMMY_END: return "SHIMMY_END";
    case SHIMMY_BUFFER_TOO_SMALL: return "SHIMMY_BUFFER_TOO_SMALL";
    case SHIMMY_MESSAGE_TOO_BIG: return "SHIMMY_MESSAGE_TOO_BIG";
    case SHIMMY_NO_LOAN: return "SHIMMY_NO_LOAN";
    case SHIMMY_MISUSE: return "SHIMMY_MISUSE";
    case SHIMMY_INTERRUPTED: return "SHIMMY_INTERRUPTED";
    case SHIMMY_CLOSED: return "SHIMMY_CLOSED";
    case SHIMMY_REFUSED: return "SHIMMY_REFUSED";
    case SHIMMY_UNAVAILABLE: return "SHIMMY_UNAVAILABLE";
    case SHIMMY_NO_MEMORY: return "SHIMMY_NO_MEMORY";
    case SHIMMY_SYSTEM: return "SHIMMY_SYSTEM";
    default: return "unknown status";
  }
}

void shimmy_last_error(shimmy_error* error) {
  if (error == nullptr) return;
  const Failure& last = shimmy::channel::LastFailure();
  *error = {last.status, last.code.c_str(), last.reason.c_str(), last.message.c_str()};
}

int shimmy_client_open(const shimmy_client_options* options, shimmy_client** client) {
  if (client == nullptr) return Null();
  *client = nullptr;
  const shimmy_client_options known = Known(options);
  const char* socket = known.socket;
  // Nobody changes the environment while a client is opened: as with every program that reads it.
  if (socket == nullptr) socket = std::getenv("SHIMMY_FD_SOCKET");  // NOLINT(concurrency-mt-unsafe)
  if (socket == nullptr) socket = "@shimmy/fd";
  auto opened = std::make_shared<Client>();
  const uint64_t timeout =
      known.timeout > 0 ? static_cast<uint64_t>(known.timeout) : kDefaultTimeoutNs;
  Failure failure = opened->Open(socket, timeout);
  if (failure.failed()) return Fail(std::move(failure));
  *client = new shimmy_client{std::move(opened)};
  return SHIMMY_OK;
}

void shimmy_client_close(shimmy_client* client) {
  if (client == nullptr) return;
  client->client->Close();
  delete client;
}

int shimmy_attach(shimmy_client* client, const shimmy_endpoint_options* options,
                  shimmy_endpoint** endpoint) {
  if (client == nullptr || options == nullptr || endpoint == nullptr) return Null();
  *endpoint = nullptr;
  const shimmy_endpoint_options known = Known(options);
  if (known.topic == nullptr) return Null();
  if ((known.flags & SHIMMY_CREATE) != 0) {
    const char* const problem = ParametersProblem(known.parameters);
    if (problem != nullptr) return Fail(Invalid(problem));
  }
  if (known.wait_mode > SHIMMY_SLEEP) return Fail(Invalid("wait_mode is none of the three"));
  EndpointOptions wanted;
  wanted.topic = known.topic;
  wanted.role = known.role;
  wanted.start = known.start;
  wanted.wait_mode = known.wait_mode;
  wanted.flags = known.flags;
  wanted.parameters = known.parameters;
  std::shared_ptr<Endpoint> made = shimmy::channel::MakeEndpoint(client->client, std::move(wanted));
  if (made == nullptr) return Fail(Invalid("role is none of the four"));
  Failure failure = made->Attach();
  if (failure.failed()) {
    made->Leave();
    return Fail(std::move(failure));
  }
  *endpoint = new shimmy_endpoint{std::move(made)};
  return SHIMMY_OK;
}

void shimmy_detach(shimmy_endpoint* endpoint) {
  if (endpoint == nullptr) return;
  endpoint->endpoint->Leave();
  delete endpoint;
}

int shimmy_describe(shimmy_endpoint* endpoint, shimmy_info* info) {
  if (endpoint == nullptr || info == nullptr) return Null();
  endpoint->endpoint->Describe(info);
  return SHIMMY_OK;
}

int shimmy_counters(shimmy_endpoint* endpoint, struct shimmy_counters* counters) {
  if (endpoint == nullptr || counters == nullptr) return Null();
  endpoint->endpoint->Count(counters);
  return SHIMMY_OK;
}

int shimmy_publish(shimmy_endpoint* endpoint, const void* data, size_t bytes, int64_t timeout) {
  if (endpoint == nullptr || (data == nullptr && bytes > 0)) return Null();
  return endpoint->endpoint->Publish(data, bytes, timeout);
}

int shimmy_reserve(shimmy_endpoint* endpoint, size_t bytes, int64_t timeout, shimmy_room* room) {
  if (endpoint == nullptr || room == nullptr) return Null();
  return endpoint->endpoint->Reserve(bytes, timeout, room);
}

int shimmy_commit(shimmy_endpoint* endpoint, shimmy_room* room, size_t bytes) {
  if (endpoint == nullptr || room == nullptr) return Null();
  return endpoint->endpoint->Commit(room, bytes);
}

int shimmy_cancel(shimmy_endpoint* endpoint, shimmy_room* room) {
  if (endpoint == nullptr || room == nullptr) return Null();
  return endpoint->endpoint->Cancel(room);
}

int shimmy_end(shimmy_endpoint* endpoint) {
  return endpoint == nullptr ? Null() : endpoint->endpoint->End();
}

int shimmy_drain(shimmy_endpoint* endpoint, int64_t timeout) {
  return endpoint == nullptr ? Null() : endpoint->endpoint->Drain(timeout);
}

int shimmy_take(shimmy_endpoint* endpoint, void* to, size_t room, int64_t timeout,
                shimmy_message* message) {
  if (endpoint == nullptr || message == nullptr || (to == nullptr && room > 0)) return Null();
  return endpoint->endpoint->Take(to, room, timeout, message);
}

int shimmy_loan(shimmy_endpoint* endpoint, int64_t timeout, shimmy_message* message) {
  if (endpoint == nullptr || message == nullptr) return Null();
  return endpoint->endpoint->Loan(timeout, message);
}

int shimmy_release(shimmy_endpoint* endpoint, shimmy_message* message) {
  if (endpoint == nullptr || message == nullptr) return Null();
  return endpoint->endpoint->Release(message);
}

int shimmy_fd(shimmy_endpoint* endpoint) {
  return endpoint == nullptr ? Null() : endpoint->endpoint->fd();
}

int shimmy_arm(shimmy_endpoint* endpoint, size_t bytes) {
  return endpoint == nullptr ? Null() : endpoint->endpoint->Arm(bytes);
}

int shimmy_interrupt(shimmy_endpoint* endpoint) {
  if (endpoint == nullptr) return Null();
  endpoint->endpoint->Interrupt();
  return SHIMMY_OK;
}

}  // extern "C"
