// Mixed traffic through a forward listener for as long as you like, to see that nothing grows: memory, open files, threads.
// All servers are in this process. The traffic rests now and then, and what is left at rest is compared: how much is open
// under way is a matter of how busy the machine is.
//
// usage: node tests/interop/forward/soak.mjs [MINUTES] [PER_SECOND]       30 and 60, if nothing else is said
// SIDEBEARER names another binary than target/release/sidebearer. A line every 10 s and at each rest, then the verdict.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { connect as connectHttp2 } from "node:http2";
import https from "node:https";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const [minutes = 30, perSecond = 60] = process.argv.slice(2).map(Number);
const SAMPLE_SECONDS = 10;
const ROUNDS = 6;
const RELOAD_SECONDS = 30;
const HELD_TUNNELS = 40;
const sidebearer = process.env.SIDEBEARER ?? fileURLToPath(new URL("../../../target/release/sidebearer", import.meta.url));
const directory = mkdtempSync(join(tmpdir(), "sidebearer-soak-"));
const file = (name) => join(directory, name);

let child;
process.on("exit", () => {
  child?.kill("SIGKILL");
  rmSync(directory, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

function fail(what) {
  console.error(`soak: FAILED: ${what}`);
  process.exit(1);
}

// --- The servers.

const listen = (server, host = "127.0.0.1") =>
  new Promise((resolve) => server.listen(0, host, () => resolve(server.address().port)));

const quiet = (socket) => socket.on("error", () => {});

// Answers with as many bytes as the path says; a POST, with how many came.
async function answer(request, response) {
  if (request.url.startsWith("/bytes/")) return response.end(Buffer.alloc(+request.url.slice("/bytes/".length), "x"));
  let bytes = 0;
  for await (const piece of request) bytes += piece.length;
  response.end(String(bytes));
}

// Sends back what comes, be it a WebSocket or the inside of a tunnel.
function echo(socket) {
  quiet(socket).pipe(socket);
}

function upgrade(_request, socket, head) {
  quiet(socket).write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
  socket.write(head);
  socket.pipe(socket);
}

execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=soak",
  "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", file("key.pem"), "-out", file("ca.pem")], { stdio: "ignore" });
writeFileSync(file("secret"), "soak");

const tokens = http.createServer(async (request, response) => {
  await text(request);
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify({ access_token: `token-${Date.now()}`, token_type: "Bearer", expires_in: 10 }));
});
const api = https.createServer({ key: readFileSync(file("key.pem")), cert: readFileSync(file("ca.pem")) }, answer).on("upgrade", upgrade);
const open = net.createServer({ allowHalfOpen: true }, echo);
const cut = net.createServer({ allowHalfOpen: true }, echo);
// An address for each, since a name may lead to one upstream only.
const [tokenPort, apiPort, openPort, cutPort] = await Promise.all([
  listen(tokens), listen(api), listen(open, "127.0.0.2"), listen(cut, "127.0.0.3"),
]);
// What no upstream's name matches, over HTTP and by a tunnel.
const others = await Promise.all(
  Array.from({ length: 8 }, async (_, index) => `127.0.1.${index + 1}:${await listen(http.createServer(answer), `127.0.1.${index + 1}`)}`),
);
const ports = others.map((other) => other.split(":")[1]);

const spare = [net.createServer(), net.createServer()];
const [proxyPort, adminPort] = await Promise.all(spare.map((server) => listen(server)));
for (const server of spare) server.close();

