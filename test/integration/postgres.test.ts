import { expect } from "chai";

import { POSTGRES_USER, startAppMesh, startPostgres, type AppMesh } from "../helpers/apps.ts";
import { eventually } from "../helpers/eventually.ts";
import { mustRun, type ProgramResult } from "../helpers/run-program.ts";

const ROWS = 200_000;

describe("PostgreSQL over shared memory", function () {
  let apps: AppMesh;

  before(async function () {
    this.timeout(60_000);
    apps = await startAppMesh({ db: 5432 });
    await startPostgres(apps.mesh.workspace, apps.server("db"));
    await apps.mesh.carried("client");
  });

  beforeEach(async function () {
    await apps.mesh.carried("client");
  });

  after(async function () {
    await apps.mesh.close();
  });

  it("should answer a query", async function () {
    const { stdout } = await psql(["-c", "select 6 * 7"]);
    expect(stdout.trim()).to.equal("42");
    await apps.mesh.assertCarried("client", 1);
  });

  it("should carry a COPY in and out unchanged", async function () {
    this.timeout(20_000);
    const rows = Array.from({ length: ROWS }, (_, i) => `${i}\trow ${i} ${"x".repeat(i % 50)}\n`);
    const input = rows.join("");
    await psql(["-c", "create table rows (id int primary key, text text)"]);
    await psql(["-c", "copy rows from stdin"], input);
    const copy = await psql(["-c", "copy (select * from rows order by id) to stdout"]);
    expect(copy.stdoutBytes).to.equal(Buffer.byteLength(input));
    expect(input.startsWith(copy.stdout)).to.be.true;
    await apps.mesh.assertCarried("client", 3);
  });

  it("should cancel a query by a second connection", async function () {
    this.timeout(10_000);
    const running = apps.mesh.workspace.start({
      name: "psql",
      argv: ["psql", "-XAtq", "-c", "select pg_sleep(60)"],
      env: environment(),
    });
    const active = "select count(*) from pg_stat_activity where query like 'select pg_sl%'";
    await eventually(
      "the query to run",
      async () => (await psql(["-c", active])).stdout.trim() === "1",
    );
    running.signal("SIGINT");
    await running.ended;
    expect(running.lastLines.join("\n")).to.match(/canceling statement due to user request/);
    await apps.mesh.assertCarried("client", 3, 1000);
  });

  it("should carry the load of pgbench", async function () {
    this.timeout(60_000);
    await mustRun(["pgbench", "-i", "-q", "-s", "1"], { env: environment() });
    const load = ["-n", "-c", "8", "-j", "2", "-t", "250"];
    for (const script of ["-S", "-N"]) {
      const { stdout } = await mustRun(["pgbench", script, ...load], { env: environment() });
      expect(stdout).to.match(/transactions actually processed: 2000\/2000/);
    }
    await apps.mesh.assertCarried("client", 17, 30);
  });

  function psql(args: readonly string[], input = ""): Promise<ProgramResult> {
    return mustRun(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", ...args], {
      env: environment(),
      input,
    });
  }

  function environment(): Record<string, string> {
    const { address, port } = apps.local("db");
    return {
      PGHOST: address,
      PGPORT: String(port),
      PGUSER: POSTGRES_USER,
      PGDATABASE: "postgres",
      PGCONNECT_TIMEOUT: "10",
    };
  }
});
