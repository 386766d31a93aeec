// The C SDK's driver of the conformance tests: see ../README.md.
//
// Commands are flat JSON of one line without escapes, so fields are found by their names. What a
// name stands for is kept in tables for good, as the protocol wants.
#define _GNU_SOURCE  // open_memstream(), getline()
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "shimmy.h"

enum { kMaxThings = 256, kMaxName = 64, kMaxText = 512 };

enum ThingKind { kClient, kEndpoint, kRoom, kLoan };

// What a name stands for. A room or loan keeps its endpoint, and what the SDK said of it.
struct thing {
  char name[kMaxName];
  enum ThingKind kind;
  bool is_closed;
  shimmy_client* client;
  shimmy_endpoint* endpoint;
  struct thing* attached_by;  // an endpoint's client
  struct thing* owner;        // a room's or loan's endpoint
  struct shimmy_room room;
  struct shimmy_message message;
};

static struct thing things[kMaxThings];
static size_t thing_count;
static const char* line;  // the command
static FILE* out;         // where answers are put together
static uint32_t crc_table[256];

// Where copies are taken to; grows.
static unsigned char* buffer;
static size_t buffer_bytes;

// ---- commands ----

static const char* find(const char* name) {
  char key[kMaxName];
  (void)snprintf(key, sizeof key, "\"%s\":", name);
  const char* at = strstr(line, key);
  return at == NULL ? NULL : at + strlen(key);
}

static int64_t number(const char* name, int64_t otherwise) {
  const char* at = find(name);
  return at == NULL ? otherwise : strtoll(at, NULL, 10);
}

static bool flag(const char* name) {
  const char* at = find(name);
  return at != NULL && strncmp(at, "true", 4) == 0;
}

// The text of a field, "" if it is left out.
static void text(const char* name, char out[kMaxText]) {
  const char* at = find(name);
  size_t length = 0;
  if (at != NULL && *at == '"') length = strcspn(at + 1, "\"");
  if (length >= kMaxText) length = kMaxText - 1;
  if (length > 0) memcpy(out, at + 1, length);
  out[length] = '\0';
}

static bool is_text(const char* name, const char* value) {
  char found[kMaxText];
  text(name, found);
  return strcmp(found, value) == 0;
}

static int64_t timeout_of(int64_t milliseconds) {
  return milliseconds < 0 ? SHIMMY_FOREVER : milliseconds * 1000000;
}

// ---- answers ----

static void print(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  (void)vfprintf(out, format, arguments);
  va_end(arguments);
}

static void print_text(const char* value) {
  (void)fputc('"', out);
  for (; *value != '\0'; value++) {
    if (*value == '"' || *value == '\\') (void)fputc('\\', out);
    if ((unsigned char)*value >= ' ') (void)fputc(*value, out);
  }
  (void)fputc('"', out);
}

// Begins every answer; the caller adds fields and calls finish().
static void begin(int status) {
  print("{\"id\":%" PRId64 ",\"result\":", number("id", 0));
  if (status == SHIMMY_OK || status == SHIMMY_AGAIN || status == SHIMMY_END) {
    print(status == SHIMMY_OK ? "\"ok\"" : status == SHIMMY_AGAIN ? "\"timeout\"" : "\"ended\"");
    return;
  }
  struct shimmy_error error;
  shimmy_last_error(&error);
  print("\"error\",\"code\":");
  print_text(error.code);
  print(",\"reason\":");
  print_text(error.reason);
  print(",\"message\":");
  print_text(error.message);
}

static void finish(void) {
  print("}\n");
  (void)fflush(stdout);
}

static void answer(int status) {
  begin(status);
  finish();
}

static void fail(const char* message) {
  print("{\"id\":%" PRId64
        ",\"result\":\"error\",\"code\":\"SHIMMY_ERR_INVALID_OPTION\",\"reason\":\"\","
        "\"message\":\"%s\"",
        number("id", 0), message);
  finish();
}

// What was closed has no handle any more that the SDK could be given.
static void fail_closed(void) {
  print("{\"id\":%" PRId64
        ",\"result\":\"error\",\"code\":\"SHIMMY_ERR_CLOSED\",\"reason\":\"\","
        "\"message\":\"it was closed\"",
        number("id", 0));
  finish();
}

// ---- things ----

