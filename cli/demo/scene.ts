import { ShimmyError } from "../../common/errors.ts";
import { allocateAddresses, freePort } from "../local/addresses.ts";
import { ADMIN_PORT, Mesh } from "../local/mesh.ts";
import type { Workspace } from "../local/workspace.ts";
import { readTraffic, type PodTraffic } from "../traffic.ts";
import { findPrograms, startNginx, type DemoPrograms } from "./programs.ts";

/** Names of the two pods. */
export const SERVER = "web";
/** The pod that calls. */
export const CLIENT = "client";

/**
 * Stands for the server's sidecar of a mesh without shared memory: it takes TCP connections from
 * the client's sidecar on an address of its own and takes them on to nginx.
 */
const RELAY = "relay";

const NGINX_PORT = 8080;
const RELAY_PORT = 8081;
const LOOPBACK = "127.0.0.1";

/** nginx behind one sidecar, and ports of another sidecar that lead to it. */
export class Scene {
  readonly workspace: Workspace;
  readonly programs: DemoPrograms;
  readonly mesh: Mesh;
  /** Where nginx listens, `address:port`. */
  readonly direct: string;
  /** The client's port for it, `localhost:port`. */
  readonly shimmy: string;
  /** The same with TCP between the two sidecars. */
  readonly overTcp: string;

  private constructor(
    workspace: Workspace,
    parts: Pick<Scene, "programs" | "mesh" | "direct" | "shimmy" | "overTcp">,
  ) {
    this.workspace = workspace;
    this.programs = parts.programs;
    this.mesh = parts.mesh;
    this.direct = parts.direct;
    this.shimmy = parts.shimmy;
    this.overTcp = parts.overTcp;
  }

  /**
   * Starts everything.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_NOT_FOUND` when nginx, wrk or curl is missing.
   * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when something does not start.
   */
  static async open(workspace: Workspace): Promise<Scene> {
    const programs = findPrograms();
    const [address = "", relayAddress = "", clientAddress = ""] = await allocateAddresses([
      [ADMIN_PORT, NGINX_PORT],
      [ADMIN_PORT, RELAY_PORT],
      [ADMIN_PORT],
    ]);
    const [shmPort, tcpPort] = [await freePort(LOOPBACK), await freePort(LOOPBACK)];
    const [mesh] = await Promise.all([
      Mesh.start(workspace, {
        pods: [
          {
            name: SERVER,
            address,
            serves: [{ service: SERVER, port: NGINX_PORT }],
            upstreams: "",
          },
          {
            name: RELAY,
            address: relayAddress,
            serves: [{ service: RELAY, port: RELAY_PORT }],
            upstreams: `${SERVER}:${RELAY_PORT}?transport=tcp`,
            listenAddress: relayAddress,
          },
          {
            name: CLIENT,
            address: clientAddress,
            serves: [],
            upstreams: `${SERVER}:${shmPort}, ${RELAY}:${tcpPort}?transport=tcp`,
          },
        ],
        logLevel: "warn",
      }),
      startNginx(workspace, programs.nginx, { address, port: NGINX_PORT }),
    ]);
    return new Scene(workspace, {
      programs,
      mesh,
      direct: `${address}:${NGINX_PORT}`,
      shimmy: `${LOOPBACK}:${shmPort}`,
      overTcp: `${LOOPBACK}:${tcpPort}`,
    });
  }

  /**
   * What the client's sidecar carried so far.
   *
   * @throws {@link ShimmyError} `SHIMMY_ERR_SYSTEM` when it does not answer.
   */
  async clientTraffic(): Promise<PodTraffic> {
    const traffic = await readTraffic(CLIENT, this.mesh.adminUrl(CLIENT));
    if (traffic !== undefined) return traffic;
    throw new ShimmyError("SHIMMY_ERR_SYSTEM", "the client's sidecar does not answer");
  }

  /** What the sidecars of client and server carried, of those that answer. */
  async traffic(): Promise<PodTraffic[]> {
    const all = [CLIENT, SERVER].map((pod) => readTraffic(pod, this.mesh.adminUrl(pod)));
    return (await Promise.all(all)).filter((traffic) => traffic !== undefined);
  }
}
