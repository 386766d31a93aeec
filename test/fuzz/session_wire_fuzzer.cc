// ParseMessage() on any bytes with any number of fds. First byte: the number of fds.
#include <cstdlib>
#include <cstring>

#include "shimmy/session_wire.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  if (size == 0) return 0;
  shimmy::Message message;
  if (!shimmy::ParseMessage(data + 1, size - 1, data[0] % 4, &message)) return 0;
  // What was taken must be within its own bounds.
  if (message.type == shimmy::MessageType::kOpen) {
    if (std::strlen(message.service) != message.open.service_bytes) std::abort();
    if (message.open.service_bytes > shimmy::kMaxServiceBytes) std::abort();
  }
  if (size - 1 > shimmy::kMaxMessageBytes) std::abort();
  return 0;
}