static struct thing* lookup(enum ThingKind kind, const char* field) {
  char name[kMaxText];
  text(field, name);
  for (size_t i = thing_count; i-- > 0;) {
    if (things[i].kind == kind && strcmp(things[i].name, name) == 0) return &things[i];
  }
  return NULL;
}

static struct thing* make(enum ThingKind kind, const char* field) {
  if (thing_count == kMaxThings) {
    (void)fprintf(stderr, "too many names\n");
    exit(1);  // NOLINT(concurrency-mt-unsafe): there is one thread of ours
  }
  char name[kMaxText];
  text(field, name);
  struct thing* made = &things[thing_count++];
  *made = (struct thing){.kind = kind};
  (void)snprintf(made->name, sizeof made->name, "%.*s", kMaxName - 1, name);
  return made;
}

// ---- contents ----

static void fill(unsigned char* at, size_t bytes, uint64_t seed) {
  for (size_t i = 0; i < bytes && i < 8; i++) at[i] = (unsigned char)(seed >> (8 * i));
  unsigned char period[251];
  for (size_t i = 0; i < sizeof period; i++) period[i] = (unsigned char)(i * 31 + seed);
  for (size_t i = 8; i < bytes;) {
    const size_t from = i % sizeof period;
    size_t count = sizeof period - from;
    if (count > bytes - i) count = bytes - i;
    memcpy(at + i, period + from, count);
    i += count;
  }
}

static void make_crc_table(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t word = i;
    for (int bit = 0; bit < 8; bit++) word = (word & 1) != 0 ? 0xedb88320 ^ word >> 1 : word >> 1;
    crc_table[i] = word;
  }
}

static uint32_t crc32_of(const void* data, size_t bytes) {
  const unsigned char* at = data;
  uint32_t word = 0xffffffff;
  for (size_t i = 0; i < bytes; i++) word = crc_table[(word ^ at[i]) & 255] ^ word >> 8;
  return ~word;
}

static void grow(size_t bytes) {
  if (bytes <= buffer_bytes && buffer != NULL) return;
  free(buffer);
  buffer_bytes = bytes < 4096 ? 4096 : bytes;
  buffer = malloc(buffer_bytes);
  if (buffer == NULL) {
    perror("malloc");
    exit(1);  // NOLINT(concurrency-mt-unsafe): there is one thread of ours
  }
}

static void print_message(const struct shimmy_message* message, const void* data, bool is_first) {
  print("%s{\"bytes\":%zu,\"crc32\":%" PRIu32 ",\"sequence\":\"%" PRIu64
        "\",\"generation\":\"%" PRIu64 "\",\"missed\":",
        is_first ? "" : ",", message->bytes, crc32_of(data, message->bytes), message->sequence,
        message->generation);
  if (message->missed == SHIMMY_MISSED_UNKNOWN) {
    print("\"unknown\"}");
  } else {
    print("%" PRIu64 "}", message->missed);
  }
}

// ---- clients and endpoints ----

static void op_open(void) {
  char socket[kMaxText];
  text("socket", socket);
  struct thing* made = make(kClient, "client");
  const struct shimmy_client_options options = {
      .struct_size = sizeof options, .socket = socket, .timeout = number("timeoutMs", 0) * 1000000};
  answer(shimmy_client_open(&options, &made->client));
}

static void op_close(void) {
  struct thing* client = lookup(kClient, "client");
  if (client == NULL) {
    fail("no such client");
    return;
  }
  for (size_t i = 0; i < thing_count; i++) {
    if (things[i].kind == kEndpoint && things[i].attached_by == client) {
      things[i].is_closed = true;
    }
  }
  shimmy_client_close(client->client);
  client->client = NULL;
  answer(SHIMMY_OK);
}

static uint32_t choose(const char* field, const char* const names[], uint32_t first) {
  for (uint32_t i = 0; names[i] != NULL; i++) {
    if (is_text(field, names[i])) return first + i;
  }
  return 0;
}

