/*
 * Shimmy's channels in C: topics whose messages go from process to process through shared memory.
 *
 * A client is this process's connection to its node's agent. An endpoint is one role in one
 * channel: producer or consumer of a lock-based one (each message read once), publisher or
 * subscriber of a lock-free one (each message read by everyone, until its time is over). The agent
 * introduces the two sides to each other; messages do not go through it, and go on when it is away.
 *
 * Every call may be made from any thread. Calls on one endpoint exclude one another; only
 * shimmy_interrupt(), shimmy_counters() and shimmy_describe() come in between. Nothing here may be
 * used after fork() in the child, except after a new shimmy_client_open().
 *
 * Sizes are bytes. Timeouts are nanoseconds: 0 does not wait, SHIMMY_FOREVER waits without end.
 * Guides: docs/guides/lock-based-channels.md and docs/guides/lock-free-channels.md.
 * Reference: docs/reference/sdk-c.md.
 */
#ifndef SHIMMY_H_
#define SHIMMY_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SHIMMY_API __attribute__((visibility("default")))
#else
#define SHIMMY_API
#endif

/* Grows when functions or fields are added; nothing is ever taken away within libshimmy.so.1. */
#define SHIMMY_ABI_VERSION 1

#define SHIMMY_FOREVER ((int64_t)-1)
#define SHIMMY_MISSED_UNKNOWN UINT64_MAX

/* What a call returns. SHIMMY_OK is 0, everything else is negative. */
enum shimmy_status {
  SHIMMY_OK = 0,
  SHIMMY_AGAIN = -1,            /* nothing there, or no room, within the timeout */
  SHIMMY_END = -2,              /* the writer has ended the channel; or we have, and publish */
  SHIMMY_BUFFER_TOO_SMALL = -3, /* take: the message stays; its `bytes` says what it needs */
  SHIMMY_MESSAGE_TOO_BIG = -4,  /* larger than the channel's region: can never be sent */
  SHIMMY_NO_LOAN = -5,          /* as many loans as may be are out; shimmy_take() works */
  SHIMMY_MISUSE = -6,           /* the wrong role, a loan that is not out, a null pointer */
  SHIMMY_INTERRUPTED = -7,      /* shimmy_interrupt(), or a signal handler ran */
  SHIMMY_CLOSED = -8,           /* the endpoint is over: shimmy_last_error() says why */
  SHIMMY_REFUSED = -9,          /* the agent refused: shimmy_last_error() says why */
  SHIMMY_UNAVAILABLE = -10,     /* no agent answers */
  SHIMMY_NO_MEMORY = -11,
  SHIMMY_SYSTEM = -12 /* a system call failed: shimmy_last_error() says which */
};

/* The last failure of the calling thread. Texts are valid until its next call. */
struct shimmy_error {
  int status;
  const char* code;    /* "SHIMMY_ERR_…", see docs/reference/errors.md */
  const char* reason;  /* with SHIMMY_ERR_TOPIC_DENIED: a topic reason; else "" */
  const char* message; /* one sentence for people */
};

typedef struct shimmy_client shimmy_client;
typedef struct shimmy_endpoint shimmy_endpoint;

enum shimmy_role {
  SHIMMY_PRODUCER = 1,
  SHIMMY_CONSUMER = 2,
  SHIMMY_PUBLISHER = 3,
  SHIMMY_SUBSCRIBER = 4
};

enum shimmy_kind { SHIMMY_LOCK_BASED = 1, SHIMMY_LOCK_FREE = 2 };

/* Where a subscriber begins in what is there already. */
enum shimmy_start { SHIMMY_NEWEST = 0, SHIMMY_OLDEST = 1 };

/* How calls wait. Adaptive spins for as long as that has paid lately, then sleeps. */
enum shimmy_wait_mode { SHIMMY_ADAPTIVE = 0, SHIMMY_SPIN = 1, SHIMMY_SLEEP = 2 };

/* `struct_size` is sizeof of the struct that the caller was compiled with. Zeros are defaults. */
struct shimmy_client_options {
  size_t struct_size;
  const char* socket; /* NULL: environment SHIMMY_FD_SOCKET, else "@shimmy/fd"; '@' is abstract */
  int64_t timeout;    /* for the agent to answer; 0: five seconds */
};

struct shimmy_parameters {
  uint32_t kind;            /* enum shimmy_kind */
  uint32_t blocks;          /* 2 to 65,536; here and below, 0: the default */
  uint32_t block_bytes;     /* a multiple of 64, at most 1 << 20 */
  uint32_t readers;         /* lock-free: how many must have read a message before it may go */
  uint32_t time_to_live_ms; /* lock-free: or how old it must be; at most a day */
  uint32_t max_loans;       /* at most 16 */
};

#define SHIMMY_CREATE 1u /* make the channel with `parameters` if there is none */
#define SHIMMY_PRIVATE_VIEWS                                           \
  2u /* readers: what the caller writes into a loan is seen by nobody, \
        and is gone after shimmy_release(); else a write faults */

struct shimmy_endpoint_options {
  size_t struct_size;
  const char* topic; /* "name" of the own namespace, or "namespace/name" */
  uint32_t role;     /* enum shimmy_role */
  uint32_t start;    /* enum shimmy_start; subscribers */
  uint32_t wait_mode;
  uint32_t flags;
  struct shimmy_parameters parameters; /* with SHIMMY_CREATE */
};

enum shimmy_state {
  SHIMMY_LIVE = 1,
  SHIMMY_STANDBY = 2, /* takes over when the live one has gone; as if full, or empty, until then */
  SHIMMY_OVER = 3     /* every further call says SHIMMY_CLOSED */
};

