// System calls without libc: the core's system-call parameter for every user of it.
//
// Every function returns the kernel's result: >= 0, or -errno. Nothing here touches errno,
// allocates or is a cancellation point, so it may be used in signal handlers and after vfork.
#ifndef SHIMMY_SYS_RAW_H_
#define SHIMMY_SYS_RAW_H_

#include <asm/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

// ThreadSanitizer learns from libc's calls alone that memory or an fd is new: without them it
// takes two threads that were given the same one after the other for a race.
#if defined(__SANITIZE_THREAD__)
#include <unistd.h>
#define SHIMMY_CALLS_LIBC 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#include <unistd.h>
#define SHIMMY_CALLS_LIBC 1
#endif
#endif

namespace shimmy {

struct RawSys {
#if defined(__x86_64__)
  static long Call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                   long f = 0) noexcept {
    register long r10 asm("r10") = d;
    register long r8 asm("r8") = e;
    register long r9 asm("r9") = f;
    long result;
    asm volatile("syscall"
                 : "=a"(result)
                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
    return result;
  }
#elif defined(__aarch64__)
  static long Call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                   long f = 0) noexcept {
    register long x8 asm("x8") = number;
    register long x0 asm("x0") = a;
    register long x1 asm("x1") = b;
    register long x2 asm("x2") = c;
    register long x3 asm("x3") = d;
    register long x4 asm("x4") = e;
    register long x5 asm("x5") = f;
    asm volatile("svc 0"
                 : "+r"(x0)
                 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                 : "memory", "cc");
    return x0;
  }
#else
#error "Shimmy supports x86-64 and arm64"
#endif

  // Copies without calling memcpy, which a freestanding program need not have.
  static void Copy(void* to, const void* from, size_t bytes) noexcept {
#if defined(__x86_64__)
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
#else
    auto* out = static_cast<unsigned char*>(to);
    const auto* in = static_cast<const unsigned char*>(from);
    for (; bytes >= 8; bytes -= 8, out += 8, in += 8) {
      uint64_t word;
      __builtin_memcpy(&word, in, 8);
      __builtin_memcpy(out, &word, 8);
    }
    for (; bytes > 0; bytes--) *out++ = *in++;
#endif
  }

  // Asks for the cache lines of what is to be written soon. A hint: no address is bad.
  static void PrefetchForWrite(const void* from, size_t bytes) noexcept {
    constexpr size_t kLine = 64;
    const auto* line = static_cast<const unsigned char*>(from);
    for (size_t at = 0; at < bytes; at += kLine) {
#if defined(__x86_64__)
      // By its name: compilers for the first x86-64 use one that does not ask for ownership.
      asm volatile("prefetchw %0" : : "m"(line[at]));
#else
      __builtin_prefetch(line + at, 1);
#endif
    }
  }

  static long Close(int fd) noexcept {
#ifdef SHIMMY_CALLS_LIBC
    return close(fd) == 0 ? 0 : -errno;
#else
    return Call(__NR_close, fd);
#endif
  }