static void op_attach(void) {
  static const char* const roles[] = {"producer", "consumer", "publisher", "subscriber", NULL};
  static const char* const starts[] = {"newest", "oldest", NULL};
  static const char* const modes[] = {"adaptive", "spin", "sleep", NULL};
  static const char* const kinds[] = {"lock", "lockfree", NULL};
  struct thing* client = lookup(kClient, "client");
  if (client == NULL) {
    fail("no such client");
    return;
  }
  char topic[kMaxText];
  text("topic", topic);
  struct shimmy_endpoint_options options = {
      .struct_size = sizeof options,
      .topic = topic,
      .role = choose("role", roles, SHIMMY_PRODUCER),
      .start = choose("start", starts, SHIMMY_NEWEST),
      .wait_mode = choose("waitMode", modes, SHIMMY_ADAPTIVE)};
  if (find("kind") != NULL) {
    options.flags = SHIMMY_CREATE;
    options.parameters =
        (struct shimmy_parameters){.kind = choose("kind", kinds, SHIMMY_LOCK_BASED),
                                   .blocks = (uint32_t)number("blocks", 0),
                                   .block_bytes = (uint32_t)number("blockBytes", 0),
                                   .readers = (uint32_t)number("readers", 0),
                                   .time_to_live_ms = (uint32_t)number("timeToLiveMs", 0),
                                   .max_loans = (uint32_t)number("maxLoans", 0)};
  }
  struct thing* made = make(kEndpoint, "endpoint");
  made->attached_by = client;
  answer(shimmy_attach(client->client, &options, &made->endpoint));
}

static void op_detach(struct thing* endpoint) {
  shimmy_detach(endpoint->endpoint);
  endpoint->endpoint = NULL;
  endpoint->is_closed = true;
  answer(SHIMMY_OK);
}

static void op_describe(struct thing* endpoint) {
  static const char* const states[] = {"", "live", "standby", "over"};
  struct shimmy_info info = {.struct_size = sizeof info};
  const int status = shimmy_describe(endpoint->endpoint, &info);
  begin(status);
  if (status == SHIMMY_OK) {
    print(",\"topic\":\"%s\",\"channel\":\"%" PRIu64 "\",\"kind\":\"%s\",\"blocks\":%" PRIu32
          ",\"blockBytes\":%" PRIu32 ",\"readers\":%" PRIu32 ",\"timeToLiveMs\":%" PRIu32
          ",\"maxLoans\":%" PRIu32 ",\"state\":\"%s\",\"peers\":%" PRIu32 ",\"maxBytes\":%" PRIu64,
          info.topic, info.channel, info.parameters.kind == SHIMMY_LOCK_BASED ? "lock" : "lockfree",
          info.parameters.blocks, info.parameters.block_bytes, info.parameters.readers,
          info.parameters.time_to_live_ms, info.parameters.max_loans, states[info.state & 3],
          info.peers, info.max_bytes);
  }
  finish();
}

static void op_counters(struct thing* endpoint) {
  struct shimmy_counters counters = {.struct_size = sizeof counters};
  const int status = shimmy_counters(endpoint->endpoint, &counters);
  begin(status);
  if (status == SHIMMY_OK) {
    print(",\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"missed\":%" PRIu64
          ",\"missedUnknown\":%" PRIu64 ",\"expired\":%" PRIu64 ",\"wakes\":%" PRIu64
          ",\"bells\":%" PRIu64 ",\"sleeps\":%" PRIu64 ",\"links\":%" PRIu64 ",\"rings\":%" PRIu64
          ",\"droppedPeers\":%" PRIu64,
          counters.messages, counters.bytes, counters.missed, counters.missed_unknown,
          counters.expired, counters.wakes, counters.bells, counters.sleeps, counters.links,
          counters.rings, counters.dropped_peers);
  }
  finish();
}

// ---- waiting as an event loop does ----

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Waits until a call that said SHIMMY_AGAIN may be tried again. SHIMMY_OK: try.
static int wait_for_fd(shimmy_endpoint* endpoint, size_t bytes, int64_t until) {
  const int status = shimmy_arm(endpoint, bytes);
  if (status != SHIMMY_AGAIN) return status;
  int64_t left = until < 0 ? -1 : until - now_ms();
  if (until >= 0 && left < 0) left = 0;
  struct pollfd polled = {.fd = shimmy_fd(endpoint), .events = POLLIN};
  const int ready = poll(&polled, 1, (int)left);
  return ready == 0 ? SHIMMY_AGAIN : SHIMMY_OK;
}

struct wait {
  int64_t timeout;  // for the call
  int64_t until;    // for the loop; -1: for ever
  bool is_async;
};

