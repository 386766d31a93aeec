// shimmy/half.h: making a half, and everything its receiver checks before it maps one.
#include "shimmy/half.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "core_fixture.h"

namespace shimmy::test {
namespace {

struct Half {
  HalfSpec spec;
  HalfMap map;
  int fd = -1;

  Half() { spec.page_bytes = PageBytes(); }
  ~Half() {
    UnmapHalf<TestSys>(&map);
    if (fd >= 0) close(fd);
  }
  Half(const Half&) = delete;
  Half& operator=(const Half&) = delete;
  void Create() {
    fd = CreateHalf<TestSys>(spec);
    ASSERT_GE(fd, 0);
  }
  void CreateAndMap() {
    Create();
    ASSERT_EQ(MapAsWriter<TestSys>(fd, spec, &map), Status::kOk);
  }
  void Seal(int seals = kHalfSeals) { ASSERT_EQ(fcntl(fd, F_ADD_SEALS, seals), 0); }
};

Status Receive(int fd, const HalfBounds& bounds = {}) {
  HalfMap map;
  const Status status = MapAsReader<TestSys>(fd, bounds, &map);
  EXPECT_EQ(map.valid(), status == Status::kOk);
  UnmapHalf<TestSys>(&map);
  return status;
}

TEST(HalfTest, ReaderSeesWhatTheWriterStores) {
  Half half;
  half.CreateAndMap();
  half.Seal();
  HalfMap reader;
  ASSERT_EQ(MapAsReader<TestSys>(half.fd, {}, &reader), Status::kOk);
  std::memcpy(half.map.data, "shimmy", 6);
  EXPECT_EQ(std::memcmp(reader.data, "shimmy", 6), 0);
  EXPECT_EQ(reader.capacity, half.spec.capacity);
  UnmapHalf<TestSys>(&reader);
}

TEST(HalfTest, RingIsMappedTwiceInARow) {
  Half half;
  half.CreateAndMap();
  half.map.data[half.map.capacity - 1] = 'x';
  half.map.data[half.map.capacity] = 'y';  // the first byte of the second mapping
  EXPECT_EQ(half.map.data[0], 'y');
  EXPECT_EQ(half.map.contiguous(half.map.capacity - 1, 100), 100U);
}

TEST(HalfTest, RingMappedOnceSaysWhereASpanEnds) {
  Half half;
  half.spec.twice = false;
  half.CreateAndMap();
  EXPECT_EQ(half.map.contiguous(half.map.capacity - 1, 100), 1U);
  EXPECT_EQ(half.map.contiguous(half.map.capacity * 5 + 3, 100), 100U);
}

TEST(HalfTest, I5EveryPageIsAllocatedByItsMaker) {
  Half half;
  half.Create();
  struct stat st;
  ASSERT_EQ(fstat(half.fd, &st), 0);
  EXPECT_GE(static_cast<uint64_t>(st.st_blocks) * 512, half.spec.page_bytes + half.spec.capacity);
}

TEST(HalfTest, I6SealedHalfCannotBeChangedByAnyone) {
  Half half;
  half.CreateAndMap();
  half.Seal();
  const uint64_t bytes = half.spec.page_bytes + half.spec.capacity;
  EXPECT_EQ(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, half.fd, 0), MAP_FAILED);
  EXPECT_EQ(ftruncate(half.fd, 0), -1);
  EXPECT_EQ(ftruncate(half.fd, static_cast<off_t>(bytes * 2)), -1);
  EXPECT_EQ(fallocate(half.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
  EXPECT_EQ(madvise(half.map.control, 4096, MADV_REMOVE), -1);
  EXPECT_EQ(write(half.fd, "x", 1), -1);
  half.map.data[0] = 'w';  // the writer's own mapping goes on
}

// I1: only the owner stores.
TEST(HalfTest, ReaderCannotMakeItsMappingWritable) {
  Half half;
  half.CreateAndMap();
  half.Seal();
  HalfMap reader;
  ASSERT_EQ(MapAsReader<TestSys>(half.fd, {}, &reader), Status::kOk);
  EXPECT_EQ(mprotect(reader.control, 4096, PROT_READ | PROT_WRITE), -1);
  UnmapHalf<TestSys>(&reader);
}

TEST(HalfTest, RefusesAnUnsealedHalf) {
  Half half;
  half.CreateAndMap();
  EXPECT_EQ(Receive(half.fd), Status::kBadHalf);
}

class MissingSealTest : public testing::TestWithParam<int> {};
TEST_P(MissingSealTest, I6RefusesAHalfWithoutIt) {
  Half half;
  half.CreateAndMap();
  half.Seal(kHalfSeals & ~GetParam());
  EXPECT_EQ(Receive(half.fd), Status::kBadHalf);
}
INSTANTIATE_TEST_SUITE_P(EachSeal, MissingSealTest,
                         testing::Values(F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_FUTURE_WRITE,
                                         F_SEAL_SEAL));

TEST(HalfTest, RefusesASparseHalf) {
  Half half;
  half.fd = memfd_create("sparse", MFD_ALLOW_SEALING | MFD_CLOEXEC);
  const uint64_t bytes = half.spec.page_bytes + half.spec.capacity;
  ASSERT_EQ(ftruncate(half.fd, static_cast<off_t>(bytes)), 0);
  ASSERT_EQ(MapAsWriter<TestSys>(half.fd, half.spec, &half.map), Status::kOk);
  ASSERT_EQ(fallocate(half.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                      static_cast<off_t>(bytes - 4096), 4096),
            0);
  half.Seal();
  EXPECT_EQ(Receive(half.fd), Status::kBadHalf);
}

// Sizes that are not a control page and a ring of a power of two.
class WrongSizeTest : public testing::TestWithParam<uint64_t> {};
TEST_P(WrongSizeTest, RefusesAHalfOfThatSize) {
  Half half;
  half.fd = memfd_create("size", MFD_ALLOW_SEALING | MFD_CLOEXEC);
  ASSERT_EQ(ftruncate(half.fd, static_cast<off_t>(GetParam())), 0);
  if (GetParam() > 0) {
    ASSERT_EQ(fallocate(half.fd, 0, 0, static_cast<off_t>(GetParam())), 0);
  }
  half.Seal();
  HalfBounds bounds;
  bounds.max_capacity = 65536;
  EXPECT_EQ(Receive(half.fd, bounds), Status::kBadHalf);
}
INSTANTIATE_TEST_SUITE_P(Sizes, WrongSizeTest,
                         testing::Values(0, 1, 4095, 4096, 4097, 4096 + 2048, 4096 + 4095,
                                         4096 + 12288, 4096 + 16385, 4096 + 131072));

TEST(HalfTest, RefusesAShortHalfThatSaysItIsLong) {
  Half half;
  half.spec.capacity = 4096;
  half.CreateAndMap();
  half.map.control->header.capacity = 16384;
  half.Seal();
  EXPECT_EQ(Receive(half.fd), Status::kBadHalf);
}

// One wrong word of the header each.
struct HeaderCase {
  const char* name;
  void (*spoil)(HalfHeader*);
};
class HeaderTest : public testing::TestWithParam<HeaderCase> {};
TEST_P(HeaderTest, RefusesAHalfWithThatHeader) {
  Half half;
  half.CreateAndMap();
  GetParam().spoil(&half.map.control->header);
  half.Seal();
  EXPECT_EQ(Receive(half.fd), Status::kBadHalf);
}
INSTANTIATE_TEST_SUITE_P(
    Words, HeaderTest,
    testing::Values(HeaderCase{"magic", [](HalfHeader* h) { h->magic ^= 1; }},
                    HeaderCase{"version", [](HalfHeader* h) { h->version++; }},
                    HeaderCase{"pageBytes", [](HalfHeader* h) { h->page_bytes = 65536; }},
                    HeaderCase{"capacity", [](HalfHeader* h) { h->capacity *= 2; }},
                    HeaderCase{"start", [](HalfHeader* h) { h->start = 1; }},
                    HeaderCase{"number", [](HalfHeader* h) { h->number = 2; }}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(HalfTest, RefusesWhatIsNotAMemfd) {
  int pipe_ends[2];
  ASSERT_EQ(pipe2(pipe_ends, O_CLOEXEC), 0);
  EXPECT_EQ(Receive(pipe_ends[0]), Status::kBadHalf);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
  const int zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
  EXPECT_EQ(Receive(zero), Status::kBadHalf);
  close(zero);
  const int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(Receive(self), Status::kBadHalf);
  close(self);
  EXPECT_EQ(Receive(-1), Status::kBadHalf);
}

TEST(HalfTest, RefusesAHugetlbMemfd) {
  const int fd = memfd_create("huge", MFD_ALLOW_SEALING | MFD_CLOEXEC | MFD_HUGETLB);
  if (fd < 0) GTEST_SKIP() << "this kernel has no hugetlb memfds";
  if (ftruncate(fd, 2 << 20) == 0) fcntl(fd, F_ADD_SEALS, kHalfSeals);
  EXPECT_EQ(Receive(fd), Status::kBadHalf);
  close(fd);
}

TEST(HalfTest, RefusesAHalfAboveTheNegotiatedBound) {
  Half half;
  half.spec.capacity = 65536;
  half.CreateAndMap();
  half.Seal();
  HalfBounds bounds;
  bounds.max_capacity = 32768;
  EXPECT_EQ(Receive(half.fd, bounds), Status::kBadHalf);
  bounds.max_capacity = 65536;
  EXPECT_EQ(Receive(half.fd, bounds), Status::kOk);
}

// I4 too: what is used is the private copy.
TEST(HalfTest, I7GeometryIsNotReadAgain) {
  Half half;
  half.CreateAndMap();
  half.Seal();
  HalfMap reader;
  ASSERT_EQ(MapAsReader<TestSys>(half.fd, {}, &reader), Status::kOk);
  std::memset(&half.map.control->header, 0xff, sizeof(HalfHeader));
  EXPECT_EQ(reader.capacity, half.spec.capacity);
  EXPECT_EQ(reader.contiguous(0, 10), 10U);
  UnmapHalf<TestSys>(&reader);
}

// ftruncate above the limit would raise SIGXFSZ, so this runs in a child that reports.
TEST(HalfTest, FailsWithoutASignalAboveRlimitFsize) {
  std::fflush(nullptr);  // else the child prints it again
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const rlimit limit{8192, 8192};
    setrlimit(RLIMIT_FSIZE, &limit);
    HalfSpec spec;
    spec.page_bytes = PageBytes();
    _exit(CreateHalf<TestSys>(spec) == static_cast<int>(Status::kNoMemory) ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "wait status " << status;
}

TEST(HalfTest, FailsWhenNoFdIsToBeHad) {
  rlimit old{};
  getrlimit(RLIMIT_NOFILE, &old);
  const rlimit none{0, old.rlim_max};
  setrlimit(RLIMIT_NOFILE, &none);
  HalfSpec spec;
  spec.page_bytes = PageBytes();
  const int fd = CreateHalf<TestSys>(spec);
  setrlimit(RLIMIT_NOFILE, &old);
  EXPECT_EQ(fd, static_cast<int>(Status::kNoMemory));
}

}  // namespace
}  // namespace shimmy::test