// Every other configuration lacks an upstream, so that its tunnels end.
function configure(generation) {
  const lacking = generation % 2 === 0 ? "" : `[upstreams.cut]\nurl = "https://127.0.0.3:${cutPort}"\nhosts = ["cut.example.com:443"]\n`;
  writeFileSync(file("next.toml"), `
[log]
access = "errors"
[admin]
address = "127.0.0.1:${adminPort}"
[[listeners]]
address = "127.0.0.1:${proxyPort}"
kind = "forward"
unmatched = "pass"
[egress]
allow = ["127.0.1.0/24"]
ports = [${ports}]
[upstreams.crm]
url = "https://127.0.0.1:${apiPort}"
hosts = ["crm.example.com", "crm.example.com:443", "crm${generation}.example.com"]
credential = "crm"
connect_timeout = "30s"
tls = { ca_file = "ca.pem" }
[upstreams.open]
connect_timeout = "30s"
url = "https://127.0.0.2:${openPort}"
hosts = ["open.example.com:443"]
${lacking}
[credentials.crm]
token_endpoint = "http://127.0.0.1:${tokenPort}/token"
client_id = "soak"
client_secret = { file = "secret" }
`);
  renameSync(file("next.toml"), file("sidebearer.toml"));
}

configure(1);
child = spawn(sidebearer, ["run", "--config", file("sidebearer.toml")], { stdio: ["ignore", "ignore", openSync(file("log"), "w")] });
child.on("exit", (code, signal) => fail(`sidebearer ended: ${code ?? signal}\n${readFileSync(file("log"), "utf8").split("\n").slice(-20).join("\n")}`));

const admin = async (path) => (await fetch(`http://127.0.0.1:${adminPort}${path}`)).text();
for (const last = Date.now() + 20_000; ; await sleep(100)) {
  if ((await fetch(`http://127.0.0.1:${adminPort}/readyz`).catch(() => ({}))).status === 200) break;
  if (Date.now() > last) fail("sidebearer is not ready within 20 s");
}

// --- The traffic: each kind is one exchange, which says whether it ended as it should.

const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });

function ask(url, { method = "GET", body, headers, via = agent } = {}) {
  return new Promise((resolve, reject) => {
    const options = { host: "127.0.0.1", port: proxyPort, path: url, method, agent: via, headers: { host: new URL(url).host, ...headers } };
    http
      .request(options, async (response) => resolve([response.statusCode, await text(response)]))
      .on("error", reject)
      .on("upgrade", (response, socket) => resolve([response.statusCode, socket]))
      .end(body);
  });
}

function openTunnel(host) {
  return new Promise((resolve, reject) => {
    http
      .request({ host: "127.0.0.1", port: proxyPort, method: "CONNECT", path: host, agent: false, headers: { host } })
      .on("connect", (response, socket) => resolve([response.statusCode, quiet(socket)]))
      .on("error", reject)
      .end();
  });
}

// What is sent comes back.
function echoes(socket, bytes) {
  return new Promise((resolve) => {
    let back = 0;
    socket.on("data", (piece) => (back += piece.length) >= bytes && resolve(back === bytes));
    socket.on("close", () => resolve(false));
    socket.write(Buffer.alloc(bytes, "x"));
  });
}

// How long the body is that is got through a tunnel.
function getInside(socket, url) {
  return new Promise((resolve, reject) => {
    http
      .request(url, { createConnection: () => socket }, async (response) => {
        const body = await text(response);
        socket.destroy();
        resolve(response.statusCode === 200 ? body.length : 0);
      })
      .on("error", reject)
      .end();
  });
}

const refused = async (host, code) => {
  const [status, socket] = await openTunnel(host);
  socket.destroy();
  return status === code;
};

let session;
function http2() {
  // A connection of some hundred requests.
  if (!session || session.closed || session.destroyed || session.asked >= 200) {
    session?.close();
    session = quiet(connectHttp2(`http://127.0.0.1:${proxyPort}`));
    session.asked = 0;
  }
  session.asked += 1;
  return session;
}

