// A small HTTP server. It listens where `shimmy run` tells it to, and knows nothing of Shimmy else.
import { createServer } from "node:http";
import process from "node:process";

const address = process.env["SHIMMY_ADDRESS"] ?? "127.0.0.1";

createServer((request, response) => {
  response.end(`hello, you asked for ${request.url} from ${request.socket.remoteAddress}\n`);
}).listen(8080, address, () => {
  process.stdout.write(`listening on ${address}:8080\n`);
});
