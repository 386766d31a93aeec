// Clients and endpoints of channels for lib/channel-*.ts. They are named by ids.
#pragma once

#include <napi.h>

namespace shimmy::addon {

void ExportChannelFunctions(Napi::Env env, Napi::Object exports);
// Those that ask the agent, and answer by an event.
void ExportChannelRequests(Napi::Env env, Napi::Object exports);

}  // namespace shimmy::addon
