// Entry point of shimmy.node. lib/native.ts declares everything exported here.
#include <napi.h>

#include "addon_state.h"
#include "arguments.h"
#include "channel_wrap.h"
#include "control_wrap.h"
#include "fd_wrap.h"
#include "relay_wrap.h"
#include "stream_wrap.h"

namespace shimmy::addon {
namespace {

// setDispatch(dispatch): the function that receives every event of this environment
Napi::Value SetDispatch(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 1 || !info[0].IsFunction()) {
    return ThrowSignature(env, "setDispatch(dispatch: (kind, id, ...) => void)");
  }
  AddonState::Of(env).sink.SetDispatch(info[0].As<Napi::Function>());
  return env.Undefined();
}

// setKeepAlive(keepAlive): whether the environment's loop waits for events
Napi::Value SetKeepAlive(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 1 || !info[0].IsBoolean()) {
    return ThrowSignature(env, "setKeepAlive(keepAlive: boolean)");
  }
  AddonState::Of(env).sink.Ref(env, info[0].As<Napi::Boolean>().Value());
  return env.Undefined();
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  if (!AddonState::Attach(env)) return exports;
  exports.Set("setDispatch", Napi::Function::New(env, SetDispatch));
  exports.Set("setKeepAlive", Napi::Function::New(env, SetKeepAlive));
  ExportFdFunctions(env, exports);
  ExportControlFunctions(env, exports);
  ExportRelayFunctions(env, exports);
  ExportStreamFunctions(env, exports);
  ExportChannelFunctions(env, exports);
  return exports;
}

}  // namespace
}  // namespace shimmy::addon

static Napi::Object InitShimmy(Napi::Env env, Napi::Object exports) {
  return shimmy::addon::Init(env, exports);
}

NODE_API_MODULE(shimmy, InitShimmy)