  static long Send(int fd, const void* data, size_t bytes) noexcept {
    return Call(__NR_sendto, fd, reinterpret_cast<long>(data), static_cast<long>(bytes),
                MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  static long SendMessage(int fd, const msghdr* message) noexcept {
    return Call(__NR_sendmsg, fd, reinterpret_cast<long>(message), MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  // One record; the result is its real length even when the buffer is smaller.
  static long ReceiveMessage(int fd, msghdr* message) noexcept {
    return Call(__NR_recvmsg, fd, reinterpret_cast<long>(message),
                MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
  }
  static long QueuedIn(int fd) noexcept { return QueueSize(fd, SIOCINQ); }
  static long QueuedOut(int fd) noexcept { return QueueSize(fd, SIOCOUTQ); }

  static long SetSendBuffer(int fd, int bytes) noexcept {
    return Call(__NR_setsockopt, fd, SOL_SOCKET, SO_SNDBUF, reinterpret_cast<long>(&bytes),
                sizeof bytes);
  }
  static long SocketPair(int* fds) noexcept {
    constexpr int kType = SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC;
#ifdef SHIMMY_CALLS_LIBC
    return socketpair(AF_UNIX, kType, 0, fds) == 0 ? 0 : -errno;
#else
    return Call(__NR_socketpair, AF_UNIX, kType, 0, reinterpret_cast<long>(fds));
#endif
  }
  static long Shutdown(int fd, int how) noexcept { return Call(__NR_shutdown, fd, how); }

  // Returns revents, 0 when nothing happened within the time, or -errno.
  static long Poll(int fd, short events, int timeout_ms) noexcept {
    pollfd entry{fd, events, 0};
    struct {
      int64_t seconds;
      int64_t nanos;
    } time{timeout_ms / 1000, int64_t{timeout_ms % 1000} * 1000000};
    const long result = Call(__NR_ppoll, reinterpret_cast<long>(&entry), 1,
                             timeout_ms < 0 ? 0 : reinterpret_cast<long>(&time), 0, 8);
    return result <= 0 ? result : static_cast<long>(static_cast<unsigned short>(entry.revents));
  }

  static long MemfdCreate(const char* name, unsigned flags) noexcept {
    return Call(__NR_memfd_create, reinterpret_cast<long>(name), static_cast<long>(flags));
  }
  static long Truncate(int fd, uint64_t bytes) noexcept {
    return Call(__NR_ftruncate, fd, static_cast<long>(bytes));
  }
  static long Allocate(int fd, uint64_t bytes) noexcept {
    return Call(__NR_fallocate, fd, 0, 0, static_cast<long>(bytes));
  }
  static long AddSeals(int fd, int seals) noexcept {
    return Call(__NR_fcntl, fd, F_ADD_SEALS, seals);
  }
  static long GetSeals(int fd) noexcept { return Call(__NR_fcntl, fd, F_GET_SEALS); }
  static long FileSizeLimit(uint64_t* bytes) noexcept {
    uint64_t limit[2] = {0, 0};
    const long result =
        Call(__NR_prlimit64, 0, 1 /* RLIMIT_FSIZE */, 0, reinterpret_cast<long>(limit));
    *bytes = limit[0];
    return result;
  }
  static long Stat(int fd, void* kernel_stat) noexcept {
    return Call(__NR_fstat, fd, reinterpret_cast<long>(kernel_stat));
  }
  static long StatFs(int fd, void* kernel_statfs) noexcept {
    return Call(__NR_fstatfs, fd, reinterpret_cast<long>(kernel_statfs));
  }
  // Address, or -errno.
  static long Map(void* at, uint64_t bytes, int protection, int flags, int fd,
                  uint64_t offset) noexcept {
#ifdef SHIMMY_CALLS_LIBC
    void* const mapped = mmap(at, bytes, protection, flags, fd, static_cast<off_t>(offset));
    return mapped == MAP_FAILED ? -errno : reinterpret_cast<long>(mapped);
#else
    return Call(__NR_mmap, reinterpret_cast<long>(at), static_cast<long>(bytes), protection, flags,
                fd, static_cast<long>(offset));
#endif
  }
  static long Unmap(void* at, uint64_t bytes) noexcept {
#ifdef SHIMMY_CALLS_LIBC
    return munmap(at, bytes) == 0 ? 0 : -errno;
#else
    return Call(__NR_munmap, reinterpret_cast<long>(at), static_cast<long>(bytes));
#endif
  }
  static long Advise(void* at, uint64_t bytes, int advice) noexcept {
    return Call(__NR_madvise, reinterpret_cast<long>(at), static_cast<long>(bytes), advice);
  }

 private:
  static long QueueSize(int fd, unsigned long request) noexcept {
    int bytes = 0;
    const long result =
        Call(__NR_ioctl, fd, static_cast<long>(request), reinterpret_cast<long>(&bytes));
    return result < 0 ? result : bytes;
  }
};

}  // namespace shimmy

#endif  // SHIMMY_SYS_RAW_H_
