import { expect } from "chai";

import { readInjectionConfig, CLUSTER_KEYS } from "../../../injector/config.ts";
import { describeVocabulary } from "../../../injector/describe-vocabulary.ts";
import { readKeys } from "../../../injector/read-keys.ts";
import { isOurKey, NOT_BUILT, VOCABULARY, WRITTEN } from "../../../injector/vocabulary.ts";
import { readSource, section } from "../docs/sources.ts";

describe("docs/reference/annotations.md", function () {
  const page = readSource("docs/reference/annotations.md");
  for (const [heading, table] of describeVocabulary()) {
    it(`should have the code's table of "${heading}"`, function () {
      expect(section(page, heading)).to.include(`\n\n${table}\n`);
    });
  }
});

describe("VOCABULARY", function () {
  for (const { key, places, parse, example } of Object.values(VOCABULARY)) {
    it(`should read its own example of ${key}`, function () {
      expect(() => parse(example)).not.to.throw();
      expect(places).not.to.have.lengthOf(0);
      expect(isOurKey(key)).to.equal(true);
    });
  }

  it("should have each key once", function () {
    const entries = [...Object.values(VOCABULARY), ...Object.values(WRITTEN)];
    const keys = [...entries.map(({ key }) => key), ...Object.keys(NOT_BUILT)];
    expect(new Set(keys).size).to.equal(keys.length);
  });
});

describe("isOurKey()", function () {
  for (const [key, isOurs] of [
    ["shimmy.io/inject", true],
    ["config.shimmy.io/x", true],
    ["config.alpha.shimmy.io/x", true],
    ["shimmy.io", false],
    ["notshimmy.io/inject", false],
    ["shimmy.io.example/inject", false],
    ["app.kubernetes.io/name", false],
  ] as const) {
    it(`should answer ${isOurs} for ${key}`, function () {
      expect(isOurKey(key)).to.equal(isOurs);
    });
  }
});

