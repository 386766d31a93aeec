#include "cgroup.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <vector>

namespace shimmy::netns {
namespace {

// 8-4-4-4-12 digits; a static pod has 32 in one.
constexpr std::size_t kUidLength = 36;
constexpr std::size_t kHashLength = 32;
constexpr std::array<std::size_t, 4> kSeparatorsAt = {8, 13, 18, 23};
constexpr std::size_t kContainerIdLength = 64;

// A part that is named as a pod's cgroup is.
struct PodPart {
  std::string uid;
  bool is_slice = false;  // the name itself says that it is the kubelet's
};

// What one line says: a pod, nothing, or something that no kubelet makes.
struct LineReading {
  bool is_refused = false;
  std::string uid;
};

bool IsHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char digit) {
    return (digit >= '0' && digit <= '9') || (digit >= 'a' && digit <= 'f');
  });
}

bool EndsWithName(std::string_view text, std::string_view name) {
  if (!text.ends_with(name)) return false;
  return text.size() == name.size() || text[text.size() - name.size() - 1] == '-';
}

// Returns an empty string when it is none.
std::string ReadUid(std::string_view text) {
  if (text.size() == kHashLength) return IsHex(text) ? std::string(text) : std::string();
  if (text.size() != kUidLength) return {};
  const char separator = text[kSeparatorsAt[0]];
  if (separator != '-' && separator != '_') return {};
  std::string uid(text);
  for (std::size_t i = 0; i < uid.size(); i++) {
    const bool is_separator =
        std::find(kSeparatorsAt.begin(), kSeparatorsAt.end(), i) != kSeparatorsAt.end();
    if (is_separator ? uid[i] != separator : !IsHex(text.substr(i, 1))) return {};
    if (is_separator) uid[i] = '-';
  }
  return uid;
}

// What may stand behind the UID of a slice's name: `.slice`, or `.slice:RUNTIME:CONTAINER`.
bool IsSliceTail(std::string_view text) {
  constexpr std::string_view kSlice = ".slice";
  if (!text.starts_with(kSlice)) return false;
  text.remove_prefix(kSlice.size());
  if (text.empty()) return true;
  const std::size_t last = text.rfind(':');
  if (text[0] != ':' || last < 2 || last == std::string_view::npos) return false;
  const std::string_view runtime = text.substr(1, last - 1);
  const std::string_view id = text.substr(last + 1);
  const bool is_runtime = std::all_of(runtime.begin(), runtime.end(),
                                      [](char c) { return (c >= 'a' && c <= 'z') || c == '-'; });
  return is_runtime && id.size() == kContainerIdLength && IsHex(id);
}

std::optional<PodPart> ReadPart(std::string_view part) {
  constexpr std::string_view kPod = "pod";
  if (part.starts_with(kPod)) {
    std::string uid = ReadUid(part.substr(kPod.size()));
    if (uid.empty()) return std::nullopt;
    return PodPart{.uid = std::move(uid), .is_slice = false};
  }
  constexpr std::string_view kDashPod = "-pod";
  const std::size_t at = part.rfind(kDashPod);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view head = part.substr(0, at);
  if (!EndsWithName(head, "kubepods") && !EndsWithName(head, "kubepods-burstable") &&
      !EndsWithName(head, "kubepods-besteffort")) {
    return std::nullopt;
  }
  const std::string_view rest = part.substr(at + kDashPod.size());
  const std::size_t dot = rest.find('.');
  if (dot == std::string_view::npos || !IsSliceTail(rest.substr(dot))) return std::nullopt;
  std::string uid = ReadUid(rest.substr(0, dot));
  if (uid.empty()) return std::nullopt;
  return PodPart{.uid = std::move(uid), .is_slice = true};
}

bool IsQosPart(std::string_view part) {
  return part == "burstable" || part == "besteffort" ||
         EndsWithName(part, "kubepods-burstable.slice") ||
         EndsWithName(part, "kubepods-besteffort.slice");
}

bool IsRootPart(std::string_view part) {
  return part == "kubepods" || EndsWithName(part, "kubepods.slice");
}

// Between slashes; leading `..` are counted and left out.
std::vector<std::string_view> Split(std::string_view path, std::size_t* hidden) {
  std::vector<std::string_view> parts;
  *hidden = 0;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (parts.empty() && part == "..") {
      ++*hidden;
    } else {
      parts.push_back(part);
    }
    begin = end + 1;
  }
  return parts;
}

// Whether the part at `at` is where the kubelet puts pods.
bool IsPlaced(const std::vector<std::string_view>& parts, std::size_t at, bool is_relative) {
  if (at > 0 && IsQosPart(parts[at - 1])) at--;
  return at == 0 ? is_relative : IsRootPart(parts[at - 1]);
}

// `LINE` is `NUMBER:CONTROLLERS:/PATH`. Returns the path without its first slash.
std::optional<std::string_view> PathOf(std::string_view line) {
  const std::size_t digits = line.find_first_not_of("0123456789");
  if (digits == 0 || digits == std::string_view::npos || line[digits] != ':') return std::nullopt;
  const std::size_t colon = line.find(':', digits + 1);
  if (colon == std::string_view::npos || colon + 1 >= line.size() || line[colon + 1] != '/') {
    return std::nullopt;
  }
  return line.substr(colon + 2);
}

LineReading Refused() { return {.is_refused = true, .uid = {}}; }

LineReading ReadLine(std::string_view line) {
  const std::optional<std::string_view> path = PathOf(line);
  if (!path) return Refused();
  std::size_t hidden = 0;
  const std::vector<std::string_view> parts = Split(*path, &hidden);

  std::optional<PodPart> pod;
  std::size_t at = 0;
  bool is_below_unread = false;
  for (std::size_t i = 0; i < parts.size(); i++) {
    const std::optional<PodPart> found = ReadPart(parts[i]);
    if (found && pod && found->uid != pod->uid) return Refused();  // I1
    if (found && !pod) {
      pod = found;
      at = i;
    }
    if (pod) continue;
    const bool is_user_slice = parts[i] == "user.slice";  // I3
    const bool is_unread =
        parts[i].starts_with("pod") || parts[i].find("-pod") != std::string_view::npos;
    is_below_unread = is_below_unread || is_user_slice || is_unread;
  }
  if (!pod) return {};
  if (is_below_unread) return Refused();
  if (!pod->is_slice && !IsPlaced(parts, at, hidden > 0)) return {};  // I2
  return {.is_refused = false, .uid = pod->uid};
}

}  // namespace

std::string PodOf(std::string_view text) {
  std::string uid;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty()) continue;
    LineReading reading = ReadLine(line);
    if (reading.is_refused) return {};
    if (reading.uid.empty()) continue;
    if (!uid.empty() && uid != reading.uid) return {};  // I1
    uid = std::move(reading.uid);
  }
  return uid;
}

}  // namespace shimmy::netns
