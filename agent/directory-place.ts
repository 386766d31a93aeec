import { chmod } from "node:fs/promises";
import { join } from "node:path";

import { API_SOCKET, FD_SOCKET } from "./api.ts";
import type { CatalogPod } from "./catalog.ts";
import type { ListenOn } from "./native.ts";
import { preparePodDirectory, removePodDirectory, socketMode } from "./runtime-dir.ts";
import type { PodListeners, SocketPlace } from "./socket-place.ts";

/** Sockets in a directory for each pod: local mode. */
export class DirectoryPlace implements SocketPlace {
  readonly #runtimeDir: string;

  constructor(runtimeDir: string) {
    this.#runtimeDir = runtimeDir;
  }

  /**
   * See {@link SocketPlace.find}.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_RUNTIME_DIR` when the directory cannot be made.
   */
  async find(pod: CatalogPod, before: PodListeners | undefined): Promise<PodListeners> {
    const isNowShared = isShared(pod);
    if (before instanceof PodDirectory) {
      if (before.isShared !== isNowShared) await before.share(isNowShared);
      return before;
    }
    const directory = await preparePodDirectory(this.#runtimeDir, pod, isNowShared);
    return new PodDirectory(pod, { runtimeDir: this.#runtimeDir, directory, isNowShared });
  }
}

class PodDirectory implements PodListeners {
  readonly api: ListenOn;
  readonly fd: ListenOn;
  readonly #pod: CatalogPod;
  readonly #runtimeDir: string;
  readonly #directory: string;
  #isShared: boolean;

  constructor(
    pod: CatalogPod,
    {
      runtimeDir,
      directory,
      isNowShared,
    }: { runtimeDir: string; directory: string; isNowShared: boolean },
  ) {
    const mode = socketMode(isNowShared);
    this.api = { path: join(directory, API_SOCKET), mode };
    this.fd = { path: join(directory, FD_SOCKET), mode };
    this.#pod = pod;
    this.#runtimeDir = runtimeDir;
    this.#directory = directory;
    this.#isShared = isNowShared;
  }

  /** Whether users other than the agent's own and root can get through to the sockets. */
  get isShared(): boolean {
    return this.#isShared;
  }

  async share(isShared: boolean): Promise<void> {
    this.#isShared = isShared;
    await preparePodDirectory(this.#runtimeDir, this.#pod, isShared);
    for (const name of [API_SOCKET, FD_SOCKET]) {
      await chmod(join(this.#directory, name), socketMode(isShared));
    }
  }

  async close(): Promise<void> {
    await removePodDirectory(this.#runtimeDir, this.#pod);
  }
}

/** Whether users other than the agent's own and root may be a pod. */
function isShared({ identity }: CatalogPod): boolean {
  if (identity.kind === "pod") return true;
  return [...identity.runAs].some((uid) => uid !== 0 && uid !== process.geteuid?.());
}
