import type { CatalogPod } from "./catalog.ts";
import type { ListenOn } from "./native.ts";

/** Where the two sockets of one pod are to be served. */
export interface PodListeners {
  readonly api: ListenOn;
  readonly fd: ListenOn;
  /** Removes what is left once both servers are closed. Safe to call twice. */
  close(): Promise<void>;
}

/** Knows where pods' sockets are: in directories, or in the pods' network namespaces. */
export interface SocketPlace {
  /**
   * Finds or makes the place for a pod's sockets.
   *
   * @param before - What is served for the pod now.
   * @returns `before` when it is right as it is; what is to be served instead of it; or `undefined`
   * when there is no place for sockets now, as for a pod without a process.
   * @throws {@link ShimmyError} When there is one and it cannot be used.
   */
  find(pod: CatalogPod, before: PodListeners | undefined): Promise<PodListeners | undefined>;
}
