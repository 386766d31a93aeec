// What this process holds: fds, mappings of halves, CPU time. For tests that look for leaks.
#ifndef SHIMMY_TEST_PROCESS_COUNTS_H_
#define SHIMMY_TEST_PROCESS_COUNTS_H_

#include <dirent.h>
#include <time.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <string>

namespace shimmy::test {

inline size_t CountFds() {
  size_t count = 0;
  DIR* const folder = opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  while (const dirent* entry = readdir(folder)) {
    if (entry->d_name[0] != '.') count++;
  }
  closedir(folder);
  return count - 1;  // the one of opendir itself
}

// Mappings of memfds named by CreateHalf().
inline size_t CountHalfMappings() {
  std::ifstream maps("/proc/self/maps");
  size_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("/memfd:shimmy") != std::string::npos) count++;
  }
  return count;
}

// CPU time of all threads of this process, in milliseconds.
inline uint64_t ProcessCpuMs() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1000 + static_cast<uint64_t>(time.tv_nsec) / 1000000;
}

}  // namespace shimmy::test

#endif  // SHIMMY_TEST_PROCESS_COUNTS_H_
