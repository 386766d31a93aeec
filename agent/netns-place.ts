import { ShimmyError, toShimmyError } from "../common/errors.ts";
import type { CatalogPod } from "./catalog.ts";
import type { Fd } from "./native.ts";
import type { Entered, NetnsHelper } from "./netns-client.ts";
import type { PodProcess, PodProcesses } from "./processes.ts";
import type { PodListeners, SocketPlace } from "./socket-place.ts";

/** What a {@link NetnsPlace} works with. */
export interface NetnsPlaceDeps {
  readonly processes: Pick<PodProcesses, "of" | "isAlive">;
  readonly helper: Pick<NetnsHelper, "enter">;
}

/**
 * Processes of a pod that are tried before it is given up for now. The runtime's monitor may be in
 * the pod's cgroup and not in its namespace, so the first one need not do.
 */
const MAX_TRIES = 8;

/**
 * Sockets in the pods' network namespaces: Kubernetes.
 *
 * A namespace is found through a process of the pod, and is right for as long as that one lives. Once
 * it has ended another process tells: a pod whose sandbox was made again has a new namespace. When
 * no process is left the sockets are given up, since they would keep the namespace of a dead pod.
 */
export class NetnsPlace implements SocketPlace {
  readonly #deps: NetnsPlaceDeps;

  constructor(deps: NetnsPlaceDeps) {
    this.#deps = deps;
  }

  /**
   * See {@link SocketPlace.find}.
   *
   * @throws {@link ShimmyError} As {@link NetnsHelper.enter}.
   */
  async find(
    { uid }: Pick<CatalogPod, "uid">,
    before: PodListeners | undefined,
  ): Promise<PodListeners | undefined> {
    const { processes } = this.#deps;
    const held = before instanceof PodNamespace ? before : undefined;
    if (held !== undefined && processes.isAlive(held.anchor)) return held;
    let refusal: ShimmyError | undefined;
    const live = processes.of(uid).filter((process) => processes.isAlive(process));
    for (const process of live.slice(0, MAX_TRIES)) {
      try {
        return await this.#enter(process, held);
      } catch (err) {
        refusal = toShimmyError(err);
        if (refusal.code !== "SHIMMY_ERR_NOT_ATTESTED") throw refusal;
      }
    }
    if (refusal !== undefined) throw refusal;
    return undefined;
  }

  async #enter(process: PodProcess, held: PodNamespace | undefined): Promise<PodListeners> {
    const entered = await this.#deps.helper.enter(process, held?.namespace ?? 0n);
    if (entered.kind === "opened") return new PodNamespace(process, entered);
    if (held === undefined) {
      throw new ShimmyError("SHIMMY_ERR_PROTOCOL", "the helper speaks of a namespace never named");
    }
    held.anchor = process;
    return held;
  }
}

class PodNamespace implements PodListeners {
  /** Its network namespace is this one. */
  anchor: PodProcess;
  readonly namespace: bigint;
  readonly api: { readonly fd: Fd };
  readonly fd: { readonly fd: Fd };

  constructor(anchor: PodProcess, { namespace, api, fd }: Entered & { kind: "opened" }) {
    this.anchor = anchor;
    this.namespace = namespace;
    this.api = { fd: api };
    this.fd = { fd };
  }

  /** What is served on belongs to its server; what is not is closed here. */
  close(): Promise<void> {
    this.api.fd.close();
    this.fd.fd.close();
    return Promise.resolve();
  }
}
