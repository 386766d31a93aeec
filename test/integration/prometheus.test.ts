import { expect } from "chai";
import { createServer, type Server } from "node:http";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { stringify } from "yaml";

import { getJson, getText } from "../../cli/http.ts";
import { startAppMesh, type AppMesh } from "../helpers/apps.ts";
import { eventually } from "../helpers/eventually.ts";
import { uniqueAddress } from "../helpers/local-mesh.ts";
import { mustRun, runProgram } from "../helpers/run-program.ts";

const PODS = ["client", "server"] as const;
const REQUESTS = 25;
const PORT = 9090;

/** An answer of the query API. @see https://prometheus.io/docs/prometheus/latest/querying/api/ */
interface QueryReply {
  readonly status: string;
  readonly data: {
    readonly result: readonly {
      readonly metric: Readonly<Record<string, string>>;
      readonly value: readonly [number, string];
    }[];
  };
}

describe("Prometheus", function () {
  const address = uniqueAddress();
  let apps: AppMesh;
  let server: Server;

  before(async function () {
    this.timeout(30_000);
    apps = await startAppMesh({ web: 8080 });
    server = createServer((_, response) => response.end("hello"));
    const { address: host, port } = apps.server("web");
    server.listen(port, host);
    await once(server, "listening");
    const local = apps.local("web");
    const url = `http://${local.address}:${local.port}/`;
    const urls = Array.from({ length: REQUESTS }, () => url);
    await mustRun(["curl", "-sS", "-f", "-H", "connection: close", ...urls]);
    await apps.mesh.awaitQuiet();
    await startPrometheus(apps, address);
  });

  after(async function () {
    await apps.mesh.close();
    server.close();
  });

  it("should scrape both sidecars", async function () {
    this.timeout(20_000);
    await eventually("both targets to be up", async () => {
      const up = await query(`up{job="shimmy"}`);
      return up.length === PODS.length && up.every(({ value }) => value[1] === "1");
    });
  });

  it("should answer what was carried", async function () {
    this.timeout(20_000);
    const direction = (pod: string): string => (pod === "client" ? "outbound" : "inbound");
    for (const pod of PODS) {
      const labels = `pod="${pod}",direction="${direction(pod)}",transport="shm"`;
      await eventually(`the connections of ${pod}`, async () => {
        const [carried] = await query(`shimmy_connections_total{${labels}}`);
        return carried?.value[1] === String(REQUESTS);
      });
    }
    const fallbacks = await query("sum(shimmy_fallbacks_total)");
    expect(fallbacks[0]?.value[1]).to.equal("0");
    // A histogram that rate() and histogram_quantile() understand.
    const setup = await query(
      `histogram_quantile(0.99, shimmy_stream_setup_seconds_bucket{pod="client"})`,
    );
    expect(Number(setup[0]?.value[1])).to.be.above(0);
  });

  for (const pod of PODS) {
    it(`should find nothing to complain about in the metrics of the ${pod}`, async function () {
      const input = await apps.mesh.get(pod, "/metrics");
      const { code, stdout, stderr } = await runProgram(["promtool", "check", "metrics"], {
        input: input ?? "",
      });
      expect([code, stdout + stderr]).to.deep.equal([0, ""]);
    });
  }

  it("should find nothing to complain about in the agent's metrics", async function () {
    const input = await apps.mesh.getFromAgent("/metrics");
    const { code, stdout, stderr } = await runProgram(["promtool", "check", "metrics"], {
      input: input ?? "",
    });
    expect(input).to.match(/^shimmy_agent_/m);
    expect([code, stdout + stderr]).to.deep.equal([0, ""]);
  });

  async function query(expression: string): Promise<QueryReply["data"]["result"]> {
    const parameters = new URLSearchParams({ query: expression }).toString();
    const reply = await getJson({ url: `http://${address}:${PORT}/api/v1/query?${parameters}` });
    return (reply as QueryReply | undefined)?.data.result ?? [];
  }
});

async function startPrometheus({ mesh }: AppMesh, address: string): Promise<void> {
  const { workspace } = mesh;
  const config = workspace.path("prometheus.yml");
  const jobs = PODS.map((pod) => ({
    targets: [`${mesh.address(pod)}:14790`],
    labels: { pod },
  }));
  const scrape = { scrape_interval: "200ms", scrape_timeout: "200ms" };
  writeFileSync(
    config,
    stringify({ scrape_configs: [{ job_name: "shimmy", ...scrape, static_configs: jobs }] }),
  );
  mkdirSync(workspace.path("prometheus"));
  const prometheus = workspace.start({
    name: "prometheus",
    argv: [
      "prometheus",
      `--config.file=${config}`,
      `--storage.tsdb.path=${workspace.path("prometheus")}`,
      `--web.listen-address=${address}:${PORT}`,
      "--log.level=warn",
    ],
    cwd: workspace.directory,
  });
  await eventually("Prometheus to be ready", async () => {
    if (prometheus.ending !== undefined) throw new Error(prometheus.lastLines.join("\n"));
    return (await getText({ url: `http://${address}:${PORT}/-/ready` })) !== undefined;
  });
}