const held = new Set();
let other = 0;
const kinds = {
  get: async () => {
    const [status, body] = await ask("http://crm.example.com/bytes/2000");
    return status === 200 && body.length === 2000;
  },
  large: async () => {
    const [status, body] = await ask("http://crm.example.com/bytes/300000", { via: false });
    return status === 200 && body.length === 300_000;
  },
  post: async () => {
    const [status, body] = await ask("http://crm.example.com/x", { method: "POST", body: Buffer.alloc(50_000) });
    return status === 200 && body === "50000";
  },
  denied: async () => (await ask("http://crm.example.com:1/"))[0] === 403,
  malformed: async () => (await ask("/origin-form", { via: false }).catch(() => [400]))[0] === 400,
  upgrade: async () => {
    const [status, socket] = await ask("http://crm.example.com/", { headers: { connection: "upgrade", upgrade: "websocket" }, via: false });
    if (status !== 101) return false;
    const good = await echoes(quiet(socket), 5000);
    socket.destroy();
    return good;
  },
  http2: async () => {
    const stream = http2().request({ ":scheme": "http", ":authority": "crm.example.com", ":path": "/bytes/3000" });
    const status = new Promise((resolve) => stream.on("response", (headers) => resolve(headers[":status"])));
    return (await text(stream)).length === 3000 && (await status) === 200;
  },
  plainConnect: async () => {
    const [status, socket] = await openTunnel("crm.example.com:80");
    if (status !== 200) return false;
    return (await getInside(socket, "http://crm.example.com/bytes/1000")) === 1000;
  },
  passed: async () => {
    const [status, body] = await ask(`http://${others[other++ % others.length]}/bytes/3000`);
    return status === 200 && body.length === 3000;
  },
  tunnelPassed: async () => {
    const host = others[other++ % others.length];
    const [status, socket] = await openTunnel(host);
    return status === 200 && (await getInside(socket, `http://${host}/bytes/1000`)) === 1000;
  },
  refused: () => refused("crm.example.com:443", 403),
  itself: () => refused(`127.0.0.1:${proxyPort}`, 508),
  // Closed by both, one after the other.
  tunnel: async () => {
    const [status, socket] = await openTunnel("open.example.com:443");
    const good = status === 200 && (await echoes(socket, 20_000));
    const ended = new Promise((resolve) => socket.on("end", () => resolve(true)).on("close", () => resolve(false)));
    socket.end();
    return good && (await ended);
  },
  tunnelReset: async () => {
    const [status, socket] = await openTunnel("open.example.com:443");
    const good = status === 200 && (await echoes(socket, 1000));
    socket.resetAndDestroy();
    return good;
  },
  // Opened and left alone for a while, by the dozen.
  tunnelHeld: async () => {
    if (held.size >= HELD_TUNNELS) {
      const [oldest] = held;
      held.delete(oldest);
      const good = await echoes(oldest, 1000);
      oldest.destroy();
      return good;
    }
    const [status, socket] = await openTunnel("open.example.com:443");
    held.add(socket);
    return status === 200;
  },
  // Half of the time it is not permitted; where it was and no longer is, it is cut.
  tunnelCut: async () => {
    const [status, socket] = await openTunnel("cut.example.com:443");
    if (status !== 200) {
      socket.destroy();
      return status === 403;
    }
    socket.resume();
    return new Promise((resolve) => socket.on("close", () => resolve(true)));
  },
};
const often = ["get", "get", "get", "post", "http2", "http2", "plainConnect", "tunnel"];
const plan = [...often, ...Object.keys(kinds), ...often];
const done = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, { good: 0, bad: 0 }]));

const running = new Map(Object.keys(kinds).map((kind) => [kind, 0]));

async function one(kind) {
  running.set(kind, running.get(kind) + 1);
  const good = await kinds[kind]().catch((error) => (console.error(`soak: ${kind}: ${error.message}`), false));
  running.set(kind, running.get(kind) - 1);
  done[kind][good ? "good" : "bad"] += 1;
}

// --- The measurements.

function processNow() {
  const proc = (name) => readFileSync(`/proc/${child.pid}/${name}`, "utf8");
  const kib = (text, field) => +text.match(new RegExp(`^${field}:\\s+(\\d+)`, "m"))[1];
  const rollup = proc("smaps_rollup");
  const [, , , , , , , , , , , user, system] = proc("stat").replace(/.*\) /, "").split(" ");
  return {
    rss: kib(rollup, "Rss"),
    anonymous: kib(rollup, "Anonymous"),
    files: readdirSync(`/proc/${child.pid}/fd`).length,
    threads: kib(proc("status"), "Threads"),
    ticks: +user + +system,
  };
}

