// Shows web pages to a real browser, and looks at what of theirs reaches an API through sidebearer: nothing, unless the
// listener was told otherwise. No packages: servers, pages, and Chromium driven by its command line alone.
//
// usage: node tests/interop/browser.mjs       SIDEBEARER names another binary than target/release/sidebearer
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { createServer as createSocket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

if (spawnSync("chromium", ["--version"]).status !== 0) {
  console.log("browser: skipped: chromium is missing");
  process.exit(0);
}

const sidebearer = process.env.SIDEBEARER ?? fileURLToPath(new URL("../../target/release/sidebearer", import.meta.url));
const directory = mkdtempSync(join(tmpdir(), "sidebearer-browser-"));
const file = (name) => join(directory, name);
const children = new Set();
let passed = 0;
let log = "";

process.on("exit", () => {
  for (const child of children) endGroup(child);
  rmSync(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

function endGroup(child) {
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch (error) {
    if (error.code !== "ESRCH") throw error;
  }
}

function fail(what) {
  console.error(`--- end of the log\n${log.split("\n").slice(-20).join("\n")}\nbrowser: FAILED: ${what}`);
  process.exit(1);
}

// Counts the claim, or fails with all that speaks against it.
function check(claim, wrong) {
  if (wrong.length > 0) fail(`${claim}:\n  ${wrong.slice(0, 20).join("\n  ")}`);
  passed += 1;
  console.log(`browser: ok: ${claim}`);
}

async function until(what, holds) {
  const last = Date.now() + 60_000;
  while (!(await holds())) {
    if (Date.now() > last) fail(`not within 60 s: ${typeof what === "function" ? what() : what}`);
    await sleep(50);
  }
}

function start(command, args, stdio) {
  // In a group of its own, that all of it can be ended.
  const child = spawn(command, args, { stdio, detached: true });
  children.add(child);
  child.on("error", (error) => fail(`${command}: ${error.message}`));
  child.on("exit", () => children.delete(child));
  return child;
}

const listen = (server, port = 0, host = "127.0.0.1") =>
  new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => resolve(server.address().port));
  });

const hasIpv6 = await listen(createSocket().unref(), 0, "::1").then(() => true, () => false);

if (!hasIpv6) console.log("browser: skipped: [::1], which this machine does not have");

// Ports that were free at the same moment.
async function freePorts(count) {
  const sockets = Array.from({ length: count }, () => createSocket());
  const ports = await Promise.all(sockets.map((socket) => listen(socket)));
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.close(resolve))));
  return ports;
}

// --- The API trusts everyone who has the token, and shows its data to every page that gets through.

const DATA = "the data of the API";
const seen = [];

