// PodOf() on any text, and on any path below a pod: what a pod may name its own cgroups.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>

#include "cgroup.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::string pod = shimmy::netns::PodOf(text);
  // A UID, and one that is in the text, with dashes or underscores.
  if (!pod.empty()) {
    std::string slice = pod;
    std::replace(slice.begin(), slice.end(), '-', '_');
    if (pod.size() != 36 && pod.size() != 32) std::abort();
    if (text.find(pod) == text.npos && text.find(slice) == text.npos) std::abort();
  }
  if (text.find('\n') != text.npos) return 0;
  const std::string own = "2c48913c-b29f-11e7-9350-020968147796";
  for (const char* const root : {"/kubepods/burstable/pod", "/../../pod"}) {
    const std::string named =
        shimmy::netns::PodOf("0::" + (root + own) + "/" + std::string(text) + "\n");
    if (!named.empty() && named != own) std::abort();
  }
  return 0;
}
