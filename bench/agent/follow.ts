// An agent's knowledge of a cluster, in a process of its own, in production form (dist/). Every pod
// of the node watches its Services as its sidecar would; the messages for it are made and encoded.
// It prints a line for each address that a pod is told of for the first time after the beginning.
//
//   follow.ts SERVER
import { join } from "node:path";

import { calledBy, NAMESPACE, NODE, podUid, type Seen, serviceName, SIZE } from "./size.ts";

const DIST = join(import.meta.dirname, "../../dist");
const [server = ""] = process.argv.slice(2);

const load = async <T>(path: string): Promise<T> => (await import(join(DIST, path))) as T;
const { openKubernetesCatalog } = await load<typeof import("../../agent/kubernetes/source.ts")>(
  "agent/kubernetes/source.js",
);
const { EndpointsView } =
  await load<typeof import("../../agent/endpoints-view.ts")>("agent/endpoints-view.js");
const { encodeMessage, splitEndpoints } =
  await load<typeof import("../../agent/api.ts")>("agent/api.js");
const { createAgentMetrics } =
  await load<typeof import("../../agent/metrics.ts")>("agent/metrics.js");
const { ApiClient } = await load<typeof import("../../common/kubernetes/api-client.ts")>(
  "common/kubernetes/api-client.js",
);
const { systemClock } = await load<typeof import("../../common/clock.ts")>("common/clock.js");
const { createLogger } = await load<typeof import("../../common/log.ts")>("common/log.js");

type Catalog = import("../../agent/catalog.ts").Catalog;

const views = Array.from({ length: SIZE.localPods }, (_, index) => {
  const view = new EndpointsView();
  view.watch(calledBy(index).map((service) => `${NAMESPACE}/${serviceName(service)}`));
  return { uid: podUid(index), view };
});
const known = new Set<string>();

/** What an agent does with a new catalog for its clients. @returns Addresses told for the first time. */
function tell(catalog: Catalog): string[] {
  const fresh: string[] = [];
  for (const { uid, view } of views) {
    const pod = catalog.pods.get(uid);
    if (pod === undefined) continue;
    const changed = view.changes(pod, catalog);
    for (const message of splitEndpoints(changed)) encodeMessage(message);
    for (const { address } of changed.flatMap(({ endpoints }) => endpoints)) {
      if (known.has(address)) continue;
      known.add(address);
      fresh.push(address);
    }
  }
  return fresh;
}

const api = new ApiClient({
  server,
  namespace: "shimmy-system",
  credentials: () => Promise.resolve({}),
});
const source = await openKubernetesCatalog({
  nodeName: NODE,
  api,
  clock: systemClock,
  log: createLogger({ process: "agent", level: "silent" }),
  metrics: createAgentMetrics(),
  onChange: (catalog) => {
    const fresh = tell(catalog);
    const at = Date.now();
    for (const address of fresh) {
      process.stdout.write(`${JSON.stringify({ address, at } satisfies Seen)}\n`);
    }
  },
  firstReadMs: 60_000,
});
if (source.error !== undefined) throw source.error;
tell(source.catalog);
source.watch();
await api.request({ path: "/begin" });