const api = createServer((request, response) => {
  seen.push({ url: request.url, token: request.headers.authorization });
  if (request.headers.origin) response.setHeader("Access-Control-Allow-Origin", request.headers.origin);
  const way = request.url.split("/").at(-1);
  const [type, body] = {
    events: ["text/event-stream", `data: ${DATA}\n\n`],
    image: ["image/svg+xml", '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'],
    page: ["text/html", pageOf("own", [{ name: "own", base: "/own" }], [])],
  }[way] ?? ["text/plain", DATA];
  response.setHeader("Content-Type", type);
  response.end(body);
});
api.on("upgrade", (request, socket) => {
  seen.push({ url: request.url, token: request.headers.authorization });
  const key = `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
  const accept = createHash("sha1").update(key).digest("base64");
  socket.on("error", () => {});
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  socket.write(Buffer.concat([Buffer.from([0x81, DATA.length]), Buffer.from(DATA)])); // one frame of text
});

const authorizationServer = createServer((_, response) => {
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify({ access_token: "the-token", token_type: "Bearer", expires_in: 3600 }));
});

// --- The pages.

// Runs in a page: goes every way to every target, and reports what came of it.
async function attempt(targets, images, report) {
  const add = (name, properties) => document.body.appendChild(Object.assign(document.createElement(name), properties));
  const first = (source, ...names) =>
    new Promise((resolve) => {
      for (const name of names) source.addEventListener(name, (event) => resolve(event.data ?? name));
    });
  const text = (response) => response.text();
  const quiet = { mode: "no-cors", referrerPolicy: "no-referrer", headers: { accept: "", "accept-language": "" } };
  const ways = {
    fetch: (url) => fetch(url).then(text),
    post: (url) => fetch(url, { method: "POST", body: "{}" }).then(text),
    put: (url) => fetch(url, { method: "PUT", body: "{}" }).then(text),
    blind: (url) => fetch(url, { mode: "no-cors" }).then(text),
    "blind-post": (url) => fetch(url, { mode: "no-cors", method: "POST", body: "{}" }).then(text),
    quiet: (url) => fetch(url, quiet).then(text),
    beacon: async (url) => navigator.sendBeacon(url, "{}"),
    image: (url) => first(add("img", { src: url }), "load", "error"),
    script: (url) => first(add("script", { src: url }), "load", "error"),
    style: (url) => first(add("link", { rel: "stylesheet", href: url }), "load", "error"),
    frame: (url) => first(add("iframe", { src: url }), "load", "error"),
    form: (url) => {
      const loaded = first(add("iframe", { name: `form-${url}` }), "load", "error");
      add("form", { method: "POST", action: url, target: `form-${url}` }).submit();
      return loaded;
    },
    // The origin of a page in a sandbox is "null".
    sandbox: (url) => {
      const script = `fetch("${url}", { method: "POST", mode: "no-cors" }).finally(() => parent.postMessage("${url}", "*"))`;
      add("iframe", { sandbox: "allow-scripts", srcdoc: `<script>${script}<\/script>` });
      return new Promise((resolve) => addEventListener("message", (event) => event.data === url && resolve("done")));
    },
    navigation: async (url) => open(url) !== null,
    events: (url) => first(new EventSource(url), "message", "error"),
    socket: (url) => first(new WebSocket(url.replace("http", "ws")), "message", "error"),
  };
  for (const src of images) add("img", { src });
  const outcomes = {};
  const late = () => new Promise((resolve) => setTimeout(resolve, 15_000, "nothing"));
  const tryOne = async (name, way, url) => {
    const outcome = Promise.race([ways[way](new URL(url, location).href), late()]);
    outcomes[`${name} ${way}`] = String(await outcome.catch(String));
  };
  const tryAll = async ({ name, base, paths }) => {
    for (const way in ways) if (!paths || way in paths) await tryOne(name, way, base + (paths?.[way] ?? `/${way}`));
  };
  await Promise.all(targets.map(tryAll));
  await fetch(report, { method: "POST", mode: "no-cors", body: JSON.stringify(outcomes) });
}

const WAYS = ["fetch", "post", "put", "blind", "blind-post", "quiet", "beacon", "image", "script", "style", "frame", "form", "sandbox", "navigation", "events", "socket"];
const SAYS_ITS_ORIGIN = ["fetch", "post", "put", "blind-post", "beacon", "form", "events", "socket"];
const READS = ["fetch", "post", "events", "socket"];

const pageOf = (name, targets, images) => `<!doctype html><meta charset="utf-8"><body><script>
(${attempt})(${JSON.stringify(targets)}, ${JSON.stringify(images)}, "http://127.0.0.1:${pagesPort}/report/${name}");
</script>`;

const plans = new Map();
const reports = new Map();
const pages = createServer((request, response) => {
  const [, kind, name] = request.url.split("/");
  if (kind === "report") {
    let body = "";
    request.on("data", (part) => (body += part));
    request.on("end", () => reports.set(name, JSON.parse(body)) && response.end());
  } else if (kind === "page") {
    response.setHeader("Content-Type", "text/html");
    response.end(pageOf(name, ...plans.get(name)));
  } else {
    response.writeHead(404).end();
  }
});

// --- The browser.

const NAMES = ["attacker.example", "friend.example", "rebound.example", "crm.local"];

function browse(url) {
  const profile = mkdtempSync(file("profile-"));
  const rules = NAMES.map((name) => `MAP ${name} 127.0.0.1`).join(", ");
  // Newer versions ask the user before a page may reach this machine, which others do not.
  const careless = ["disable-popup-blocking", "disable-features=LocalNetworkAccessChecks"];
  const quiet = ["disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync"];
  const flags = ["headless", "no-sandbox", ...careless, ...quiet, `user-data-dir=${profile}`, `host-resolver-rules=${rules}`];
  return start("chromium", [...flags.map((flag) => `--${flag}`), url], "ignore");
}

// The outcomes of the page with this name, which is shown by itself.
async function visit(name, url) {
  const browser = browse(url);
  await until(`the page "${name}" is done`, () => reports.has(name));
  return [reports.get(name), browser];
}

// --- Sidebearer between them.

const [apiPort, tokensPort, pagesPort] = await Promise.all([api, authorizationServer, pages].map((server) => listen(server)));
const [port, listedPort, openPort, networkPort, adminPort] = await freePorts(5);
const friend = `http://friend.example:${pagesPort}`;
writeFileSync(file("secret"), "s3cret");
writeFileSync(
  file("sidebearer.toml"),
  `
[log]
format = "json"
access = "all"

[admin]
address = "127.0.0.1:${adminPort}"

[[listeners]]
name = "careful"
address = "127.0.0.1:${port}"
hosts = ["crm.local"]
upstream = "api"

${hasIpv6 ? `[[listeners]]\nname = "ipv6"\naddress = "[::1]:${port}"\nupstream = "api"` : ""}

[[listeners]]
name = "listed"
address = "127.0.0.1:${listedPort}"
allow_origins = ["${friend}"]
upstream = "api"

[[listeners]]
name = "open"
address = "127.0.0.1:${openPort}"
allow_browsers = true
upstream = "api"

[[listeners]]
name = "network"
address = "0.0.0.0:${networkPort}"
allow_network = true
upstream = "api"

[upstreams.api]
url = "http://127.0.0.1:${apiPort}"
credential = "api"

[credentials.api]
token_endpoint = "http://127.0.0.1:${tokensPort}/token"
client_id = "browser"
client_secret = { file = "secret" }
`,
);
const proxy = start(sidebearer, ["run", "--config", file("sidebearer.toml")], ["ignore", "ignore", "pipe"]);
proxy.stderr.on("data", (part) => (log += part));
proxy.on("exit", () => fail("sidebearer ended"));
const admin = (path) => fetch(`http://127.0.0.1:${adminPort}${path}`);
await until("sidebearer is ready", () => admin("/readyz").then((answer) => answer.ok, () => false));

// What the access lines say about paths that begin so: method, path, host and status.
const lines = (start) =>
  log
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line))
    .filter((line) => line.target === "sidebearer::access" && line.path.startsWith(start));
