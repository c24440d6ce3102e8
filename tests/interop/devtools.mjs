// Chromium without a window, driven by the DevTools protocol over a pipe. It ends with this process.
import { spawn } from "node:child_process";

const QUIET = ["disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync"];

// Starts it with these flags more, and opens a page. Returns `send`, which sends a command and waits for its result, and
// `listeners`, which are called with the method and the parameters of each event.
export async function startChromium(flags) {
  const all = ["headless", "no-sandbox", "remote-debugging-pipe", ...QUIET, ...flags];
  const browser = spawn("chromium", all.map((flag) => `--${flag}`), { stdio: ["ignore", "ignore", "inherit", "pipe", "pipe"], detached: true });
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

  // Messages end with a zero byte.
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

  let sessionId;
  function send(method, params = {}) {
    const id = (last += 1);
    commands.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((resolve, reject) =>
      waiting.set(id, ({ result, error }) => (error ? reject(new Error(`${method}: ${error.message}`)) : resolve(result))),
    );
  }

  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  sessionId = (await send("Target.attachToTarget", { targetId, flatten: true })).sessionId;
  return { send, listeners };
}

// Shows a page as the user sees it at the end: the response, as Network.responseReceived has it, and its text; or Chromium's
// error. Needs `Network.enable`.
export async function show({ send, listeners }, url) {
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
  if (error) return { error };
  const { body, base64Encoded } = await send("Network.getResponseBody", { requestId: page.requestId });
  return { text: base64Encoded ? Buffer.from(body, "base64").toString() : body, response: page.response };
}
