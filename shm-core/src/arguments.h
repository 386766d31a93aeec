// Argument checks of the Node-API functions. lib/ validates what users pass; a failure here
// is a mistake inside Shimmy, so the messages name only the signature.
#pragma once

#include <napi.h>

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace shimmy::addon {

// Throws a TypeError that names the signature. The caller returns on the next line.
inline Napi::Value ThrowSignature(Napi::Env env, const char* signature) {
  Napi::TypeError::New(env, signature).ThrowAsJavaScriptException();
  return env.Undefined();
}

inline bool IsNumber(const Napi::CallbackInfo& info, std::size_t index) {
  return info.Length() > index && info[index].IsNumber();
}

inline bool IsString(const Napi::CallbackInfo& info, std::size_t index) {
  return info.Length() > index && info[index].IsString();
}

inline bool IsBytes(const Napi::CallbackInfo& info, std::size_t index) {
  return info.Length() > index && info[index].IsTypedArray() &&
         info[index].As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array;
}

// The bytes of a Uint8Array; valid until JavaScript runs again.
inline std::span<std::byte> Bytes(const Napi::Value& value) {
  auto array = value.As<Napi::Uint8Array>();
  return {reinterpret_cast<std::byte*>(array.Data()), array.ByteLength()};
}

inline int Int(const Napi::Value& value) { return value.As<Napi::Number>().Int32Value(); }

inline uint32_t Id(const Napi::Value& value) { return value.As<Napi::Number>().Uint32Value(); }

inline Napi::Value Integer(Napi::Env env, int64_t value) {
  return Napi::Number::New(env, static_cast<double>(value));
}

inline Napi::Value Integers(Napi::Env env, std::span<const int64_t> values) {
  const Napi::Array array = Napi::Array::New(env, values.size());
  for (uint32_t i = 0; i < values.size(); i++) array.Set(i, Integer(env, values[i]));
  return array;
}

}  // namespace shimmy::addon
