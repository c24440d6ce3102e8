// Requests of all kinds, without an end: what has to be there so that every metric has something to show.
//
// usage: node traffic.mjs APP_PORT FORWARD_PORT API_PORT KEY
import { Agent, request } from "node:http";
import { connect } from "node:net";

const PAUSE = 50; // milliseconds

const [app, forward, api, key] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true });

function ask(port, path, headers) {
  const sent = request({ agent, host: "127.0.0.1", port, path, headers }, (response) => response.resume());
  sent.on("error", (error) => console.error(`${path}: ${error.message}`));
  sent.end();
}

// By a name that is an upstream's.
function tunnel() {
  const host = `localhost:${api}`;
  const socket = connect(forward, "127.0.0.1", () => {
    socket.write(`CONNECT ${host} HTTP/1.1\r\nHost: ${host}\r\n\r\nGET /tunnel HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  });
  socket.on("error", (error) => console.error(`tunnel: ${error.message}`));
  socket.resume();
}

for (let round = 0; ; round += 1) {
  ask(app, "/crm/orders", { authorization: `Bearer ${key}` });
  if (round % 20 === 0) {
    ask(app, "/nowhere", {});
    // The second of them is beyond the limit of the route.
    for (let i = 0; i < 2; i += 1) ask(app, "/limited", { authorization: `Bearer ${key}` });
    ask(forward, `http://127.0.0.1:${api}/passed`, {});
    ask(forward, "http://denied.example/", {});
    tunnel();
  }
  await new Promise((resolve) => setTimeout(resolve, PAUSE));
}
