// Node's http2, which asks a proxy over HTTP/2 for an http URL itself. For https, and for all if VIA_CONNECT is set, it
// opens a tunnel by CONNECT, with HTTP/1.1 inside.
import { once } from "node:events";
import { createReadStream } from "node:fs";
import http from "node:http";
import { connect } from "node:http2";
import https from "node:https";
import { connect as startTls } from "node:tls";
import { pipeline } from "node:stream/promises";
import { text } from "node:stream/consumers";

const file = process.env.BODY_FILE;
const method = file ? "POST" : "GET";
const proxy = connect(process.env.http_proxy);

// Sends the body, and waits for the answer meanwhile.
async function exchange(stream) {
  const [[answer]] = await Promise.all([once(stream, "response"), file ? pipeline(createReadStream(file), stream) : stream.end()]);
  return answer;
}

async function itself({ protocol, host, pathname, search }) {
  const stream = proxy.request(
    { ":method": method, ":scheme": protocol.slice(0, -1), ":authority": host, ":path": pathname + search },
    { endStream: false },
  );
  const answer = await exchange(stream);
  return [await text(stream), answer[":status"]];
}

async function throughTunnel(url) {
  const { protocol, hostname, port } = url;
  const secure = protocol === "https:";
  const tunnel = proxy.request({ ":method": "CONNECT", ":authority": `${hostname}:${port || (secure ? 443 : 80)}` });
  const [answer] = await once(tunnel, "response");
  if (answer[":status"] !== 200) throw new Error(`CONNECT was answered ${answer[":status"]}: ${await text(tunnel)}`);
  const socket = secure ? startTls({ socket: tunnel, servername: hostname }) : tunnel;
  const request = (secure ? https : http).request(url, { method, createConnection: () => socket });
  const response = await exchange(request);
  return [await text(response), response.statusCode];
}

for (const url of process.argv.slice(2).map((argument) => new URL(argument))) {
  const way = url.protocol === "https:" || process.env.VIA_CONNECT ? throughTunnel : itself;
  console.log((await way(url)).join("\t"));
}
proxy.close();