static struct wait wait_begins(void) {
  const int64_t milliseconds = number("timeoutMs", 0);
  const bool is_async = flag("isAsync");
  return (struct wait){.timeout = is_async ? 0 : timeout_of(milliseconds),
                       .until = milliseconds < 0 ? -1 : now_ms() + milliseconds,
                       .is_async = is_async};
}

// Whether a call that returned `*status` is to be tried again.
static bool tries_again(const struct wait* wait, struct thing* endpoint, size_t bytes,
                        int* status) {
  if (*status != SHIMMY_AGAIN || !wait->is_async) return false;
  const int armed = wait_for_fd(endpoint->endpoint, bytes, wait->until);
  if (armed == SHIMMY_OK) return true;
  *status = armed;
  return false;
}

// ---- writers ----

static int publish_one(struct thing* endpoint, uint64_t seed, size_t bytes, bool is_in_place) {
  const struct wait wait = wait_begins();
  int status = SHIMMY_OK;
  if (!is_in_place) {
    grow(bytes);
    fill(buffer, bytes, seed);
    do {
      status = shimmy_publish(endpoint->endpoint, buffer, bytes, wait.timeout);
    } while (tries_again(&wait, endpoint, bytes, &status));
    return status;
  }
  struct shimmy_room room;
  do {
    status = shimmy_reserve(endpoint->endpoint, bytes, wait.timeout, &room);
  } while (tries_again(&wait, endpoint, bytes, &status));
  if (status != SHIMMY_OK) return status;
  fill(room.data, bytes, seed);
  return shimmy_commit(endpoint->endpoint, &room, bytes);
}

static void op_publish(struct thing* endpoint) {
  enum { kMaxSizes = 4096 };
  static size_t sizes[kMaxSizes];
  size_t size_count = 0;
  const char* at = find("sizes");
  while (at != NULL && *at != ']' && *at != '\0' && size_count < kMaxSizes) {
    char* end = NULL;
    sizes[size_count++] = (size_t)strtoull(at + 1, &end, 10);
    at = end;
  }
  const int64_t count = number("count", 1);
  const uint64_t seed = (uint64_t)number("seed", 0);
  const bool is_in_place = is_text("in", "place");
  int status = SHIMMY_OK;
  int64_t done = 0;
  while (size_count > 0 && done < count && status == SHIMMY_OK) {
    const uint64_t index = (uint64_t)done;
    status = publish_one(endpoint, seed + index, sizes[index % size_count], is_in_place);
    if (status == SHIMMY_OK) done++;
  }
  begin(status);
  print(",\"count\":%" PRId64, done);
  finish();
}

static void op_reserve(struct thing* endpoint) {
  struct thing* made = make(kRoom, "room");
  made->owner = endpoint;
  answer(shimmy_reserve(endpoint->endpoint, (size_t)number("bytes", 0),
                        timeout_of(number("timeoutMs", 0)), &made->room));
}

static void op_fill(struct thing* room) {
  if (room->room.id == 0) {
    fail("the room is void");
    return;
  }
  fill(room->room.data, room->room.bytes, (uint64_t)number("seed", 0));
  answer(SHIMMY_OK);
}

static void op_commit(struct thing* room) {
  const size_t bytes = (size_t)number("bytes", (int64_t)room->room.bytes);
  answer(shimmy_commit(room->owner->endpoint, &room->room, bytes));
}

static void op_cancel(struct thing* room) {
  answer(shimmy_cancel(room->owner->endpoint, &room->room));
}

static void op_end(struct thing* endpoint) { answer(shimmy_end(endpoint->endpoint)); }

static void op_drain(struct thing* endpoint) {
  answer(shimmy_drain(endpoint->endpoint, timeout_of(number("timeoutMs", 0))));
}

// ---- readers ----