const rests = [];
const started = Date.now();
const elapsed = () => (Date.now() - started) / 1000;
const connectionsNow = async () => JSON.parse(await admin("/status")).connections;
let last = { ticks: processNow().ticks, at: 0 };

async function sample(when) {
  const now = { ...processNow(), connections: await connectionsNow(), at: elapsed() };
  const cpu = (now.ticks - last.ticks) / (now.at - last.at);
  last = now;
  const figures = `rss ${now.rss} anonymous ${now.anonymous} KiB, files ${now.files}, threads ${now.threads}`;
  console.log(`soak: ${now.at.toFixed(0)} s, ${when}: ${figures}, connections ${now.connections}, cpu ${cpu.toFixed(1)} %`);
  return now;
}

const wrong = [];
const busy = () => [...running].filter(([, count]) => count > 0).map(([kind, count]) => `${count} ${kind}`);
let generation = 1;

// Waits until it is so, for two minutes; what it is not, if it never is.
async function settled(what) {
  for (const end = Date.now() + 120_000; ; await sleep(100)) {
    const left = await what();
    if (left.length === 0) return true;
    if (Date.now() > end) {
      wrong.push(`two minutes after the traffic there are still ${left.join(", ")}`);
      return false;
    }
  }
}

// Lets everything end that has begun, and closes what is kept open.
async function rest() {
  // Cuts the last tunnels.
  if (generation % 2 === 1) configure(++generation);
  await settled(busy);
  for (const socket of held) socket.destroy();
  held.clear();
  session?.close();
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets) socket.destroy();
  await settled(async () => {
    const open = await connectionsNow();
    return open === 0 ? [] : [`${open} connections`];
  });
  rests.push(await sample("at rest"));
}

const idle = processNow();
let next = 0;
for (let round = 1; round <= ROUNDS; round++) {
  const begun = Date.now();
  const until = next + (minutes * 60 * perSecond) / ROUNDS;
  const clocks = [
    // What a busy machine was too late for is made up for, but not all at once.
    setInterval(() => {
      const owed = Math.min(until, next + 10);
      const due = until - (minutes * 60 * perSecond) / ROUNDS + ((Date.now() - begun) / 1000) * perSecond;
      while (next < owed && next < due) one(plan[next++ % plan.length]);
    }, 50),
    setInterval(() => configure(++generation), RELOAD_SECONDS * 1000),
    setInterval(() => sample(`round ${round}`), SAMPLE_SECONDS * 1000),
  ];
  while (next < until) await sleep(100);
  clocks.forEach(clearInterval);
  await rest();
}

// --- The verdict.

for (const [kind, { good, bad }] of Object.entries(done)) console.log(`soak: ${kind}: ${good} good, ${bad} bad`);
// How much it may differ without anything having grown: a share of it, and some more. The first rounds warm it up.
const slack = { rss: [0.02, 256], anonymous: [0.02, 256], files: [0, 8], threads: [0, 2] };
for (const [figure, [share, more]] of Object.entries(slack)) {
  const values = rests.map((sample) => sample[figure]);
  console.log(`soak: ${figure} at rest: ${values.join(", ")}; ${idle[figure]} before`);
  const [earlier, later] = [values.slice(1, 3), values.slice(-2)].map((some) => Math.min(...some));
  if (later > earlier * (1 + share) + more) wrong.push(`${figure} grew from ${earlier} to ${later}`);
}
const bad = Object.entries(done).filter(([, { bad }]) => bad > 0);
if (bad.length > 0) wrong.push(`not as they should be: ${bad.map(([kind, { bad }]) => `${bad} ${kind}`).join(", ")}`);
if (wrong.length > 0) fail(wrong.join("; "));
console.log(`soak: nothing grew in ${minutes} min, ${generation - 1} reloads`);
process.exit(0);
