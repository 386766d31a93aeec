#include "control_wrap.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>

#include "addon_state.h"
#include "addon_status.h"
#include "arguments.h"
#include "fd_wrap.h"

namespace shimmy::addon {
namespace {

std::shared_ptr<ControlChannel> FindChannel(Napi::Env env, const Napi::Value& id) {
  const auto& channels = AddonState::Of(env).channels;
  const auto found = channels.find(Id(id));
  return found == channels.end() ? nullptr : found->second;
}

// controlConnect(path): id | -errno
Napi::Value Connect(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsString(info, 0)) return ThrowSignature(env, "controlConnect(path: string)");
  const int32_t fd = ConnectControl(info[0].As<Napi::String>().Utf8Value());
  if (fd < 0) return Integer(env, fd);
  return Integer(env, AddonState::Of(env).AddChannel(UniqueFd(fd)));
}

// Whether `fd` is what a channel needs; makes it non-blocking.
int32_t CheckAdoptable(int fd) {
  int type = 0;
  socklen_t length = sizeof type;
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0) return -errno;
  int domain = 0;
  length = sizeof domain;
  if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0) return -errno;
  if (type != SOCK_SEQPACKET || domain != AF_UNIX) return -EPROTOTYPE;
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return -errno;
  return 0;
}

// controlAdopt(fd): id | -errno; owns the descriptor when it succeeds
Napi::Value Adopt(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 0)) return ThrowSignature(env, "controlAdopt(fd: number)");
  const int fd = Int(info[0]);
  if (const int32_t error = CheckAdoptable(fd); error < 0) return Integer(env, error);
  return Integer(env, AddonState::Of(env).AddChannel(UniqueFd(fd)));
}

// controlPeer(id): [pid, uid, gid] | negative
Napi::Value Peer(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 0)) return ThrowSignature(env, "controlPeer(id: number)");
  const auto channel = FindChannel(env, info[0]);
  if (channel == nullptr) return Integer(env, Code(AddonStatus::kClosed));
  return channel->WithFd([env](int fd) { return PeerCredentials(env, fd); });
}

// controlPeerCgroup(id): string | negative
Napi::Value PeerCgroupOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 0)) return ThrowSignature(env, "controlPeerCgroup(id: number)");
  const auto channel = FindChannel(env, info[0]);
  if (channel == nullptr) return Integer(env, Code(AddonStatus::kClosed));
  return channel->WithFd([env](int fd) { return PeerCgroup(env, fd); });
}

// controlStartReading(id)
Napi::Value StartReading(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 0)) return ThrowSignature(env, "controlStartReading(id: number)");
  if (const auto channel = FindChannel(env, info[0])) channel->StartReading();
  return env.Undefined();
}

// controlSend(id, data, fds): 1 sent | 0 queued | negative
Napi::Value Send(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 0) || !IsBytes(info, 1) || info.Length() < 3 || !info[2].IsArray()) {
    return ThrowSignature(env, "controlSend(id: number, data: Uint8Array, fds: number[])");
  }
  const auto channel = FindChannel(env, info[0]);
  if (channel == nullptr) return Integer(env, Code(AddonStatus::kClosed));
  const auto list = info[2].As<Napi::Array>();
  std::vector<int> fds;
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Napi::Value fd = list.Get(i);
    if (env.IsExceptionPending()) return env.Undefined();
    if (!fd.IsNumber()) return ThrowSignature(env, "controlSend: fds must be numbers");
    fds.push_back(Int(fd));
  }
  return Integer(env, channel->Send(Bytes(info[1]), fds));
}

// controlClose(id)
Napi::Value Close(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 0)) return ThrowSignature(env, "controlClose(id: number)");
  if (const auto channel = FindChannel(env, info[0])) {
    channel->Close();
    AddonState::Of(env).channels.erase(channel->id());
  }
  return env.Undefined();
}

// controlListen(path, mode): id | -errno
Napi::Value Listen(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsString(info, 0) || !IsNumber(info, 1)) {
    return ThrowSignature(env, "controlListen(path: string, mode: number)");
  }
  AddonState& state = AddonState::Of(env);
  const auto listener = std::make_shared<ControlListener>(state.NextId(), state.sink, state.poller);
  const int32_t result =
      listener->Open(info[0].As<Napi::String>().Utf8Value(), static_cast<mode_t>(Id(info[1])));
  if (result < 0) return Integer(env, result);
  state.listeners.emplace(listener->id(), listener);
  return Integer(env, listener->id());
}

// controlListenFd(fd): id | -errno; owns the descriptor when it succeeds
Napi::Value ListenFd(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 0)) return ThrowSignature(env, "controlListenFd(fd: number)");
  AddonState& state = AddonState::Of(env);
  const auto listener = std::make_shared<ControlListener>(state.NextId(), state.sink, state.poller);
  UniqueFd fd(Int(info[0]));
  if (const int32_t error = listener->Adopt(fd); error != 0) {
    static_cast<void>(fd.Release());
    return Integer(env, error);
  }
  state.listeners.emplace(listener->id(), listener);
  return Integer(env, listener->id());
}

// controlResumeAccept(id)
Napi::Value ResumeAccept(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 0)) return ThrowSignature(env, "controlResumeAccept(id: number)");
  const auto& listeners = AddonState::Of(env).listeners;
  const auto found = listeners.find(Id(info[0]));
  if (found != listeners.end()) found->second->Resume();
  return env.Undefined();
}

// controlCloseListener(id)
Napi::Value CloseListener(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!IsNumber(info, 0)) return ThrowSignature(env, "controlCloseListener(id: number)");
  auto& listeners = AddonState::Of(env).listeners;
  const auto found = listeners.find(Id(info[0]));
  if (found == listeners.end()) return env.Undefined();
  found->second->Close();
  listeners.erase(found);
  return env.Undefined();
}

}  // namespace

void ExportControlFunctions(Napi::Env env, Napi::Object exports) {
  exports.Set("controlConnect", Napi::Function::New(env, Connect));
  exports.Set("controlAdopt", Napi::Function::New(env, Adopt));
  exports.Set("controlPeer", Napi::Function::New(env, Peer));
  exports.Set("controlPeerCgroup", Napi::Function::New(env, PeerCgroupOf));
  exports.Set("controlStartReading", Napi::Function::New(env, StartReading));
  exports.Set("controlSend", Napi::Function::New(env, Send));
  exports.Set("controlClose", Napi::Function::New(env, Close));
  exports.Set("controlListen", Napi::Function::New(env, Listen));
  exports.Set("controlListenFd", Napi::Function::New(env, ListenFd));
  exports.Set("controlResumeAccept", Napi::Function::New(env, ResumeAccept));
  exports.Set("controlCloseListener", Napi::Function::New(env, CloseListener));
}

}  // namespace shimmy::addon