struct shimmy_info {
  size_t struct_size;
  char topic[520];  /* "namespace/name" */
  uint64_t channel; /* id */
  struct shimmy_parameters parameters;
  uint32_t state;     /* enum shimmy_state */
  uint32_t peers;     /* writers or readers that are there */
  uint64_t max_bytes; /* largest message */
};

/* Sums since shimmy_attach(). */
struct shimmy_counters {
  size_t struct_size;
  uint64_t messages; /* published, or taken and lent */
  uint64_t bytes;
  uint64_t missed;         /* subscribers: known number of messages missed */
  uint64_t missed_unknown; /* subscribers: how often it is not known how many */
  uint64_t expired;        /* publishers: taken back before all had read them */
  uint64_t wakes;          /* futex wakes sent */
  uint64_t bells;          /* doorbells rung */
  uint64_t sleeps;         /* times that a call slept */
  uint64_t links;          /* peers met */
  uint64_t rings;          /* writers' rings met, or made */
  uint64_t dropped_peers;  /* peers that broke the rules */
};

/* Room for a message in shared memory, from shimmy_reserve() to shimmy_commit() or _cancel(). */
struct shimmy_room {
  void* data;
  size_t bytes;
  uint64_t id; /* 0: none */
};

/* A message. With shimmy_loan() `data` is valid until shimmy_release(). Copy before you parse what
 * you do not trust: a hostile writer can change it meanwhile. */
struct shimmy_message {
  const void* data;
  size_t bytes;
  uint64_t sequence;   /* grows; lock-free: by one with each message of one ring */
  uint64_t generation; /* of the writer's ring: another one after each restart of a writer */
  uint64_t missed;     /* lock-free: how many were missed just before this one of the same writer;
                          SHIMMY_MISSED_UNKNOWN behind a restart of a publisher */
  uint64_t loan;       /* 0: not a loan */
};

SHIMMY_API uint32_t shimmy_abi_version(void);
SHIMMY_API const char* shimmy_version(void);
/* "SHIMMY_AGAIN" and so on. */
SHIMMY_API const char* shimmy_status_name(int status);
SHIMMY_API void shimmy_last_error(struct shimmy_error* error);

/* Connects to the agent. */
SHIMMY_API int shimmy_client_open(const struct shimmy_client_options* options,
                                  shimmy_client** client);
/* Detaches all its endpoints, which only shimmy_detach() may be called on afterwards. NULL is
 * allowed. */
SHIMMY_API void shimmy_client_close(shimmy_client* client);

/* Takes a role in a channel. Returns when the agent has answered; timeout as for clients. */
SHIMMY_API int shimmy_attach(shimmy_client* client, const struct shimmy_endpoint_options* options,
                             shimmy_endpoint** endpoint);
/* Gives the role up and frees the endpoint: interrupts calls of other threads and waits for them;
 * loans and rooms are void. A producer's messages that nobody has read stay for the next consumer.
 * The channel is not ended: see shimmy_end(). NULL is allowed. */
SHIMMY_API void shimmy_detach(shimmy_endpoint* endpoint);
SHIMMY_API int shimmy_describe(shimmy_endpoint* endpoint, struct shimmy_info* info);
SHIMMY_API int shimmy_counters(shimmy_endpoint* endpoint, struct shimmy_counters* counters);

/* ---- producers and publishers ---- */

SHIMMY_API int shimmy_publish(shimmy_endpoint* endpoint, const void* data, size_t bytes,
                              int64_t timeout);
SHIMMY_API int shimmy_reserve(shimmy_endpoint* endpoint, size_t bytes, int64_t timeout,
                              struct shimmy_room* room);
/* Publishes the first `bytes` of it. Rooms are committed in the order in which they were reserved:
 * SHIMMY_MISUSE otherwise. `room` is void afterwards. */
SHIMMY_API int shimmy_commit(shimmy_endpoint* endpoint, struct shimmy_room* room, size_t bytes);
SHIMMY_API int shimmy_cancel(shimmy_endpoint* endpoint, struct shimmy_room* room);
/* No more messages: readers get SHIMMY_END behind the last one. */
SHIMMY_API int shimmy_end(shimmy_endpoint* endpoint);
/* Producers: waits until everything was consumed. */
SHIMMY_API int shimmy_drain(shimmy_endpoint* endpoint, int64_t timeout);

/* ---- consumers and subscribers ---- */

SHIMMY_API int shimmy_take(shimmy_endpoint* endpoint, void* to, size_t room, int64_t timeout,
                           struct shimmy_message* message);
SHIMMY_API int shimmy_loan(shimmy_endpoint* endpoint, int64_t timeout,
                           struct shimmy_message* message);
/* In any order. SHIMMY_MISUSE for a loan that is not out. `message` is void afterwards. */
SHIMMY_API int shimmy_release(shimmy_endpoint* endpoint, struct shimmy_message* message);

/* ---- event loops ---- */

/* To poll for reading; stays the same, and belongs to the endpoint. */
SHIMMY_API int shimmy_fd(shimmy_endpoint* endpoint);
/* SHIMMY_AGAIN: the fd becomes readable when there may be a message, or room for `bytes`: call this
 * again then. SHIMMY_OK: try now. Anything else: what the next call would return. */
SHIMMY_API int shimmy_arm(shimmy_endpoint* endpoint, size_t bytes);
/* Calls that wait, and the next one that would, return SHIMMY_INTERRUPTED, once. From any thread,
 * not from signal handlers. */
SHIMMY_API int shimmy_interrupt(shimmy_endpoint* endpoint);

#ifdef __cplusplus
}
#endif

#endif /* SHIMMY_H_ */
