// Which pod a process belongs to, by the text of its /proc/PID/cgroup.
//
// The same rules as agent/cgroup.ts, where the reasons stand; test/fixtures/cgroups.txt holds both
// to one table.
//
//   I1  at most one pod is named, and nothing in the text names another
//   I2  a part counts only where the kubelet puts it: below `kubepods`, or where a cgroup
//       namespace hides what is above it
//   I3  nothing below a user's own slice counts
#pragma once

#include <string>
#include <string_view>

namespace shimmy::netns {

// Returns the UID of the pod named, as the API server writes it; empty when none is, or when the
// text is one that no kubelet makes.
[[nodiscard]] std::string PodOf(std::string_view text);

}  // namespace shimmy::netns
