// What the regions of a lock-based channel are made with, and checked for.
#ifndef SHIMMY_CHANNEL_LOCK_REGIONS_H_
#define SHIMMY_CHANNEL_LOCK_REGIONS_H_

#include "shimmy/lock_layout.h"
#include "shimmy/region.h"

namespace shimmy::channel {

inline RegionSpec LockSpec(const ChannelShape& shape, RegionKind kind) {
  RegionSpec spec{shape, kind, 0};
  if (kind == RegionKind::kProducer) spec.words_bytes = LockGeometry::Of(shape, 0).producer_bytes();
  if (kind == RegionKind::kConsumer) spec.words_bytes = sizeof(LockConsumerWords);
  return spec;
}

}  // namespace shimmy::channel

#endif  // SHIMMY_CHANNEL_LOCK_REGIONS_H_
