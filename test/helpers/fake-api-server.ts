import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { isDeepStrictEqual } from "node:util";

import type { ClusterAccess } from "../../common/kubernetes/access.ts";
import { resourcePath, type Resource } from "../../common/kubernetes/resources.ts";
import { applyPatch, pointerSegments, type JsonPatch } from "../../injector/json-patch.ts";

/** An object as it is stored. */
export interface StoredObject {
  readonly metadata: Readonly<Record<string, unknown>> & { readonly name: string };
  readonly [field: string]: unknown;
}

/** A request that came in. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: StoredObject | undefined;
  readonly authorization: string | undefined;
}

/** An answer that {@link FakeApiServer.intercept} gives instead of the real one. */
export interface FakeAnswer {
  readonly status: number;
  readonly body?: unknown;
  /** Instead of a body: a page of something behind the server. */
  readonly text?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

interface HistoryEntry {
  readonly version: number;
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly path: string;
  readonly object: StoredObject;
}

interface Watcher {
  readonly collection: string;
  readonly isWanted: (object: StoredObject) => boolean;
  readonly response: ServerResponse;
  isStalled: boolean;
}

/**
 * An API server over real HTTP: lists in pages, watches with versions, bookmarks and 410, writes
 * with conflicts, the status subresource, field selectors. It knows no kinds: what is stored at a
 * path is there, and discovery shows the groups of {@link FakeApiServer.served}.
 */
export class FakeApiServer {
  /** Every request, oldest first. */
  readonly requests: SeenRequest[] = [];
  /** Asked first; `undefined` lets the request through, `"drop"` cuts the connection, `"hang"` leaves it. */
  intercept: (request: SeenRequest) => FakeAnswer | "drop" | "hang" | undefined = () => undefined;
  /** Kinds that discovery shows. */
  served: readonly Resource[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #objects = new Map<string, StoredObject>();
  readonly #watchers = new Set<Watcher>();
  #history: HistoryEntry[] = [];
  #version = 100;
  #oldest = 0;
  #uids = 0;

  private constructor() {
    this.#server = createServer((request, response) => {
      void this.#serve(request, response);
    });
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
  }

  /** Listens on a free port of loopback. */
  static async start(): Promise<FakeApiServer> {
    const fake = new FakeApiServer();
    await new Promise<void>((resolve) => {
      fake.#server.listen(0, "127.0.0.1", resolve);
    });
    return fake;
  }

  /** How to reach it; it asks for no credentials. */
  get access(): ClusterAccess {
    const { port } = this.#server.address() as AddressInfo;
    return {
      server: `http://127.0.0.1:${port}`,
      namespace: "shimmy-system",
      credentials: () => Promise.resolve({ token: "secret" }),
    };
  }

  /** Watches that are open. */
  get watchCount(): number {
    return this.#watchers.size;
  }

  /** Requests with this method for paths that contain a text. */
  seen(method: string, part: string): readonly SeenRequest[] {
    return this.requests.filter((each) => each.method === method && each.path.includes(part));
  }

  /** Lists, watches left out, of paths that contain a text. */
  lists(part: string): readonly SeenRequest[] {
    return this.seen("GET", part).filter(({ query }) => query.get("watch") === null);
  }

  /** Stores an object as if somebody else had written it. */
  put(resource: Resource, object: StoredObject): StoredObject {
    const { apiVersion, kind } = resource;
    return this.#store(pathOf(resource, object), { apiVersion, kind, ...object });
  }

  /** The object that is stored. */
  get(resource: Resource, name: string, namespace?: string): StoredObject | undefined {
    return this.#objects.get(resourcePath(resource, { name, namespace }));
  }

