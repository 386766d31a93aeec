// Reads a plain JavaScript object field by field. A field of the wrong type, or a getter that
// throws, makes ok() false for good; values read after that are empty.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>
#include <vector>

namespace shimmy::addon {

class ObjectReader {
 public:
  explicit ObjectReader(const Napi::Value& value) : env_(value.Env()) {
    if (!env_.IsExceptionPending() && value.IsObject()) {
      object_ = value.As<Napi::Object>();
    } else {
      ok_ = false;
    }
  }

  [[nodiscard]] bool ok() const { return ok_ && !env_.IsExceptionPending(); }

  // A number without a fraction from 0 to 2^53 - 1.
  [[nodiscard]] uint64_t Integer(const char* key) {
    const Napi::Value value = Get(key);
    if (!ok() || !value.IsNumber()) return Fail<uint64_t>();
    const int64_t number = value.As<Napi::Number>().Int64Value();
    return number < 0 ? Fail<uint64_t>() : static_cast<uint64_t>(number);
  }
  [[nodiscard]] uint32_t Integer32(const char* key) { return Narrow<uint32_t>(Integer(key)); }
  [[nodiscard]] uint16_t Integer16(const char* key) { return Narrow<uint16_t>(Integer(key)); }

  [[nodiscard]] std::string Text(const char* key) {
    const Napi::Value value = Get(key);
    if (!ok() || !value.IsString()) return Fail<std::string>();
    return value.As<Napi::String>().Utf8Value();
  }

  [[nodiscard]] bool Flag(const char* key) {
    const Napi::Value value = Get(key);
    if (!ok() || !value.IsBoolean()) return Fail<bool>();
    return value.As<Napi::Boolean>().Value();
  }

  [[nodiscard]] std::vector<std::string> Texts(const char* key) {
    std::vector<std::string> texts;
    const Napi::Value value = Get(key);
    if (!ok() || !value.IsArray()) return Fail<std::vector<std::string>>();
    const auto array = value.As<Napi::Array>();
    for (uint32_t i = 0; i < array.Length(); i++) {
      const Napi::Value item = array.Get(i);
      if (!ok() || !item.IsString()) return Fail<std::vector<std::string>>();
      texts.push_back(item.As<Napi::String>().Utf8Value());
    }
    return texts;
  }

  [[nodiscard]] Napi::Value Get(const char* key) {
    return ok() ? Napi::Value(object_.Get(key)) : env_.Undefined();
  }

  template <typename T>
  T Fail() {
    ok_ = false;
    return T{};
  }

 private:
  template <typename T>
  T Narrow(uint64_t value) {
    return value <= static_cast<uint64_t>(T(~T{0})) ? static_cast<T>(value) : Fail<T>();
  }

  Napi::Env env_;
  Napi::Object object_;
  bool ok_ = true;
};

// Converts an array with `read(const Napi::Value&, T*)`, which returns false for a bad item.
template <typename T, typename Read>
[[nodiscard]] bool ReadList(const Napi::Value& value, Read read, std::vector<T>* out) {
  if (value.Env().IsExceptionPending() || !value.IsArray()) return false;
  const auto array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); i++) {
    const Napi::Value item = array.Get(i);
    T converted;
    if (value.Env().IsExceptionPending() || !read(item, &converted)) return false;
    out->push_back(std::move(converted));
  }
  return true;
}

}  // namespace shimmy::addon
