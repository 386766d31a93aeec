import { KINDS, NAMES } from "../../../../cli/cluster/kinds.ts";
import { type FakeApiServer, failure } from "../../../helpers/fake-api-server.ts";
import { testCases, type Case } from "./cases.ts";
import { inject, SYSTEM, type ApiBehaviour } from "./healthy.ts";

const refuse = (message: string, status = 500, reason = "InternalError"): ApiBehaviour => ({
  admit: () => failure(status, reason, message),
});
const nothing = (): void => undefined;
/** Another webhook that is called for pods, and one that is not. */
const putOthers = (server: FakeApiServer): void => {
  for (const [name, resources] of [
    ["old-schema", ["pods"]],
    ["for-nodes", ["nodes"]],
  ] as const) {
    const rules = [{ apiGroups: [""], resources, operations: ["CREATE"] }];
    server.put(KINDS.mutatingWebhooks, { metadata: { name }, webhooks: [{ rules }] });
  }
};
const setConfig = (data: object) => (server: FakeApiServer) => {
  server.put(KINDS.configMaps, { metadata: { name: NAMES.config, namespace: SYSTEM }, data });
};

const CASES: readonly Case[] = [
  {
    what: "an injector that the API server cannot reach",
    check: "webhook",
    status: "fail",
    says: "cannot call the injector",
    todo: "10250",
    change: nothing,
    behaviour: refuse(
      'Internal error occurred: failed calling webhook "pods.injector.shimmy.io": context deadline exceeded',
    ),
  },
  {
    what: "an injector that the API server does not trust",
    check: "webhook",
    status: "fail",
    says: "cannot call the injector",
    todo: "certificate",
    change: nothing,
    behaviour: refuse(
      'failed calling webhook "pods.injector.shimmy.io": x509: certificate signed by unknown authority',
    ),
  },
  {
    what: "no injector behind the Service",
    check: "webhook",
    status: "fail",
    says: "cannot call the injector",
    todo: "behind its Service",
    change: nothing,
    behaviour: refuse(
      'failed calling webhook "pods.injector.shimmy.io": no endpoints available for service "shimmy-injector"',
    ),
  },
  {
    what: "an injector that refuses",
    check: "webhook",
    status: "fail",
    says: "no image",
    change: nothing,
    behaviour: refuse(
      'admission webhook "pods.injector.shimmy.io" denied the request: no image',
      403,
      "Forbidden",
    ),
  },
  {
    what: "an injector that finds its sidecar altered",
    check: "webhook",
    status: "fail",
    says: "lost restartPolicy: Always",
    todo: ": old-schema (",
    change: putOthers,
    behaviour: refuse(
      'admission webhook "pods.shimmy.io" denied the request: the sidecar lost restartPolicy: Always, probably to another webhook',
      403,
      "Forbidden",
    ),
  },
  {
    what: "the admission policy",
    check: "webhook",
    status: "fail",
    says: "the admission policy found no sidecar",
    change: nothing,
    behaviour: refuse("ValidatingAdmissionPolicy 'shimmy-injected' with binding", 422, "Invalid"),
  },
  {
    what: "a user who may not create pods",
    check: "webhook",
    status: "unknown",
    says: "no pod could be created on trial in default",
    todo: "--trial-namespace",
    change: nothing,
    behaviour: refuse('pods is forbidden: User "x" cannot create', 403, "Forbidden"),
  },
  {
    what: "an API server that does not call the injector",
    check: "webhook",
    status: "fail",
    says: "got no sidecar",
    change: nothing,
    behaviour: { admit: (pod) => ({ status: 201, body: pod }) },
  },
  {
    what: "another webhook that strips fields",
    check: "webhook",
    status: "fail",
    says: "lost restartPolicy: Always",
    todo: ": old-schema (",
    change: putOthers,
    behaviour: {
      admit: (pod) => {
        const text = JSON.stringify(inject(pod)).replace('"restartPolicy":"Always",', "");
        return { status: 201, body: JSON.parse(text) as unknown };
      },
    },
  },
  {
    what: "a namespace in which nothing is injected",
    check: "webhook",
    status: "unknown",
    says: "nothing is injected in default",
    change: setConfig({ "excluded-namespaces": "default" }),
  },
];

testCases("shimmy check: webhook", CASES);