const shown = ({ method, host, path, status }) => `${status} ${method} ${host} ${path}`;
const reached = (start) => seen.filter(({ url }) => url.startsWith(start)).map(({ url, token }) => `${url} with ${token}`);
const missing = (expected, start) => {
  const came = new Set(lines(start).map(({ path }) => path));
  return expected.filter((path) => !came.has(path)).map((path) => `nothing came by ${path}`);
};
const unread = (outcomes, name, ways) =>
  ways.filter((way) => outcomes[`${name} ${way}`] !== DATA).map((way) => `${name} ${way}: ${outcomes[`${name} ${way}`]}`);
const reloads = async () => (await (await admin("/metrics")).text()).split("\n").filter((line) => line.startsWith("sidebearer_config_reloads_total"));

// --- A foreign page, by each spelling of the address.

const trusted = ["127.0.0.1", "localhost", ...(hasIpv6 ? ["[::1]"] : [])];
const spellings = [...trusted, "127.1", "0x7f.1", "127.3.2.1", "0.0.0.0", "[::ffff:127.0.0.1]", "rebound.example", "crm.local"];
const at = (spelling) => spellings.indexOf(spelling);

// Chromium asks for the issuer of a certificate where that says it can be had.
execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=CA", "-keyout", file("ca.key"), "-out", file("ca.pem")], { stdio: "ignore" });
execFileSync("openssl", ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=attacker.example", "-keyout", file("leaf.key"), "-out", file("leaf.csr")], { stdio: "ignore" });
const issuers = ["127.0.0.1", "crm.local"].map((host, index) => `caIssuers;URI:http://${host}:${port}/attack/issuer/${index}`);
writeFileSync(file("leaf.ext"), `subjectAltName=DNS:attacker.example\nauthorityInfoAccess=${issuers.join(",")}\n`);
execFileSync("openssl", ["x509", "-req", "-days", "2", "-in", file("leaf.csr"), "-CA", file("ca.pem"), "-CAkey", file("ca.key"), "-CAcreateserial", "-extfile", file("leaf.ext"), "-out", file("leaf.pem")], { stdio: "ignore" });
const tls = createTlsServer({ key: readFileSync(file("leaf.key")), cert: readFileSync(file("leaf.pem")) });
const tlsPort = await listen(tls);

const before = await reloads();
const command = Object.fromEntries(["fetch", "post", "blind-post", "beacon", "form", "sandbox"].map((way) => [way, way === "fetch" ? "/status" : "/reload"]));
plans.set("attacker", [
  [
    ...spellings.map((spelling, index) => ({ name: spelling, base: `http://${spelling}:${port}/attack/${index}` })),
    { name: "listed", base: `http://127.0.0.1:${listedPort}/attack/listed` },
    // As the port of a container that is published on this machine alone.
    { name: "network", base: `http://127.0.0.1:${networkPort}/attack/network` },
    { name: "admin", base: `http://127.0.0.1:${adminPort}`, paths: command },
  ],
  [`https://attacker.example:${tlsPort}/image`],
]);
const [attacked, attacker] = await visit("attacker", `http://attacker.example:${pagesPort}/page/attacker`);
const paths = (name, ways) => ways.map((way) => `/attack/${name}/${way}`);
const expected = [...trusted, "crm.local"].flatMap((spelling) => paths(at(spelling), WAYS));
expected.push(...paths("listed", WAYS), ...paths("network", WAYS), "/attack/issuer/0", "/attack/issuer/1");
await until(
  () => `not seen of the attack: ${missing(expected, "/attack/")}`,
  () => missing(expected, "/attack/").length === 0,
);
endGroup(attacker);
check("the page went every way to every address, and its certificate too", missing(expected, "/attack/"));
check("whatever it did was refused", lines("/").filter(({ status }) => status !== 403 && status !== 404).map(shown));
check("nothing reached the API", reached("/"));
check("and it read nothing", Object.entries(attacked).filter(([, outcome]) => outcome.includes(DATA) || outcome.includes("credentials")).map(String));
check("the configuration was not reloaded", (await reloads()).filter((line, index) => line !== before[index]));

// --- What listeners can be told to allow, and what they allow anyhow.

plans.set("welcome", [
  [
    { name: "open", base: `http://127.0.0.1:${openPort}/open` },
    { name: "rebound", base: `http://rebound.example:${openPort}/rebound` },
  ],
  [],
]);
plans.set("friend", [[{ name: "listed", base: `http://127.0.0.1:${listedPort}/friend` }], []]);
browse(`http://crm.local:${port}/named/page`);
const [[welcomed], [befriended], [own]] = await Promise.all([
  visit("welcome", `http://attacker.example:${pagesPort}/page/welcome`),
  visit("friend", `${friend}/page/friend`),
  visit("own", `http://127.0.0.1:${port}/typed/page`),
]);
const withToken = (start, ways) => ways.map((way) => `${start}/${way}`).filter((url) => !reached("").includes(`${url} with Bearer the-token`));
check("with allow_browsers every way of a foreign page reaches the API with a token", withToken("/open", WAYS));
check("and the page can read what the API lets it read", unread(welcomed, "open", READS));
check("but not under a name that is not the listener's", [...reached("/rebound"), ...missing(WAYS.map((way) => `/rebound/${way}`), "/rebound/")]);
check("a page of a listed origin reaches the API where the browser says the origin", withToken("/friend", SAYS_ITS_ORIGIN));
check("and reads", unread(befriended, "listed", READS));
const unsaid = WAYS.filter((way) => !SAYS_ITS_ORIGIN.includes(way)).map((way) => `/friend/${way}`);
check("and not where it does not", [...unsaid.filter((path) => seen.some(({ url }) => url === path)), ...missing(unsaid, "/friend/")]);
check("an address that the user typed is let in, and the page that it leads to", withToken("/typed", ["page"]));
check("which goes every way but as a sandbox", withToken("/own", WAYS.filter((way) => way !== "sandbox")));
check("that has no origin", reached("/own/sandbox"));
check("and reads its own", unread(own, "own", [...READS, "put", "blind", "blind-post", "quiet"]));
await until("the browser asked by name", () => lines("/named/").length > 0);
check("a browser that asks by name is refused, since it does not say for whom", [...lines("/named/").filter(({ status }) => status !== 403).map(shown), ...reached("/named/")]);

console.log(`browser: ${passed} checks passed in ${Math.round(performance.now() / 1000)} s`);
process.exit(0);
