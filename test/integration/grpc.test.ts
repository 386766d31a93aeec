import {
  credentials,
  makeGenericClientConstructor,
  Server,
  ServerCredentials,
  status,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientWritableStream,
  type sendUnaryData,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type ServiceError,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { expect } from "chai";
import { join } from "node:path";

import { startAppMesh, type AppMesh } from "../helpers/apps.ts";
import { noise } from "../helpers/noise.ts";

interface Chunk {
  readonly data: Buffer;
  readonly number: number;
}

/** What is made of echo.proto. */
interface EchoClient {
  Unary(chunk: Chunk, done: (err: ServiceError | null, answer?: Chunk) => void): void;
  Unary(
    chunk: Chunk,
    options: { deadline: number },
    done: (err: ServiceError | null, answer?: Chunk) => void,
  ): void;
  Download(chunk: Chunk): ClientReadableStream<Chunk>;
  Upload(done: (err: ServiceError | null, answer?: Chunk) => void): ClientWritableStream<Chunk>;
  Both(): ClientDuplexStream<Chunk, Chunk>;
  close(): void;
}

const PROTO = join(import.meta.dirname, "../fixtures/grpc/echo.proto");
const MESSAGES = 500;

describe("gRPC over shared memory", function () {
  let apps: AppMesh;
  let server: Server;
  let client: EchoClient;

  before(async function () {
    this.timeout(30_000);
    apps = await startAppMesh({ echo: 50_051 });
    const service = loadSync(PROTO)["shimmy.test.Echo"] as ServiceDefinition;
    server = new Server();
    server.addService(service, implementation());
    const { address, port } = apps.server("echo");
    await new Promise<void>((resolve, reject) => {
      server.bindAsync(`${address}:${port}`, ServerCredentials.createInsecure(), (err) => {
        if (err === null) resolve();
        else reject(err);
      });
    });
    const Client = makeGenericClientConstructor(service, "Echo");
    const local = apps.local("echo");
    const target = `${local.address}:${local.port}`;
    client = new Client(target, credentials.createInsecure()) as unknown as EchoClient;
    await apps.mesh.carried("client");
  });

  after(async function () {
    client.close();
    server.forceShutdown();
    await apps.mesh.close();
  });

  it("should answer unary calls, many at a time", async function () {
    this.timeout(10_000);
    const answers = await Promise.all(
      Array.from({ length: MESSAGES }, (_, number) => unary({ data: bytes(number * 20), number })),
    );
    expect(answers.map(({ number }) => number)).to.deep.equal([...answers.keys()]);
    expect(answers.every(({ data, number }) => data.equals(bytes(number * 20)))).to.be.true;
  });

  it("should stream from the server", async function () {
    this.timeout(10_000);
    const numbers: number[] = [];
    for await (const chunk of client.Download({ data: bytes(20_000), number: MESSAGES })) {
      numbers.push((chunk as Chunk).number);
    }
    expect(numbers).to.deep.equal([...Array(MESSAGES).keys()]);
  });

  it("should stream to the server", async function () {
    this.timeout(10_000);
    const parts = Array.from({ length: 100 }, (_, number) => ({ data: bytes(20_000), number }));
    const answer = await new Promise<Chunk>((resolve, reject) => {
      const call = client.Upload((err, chunk) => {
        if (err === null && chunk !== undefined) resolve(chunk);
        else reject(err ?? new Error("no answer"));
      });
      for (const part of parts) call.write(part);
      call.end();
    });
    expect(answer.number).to.equal(parts.length);
    expect(answer.data.equals(Buffer.concat(parts.map(({ data }) => data)))).to.be.true;
  });

  it("should stream both ways", async function () {
    this.timeout(10_000);
    const call = client.Both();
    const numbers: number[] = [];
    for (let number = 0; number < 5; number++) call.write({ data: bytes(100), number });
    for await (const chunk of call) {
      const { number } = chunk as Chunk;
      numbers.push(number);
      if (number + 5 < MESSAGES) call.write({ data: bytes(100), number: number + 5 });
      else if (numbers.length === MESSAGES) call.end();
    }
    expect(numbers).to.deep.equal([...Array(MESSAGES).keys()]);
  });

  it("should keep errors and deadlines", async function () {
    const failed = await unary({ data: Buffer.from("fail"), number: 0 }).catch(
      (err: unknown) => err as ServiceError,
    );
    expect(failed).to.include({ code: status.FAILED_PRECONDITION, details: "as asked" });
    const late = await unary({ data: Buffer.from("never"), number: 0 }, 100).catch(
      (err: unknown) => err as ServiceError,
    );
    expect(late).to.include({ code: status.DEADLINE_EXCEEDED });
  });

  it("should have carried all of it on one connection", async function () {
    await apps.mesh.assertCarried("client", 1);
  });

  function unary(chunk: Chunk, withinMs = 8000): Promise<Chunk> {
    return new Promise((resolve, reject) => {
      client.Unary(chunk, { deadline: Date.now() + withinMs }, (err, answer) => {
        if (err === null && answer !== undefined) resolve(answer);
        else reject(err ?? new Error("no answer"));
      });
    });
  }
});

function bytes(length: number): Buffer {
  return Buffer.concat([...noise("grpc", length)]);
}

function implementation(): UntypedServiceImplementation {
  return {
    Unary({ request }: ServerUnaryCall<Chunk, Chunk>, done: sendUnaryData<Chunk>): void {
      const text = request.data.subarray(0, 10).toString();
      if (text === "never") return;
      if (text === "fail") done({ code: status.FAILED_PRECONDITION, details: "as asked" });
      else done(null, request);
    },
    Download(call: ServerWritableStream<Chunk, Chunk>): void {
      const { data, number: count } = call.request;
      for (let number = 0; number < count; number++) call.write({ data, number });
      call.end();
    },
    Upload(call: ServerReadableStream<Chunk, Chunk>, done: sendUnaryData<Chunk>): void {
      const parts: Buffer[] = [];
      call.on("data", ({ data }: Chunk) => parts.push(data));
      call.on("end", () => {
        done(null, { data: Buffer.concat(parts), number: parts.length });
      });
    },
    Both(call: ServerDuplexStream<Chunk, Chunk>): void {
      call.on("data", (chunk: Chunk) => call.write(chunk));
      call.on("end", () => call.end());
    },
  };
}
