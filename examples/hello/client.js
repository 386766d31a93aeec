// Asks the server ten times, each time over a new connection to a port on localhost.
import process from "node:process";

const url = process.env["SHIMMY_HELLO_URL"] ?? "http://127.0.0.1:9001";

for (let i = 1; i <= 10; i++) {
  const response = await fetch(`${url}/greeting/${i}`, { headers: { connection: "close" } });
  process.stdout.write(await response.text());
}
