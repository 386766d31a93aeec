// Log-linear histogram of nanoseconds (as HdrHistogram, https://hdrhistogram.org): every power
// of two is cut into 256 equal buckets, so a value is kept to 0.4 % whatever its size.
#ifndef SHIMMY_BENCH_HISTOGRAM_H_
#define SHIMMY_BENCH_HISTOGRAM_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <vector>

namespace shimmy::bench {

class Histogram {
 public:
  Histogram() : counts_(kBuckets, 0) {}

  void Record(uint64_t nanos) {
    ++counts_[std::min(Index(nanos), kBuckets - 1)];
    ++count_;
    sum_ += nanos;
    max_ = std::max(max_, nanos);
  }

  // Value at `quantile` (0 to 1): the middle of its bucket; 0 when nothing was recorded.
  [[nodiscard]] double MicrosAt(double quantile) const {
    const auto rank = static_cast<uint64_t>(std::ceil(quantile * static_cast<double>(count_)));
    uint64_t seen = 0;
    for (size_t i = 0; i < kBuckets; ++i) {
      seen += counts_[i];
      if (seen >= rank && seen > 0) return Middle(i) / 1e3;
    }
    return 0;
  }

  [[nodiscard]] uint64_t count() const { return count_; }
  [[nodiscard]] double max_micros() const { return static_cast<double>(max_) / 1e3; }
  [[nodiscard]] double mean_micros() const {
    return count_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(count_) / 1e3;
  }

  // Prints the fields of a JSON object, without its braces.
  void PrintJsonFields(std::FILE* out) const {
    std::fprintf(out,
                 "\"p50Us\":%.3f,\"p90Us\":%.3f,\"p99Us\":%.3f,\"p999Us\":%.3f,\"maxUs\":%.3f,"
                 "\"meanUs\":%.3f,\"count\":%llu",
                 MicrosAt(0.5), MicrosAt(0.9), MicrosAt(0.99), MicrosAt(0.999), max_micros(),
                 mean_micros(), static_cast<unsigned long long>(count_));
  }

 private:
  static constexpr int kSubBits = 8;
  static constexpr size_t kSub = size_t{1} << kSubBits;
  static constexpr size_t kBuckets = kSub * (64 - kSubBits + 1);

  static size_t Index(uint64_t value) {
    if (value < kSub) return static_cast<size_t>(value);
    const int shift = static_cast<int>(std::bit_width(value)) - 1 - kSubBits;
    return kSub * static_cast<size_t>(shift + 1) + static_cast<size_t>((value >> shift) - kSub);
  }

  static double Middle(size_t index) {
    if (index < kSub) return static_cast<double>(index);
    const size_t shift = index / kSub - 1;
    const double low =
        std::ldexp(static_cast<double>(kSub + index % kSub), static_cast<int>(shift));
    return low + std::ldexp(0.5, static_cast<int>(shift));
  }

  std::vector<uint64_t> counts_;
  uint64_t count_ = 0;
  uint64_t sum_ = 0;
  uint64_t max_ = 0;
};

}  // namespace shimmy::bench

#endif  // SHIMMY_BENCH_HISTOGRAM_H_
