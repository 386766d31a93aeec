// Pods of this node as the catalog has them: with the services they are behind.
//
//   I1  what a pod once backed it may still be called for while it lives, if policy allows: slices
//       are rewritten in more than one step, pods are taken out of Services while their connections
//       go on, and a network resets nothing then either
//   I2  a pod that did not change stays the same object
import { isDeepStrictEqual } from "node:util";

import { MAX_APP_PORTS } from "../api-limits.ts";
import { backingsOf, sortBackings, type Backing, type CatalogPod } from "../catalog.ts";
import type { LocalPod } from "./local-pod.ts";
import { targetsAt } from "./resolve-service.ts";
import type { KubernetesService } from "./service.ts";
import type { SliceIndex } from "./slice-index.ts";

/** What {@link CatalogPods} looks at; live. */
export interface PodSources {
  readonly services: ReadonlyMap<string, KubernetesService>;
  readonly slices: Pick<SliceIndex, "naming">;
}

/** Bounds what tenants can make of a pod by slices without end. */
const MAX_BACKINGS = 512;

/** Makes catalog pods, and only those that may be others now. */
export class CatalogPods {
  readonly #sources: PodSources;
  #known = new Map<string, { readonly local: LocalPod; readonly pod: CatalogPod }>();

  constructor(sources: PodSources) {
    this.#sources = sources;
  }

  /**
   * Brings them up to date.
   *
   * @param dirty - UIDs of pods whose services may be others.
   * @returns The UIDs of those that came, went or are others now.
   */
  update(pods: ReadonlyMap<string, LocalPod>, dirty: ReadonlySet<string>): Set<string> {
    const before = this.#known;
    const changed = new Set([...before.keys()].filter((uid) => !pods.has(uid)));
    this.#known = new Map();
    for (const [uid, local] of pods) {
      const known = before.get(uid);
      const isClean = known?.local === local && !dirty.has(uid);
      const next = isClean ? known : this.#make(local, known?.pod);
      if (next.pod !== known?.pod) changed.add(uid);
      this.#known.set(uid, next);
    }
    return changed;
  }

  /** By UID; a copy that does not change. */
  snapshot(): Map<string, CatalogPod> {
    return new Map([...this.#known].map(([uid, { pod }]) => [uid, pod]));
  }

  #make(
    local: LocalPod,
    before: CatalogPod | undefined,
  ): { readonly local: LocalPod; readonly pod: CatalogPod } {
    const current = this.#backings(local);
    const backings = withFormer(current, before?.backings ?? []);
    const { uid, namespace, name, node, addresses, injected, appPorts } = local;
    const targets = [...new Set(backings.map(({ port }) => port))].sort((a, b) => a - b);
    const pod: CatalogPod = {
      uid,
      namespace,
      name,
      node,
      addresses,
      address: addresses[0] ?? "",
      identity: { kind: "pod" },
      injected,
      appPorts: appPorts ?? targets.slice(0, MAX_APP_PORTS),
      services: [...new Set(current.map(({ service }) => service))].sort(),
      backings,
    };
    return { local, pod: isDeepStrictEqual(pod, before) ? (before ?? pod) : pod }; // I2
  }

  /** Only Services of its own namespace can have it as their pod: others' slices may say anything. */
  #backings(pod: LocalPod): Backing[] {
    const naming = this.#sources.slices
      .naming(pod.uid)
      .filter(({ namespace }) => namespace === pod.namespace);
    const backings = [...Map.groupBy(naming, ({ service }) => service)].flatMap(([key, slices]) => {
      const service = this.#sources.services.get(key);
      return service === undefined ? [] : backingsOf(key, targetsAt(pod, service, slices));
    });
    return sortBackings(backings).slice(0, MAX_BACKINGS);
  }
}

/** Those of now, and as many of before as there is room for (I1). */
function withFormer(current: readonly Backing[], before: readonly Backing[]): readonly Backing[] {
  const key = ({ service, port }: Backing): string => `${service} ${port}`;
  const present = new Set(current.map(key));
  const former = before.filter((each) => !present.has(key(each)));
  return sortBackings([...current, ...former.slice(0, MAX_BACKINGS - current.length)]);
}
