import type { UpstreamSpec } from "../sidecar/upstreams.ts";
import { refused } from "./raw.ts";

/** A variable by which a program finds a service that it calls. */
export interface Variable {
  readonly name: string;
  readonly value: string;
}

/**
 * The variables `SHIMMY_<NAME>_HOST`, `_PORT` and `_URL` of each upstream.
 *
 * NAME is the Service's. Where several upstreams share it, those written with a namespace or a port
 * have these behind it: `SHIMMY_ORDERS_MD_GRPC_URL`.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` when two upstreams are left with one name.
 */
export function upstreamVariables(specs: readonly UpstreamSpec[]): readonly Variable[] {
  const taken = new Map<string, number>();
  return specs.flatMap((spec) => {
    const { localPort, protocol } = spec;
    const prefix = variablePrefix(spec, specs);
    const other = taken.get(prefix);
    if (other !== undefined) {
      throw refused(
        `upstreams on local ports ${other} and ${localPort} would both be ${prefix}_URL; ` +
          "write namespace or port behind one of them",
      );
    }
    taken.set(prefix, localPort);
    const scheme = protocol === "tcp" ? "tcp" : "http";
    return [
      { name: `${prefix}_HOST`, value: "127.0.0.1" },
      { name: `${prefix}_PORT`, value: String(localPort) },
      { name: `${prefix}_URL`, value: `${scheme}://127.0.0.1:${localPort}` },
    ];
  });
}

function variablePrefix(spec: UpstreamSpec, all: readonly UpstreamSpec[]): string {
  const { name, namespace, port } = spec;
  const isShared = all.some((other) => other !== spec && other.name === name);
  const words = isShared ? [name, namespace, port] : [name];
  return ["SHIMMY", ...words.filter((word) => word !== undefined)]
    .join("_")
    .toUpperCase()
    .replaceAll("-", "_");
}
