import { LocalMesh, type LocalMeshOptions } from "../local-mesh.ts";
import { PORT_COUNT, SERVER_PORT, type Route } from "./run-cases.ts";

const LOCAL_PORT = 9100;

const INDEXES = Array.from({ length: PORT_COUNT }, (_, index) => index);

/** A mesh with the pods `client` and `server`, for traffic_peer. */
export function trafficMesh(options: Partial<LocalMeshOptions> = {}): Promise<LocalMesh> {
  return LocalMesh.start({
    pods: {
      client: {
        upstreams: INDEXES.map((index) => `traffic:${LOCAL_PORT + index}?port=p${index}`).join(
          ", ",
        ),
      },
      server: {},
    },
    services: [
      {
        name: "traffic",
        ports: INDEXES.map((index) => ({ name: `p${index}`, port: SERVER_PORT + index })),
        pods: ["server"],
      },
    ],
    ...options,
  });
}

/** The way through shared memory. */
export function viaMesh(mesh: LocalMesh): Route {
  const address = mesh.address("client");
  return { name: "shm", target: (index) => ({ address, port: LOCAL_PORT + index }) };
}