static int take_one(struct thing* endpoint, bool is_in_place, bool is_first) {
  const struct wait wait = wait_begins();
  struct shimmy_message message;
  int status = SHIMMY_OK;
  if (is_in_place) {
    do {
      status = shimmy_loan(endpoint->endpoint, wait.timeout, &message);
    } while (tries_again(&wait, endpoint, 0, &status));
    if (status != SHIMMY_OK) return status;
    print_message(&message, message.data, is_first);
    return shimmy_release(endpoint->endpoint, &message);
  }
  grow(4096);
  do {
    status = shimmy_take(endpoint->endpoint, buffer, buffer_bytes, wait.timeout, &message);
    while (status == SHIMMY_BUFFER_TOO_SMALL) {
      grow(message.bytes);
      status = shimmy_take(endpoint->endpoint, buffer, buffer_bytes, wait.timeout, &message);
    }
  } while (tries_again(&wait, endpoint, 0, &status));
  if (status == SHIMMY_OK) print_message(&message, buffer, is_first);
  return status;
}

static void op_take(struct thing* endpoint) {
  const int64_t count = number("count", 1);
  const bool is_in_place = is_text("in", "place");
  int status = SHIMMY_OK;
  // The result comes first in the answer, and is known last.
  char* messages = NULL;
  size_t bytes = 0;
  out = open_memstream(&messages, &bytes);
  for (int64_t done = 0; done < count && status == SHIMMY_OK; done++) {
    status = take_one(endpoint, is_in_place, done == 0);
  }
  (void)fclose(out);
  out = stdout;
  begin(status);
  print(",\"messages\":[%s]", messages);
  free(messages);
  finish();
}

static void op_loan(struct thing* endpoint) {
  struct thing* made = make(kLoan, "loan");
  made->owner = endpoint;
  const int status =
      shimmy_loan(endpoint->endpoint, timeout_of(number("timeoutMs", 0)), &made->message);
  begin(status);
  if (status == SHIMMY_OK) {
    print(",\"messages\":[");
    print_message(&made->message, made->message.data, true);
    print("]");
  }
  finish();
}

static void op_read(struct thing* loan) {
  if (loan->message.loan == 0) {
    fail("the loan is void");
    return;
  }
  begin(SHIMMY_OK);
  print(",\"messages\":[");
  print_message(&loan->message, loan->message.data, true);
  print("]");
  finish();
}

static void op_release(struct thing* loan) {
  answer(shimmy_release(loan->owner->endpoint, &loan->message));
}

// ---- the loop ----

struct op {
  const char* name;
  enum ThingKind kind;  // of the thing that the field of that name names
  const char* field;
  void (*run)(struct thing* thing);
};

static const struct op ops[] = {
    {"detach", kEndpoint, "endpoint", op_detach},
    {"describe", kEndpoint, "endpoint", op_describe},
    {"counters", kEndpoint, "endpoint", op_counters},
    {"publish", kEndpoint, "endpoint", op_publish},
    {"reserve", kEndpoint, "endpoint", op_reserve},
    {"end", kEndpoint, "endpoint", op_end},
    {"drain", kEndpoint, "endpoint", op_drain},
    {"take", kEndpoint, "endpoint", op_take},
    {"loan", kEndpoint, "endpoint", op_loan},
    {"fill", kRoom, "room", op_fill},
    {"commit", kRoom, "room", op_commit},
    {"cancel", kRoom, "room", op_cancel},
    {"read", kLoan, "loan", op_read},
    {"release", kLoan, "loan", op_release},
};

static void run_on_thing(const struct op* op) {
  struct thing* thing = lookup(op->kind, op->field);
  if (thing == NULL) {
    fail("no such name");
    return;
  }
  const struct thing* endpoint = thing->owner == NULL ? thing : thing->owner;
  if (endpoint->is_closed) {
    fail_closed();
    return;
  }
  op->run(thing);
}

static void run(void) {
  if (is_text("op", "open")) {
    op_open();
    return;
  }
  if (is_text("op", "close")) {
    op_close();
    return;
  }
  if (is_text("op", "attach")) {
    op_attach();
    return;
  }
  for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
    if (!is_text("op", ops[i].name)) continue;
    run_on_thing(&ops[i]);
    return;
  }
  fail("no such op");
}

int main(void) {
  out = stdout;
  make_crc_table();
  char* read_line = NULL;
  size_t room = 0;
  while (getline(&read_line, &room, stdin) > 0) {
    line = read_line;
    run();
  }
  free(read_line);
  free(buffer);
  for (size_t i = 0; i < thing_count; i++) shimmy_detach(things[i].endpoint);
  for (size_t i = 0; i < thing_count; i++) shimmy_client_close(things[i].client);
  return 0;
}
