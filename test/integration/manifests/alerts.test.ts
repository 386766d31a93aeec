import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect } from "chai";
import { parse, stringify } from "yaml";

import { PACKAGE_ROOT } from "../../../common/version.ts";
import { runProgram } from "../../helpers/run-program.ts";

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly runbook: string };
}

const { spec } = parse(
  readFileSync(join(PACKAGE_ROOT, "manifests/components/alerts/alerts.yaml"), "utf8"),
) as { spec: { groups: { name: string; rules: Rule[] }[] } };
const RULES = spec.groups.flatMap(({ rules }) => rules);
const RUNBOOKS = "docs/runbooks";

/** Series by name, with values as promtool writes them, one a minute. */
type Series = Readonly<Record<string, string>>;

/** One time that an alert fires, and one that looks like it and does not. */
interface Case {
  readonly alert: string;
  readonly fires: Series;
  readonly quiet: Series;
  /** Labels of the alert besides `severity`. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly summary: string;
  /** When it is looked at. @defaultValue 40 minutes after the first value */
  readonly at?: string;
}

const POD = `namespace="shop",pod="web-1"`;
const WEB = { namespace: "shop", pod: "web-1" };
const LATENCY = "shimmy_injector_admission_seconds_bucket";

const CASES: readonly Case[] = [
  {
    alert: "ShimmyInjectorAbsent",
    fires: { "shimmy_master_info{}": "1x60" },
    quiet: { "shimmy_injector_info{}": "1x60" },
    summary: "No injector is scraped: opted-in pods are not admitted.",
  },
  {
    alert: "ShimmyInjectorErrors",
    fires: { 'shimmy_injector_http_requests_total{status="500"}': "0+1x60" },
    quiet: {
      'shimmy_injector_http_requests_total{status="500"}': "3x60",
      'shimmy_injector_http_requests_total{status="200"}': "0+1x60",
    },
    summary: "Injectors fail to answer the API server: opted-in pods are not admitted.",
  },
  {
    alert: "ShimmyInjectorSlow",
    fires: {
      [`${LATENCY}{le="0.1"}`]: "0+1x60",
      [`${LATENCY}{le="0.5"}`]: "0+10x60",
      [`${LATENCY}{le="+Inf"}`]: "0+10x60",
    },
    quiet: {
      [`${LATENCY}{le="0.1"}`]: "0+10x60",
      [`${LATENCY}{le="0.5"}`]: "0+10x60",
      [`${LATENCY}{le="+Inf"}`]: "0+10x60",
    },
    summary: "One admission of a hundred takes 495.6ms: creating pods is slow.",
  },
  {
    alert: "ShimmyInjectorCertificateEnds",
    fires: { 'shimmy_injector_certificate_expiry_timestamp_seconds{pod="a"}': "175200x60" },
    quiet: { 'shimmy_injector_certificate_expiry_timestamp_seconds{pod="a"}': "1752000x60" },
    summary: "The certificate of the webhooks ends in 2d 0h 0m 0s and was not renewed.",
  },
  {
    alert: "ShimmyInjectorReloadRefused",
    fires: { 'shimmy_injector_reloads_total{what="settings",result="refused"}': "0x30 1x30" },
    quiet: {
      'shimmy_injector_reloads_total{what="settings",result="refused"}': "0x60",
      'shimmy_injector_reloads_total{what="settings",result="loaded"}': "0+1x60",
    },
    labels: { what: "settings" },
    summary: "The injector refused its new settings and goes on with the one before.",
  },
  {
    alert: "ShimmyAdmissionsRefused",
    fires: {
      'shimmy_injector_admissions_total{outcome="refused",reason="bad_value"}': "0+1x60",
    },
    // Somebody tried twice, and saw the message.
    quiet: {
      'shimmy_injector_admissions_total{outcome="refused",reason="bad_value"}': "0x20 2x40",
      'shimmy_injector_admissions_total{outcome="injected",reason=""}': "0+1x60",
    },
    labels: { reason: "bad_value" },
    summary: "Pods are refused with reason bad_value again and again.",
    at: "50m",
  },
  {
    alert: "ShimmyMasterAbsent",
    fires: { 'shimmy_master_leading{pod="a"}': "0x60", 'shimmy_master_leading{pod="b"}': "0x60" },
    quiet: { 'shimmy_master_leading{pod="a"}': "0x60", 'shimmy_master_leading{pod="b"}': "1x60" },
    summary: "No master leads: certificates are not renewed, nothing new is attached or reported.",
  },
  {
    alert: "ShimmyMasterBehind",
    fires: { "shimmy_master_queue_length{}": "7x60", "shimmy_master_leading{}": "1x60" },
    quiet: { "shimmy_master_queue_length{}": "7x20 0 7x39", "shimmy_master_leading{}": "1x60" },
    summary: "7 objects wait to be written.",
    at: "30m",
  },
  {
    alert: "ShimmyMasterSilent",
    fires: { "shimmy_master_watch_silent_seconds{}": "0+60x60" },
    quiet: { "shimmy_master_watch_silent_seconds{}": "300x60" },
    summary: "The master has not heard from the API server about a kind for 40m 0s.",
  },
  {
    alert: "ShimmyPodsWithoutSidecar",
    fires: { 'shimmy_master_uninjected_pods{opt_in="pod"}': "3x60" },
    quiet: { 'shimmy_master_uninjected_pods{opt_in="pod"}': "0x30 3x5 0x30" },
    labels: { opt_in: "pod" },
    summary: "3 pods opted in (pod) and have no sidecar.",
  },
  {
    alert: "ShimmyWorkloadsNotCarried",
    fires: { 'shimmy_master_uncarried_workloads{kind="Deployment"}': "2x90" },
    quiet: { 'shimmy_master_uncarried_workloads{kind="Deployment"}': "0x60 2x30" },
    labels: { kind: "Deployment" },
    summary: "2 Deployments were annotated to opt in, and their pods are not.",
    at: "80m",
  },
  {
    alert: "ShimmyAgentAbsent",
    fires: { "shimmy_master_info{}": "1x60" },
    quiet: { "shimmy_agent_info{}": "1x60" },
    summary: "No agent is scraped: new connections go over TCP.",
  },
  {
    alert: "ShimmyAgentPolicyStale",
    fires: { [`shimmy_agent_policy_stale{${POD}}`]: "1x60" },
    quiet: { [`shimmy_agent_policy_stale{${POD}}`]: "0x35 1x25" },
    labels: WEB,
    summary: "The agent web-1 grants nothing new, because the policies it knows may be old.",
  },
  {
    alert: "ShimmyAgentFailedPods",
    fires: { [`shimmy_agent_failed_pods{${POD}}`]: "4x60" },
    quiet: { [`shimmy_agent_failed_pods{${POD}}`]: "0x60" },
    labels: WEB,
    summary: "The agent web-1 could not open its sockets in 4 pods.",
  },
  {
    alert: "ShimmySidecarWithoutAgent",
    fires: {
      [`shimmy_sidecar_agent_connected{${POD}}`]: "0x60",
      'shimmy_sidecar_agent_connected{namespace="shop",pod="web-2"}': "1x60",
    },
    quiet: { [`shimmy_sidecar_agent_connected{${POD}}`]: "1x30 0x5 1x30" },
    labels: { namespace: "shop" },
    summary: "1 sidecars in shop have no agent: their new connections go over TCP.",
  },
  {
    alert: "ShimmyUnexpectedFallbacks",
    fires: { [`shimmy_fallbacks_total{${POD},reason="agent_unavailable"}`]: "0+60x60" },
    // Pods of other nodes are called by TCP as a rule.
    quiet: {
      [`shimmy_fallbacks_total{${POD},reason="agent_unavailable"}`]: "0+1x60",
      [`shimmy_fallbacks_total{${POD},reason="other_node_no_fabric"}`]: "0+60x60",
    },
    labels: { namespace: "shop", reason: "agent_unavailable" },
    summary: "Connections in shop go over TCP with reason agent_unavailable.",
  },
  {
    alert: "ShimmyQuotaReached",
    fires: { [`shimmy_fallbacks_total{${POD},reason="quota"}`]: "0+1x60" },
    quiet: { [`shimmy_fallbacks_total{${POD},reason="quota"}`]: "9x60" },
    labels: WEB,
    summary: "Connections of shop/web-1 go over TCP because a limit is reached.",
  },
  {
    alert: "ShimmyRingBudgetReached",
    fires: {
      [`shimmy_ring_bytes{${POD},owner="own"}`]: "95x60",
      [`shimmy_ring_budget_bytes{${POD}}`]: "100x60",
    },
    quiet: {
      [`shimmy_ring_bytes{${POD},owner="own"}`]: "50x60",
      [`shimmy_ring_bytes{${POD},owner="peer"}`]: "95x60",
      [`shimmy_ring_budget_bytes{${POD}}`]: "100x60",
    },
    labels: WEB,
    summary: "The rings of shop/web-1 have 95% of their budget.",
  },
  {
    alert: "ShimmyPeerBreaksRules",
    fires: { [`shimmy_connection_ends_total{${POD},reason="bad_half"}`]: "0x35 1x25" },
    quiet: {
      [`shimmy_connection_ends_total{${POD},reason="reset_by_peer"}`]: "0+1x60",
      [`shimmy_session_messages_refused_total{${POD}}`]: "2x60",
    },
    labels: WEB,
    summary: "A peer of shop/web-1 broke the protocol of shared memory.",
  },
  {
    alert: "ShimmySidecarRestarts",
    fires: { [`process_start_time_seconds{${POD},container="shimmy-sidecar"}`]: "0+1x60" },
    quiet: {
      [`process_start_time_seconds{${POD},container="shimmy-sidecar"}`]: "1x30 2x30",
      [`process_start_time_seconds{${POD},container="web"}`]: "0+1x60",
    },
    labels: { ...WEB, container: "shimmy-sidecar" },
    summary: "The sidecar of shop/web-1 was started 30 times in half an hour.",
  },
  {
    alert: "ShimmyVersionsDiffer",
    fires: {
      'shimmy_agent_info{version="0.1.0"}': "1x1600",
      'shimmy_sidecar_info{version="0.0.9"}': "1x1600",
    },
    quiet: {
      'shimmy_agent_info{version="0.1.0"}': "1x1600",
      'shimmy_sidecar_info{version="0.0.9"}': "1x600",
      'shimmy_sidecar_info{version="0.1.0"}': "1x1600",
    },
    summary: "Parts of Shimmy of 2 versions run beside each other.",
    at: "25h",
  },
];

