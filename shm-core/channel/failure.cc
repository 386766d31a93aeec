#include "failure.h"

#include <system_error>
#include <utility>

namespace shimmy::channel {

namespace {

struct Words {
  int status;
  const char* code;
  const char* message;
};

constexpr Words kWords[] = {
    {SHIMMY_AGAIN, "SHIMMY_ERR_TIMEOUT", "there was no message, or no room, in time"},
    {SHIMMY_END, "SHIMMY_ERR_CLOSED", "the channel was ended by its writer"},
    {SHIMMY_BUFFER_TOO_SMALL, "SHIMMY_ERR_MESSAGE_TOO_BIG",
     "the message is larger than the buffer; it can still be taken"},
    {SHIMMY_MESSAGE_TOO_BIG, "SHIMMY_ERR_MESSAGE_TOO_BIG",
     "the message is larger than the channel's region; make the channel with more blocks"},
    {SHIMMY_NO_LOAN, "SHIMMY_ERR_LIMIT",
     "as many messages are out in place as the channel's maxLoans allows; release one, or copy"},
    {SHIMMY_MISUSE, "SHIMMY_ERR_INVALID_OPTION", "the call is not one for this endpoint now"},
    {SHIMMY_INTERRUPTED, "SHIMMY_ERR_CLOSED", "the call was interrupted"},
    {SHIMMY_CLOSED, "SHIMMY_ERR_CLOSED", "the endpoint is closed"},
    {SHIMMY_NO_MEMORY, "SHIMMY_ERR_NO_MEMORY", "there is no memory for a region of the channel"},
};

// SYNC thread_local: each thread its own.
thread_local Failure last_failure;

}  // namespace

std::string SystemText(const char* what, int error) {
  return std::string(what) + ": " + std::generic_category().message(error);
}

int Fail(Failure failure) {
  const int status = failure.status;
  last_failure = std::move(failure);
  return status;
}

int Fail(int status) {
  if (status == SHIMMY_OK) return status;
  last_failure = {status, "SHIMMY_ERR_INTERNAL", "", ""};
  for (const Words& words : kWords) {
    if (words.status != status) continue;
    last_failure.code = words.code;
    last_failure.message = words.message;
  }
  return status;
}

const Failure& LastFailure() { return last_failure; }

}  // namespace shimmy::channel
