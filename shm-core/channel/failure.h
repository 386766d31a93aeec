// What went wrong, as shimmy_last_error() tells it.
#ifndef SHIMMY_CHANNEL_FAILURE_H_
#define SHIMMY_CHANNEL_FAILURE_H_

#include <string>

#include "shimmy.h"

namespace shimmy::channel {

struct Failure {
  int status = SHIMMY_OK;
  std::string code;  // of docs/reference/errors.md
  std::string message;
  std::string reason;  // with SHIMMY_ERR_TOPIC_DENIED

  [[nodiscard]] bool failed() const { return status != SHIMMY_OK; }
};

// "connect: No such file or directory".
std::string SystemText(const char* what, int error);

// Keeps a failure for shimmy_last_error() of this thread, and returns its status.
int Fail(Failure failure);

// Failures that need no words of their own.
int Fail(int status);

const Failure& LastFailure();

}  // namespace shimmy::channel

#endif  // SHIMMY_CHANNEL_FAILURE_H_
