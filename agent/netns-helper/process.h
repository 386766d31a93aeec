// One process, as /proc shows it.
//
// The folder of a process in /proc stays that process's: once it is gone, nothing below the folder
// can be opened, whoever has its number then. So the folder is opened once and everything is read
// through it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "relay/unique_fd.h"

namespace shimmy::netns {

using relay::UniqueFd;

class Process {
 public:
  // `proc` is the open folder /proc. The result is not valid when there is no such process.
  [[nodiscard]] static Process Open(int proc, pid_t pid) noexcept;

  [[nodiscard]] bool valid() const noexcept { return folder_.valid(); }

  // Clock ticks since boot, field 22 of `stat`; nothing when it is gone.
  [[nodiscard]] std::optional<uint64_t> StartTime() const;

  // UID of the pod that its cgroup names; empty when it is gone or there is none.
  [[nodiscard]] std::string Pod() const;

  // Its network namespace; errno says why not.
  [[nodiscard]] UniqueFd OpenNetNamespace() const noexcept;

 private:
  explicit Process(UniqueFd folder) noexcept : folder_(std::move(folder)) {}
  [[nodiscard]] std::optional<std::string> Read(const char* name) const;

  UniqueFd folder_;
};

}  // namespace shimmy::netns
