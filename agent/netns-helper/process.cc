#include "process.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>

#include "cgroup.h"

namespace shimmy::netns {
namespace {

// The kernel's paths have 4 KiB at most, one a line; there are a dozen hierarchies or so.
constexpr std::size_t kMaxFileBytes = 128 * 1024;
// proc(5): state is field 3 and starttime field 22. The name before them may hold anything.
constexpr int kFieldsAfterName = 22 - 2;

}  // namespace

Process Process::Open(int proc, pid_t pid) noexcept {
  std::array<char, 16> name{};
  std::snprintf(name.data(), name.size(), "%d", pid);
  return Process(UniqueFd(::openat(proc, name.data(), O_PATH | O_DIRECTORY | O_CLOEXEC)));
}

std::optional<uint64_t> Process::StartTime() const {
  const std::optional<std::string> text = Read("stat");
  if (!text) return std::nullopt;
  std::size_t at = text->rfind(')');
  if (at == std::string::npos) return std::nullopt;
  for (int field = 0; field < kFieldsAfterName; field++) {
    at = text->find(' ', at + 1);
    if (at == std::string::npos) return std::nullopt;
  }
  uint64_t ticks = 0;
  const char* const end = text->data() + text->size();
  const auto [rest, error] = std::from_chars(text->data() + at + 1, end, ticks);
  if (error != std::errc() || (rest != end && *rest != ' ')) return std::nullopt;
  return ticks;
}

std::string Process::Pod() const {
  const std::optional<std::string> text = Read("cgroup");
  return text ? PodOf(*text) : std::string();
}

UniqueFd Process::OpenNetNamespace() const noexcept {
  return UniqueFd(::openat(folder_.get(), "ns/net", O_RDONLY | O_CLOEXEC));
}

std::optional<std::string> Process::Read(const char* name) const {
  const UniqueFd file(::openat(folder_.get(), name, O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return std::nullopt;
  std::string text;
  std::array<char, 4096> buffer;
  for (;;) {
    const ssize_t length = ::read(file.get(), buffer.data(), buffer.size());
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return std::nullopt;
    if (length == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(length));
    if (text.size() > kMaxFileBytes) return std::nullopt;
  }
}

}  // namespace shimmy::netns
