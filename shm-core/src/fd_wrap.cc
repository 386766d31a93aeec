#include "fd_wrap.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "addon_state.h"
#include "arguments.h"
#include "peer_process.h"

namespace shimmy::addon {
namespace {

// socketPair(): [number, number] | -errno
Napi::Value SocketPair(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::array<int, 2> fds{};
  const int type = SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK;
  if (::socketpair(AF_UNIX, type, 0, fds.data()) != 0) return Integer(env, -errno);
  return Integers(env, std::array<int64_t, 2>{fds[0], fds[1]});
}

// duplicateFd(fd): number | -errno
Napi::Value DuplicateFd(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 0)) return ThrowSignature(env, "duplicateFd(fd: number)");
  const int fd = ::fcntl(Int(info[0]), F_DUPFD_CLOEXEC, 0);
  return Integer(env, fd >= 0 ? fd : -errno);
}

// ownFd(fd): closes it with the environment unless disownFd() or closeFd() comes first
Napi::Value OwnFd(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 0)) return ThrowSignature(env, "ownFd(fd: number)");
  AddonState::Of(env).owned_fds.insert(Int(info[0]));
  return env.Undefined();
}

// disownFd(fd)
Napi::Value DisownFd(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 0)) return ThrowSignature(env, "disownFd(fd: number)");
  AddonState::Of(env).owned_fds.erase(Int(info[0]));
  return env.Undefined();
}

// closeFd(fd): 0 | -errno
Napi::Value CloseFd(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 0)) return ThrowSignature(env, "closeFd(fd: number)");
  const int fd = Int(info[0]);
  AddonState::Of(env).owned_fds.erase(fd);
  return Integer(env, ::close(fd) == 0 ? 0 : -errno);
}

// shutdownFd(fd): 0 | -errno
Napi::Value ShutdownFd(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 0)) return ThrowSignature(env, "shutdownFd(fd: number)");
  return Integer(env, ::shutdown(Int(info[0]), SHUT_RDWR) == 0 ? 0 : -errno);
}

// peerCredentials(fd): [pid, uid, gid] | -errno
Napi::Value PeerCredentialsOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 0)) return ThrowSignature(env, "peerCredentials(fd: number)");
  return PeerCredentials(env, Int(info[0]));
}

// peerCgroup(fd): string | -errno
Napi::Value PeerCgroupOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 0)) return ThrowSignature(env, "peerCgroup(fd: number)");
  return PeerCgroup(env, Int(info[0]));
}

}  // namespace

Napi::Value PeerCgroup(Napi::Env env, int fd) {
  std::string text;
  if (const int32_t error = ReadPeerCgroup(fd, &text); error != 0) return Integer(env, error);
  return Napi::String::New(env, text);
}

Napi::Value PeerCredentials(Napi::Env env, int fd) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return Integer(env, -errno);
  return Integers(env, std::array<int64_t, 3>{peer.pid, peer.uid, peer.gid});
}

void ExportFdFunctions(Napi::Env env, Napi::Object exports) {
  exports.Set("socketPair", Napi::Function::New(env, SocketPair));
  exports.Set("duplicateFd", Napi::Function::New(env, DuplicateFd));
  exports.Set("ownFd", Napi::Function::New(env, OwnFd));
  exports.Set("disownFd", Napi::Function::New(env, DisownFd));
  exports.Set("closeFd", Napi::Function::New(env, CloseFd));
  exports.Set("shutdownFd", Napi::Function::New(env, ShutdownFd));
  exports.Set("peerCredentials", Napi::Function::New(env, PeerCredentialsOf));
  exports.Set("peerCgroup", Napi::Function::New(env, PeerCgroupOf));
}

}  // namespace shimmy::addon