describe("manifests/components/alerts", function () {
  let folder: string;

  before(function () {
    folder = mkdtempSync(join(tmpdir(), "shimmy-alerts-"));
    writeFileSync(join(folder, "rules.yaml"), stringify(spec));
  });

  after(function () {
    rmSync(folder, { recursive: true });
  });

  async function promtool(...args: string[]): Promise<void> {
    const { code, stdout, stderr } = await runProgram(["promtool", ...args]);
    expect(code, stdout + stderr).to.equal(0);
  }

  it("should be rules that Prometheus takes", async function () {
    await promtool("check", "rules", "--lint-fatal", join(folder, "rules.yaml"));
  });

  it("should have a case for every alert, and every alert once", function () {
    expect(CASES.map(({ alert }) => alert)).to.deep.equal(RULES.map(({ alert }) => alert));
  });

  for (const { alert, fires, quiet, labels = {}, summary, at = "40m" } of CASES) {
    const rule = RULES.find((each) => each.alert === alert);

    async function test(series: Series, alerts: readonly object[]): Promise<void> {
      const file = join(folder, `${alert}.yaml`);
      const test = {
        interval: "1m",
        input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
        alert_rule_test: [{ eval_time: at, alertname: alert, exp_alerts: alerts }],
      };
      const tests = { rule_files: ["rules.yaml"], evaluation_interval: "1m", tests: [test] };
      writeFileSync(file, stringify(tests));
      await promtool("test", "rules", file);
    }

    it(`should let ${alert} fire`, async function () {
      const { severity } = rule?.labels ?? {};
      const runbook = rule?.annotations.runbook;
      const expected = {
        exp_labels: { ...labels, severity },
        exp_annotations: { summary, runbook },
      };
      await test(fires, [expected]);
    });

    it(`should keep ${alert} quiet`, async function () {
      await test(quiet, []);
    });
  }

  it("should have a runbook for every alert, and no other", function () {
    const expected = RULES.map(({ alert }) => `${RUNBOOKS}/${alert}.md`);
    expect(RULES.map(({ annotations }) => annotations.runbook)).to.deep.equal(expected);
    expect(expected.filter((path) => !existsSync(join(PACKAGE_ROOT, path)))).to.deep.equal([]);
    const pages = readdirSync(join(PACKAGE_ROOT, RUNBOOKS)).map((name) => `${RUNBOOKS}/${name}`);
    expect(pages).to.have.members(expected);
  });
});
