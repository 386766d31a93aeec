import { parseAllDocuments } from "yaml";

import type { SeenRequest } from "./fake-api-server.ts";

/** What one rule of a role lets one subject do, nothing but names. */
export interface Permission {
  readonly group: string;
  /** With its subresource, as `pods/status`. */
  readonly resource: string;
  readonly verb: string;
  /** The one name it is for; any when not given. */
  readonly name?: string;
  /** The one namespace it is for; all, and what has none, when not given. */
  readonly namespace?: string;
}

interface RoleDocument {
  readonly kind?: string;
  readonly metadata?: { readonly namespace?: string };
  readonly rules?: readonly {
    readonly apiGroups: readonly string[];
    readonly resources: readonly string[];
    readonly resourceNames?: readonly string[];
    readonly verbs: readonly string[];
  }[];
}

/** The permissions that the roles of a manifest give, one by one. */
export function permissionsOf(manifest: string): Permission[] {
  const documents = parseAllDocuments(manifest).map((each) => each.toJS() as RoleDocument);
  return documents.flatMap(({ kind, metadata, rules = [] }) => {
    const scope = kind === "Role" ? { namespace: metadata?.namespace ?? "" } : {};
    return rules.flatMap(({ apiGroups, resources, resourceNames, verbs }) =>
      apiGroups.flatMap((group) =>
        resources.flatMap((resource) =>
          verbs.flatMap((verb) =>
            (resourceNames ?? [undefined]).map((name) => ({
              group,
              resource,
              verb,
              ...(name === undefined ? {} : { name }),
              ...scope,
            })),
          ),
        ),
      ),
    );
  });
}

/** What the API server asks roles about a request. */
export interface Access {
  readonly group: string;
  readonly resource: string;
  readonly verb: string;
  readonly name: string | undefined;
  readonly namespace: string | undefined;
}

const VERBS: Readonly<Record<string, string>> = {
  POST: "create",
  PUT: "update",
  PATCH: "patch",
  DELETE: "delete",
};

const PATH =
  /^\/(?:api\/v1|apis\/(?<group>[^/]+)\/[^/]+)(?:\/namespaces\/(?<namespace>[^/]+)(?=\/))?\/(?<plural>[^/]+)(?:\/(?<name>[^/]+))?(?:\/(?<subresource>[^/]+))?$/;

/** @see https://kubernetes.io/docs/reference/access-authn-authz/authorization/#determine-the-request-verb */
export function accessOf({ method, path, query }: SeenRequest): Access {
  const { group = "", namespace, plural = "", name, subresource } = PATH.exec(path)?.groups ?? {};
  const resource = subresource === undefined ? plural : `${plural}/${subresource}`;
  const many = query.get("watch") === null ? "list" : "watch";
  const read = name === undefined ? many : "get";
  return {
    group,
    resource,
    verb: VERBS[method] ?? read,
    name: name ?? nameSelected(query),
    namespace,
  };
}

/** The server takes a list of one name for that name: requestinfo.go of k8s.io/apiserver. */
function nameSelected(query: URLSearchParams): string | undefined {
  return /^metadata\.name=(?<name>[^,]+)$/.exec(query.get("fieldSelector") ?? "")?.groups?.["name"];
}

/** Whether a permission allows an access. */
export function allows(permission: Permission, access: Access): boolean {
  return (
    permission.group === access.group &&
    permission.resource === access.resource &&
    permission.verb === access.verb &&
    (permission.name === undefined || permission.name === access.name) &&
    (permission.namespace === undefined || permission.namespace === access.namespace)
  );
}
