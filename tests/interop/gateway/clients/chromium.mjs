// Shows Chromium each URL through a proxy, and answers for the user when the proxy asks for a password: once, then the
// user gives up. Driven by the DevTools protocol, over a pipe.
//
// usage: node chromium.mjs PROXY PIN PROFILE URL...
// PIN is the SHA-256 of the public key to trust, in base64. PROXY_KEY is the password; without it the user cancels.
// Prints a line for each page: its text, its status, and how often the user was asked for it; or Chromium's error for it.
import { spawn } from "node:child_process";

const [proxy, pin, profile, ...urls] = process.argv.slice(2);
const key = process.env.PROXY_KEY;

const quiet = ["disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync"];
const trust = [`proxy-server=${proxy}`, `ignore-certificate-errors-spki-list=${pin}`, `user-data-dir=${profile}`];
const flags = ["headless", "no-sandbox", "remote-debugging-pipe", ...quiet, ...trust];
const browser = spawn("chromium", flags.map((flag) => `--${flag}`), { stdio: ["ignore", "ignore", "inherit", "pipe", "pipe"], detached: true });
process.on("exit", () => {
  try {
    process.kill(-browser.pid, "SIGKILL");
  } catch (error) {
    if (error.code !== "ESRCH") throw error;
  }
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));
browser.on("exit", (code) => {
  console.log(`chromium ended with ${code}`);
  process.exit(1);
});

// --- The protocol: messages that end with a zero byte.

const [, , , commands, messages] = browser.stdio;
const waiting = new Map();
const listeners = new Set();
let last = 0;
let rest = "";
messages.setEncoding("utf8").on("data", (part) => {
  const whole = (rest + part).split("\0");
  rest = whole.pop();
  for (const message of whole.map((json) => JSON.parse(json))) {
    if (message.id) {
      waiting.get(message.id)(message);
      waiting.delete(message.id);
    } else for (const listener of [...listeners]) listener(message.method, message.params);
  }
});

function send(method, params = {}) {
  const id = (last += 1);
  commands.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
  return new Promise((resolve, reject) =>
    waiting.set(id, ({ result, error }) => (error ? reject(new Error(`${method}: ${error.message}`)) : resolve(result))),
  );
}

let sessionId;
const { targetId } = await send("Target.createTarget", { url: "about:blank" });
sessionId = (await send("Target.attachToTarget", { targetId, flatten: true })).sessionId;

// --- The user.

let asked = 0;
listeners.add((method, { requestId }) => {
  if (method === "Fetch.requestPaused") send("Fetch.continueRequest", { requestId });
  if (method !== "Fetch.authRequired") return;
  asked += 1;
  const answer = key && asked === 1 ? { response: "ProvideCredentials", username: "any", password: key } : { response: "CancelAuth" };
  send("Fetch.continueWithAuth", { requestId, authChallengeResponse: answer });
});
await Promise.all([send("Network.enable"), send("Fetch.enable", { handleAuthRequests: true })]);

for (const url of urls) {
  asked = 0;
  console.log((await show(url)).join("\t"));
}
process.exit(0);

// The page as the user sees it at the end.
async function show(url) {
  let listener;
  let page;
  const done = new Promise((resolve) => {
    listener = (method, event) => {
      if (method === "Network.responseReceived" && event.type === "Document") page = event;
      if (method === "Network.loadingFinished" && event.requestId === page?.requestId) resolve();
      if (method === "Network.loadingFailed" && event.type === "Document") resolve(event.errorText);
    };
    listeners.add(listener);
  });
  await send("Page.navigate", { url });
  const error = await done;
  listeners.delete(listener);
  if (error) return [error, "-", asked];
  const { body, base64Encoded } = await send("Network.getResponseBody", { requestId: page.requestId });
  return [base64Encoded ? Buffer.from(body, "base64").toString() : body, page.response.status, asked, page.response.protocol];
}