  /** All objects of a kind. */
  all(resource: Resource): readonly StoredObject[] {
    return [...this.#objects.values()].filter(({ kind }) => kind === resource.kind);
  }

  /** Deletes an object as if somebody else had. */
  delete(resource: Resource, name: string, namespace?: string): void {
    this.#remove(resourcePath(resource, { name, namespace }));
  }

  /** Forgets what happened until now: watches from before get 410. */
  compact(): void {
    this.#history = [];
    this.#oldest = this.#version;
  }

  /** Sends something to all watches as it is. */
  sendToWatches(text: string | Buffer): void {
    for (const { response } of this.#watchers) response.write(text);
  }

  /** Sends a bookmark to all watches. */
  bookmark(): void {
    const metadata = { resourceVersion: String(this.#version) };
    this.sendToWatches(`${JSON.stringify({ type: "BOOKMARK", object: { metadata } })}\n`);
  }

  /** Leaves all watches open and sends them nothing any more. */
  stallWatches(): void {
    for (const watcher of this.#watchers) watcher.isStalled = true;
  }

  /** Cuts all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Ends all watches in order, as after timeoutSeconds. */
  endWatches(): void {
    for (const { response } of this.#watchers) response.end();
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve();
      });
    });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const seen = await read(request);
    this.requests.push(seen);
    const answer = this.intercept(seen);
    if (answer === "hang") return;
    if (answer === "drop") request.socket.destroy();
    else if (answer !== undefined) send(response, answer);
    else if (seen.query.get("watch") !== null) this.#watch(seen, response);
    else send(response, this.#answer(seen));
  }

  #answer(request: SeenRequest): FakeAnswer {
    const { method, path, body } = request;
    if (body !== undefined) return this.#write(method, path, body);
    if (method === "DELETE") return this.#remove(path) ? { status: 200, body: {} } : notFound(path);
    const object = this.#objects.get(path);
    if (object !== undefined) return { status: 200, body: object };
    const discovered = discover(path, this.served);
    if (discovered !== undefined) return { status: 200, body: discovered };
    return isCollection(path) ? this.#list(request) : notFound(path);
  }

  #write(method: string, path: string, body: StoredObject): FakeAnswer {
    if (method === "POST") return this.#create(path, body);
    return method === "PATCH" ? this.#patch(path, body) : this.#update(path, body);
  }

  #create(path: string, body: StoredObject): FakeAnswer {
    const target = `${path}/${body.metadata.name}`;
    if (this.#objects.has(target)) return failure(409, "AlreadyExists", `${target} exists`);
    return { status: 201, body: this.#store(target, body) };
  }

  #update(path: string, body: StoredObject): FakeAnswer {
    const isStatus = path.endsWith("/status");
    const target = isStatus ? path.slice(0, -"/status".length) : path;
    const current = this.#objects.get(target);
    if (current === undefined) return notFound(target);
    const { resourceVersion } = body.metadata;
    if (resourceVersion !== undefined && resourceVersion !== current.metadata["resourceVersion"]) {
      return failure(409, "Conflict", "the object has been modified");
    }
    const next = isStatus
      ? { ...current, status: body["status"] }
      : { ...body, status: current["status"] };
    return { status: 200, body: this.#store(target, next) };
  }

  #patch(path: string, patch: StoredObject): FakeAnswer {
    const target = path.endsWith("/status") ? path.slice(0, -"/status".length) : path;
    const current = this.#objects.get(target);
    if (current === undefined) return notFound(target);
    if (!Array.isArray(patch)) return this.#update(path, merge(current, patch) as StoredObject);
    const next = applyJsonPatch(current, patch as JsonPatchOperation[]);
    return next === undefined
      ? failure(422, "Invalid", "a test of the patch failed")
      : this.#update(path, next);
  }

  #list({ path, query }: SeenRequest): FakeAnswer {
    const limit = Number(query.get("limit") ?? "0");
    const from = Number(query.get("continue") ?? "0");
    const isWanted = fieldFilter(query);
    const hasLabels = labelFilter(query);
    const all = [...this.#objects]
      .filter(([key, object]) => isIn(key, path) && isWanted(object) && hasLabels(object))
      .map(([, object]) => object);
    const items = limit > 0 ? all.slice(from, from + limit) : all;
    const next = from + items.length;
    const more = next < all.length ? { continue: String(next) } : {};
    return {
      status: 200,
      body: { kind: "List", metadata: { resourceVersion: String(this.#version), ...more }, items },
    };
  }

  #watch({ path, query }: SeenRequest, response: ServerResponse): void {
    const from = Number(query.get("resourceVersion") ?? "0");
    response.writeHead(200, { "content-type": "application/json" });
    response.flushHeaders();
    if (from < this.#oldest) {
      const object = { kind: "Status", code: 410, reason: "Expired", message: "too old" };
      response.end(`${JSON.stringify({ type: "ERROR", object })}\n`);
      return;
    }
    const isWanted = fieldFilter(query);
    const watcher = { collection: path, isWanted, response, isStalled: false };
    this.#watchers.add(watcher);
    response.on("close", () => this.#watchers.delete(watcher));
    for (const entry of this.#history.filter(({ version }) => version > from))
      notify(watcher, entry);
  }

  #store(path: string, object: StoredObject): StoredObject {
    const before = this.#objects.get(path);
    this.#version += 1;
    this.#uids += 1;
    const isChanged = JSON.stringify(before?.["spec"]) !== JSON.stringify(object["spec"]);
    const generation = Number(before?.metadata["generation"] ?? 0) + (isChanged ? 1 : 0);
    const uid = before?.metadata["uid"] ?? object.metadata["uid"] ?? `uid-${this.#uids}`;
    const resourceVersion = String(this.#version);
    const stored = {
      ...object,
      metadata: { ...object.metadata, uid, resourceVersion, generation },
    };
    this.#objects.set(path, stored);
    this.#record(before === undefined ? "ADDED" : "MODIFIED", path, stored);
    return stored;
  }

  #remove(path: string): boolean {
    const object = this.#objects.get(path);
    if (object === undefined) return false;
    this.#version += 1;
    this.#objects.delete(path);
    const metadata = { ...object.metadata, resourceVersion: String(this.#version) };
    this.#record("DELETED", path, { ...object, metadata });
    return true;
  }

  #record(type: HistoryEntry["type"], path: string, object: StoredObject): void {
    const entry = { version: this.#version, type, path, object };
    this.#history.push(entry);
    for (const watcher of this.#watchers) notify(watcher, entry);
  }
}

function notify(watcher: Watcher, { type, path, object }: HistoryEntry): void {
  const { collection, isWanted, response, isStalled } = watcher;
  if (isStalled || !isIn(path, collection) || !isWanted(object)) return;
  response.write(`${JSON.stringify({ type, object })}\n`);
}

/** Whether an object's path lies in a collection, of one namespace or of all. */
function isIn(path: string, collection: string): boolean {
  const withoutNamespace = path.replace(/\/namespaces\/[^/]+(?=\/[^/]+\/)/, "");
  return [path, withoutNamespace].some(
    (each) => each.slice(0, each.lastIndexOf("/")) === collection,
  );
}

/** Without knowing kinds: the last part is a plural in lower case. */
function isCollection(path: string): boolean {
  const rest = path.replace(/^\/(?:api\/v1|apis\/[^/]+\/[^/]+)\//, "");
  return rest.split("/").length % 2 === 1;
}

/** `a.b=c`; of an object that ceases to match no watch is told, unlike in the real one. */
function fieldFilter(query: URLSearchParams): (object: StoredObject) => boolean {
  const [path = "", value] = (query.get("fieldSelector") ?? "").split("=");
  if (value === undefined) return () => true;
  const read = (object: unknown, key: string): unknown =>
    (object as Record<string, unknown> | undefined)?.[key];
  return (object) => path.split(".").reduce<unknown>(read, object) === value;
}

/** `a=b,c=d`. */
function labelFilter(query: URLSearchParams): (object: StoredObject) => boolean {
  const wanted = (query.get("labelSelector") ?? "").split(",").filter((each) => each !== "");
  return ({ metadata }) => {
    const labels = Object.entries(metadata["labels"] ?? {}).map((entry) => entry.join("="));
    return wanted.every((each) => labels.includes(each));
  };
}

/** https://kubernetes.io/docs/concepts/overview/kubernetes-api/#unaggregated-discovery */
function discover(path: string, served: readonly Resource[]): unknown {
  const versions = Map.groupBy(served, ({ apiVersion }) => apiVersion);
  if (path === "/apis") {
    const groups = [...versions.keys()].map((groupVersion) => {
      const [name = "", version = ""] = groupVersion.split("/");
      const preferredVersion = { groupVersion, version };
      return { name, versions: [preferredVersion], preferredVersion };
    });
    return { kind: "APIGroupList", groups };
  }
  const kinds = versions.get(path.replace(/^\/apis\//, ""));
  if (kinds === undefined) return undefined;
  const resources = kinds.map(({ plural: name, kind, isNamespaced: namespaced }) => ({
    name,
    kind,
    namespaced,
    verbs: ["get", "list", "watch"],
  }));
  return { kind: "APIResourceList", groupVersion: kinds[0]?.apiVersion, resources };
}

function pathOf(resource: Resource, { metadata }: StoredObject): string {
  const { name, namespace } = metadata as { name: string; namespace?: string };
  return resourcePath(resource, { name, namespace });
}

async function read(request: IncomingMessage): Promise<SeenRequest> {
  const { method = "GET", url = "/", headers } = request;
  const { pathname, searchParams } = new URL(url, "http://fake");
  let text = "";
  for await (const chunk of request) text += String(chunk);
  const body = text === "" ? undefined : (JSON.parse(text) as StoredObject);
  const { authorization } = headers;
  return { method, path: decodeURIComponent(pathname), query: searchParams, body, authorization };
}

type JsonPatchOperation = JsonPatch[number] | { op: "test"; path: string; value: unknown };

/** A JSON patch with tests; `undefined` when one fails. */
function applyJsonPatch(
  object: StoredObject,
  operations: readonly JsonPatchOperation[],
): StoredObject | undefined {
  let patched = object;
  for (const operation of operations) {
    if (operation.op !== "test") patched = applyPatch(patched, [operation]);
    else if (!isDeepStrictEqual(at(patched, operation.path), operation.value)) return undefined;
  }
  return patched;
}

function at(object: StoredObject, path: string): unknown {
  return pointerSegments(path).reduce<unknown>(
    (value, segment) => (value as Record<string, unknown> | undefined)?.[segment],
    object,
  );
}

/** A merge patch. https://www.rfc-editor.org/rfc/rfc7386#section-2 */
function merge(target: unknown, patch: unknown): unknown {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch;
  const base = typeof target === "object" && target !== null ? target : {};
  const merged = new Map<string, unknown>(Object.entries(base));
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) merged.delete(key);
    else merged.set(key, merge(merged.get(key), value));
  }
  return Object.fromEntries(merged);
}

function send(response: ServerResponse, answer: FakeAnswer): void {
  const { status, body = {}, text, headers = {} } = answer;
  const contentType = text === undefined ? "application/json" : "text/plain";
  response.writeHead(status, { "content-type": contentType, ...headers });
  response.end(text ?? JSON.stringify(body));
}

function notFound(path: string): FakeAnswer {
  return failure(404, "NotFound", `${path} not found`);
}

/** An answer with a Status object. */
export function failure(
  status: number,
  reason: string,
  message: string,
  headers?: Readonly<Record<string, string>>,
): FakeAnswer {
  const body = { kind: "Status", status: "Failure", code: status, reason, message };
  return headers === undefined ? { status, body } : { status, body, headers };
}
