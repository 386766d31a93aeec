// A region that this process has mapped, with its descriptor.
#ifndef SHIMMY_CHANNEL_REGION_OWNER_H_
#define SHIMMY_CHANNEL_REGION_OWNER_H_

#include <utility>

#include "relay/unique_fd.h"
#include "shimmy/region.h"
#include "shimmy/sys_raw.h"

namespace shimmy::channel {

class RegionOwner {
 public:
  RegionOwner() = default;
  RegionOwner(const RegionOwner&) = delete;
  RegionOwner& operator=(const RegionOwner&) = delete;
  RegionOwner(RegionOwner&& other) noexcept
      : fd_(std::move(other.fd_)), map_(std::exchange(other.map_, RegionMap{})) {}
  RegionOwner& operator=(RegionOwner&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(map_, other.map_);
    return *this;
  }
  ~RegionOwner() { UnmapRegion<RawSys>(&map_); }

  // Makes one, for us to write.
  [[nodiscard]] Status Make(const RegionSpec& spec) {
    const int fd = MakeRegion<RawSys>(spec, &map_);
    if (fd < 0) return static_cast<Status>(fd);
    fd_.Reset(fd);
    return Status::kOk;
  }
  // Maps one of somebody else, after all checks.
  [[nodiscard]] Status Receive(relay::UniqueFd fd, const RegionSpec& spec) {
    if (!fd.valid()) return Status::kBadHalf;
    const Status status = MapRegionAsReader<RawSys>(fd.get(), spec, &map_);
    if (status == Status::kOk) fd_ = std::move(fd);
    return status;
  }
  // Makes the payload's mappings private: what we write is seen by nobody.
  [[nodiscard]] bool MakePrivate(const RegionSpec& spec) {
    auto* const payload = map_.payload;
    const uint64_t head = spec.shape.page_bytes;
    for (uint64_t part = 0; part < 2; part++) {
      const long at = RawSys::Map(payload + part * spec.payload_bytes(), spec.payload_bytes(),
                                  PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
                                  fd_.get(), head);
      if (at < 0 && at > -4096) return false;
    }
    RawSys::Advise(payload, 2 * spec.payload_bytes(), MADV_DONTDUMP);
    return true;
  }

  [[nodiscard]] bool valid() const { return map_.valid(); }
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] unsigned char* payload() const { return map_.payload; }
  template <class Words>
  [[nodiscard]] Words* words() const {
    return map_.words<Words>();
  }

 private:
  relay::UniqueFd fd_;
  RegionMap map_;
};

}  // namespace shimmy::channel

#endif  // SHIMMY_CHANNEL_REGION_OWNER_H_
