import { findClusterAccess } from "../../common/kubernetes/access.ts";
import {
  ApiClient,
  type ApiRequest,
  type KubernetesApi,
} from "../../common/kubernetes/api-client.ts";
import { ApiError } from "../../common/kubernetes/api-error.ts";
import type { KubernetesObject } from "../../common/kubernetes/objects.ts";
import {
  resourcePath,
  type Resource,
  type ResourceTarget,
} from "../../common/kubernetes/resources.ts";
import { ShimmyError } from "../../common/errors.ts";
import { createLogin } from "./login-plugin.ts";

/** Which objects of a kind are meant. */
export interface ListQuery {
  /** All namespaces when not given. */
  readonly namespace?: string | undefined;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
}

interface Page {
  readonly metadata?: { readonly continue?: string };
  readonly items?: readonly unknown[] | null;
}

const PAGE_ITEMS = 500;

/** What the commands of a person need of a cluster: whole lists, and answers that may be missing. */
export class Cluster {
  /** Where the API server is. */
  readonly server: string;
  readonly #api: KubernetesApi;

  constructor(api: KubernetesApi, server: string) {
    this.#api = api;
    this.server = server;
  }

  /**
   * Asks for anything.
   *
   * @throws {@link ApiError} when there is no answer, or the server refuses.
   */
  request(request: ApiRequest): Promise<unknown> {
    return this.#api.request(request);
  }

  /** An object; `undefined` when there is none, or no such kind. */
  async get<T extends KubernetesObject>(
    resource: Resource,
    target: ResourceTarget,
  ): Promise<T | undefined> {
    try {
      return (await this.#api.request({ path: resourcePath(resource, target) })) as T;
    } catch (err) {
      if (isStatus(err, 404)) return undefined;
      throw err;
    }
  }

  /** All objects of a kind, in pages; none when there is no such kind. */
  async list<T extends KubernetesObject>(
    resource: Resource,
    { namespace, ...selectors }: ListQuery = {},
  ): Promise<T[]> {
    const path = resourcePath(resource, { namespace });
    const items: T[] = [];
    let next: string | undefined;
    do {
      const query = { limit: PAGE_ITEMS, continue: next, ...selectors };
      const page = await this.#page(path, query);
      items.push(...((page.items ?? []) as readonly T[]));
      next = page.metadata?.continue;
    } while (next !== undefined && next !== "");
    const { apiVersion, kind } = resource;
    // Items of a list come without them.
    return items.map((item) => ({ apiVersion, kind, ...item }));
  }

  /** Changes an object; `null` removes. @returns Whether it was there. */
  async patch(resource: Resource, target: ResourceTarget, body: unknown): Promise<boolean> {
    const path = resourcePath(resource, target);
    return this.#ifThere({ method: "PATCH", path, body });
  }

  /** Deletes an object, and later what it owns. @returns Whether it was there. */
  async delete(resource: Resource, target: ResourceTarget): Promise<boolean> {
    const path = resourcePath(resource, target);
    const query = { propagationPolicy: "Background" };
    return this.#ifThere({ method: "DELETE", path, query });
  }

  /**
   * Fetches a page of a pod through the API server: who may `get pods/proxy` may do so.
   *
   * @returns `undefined` when the pod does not answer, or not with success.
   * @throws {@link ApiError} when the API server does not answer, or does not allow it.
   */
  async podPage(
    { namespace, name }: { namespace: string; name: string },
    port: number,
    path: string,
  ): Promise<string | undefined> {
    const pod = resourcePath(PODS, { namespace, name: `${name}:${port}` });
    const chunks: Buffer[] = [];
    const request = { path: `${pod}/proxy${path}`, host: this.#proxyHost(), timeoutMs: PROXY_MS };
    try {
      const signal = AbortSignal.timeout(PROXY_MS);
      for await (const chunk of this.#api.stream({ ...request, signal })) chunks.push(chunk);
    } catch (err) {
      if (isStatus(err, 403) && !isFromPod(err)) throw err;
      if (isStatus(err, 401)) throw err;
      return undefined;
    }
    return Buffer.concat(chunks).toString();
  }

  /**
   * Admin addresses answer requests for an address only, and the API server passes the name on
   * under which it was called itself.
   */
  #proxyHost(): string | undefined {
    const { hostname } = new URL(this.server);
    return /^(?:[\d.]+|\[.+\]|localhost)$/.test(hostname) ? undefined : "localhost";
  }

  async #page(path: string, query: NonNullable<ApiRequest["query"]>): Promise<Page> {
    try {
      return (await this.#api.request({ path, query })) as Page;
    } catch (err) {
      if (isStatus(err, 404)) return {};
      throw err;
    }
  }

  async #ifThere(request: ApiRequest): Promise<boolean> {
    try {
      await this.#api.request(request);
      return true;
    } catch (err) {
      if (isStatus(err, 404)) return false;
      throw err;
    }
  }
}

const PROXY_MS = 5000;
const PODS = { apiVersion: "v1", kind: "Pod", plural: "pods", isNamespaced: true } as const;

/** A cluster that a person has access to. */
export interface OpenCluster extends AsyncDisposable {
  readonly cluster: Cluster;
  /** That of the context, for commands that take one. */
  readonly namespace: string;
}

/**
 * Opens the cluster of a kubeconfig.
 *
 * @throws {@link ShimmyError} `SHIMMY_ERR_INVALID_CONFIG` when there is none, or it cannot be used.
 */
export async function openCluster(kubeconfig: string | undefined): Promise<OpenCluster> {
  const access = await findClusterAccess({
    kubeconfig,
    env: process.env,
    login: createLogin(),
  });
  const api = new ApiClient(access);
  return {
    cluster: new Cluster(api, access.server),
    namespace: access.namespace,
    [Symbol.asyncDispose]: () => api.close(),
  };
}

/** Whether an error is the API server's refusal with this status. */
export function isStatus(err: unknown, status: number): err is ApiError {
  return err instanceof ApiError && err.status === status;
}

/** A refusal of the API server is a Status object; one of a pod is not. */
function isFromPod({ reason }: ApiError): boolean {
  return reason === "";
}

/** Says in a sentence what a request to the API server came to. */
export function explainApiError(err: unknown, server: string): ShimmyError {
  if (!(err instanceof ApiError)) {
    return err instanceof ShimmyError
      ? err
      : new ShimmyError("SHIMMY_ERR_INTERNAL", String(err), { cause: err });
  }
  // What hinders us here, as a login that fails, is no answer of the server.
  if (err.cause instanceof ShimmyError) return err.cause;
  const [, , ...rest] = err.message.split(": ");
  const said = rest.length === 0 ? err.message : rest.join(": ");
  return new ShimmyError(err.code, sentence(err, said, server), { cause: err });
}

function sentence({ status, message }: ApiError, said: string, server: string): string {
  switch (status) {
    case 0:
      return `the API server ${server} does not answer: ${message.replace(/^\S+ \S+: /, "")}`;
    case 401:
      return `the API server ${server} does not accept the credentials of the kubeconfig`;
    case 403:
      return `the API server does not allow it: ${said}`;
    default:
      return message;
  }
}
