// Asks the server ten times, each time over a new connection to a port on localhost.
import { get } from "node:http";
import process from "node:process";

const url = process.env["SHIMMY_HELLO_URL"] ?? "http://127.0.0.1:19001";

for (let i = 1; i <= 10; i++) {
  get(`${url}/greeting/${i}`, { agent: false }, (response) => response.pipe(process.stdout));
}
