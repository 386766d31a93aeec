// The process at the other end of a Unix socket.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace shimmy::addon {

// Reads /proc/PID/cgroup of the process that connected `fd`. Returns 0 or -errno; -ESRCH when that
// process has ended or is not one that we can see.
//
// The number of a process that has ended is given to another one: what was read counts only if the
// process was still there afterwards. Kernels before 6.5 cannot say who connected but by its
// number, so there one that has ended before this call is not told from its successor.
[[nodiscard]] int32_t ReadPeerCgroup(int fd, std::string* text);

}  // namespace shimmy::addon
