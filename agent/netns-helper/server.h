// Answers the agent, one request a connection, one connection at a time.
#pragma once

#include <sys/types.h>

#include "entrance.h"

namespace shimmy::netns {

// Binds `path`; what is there from an earlier run is replaced. Anybody may connect: who is answered
// is decided by the kernel's word on who did. errno says why the result is not valid.
[[nodiscard]] UniqueFd ListenAt(const char* path) noexcept;

// Takes one connection and answers it, if it is user `uid`'s: any bytes, at any pace, cost it its
// connection and a bounded time. Returns false when there is nothing to listen on any more.
[[nodiscard]] bool ServeOne(const UniqueFd& listener, uid_t uid, const Entrance& entrance);

}  // namespace shimmy::netns
