// Calls on plain descriptors that Node does not have.
#pragma once

#include <napi.h>

namespace shimmy::addon {

void ExportFdFunctions(Napi::Env env, Napi::Object exports);

// [pid, uid, gid] of the process at the other end of a Unix socket, or -errno.
Napi::Value PeerCredentials(Napi::Env env, int fd);

// Text of its /proc/PID/cgroup, or -errno.
Napi::Value PeerCgroup(Napi::Env env, int fd);

}  // namespace shimmy::addon