describe("readKeys()", function () {
  it("should read what is ours and leave the rest alone", function () {
    const entries = {
      "shimmy.io/inject": "enabled",
      "shimmy.io/app-port": "8080, metrics",
      "config.shimmy.io/ring-budget": "128Mi",
      "config.shimmy.io/drain-timeout": "10s",
      "prometheus.io/scrape": 5,
    };
    expect(readKeys("pod annotation", entries)).to.deep.equal({
      settings: {
        inject: "enabled",
        appPorts: [8080, "metrics"],
        ringBudget: 128 * 1024 ** 2,
        drainTimeoutMs: 10_000,
      },
      problems: [],
    });
  });

  const refused: [
    place: Parameters<typeof readKeys>[0],
    key: string,
    value: unknown,
    message: string,
  ][] = [
    ["pod annotation", "shimmy.io/inject", "true", 'expected one of enabled, disabled, got "true"'],
    ["pod annotation", "shimmy.io/inject", true, "must be text, put quotes around true"],
    ["pod annotation", "shimmy.io/inject", {}, "must be text"],
    [
      "pod annotation",
      "shimmy.io/upstream",
      "a:1",
      'unknown key "shimmy.io/upstream"; did you mean "shimmy.io/upstreams"?',
    ],
    [
      "pod annotation",
      "config.shimmy.io/cpu-requests",
      "1",
      'unknown key "config.shimmy.io/cpu-requests"; did you mean "config.shimmy.io/cpu-request"?',
    ],
    [
      "pod label",
      "shimmy.io/upstreams",
      "a:1",
      "may not stand there; it may be a pod annotation, workload annotation",
    ],
    ["namespace annotation", "shimmy.io/inject", "enabled", "may not stand there"],
    ["namespace annotation", "shimmy.io/upstreams", "a:1", "may not stand there"],
    ["pod annotation", "shimmy.io/injected", "true", "is written by Shimmy and may not be set"],
    ["pod label", "shimmy.io/status", "x", "is written by Shimmy and may not be set"],
    ["pod annotation", "shimmy.io/app-port", "", "expected at least one port"],
    ["pod annotation", "shimmy.io/app-port", "80,80", "port 80 is given twice"],
    ["pod annotation", "shimmy.io/app-port", "0", "expected an integer from 1 to 65535"],
    ["pod annotation", "shimmy.io/app-port", "Web", "expected a port's number or name"],
    ["pod annotation", "shimmy.io/app-address", "localhost", "expected an IPv4 or IPv6 address"],
    ["pod annotation", "shimmy.io/transport", "sm", 'did you mean "shm"?'],
    ["pod annotation", "config.shimmy.io/image", "a b", "expected the name of an image"],
    ["pod annotation", "config.shimmy.io/cpu-limit", "1x", "expected a quantity such as 100m"],
    ["pod annotation", "config.shimmy.io/cpu-limit", "0", "expected a quantity above 0"],
    ["pod annotation", "config.shimmy.io/memory-limit", "-1Mi", "expected a quantity"],
    ["pod annotation", "config.shimmy.io/ring-budget", "1", "expected a size such as 64Ki"],
    ["pod annotation", "config.shimmy.io/log-level", "warm", 'did you mean "warn"?'],
    ["pod annotation", "config.shimmy.io/drain-timeout", "10", "expected a time such as 250ms"],
    [
      "pod annotation",
      "config.shimmy.io/native-sidecar",
      "yes",
      "expected one of enabled, disabled",
    ],
    ["namespace label", "shimmy.io/inject", "on", "expected one of enabled, disabled"],
    ["pod annotation", "shimmy.io/publish", " , ", "expected at least one topic"],
    ["pod annotation", "shimmy.io/publish", "a/b/c", "expected a topic such as prices"],
    ["pod annotation", "shimmy.io/subscribe", "a?pull=x", "expected a topic such as prices"],
    ["pod annotation", "shimmy.io/subscribe", "a?push=https://localhost/", "not a plain http"],
    ["pod annotation", "shimmy.io/subscribe", "a?push=http://u@localhost/", "not a plain http"],
    ["pod annotation", "shimmy.io/subscribe", "a?push=http://localhost.evil/", "is not loopback"],
    ["pod annotation", "shimmy.io/subscribe", "a?push=http://[::2]/", "is not loopback"],
    [
      "pod annotation",
      "shimmy.io/subscribe",
      "a?format=x&push=http://[::1]/",
      "expected TOPIC=URL",
    ],
  ];
  for (const [place, key, value, message] of refused) {
    it(`should refuse the ${place} ${key}: ${JSON.stringify(value)}`, function () {
      const { settings, problems } = readKeys(place, { [key]: value });
      expect(settings).to.deep.equal({});
      expect(problems).to.have.lengthOf(1);
      expect(problems[0]?.reason).to.equal("bad_value");
      expect(problems[0]?.message)
        .to.match(new RegExp(`^${place} ${key}: `))
        .and.include(message);
    });
  }

  for (const key of Object.keys(NOT_BUILT)) {
    it(`should say that the feature of ${key} is not built`, function () {
      const { problems } = readKeys("pod annotation", { [key]: "x" });
      expect(problems[0]?.reason).to.equal("not_built");
      expect(problems[0]?.message).to.include("this feature is not built yet");
    });
  }

  for (const [key, value] of [
    ["shimmy.io/transport", "rdma"],
    ["shimmy.io/upstreams", "a:1?transport=rdma"],
  ] as const) {
    it(`should say that ${key}: ${value} is not built`, function () {
      const { problems } = readKeys("pod annotation", { [key]: value });
      expect(problems[0]?.reason).to.equal("not_built");
      expect(problems[0]?.message).to.include("transport rdma is not built yet");
    });
  }
});

describe("readInjectionConfig()", function () {
  it("should have defaults for all but the image", function () {
    const config = readInjectionConfig({});
    expect(config.settings).to.deep.equal({});
    expect(config.runAsUser).to.equal(65_532);
    expect(config.adminAddress).to.equal("0.0.0.0:14790");
    expect(config.excludedNamespaces).to.include("kube-system");
  });

  it("should read keys of annotations without their prefix, and its own", function () {
    const config = readInjectionConfig({
      image: "shimmy:1",
      transport: "tcp",
      "native-sidecar": "disabled",
      "run-as-user": "unset",
      "runtime-classes": "runc, crun",
      "image-pull-policy": "Always",
      "excluded-namespaces": "",
      "ipv6-only": "true",
    });
    expect(config.settings).to.deep.equal({
      image: "shimmy:1",
      transport: "tcp",
      nativeSidecar: "disabled",
    });
    expect(config).to.include({ runAsUser: undefined, imagePullPolicy: "Always" });
    expect(config.runtimeClasses).to.deep.equal(["runc", "crun"]);
    expect(config.excludedNamespaces).to.deep.equal([]);
    expect(config.adminAddress).to.equal("[::]:14790");
  });

  it("should name everything that it refuses", function () {
    expect(() => readInjectionConfig({ imag: "x", upstreams: "a:1", transport: "udp", image: 1 }))
      .to.throw(
        'imag: unknown key "imag"; did you mean "image"?; upstreams: unknown key "upstreams"',
      )
      .with.property("message")
      .that.includes("transport: expected one of auto, shm, tcp")
      .and.includes("image: must be text, got 1");
    expect(() => readInjectionConfig([])).to.throw("expected keys and values");
    for (const [key, { default: value, parse }] of Object.entries(CLUSTER_KEYS)) {
      expect(() => parse(value), key).not.to.throw();
    }
  });
});
