import { createServer } from "node:net";

/**
 * Ports that are free on an address right now, each once.
 *
 * Nothing keeps them free until their user binds them: a bind that fails is an error of the run.
 */
export async function freePorts(address: string, count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.once("error", reject);
          server.listen(0, address, () => {
            const bound = server.address();
            if (bound === null || typeof bound === "string") reject(new Error("not a TCP port"));
            else resolve(bound.port);
          });
        }),
    ),
  );
  for (const server of servers) server.close();
  return ports;
}
