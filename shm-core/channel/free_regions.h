// What the regions of a lock-free channel are made with, and checked for.
#ifndef SHIMMY_CHANNEL_FREE_REGIONS_H_
#define SHIMMY_CHANNEL_FREE_REGIONS_H_

#include "shimmy.h"
#include "shimmy/lockfree_layout.h"
#include "shimmy/region.h"

namespace shimmy::channel {

inline LockfreeGeometry FreeGeometry(const ChannelShape& shape, const shimmy_parameters& from) {
  return LockfreeGeometry::Of(shape, from.max_loans, from.readers);
}

inline RegionSpec FreeSpec(const ChannelShape& shape, RegionKind kind) {
  RegionSpec spec{shape, kind, 0};
  // Neither loans nor readers change how large the words are.
  if (kind == RegionKind::kGlobal) {
    spec.words_bytes = LockfreeGeometry::Of(shape, 0, 0).global_bytes();
  }
  if (kind == RegionKind::kLocal) spec.words_bytes = sizeof(LockfreeLocal);
  return spec;
}

}  // namespace shimmy::channel

#endif  // SHIMMY_CHANNEL_FREE_REGIONS_H_
