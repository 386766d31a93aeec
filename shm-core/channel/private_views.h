// For callers of SHIMMY_PRIVATE_VIEWS who copy small loans at once and write into none of those.
#ifndef SHIMMY_CHANNEL_PRIVATE_VIEWS_H_
#define SHIMMY_CHANNEL_PRIVATE_VIEWS_H_

#include <stddef.h>

#include "shimmy.h"

namespace shimmy::channel {

// From now on loans of up to `bytes` are shown in the shared mapping, where a write faults: a
// private view costs a system call and a page fault each time.
void ShowSharedUpTo(shimmy_endpoint* endpoint, size_t bytes);

}  // namespace shimmy::channel

#endif  // SHIMMY_CHANNEL_PRIVATE_VIEWS_H_
