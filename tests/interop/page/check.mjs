// Shows the status page of a real process to a real browser: what it says, how it follows the process, what it may do, and
// whether everybody can read it. Makes the screenshots of the README when `SCREENSHOTS` names where they go.
//
// usage: node tests/interop/page/check.mjs       SIDEBEARER names another binary than target/release/sidebearer
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { empty, many, night, troubled, well } from "./states.mjs";

if (spawnSync("chromium", ["--version"]).status !== 0) {
  console.log("status page: skipped: chromium is missing");
  process.exit(0);
}
const { chromium } = await import("playwright-core");
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const sidebearer = process.env.SIDEBEARER ?? fileURLToPath(new URL("../../../target/release/sidebearer", import.meta.url));
const directory = mkdtempSync(join(tmpdir(), "sidebearer-page-"));
const file = (name) => join(directory, name);
let passed = 0;
let log = "";
let child;
let browser;

process.on("exit", () => {
  child?.kill("SIGKILL");
  rmSync(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

async function fail(what) {
  console.error(`--- end of the log\n${log.split("\n").slice(-10).join("\n")}\nstatus page: FAILED: ${what}`);
  await browser?.close();
  process.exit(1);
}

// Counts the claim, or fails with all that speaks against it.
async function check(claim, wrong) {
  if (wrong.length > 0) await fail(`${claim}:\n  ${wrong.slice(0, 20).join("\n  ")}`);
  passed += 1;
  console.log(`status page: ok: ${claim}`);
}
const unless = (holds, wrong) => (holds ? [] : [wrong]);

const listen = (server) =>
  new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => resolve(server.address().port));
  });
async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(servers.map(listen));
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

// --- A real process, whose token endpoints can be told what to answer.

const answers = { crm: undefined, ledger: undefined };
const tokens = createServer((request, response) => {
  const name = request.url.slice(1);
  const [status, body] = answers[name] ?? [200, { access_token: `the-token-of-${name}`, token_type: "Bearer", expires_in: name === "ledger" ? 4 : 3600 }];
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
});
const api = createServer((_, response) => response.end("data"));
const [tokensPort, apiPort, [port, adminPort]] = [await listen(tokens), await listen(api), await freePorts(2)];
const configuration = `
[admin]
address = "127.0.0.1:${adminPort}"

[[listeners]]
name = "app"
address = "127.0.0.1:${port}"
upstream = "crm"

[[routes]]
path = "/ledger"
upstream = "ledger"
${["crm", "ledger"].map((name) => `
[upstreams.${name}]
url = "http://127.0.0.1:${apiPort}"
credential = "${name}"

[credentials.${name}]
token_endpoint = "http://127.0.0.1:${tokensPort}/${name}"
client_id = "page"
client_secret = { file = "secret" }
`).join("")}`;
writeFileSync(file("secret"), "the-secret-of-the-client");
writeFileSync(file("sidebearer.toml"), configuration);
const origin = `http://127.0.0.1:${adminPort}`;
async function start() {
  child = spawn(sidebearer, ["run", "--config", "sidebearer.toml"], { cwd: directory, stdio: ["ignore", "ignore", "pipe"] });
  child.stderr.on("data", (part) => (log += part));
  child.on("error", (error) => fail(error.message));
  for (const last = Date.now() + 60_000; ; await sleep(50)) {
    if (await fetch(`${origin}/readyz`).then((answer) => answer.ok, () => false)) return;
    if (Date.now() > last) await fail("sidebearer is not ready within 60 s");
  }
}
await start();
const reload = () => fetch(`${origin}/reload`, { method: "POST" });

// --- The browser.

browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
async function open(url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  const seen = { console: [], requests: [] };
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && seen.console.push(`${message.text()} ${message.location().url}`));
  page.on("pageerror", (error) => seen.console.push(error.stack));
  page.on("request", (request) => seen.requests.push(request.url()));
  page.on("dialog", (dialog) => seen.console.push(`a dialog: ${dialog.message()}`) && dialog.dismiss());
  await page.goto(url);
  return { page, seen };
}
const text = (page, selector) => page.locator(selector).innerText();
const shows = (page, selector, pattern) => page.locator(selector).filter({ hasText: pattern }).first().waitFor();

// What stands in the way of people who cannot see the page, or not well.
async function findings(page) {
  await page.evaluate(axe);
  const { violations, passes } = await page.evaluate(() => axe.run(document));
  const wrong = violations.flatMap(({ id, help, nodes }) => nodes.slice(0, 3).map((node) => `${id}: ${help}: ${node.html.slice(0, 200)} ${node.failureSummary}`));
  return [...wrong, ...unless(passes.length > 10, "axe looked at nothing")];
}

const { page, seen } = await open(`${origin}/`);
await shows(page, "#verdict", "All is well");
await shows(page, "#link", "Live");
await check("the page shows what there is", unless((await text(page, "#credentials")).includes("ledger") && (await text(page, "#upstreams")).includes(`http://127.0.0.1:${apiPort}/`) && (await text(page, "#listeners")).includes(`127.0.0.1:${port}`), await text(page, "body")));
const life = await page.locator("#credentials svg").first().getAttribute("aria-label");
await check("the life of a token is told in words too", unless(/^Life of the token: \d+ % is over\. Issued .+, renewed from .+, ends .+\.$/.test(life), life));
await page.evaluate(() => (window.loaded = "once"));

for (let number = 0; number < 20; number += 1) await fetch(`http://127.0.0.1:${port}/ledger`);
await shows(page, "#listeners li", /requests\s*20/);
await check("requests show by themselves", []);

const evil = `<img src=x onerror="document.title='taken'"><script>alert(1)</script> 'quoted"`;
answers.ledger = [400, { error: "invalid_scope", error_description: evil }];
await shows(page, "#problems", "Credential ledger has no usable token");
const told = await text(page, "#problems");
await check("a token endpoint that fails shows by itself, with its words as text", [...unless(told.includes(`<img src=x onerror=`) && told.includes("<script>alert(1)</script>"), told), ...unless((await page.locator("img").count()) === 0, "an image of theirs is in the page")]);
await shows(page, "#verdict", "1 thing needs attention");
await shows(page, "#credentials li >> nth=0", "ledger");
await check("what is wrong comes first", []);
await page.locator("#credentials summary").first().focus();
await page.keyboard.press("Enter");
const failures = async () => (await (await fetch(`${origin}/status`)).json()).credentials.ledger.consecutive_failures;
const before = await failures();
await reload(); // which asks again at once
for (const last = Date.now() + 60_000; (await failures()) < before + 1 && Date.now() < last; ) await sleep(100);
await sleep(2500);
await check("what the reader has opened stays open, and focused, while the page changes", unless(await page.evaluate(() => document.activeElement.tagName === "SUMMARY" && document.activeElement.parentElement.open), "it does not"));
answers.ledger = undefined;
await reload();
await shows(page, "#verdict", "All is well");
await check("and its end too", []);

writeFileSync(file("sidebearer.toml"), configuration.replace("[upstreams.crm]", "[upstreem.crm]"));
await shows(page, "#problems pre", "did you mean `upstreams`?");
const diagnostics = (await (await reload()).json()).text;
await check("a refused configuration is shown with all that was said about it", unless((await page.locator("#problems pre").textContent()) === diagnostics, await page.locator("#problems pre").textContent()));
writeFileSync(file("sidebearer.toml"), configuration);
await shows(page, "#verdict", "All is well");
await shows(page, "#configuration", "Last refused");
await check("a good one that follows takes its place, and the refused one stays known", []);

await check("no token and no secret is in the page", ["the-token-of", "the-secret-of"].filter((secret) => log.includes(secret)));
const html = await page.content();
await check("nor in its text", ["the-token-of", "the-secret-of"].filter((secret) => html.includes(secret)));
await check("all of that came without loading the page again", unless((await page.evaluate(() => window.loaded)) === "once", "it was loaded again"));
await check("no error was in the console", seen.console);
const sinks = await page.evaluate(() => {
  const made = document.createElement("script");
  const tried = [() => (document.body.innerHTML = "<b>"), () => document.body.insertAdjacentHTML("beforeend", "<b>"), () => (made.text = "window.ran = true")];
  const worked = tried.filter((attempt) => { try { attempt(); return true; } catch { return false; } }).map(String);
  made.append("window.ran = true");
  document.body.append(made);
  return window.ran ? [...worked, "a script ran that is not the page's"] : worked;
});
await check("the browser lets nobody make HTML or scripts of text", sinks);
const outside = await page.evaluate(() => fetch("http://127.0.0.1:1/", { mode: "no-cors" }).then(() => "it was sent", (error) => error.message));
await check("nor ask another place", unless(outside === "Failed to fetch", outside));
await check("nothing was asked of another host", seen.requests.filter((url) => !url.startsWith(`${origin}/`) && url !== "http://127.0.0.1:1/" && !url.startsWith("data:")));

// --- The process goes away, and comes back.

child.kill("SIGKILL");
await shows(page, "#link", "Connection lost");
const tries = [];
page.on("request", () => tries.push(Date.now()));
await shows(page, "#retry", /This is how it was .* ago\. Next try in/);
for (const last = Date.now() + 60_000; tries.length < 4; await sleep(50)) if (Date.now() > last) await fail("it does not try again");
const pauses = tries.slice(1).map((at, place) => at - tries[place]);
await check("without the process the page says so, and tries again after longer and longer pauses", unless(pauses[2] > pauses[0] && pauses[2] > 3000, pauses.join(" ms, ")));
await check("which everybody can read", await findings(page));
await shows(page, "#now", "Try now");
await start();
await page.locator("#now").click({ timeout: 5000 }).catch(() => {});
await shows(page, "#link", "Live");
await shows(page, "#verdict", "All is well");
await check("and follows it again when it is back", []);
await page.context().close();

const plain = await open(`${origin}/`, { javaScriptEnabled: false });
await check("without scripts the page says where else to look", unless(/JavaScript.*JSON.*metrics/s.test(await text(plain.page, "body")) && !(await text(plain.page, "body")).includes("Connecting"), await text(plain.page, "body")));
await plain.page.context().close();

// --- The same page in states that are hard to get into, served by us with the very headers of the process.

const original = await fetch(`${origin}/`);
const originalText = await original.text();
const actual = await (await fetch(`${origin}/status`)).json();
const states = { well, night, troubled, empty, many };
const started = Math.floor(Date.now() / 1000);
const stage = createServer((request, response) => {
  const [, name, rest] = request.url.split("/");
  if (rest === "") {
    const { "content-security-policy": policy, "content-type": type } = Object.fromEntries(original.headers);
    return response.writeHead(200, { "content-security-policy": policy, "content-type": type }).end(originalText);
  }
  if (rest !== "events") return response.writeHead(404).end();
  response.writeHead(200, { "content-type": "text/event-stream" });
  const at = Math.floor(Date.now() / 1000);
  const tell = (kind, second) => response.write(`event: ${kind}\ndata: ${JSON.stringify(states[name](at, second))}\n\n`);
  tell("status", 0);
  let second = 0;
  const timer = setInterval(() => tell("patch", (second += name === "many" ? 3 : 1)), name === "many" ? 3000 : 1000);
  request.on("close", () => clearInterval(timer));
});
const stagePort = await listen(stage);
const keys = (value) => Object.keys(value).sort().join(" ");
const prepared = well(started, 0);
await check("the states have what the real status has", [
  ...unless(keys(prepared) === keys(actual), `${keys(prepared)}\n  ${keys(actual)}`),
  ...unless(keys(prepared.credentials.crm) === keys(actual.credentials.crm), `${keys(prepared.credentials.crm)}\n  ${keys(actual.credentials.crm)}`),
  ...unless(keys(prepared.upstreams.crm) === keys(actual.upstreams.crm), `${keys(prepared.upstreams.crm)}\n  ${keys(actual.upstreams.crm)}`),
  ...unless(keys(prepared.listeners.app) === keys(actual.listeners.app), `${keys(prepared.listeners.app)}\n  ${keys(actual.listeners.app)}`),
]);

for (const name of Object.keys(states)) {
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [1100, 360]) {
      const { page, seen } = await open(`http://127.0.0.1:${stagePort}/${name}/`, { colorScheme, viewport: { width, height: 800 }, reducedMotion: width === 360 ? "reduce" : "no-preference" });
      await shows(page, "#verdict", name === "troubled" ? "Ending" : /All is well|attention/);
      await page.waitForTimeout(name === "troubled" ? 4500 : 1500);
      for (const details of await page.locator("details").all()) await details.evaluate((it) => (it.open = true));
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      const taken = await page.title();
      await check(`${name}, ${colorScheme}, ${width} px: axe finds nothing, nothing stands out to the right, no text became HTML`, [
        ...(await findings(page)),
        ...unless(wide <= 0, `${wide} px too wide`),
        ...unless(taken !== "taken" && (await page.locator("main img, main script").count()) === 0, "text of theirs became HTML"),
        ...seen.console,
      ]);
      await page.context().close();
    }
  }
}

// --- Large, and by the keyboard alone.

{
  const { page } = await open(`http://127.0.0.1:${stagePort}/many/`);
  await shows(page, "#verdict", "10 things need attention");
  await check("of a thousand credentials the page shows some, says so, and has the failing ones first", [
    ...unless((await page.locator("#credentials li").count()) === 25, "not 25 rows"),
    ...unless((await text(page, "#credentials")).includes("25 of 1,003 are shown."), "it does not say so"),
    ...unless((await text(page, "#credentials li >> nth=0")).includes("No token"), "the first one is good"),
    ...unless((await text(page, "#callers")).includes("25 of 10,002 are shown."), "callers"),
  ]);
  const press = async (key, times = 1) => { for (let n = 0; n < times; n += 1) await page.keyboard.press(key); };
  const focused = () => page.evaluate(() => { const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement); return [document.activeElement.textContent || document.activeElement.ariaLabel, `${outlineStyle} ${outlineWidth}`]; });
  await press("Tab");
  const skip = await focused();
  const place = await page.evaluate(() => document.activeElement.getBoundingClientRect().top);
  await press("Enter");
  const main = await page.evaluate(() => document.activeElement.id);
  await press("Tab");
  const [link, outline] = await focused();
  await check("the keyboard leads past the head of the page to its sections, and shows where it is", [
    ...unless(skip[0] === "Skip to the status" && place >= 0, skip),
    ...unless(main === "main", `the link leads to ${main}`),
    ...unless(link.startsWith("Credentials") && outline === "solid 3px", `${link} ${outline}`),
  ]);
  await press("Enter");
  await press("Tab");
  const [box] = await focused();
  await page.keyboard.type("team-77");
  await shows(page, "#credentials [role=status]", "11 of 1,003 are shown, 11 match.");
  await check("a filter finds what it is asked for", unless(box === "Filter credentials by name" && (await page.locator("#credentials li").count()) === 11, box));
  await press("Backspace", 7);
  await shows(page, "#credentials [role=status]", "25 of 1,003 are shown.");
  await page.locator("#credentials > button").focus();
  await press("Enter");
  await shows(page, "#credentials [role=status]", "125 of 1,003 are shown.");
  await check("and more are shown on request", []);
  const worst = await page.evaluate(() => new Promise((resolve) => {
    let [longest, last] = [0, performance.now()];
    const end = last + 8000;
    (function frame() { const now = performance.now(); longest = Math.max(longest, now - last); last = now; if (now > end) resolve(longest); else setTimeout(frame, 5); })();
  }));
  await check(`the page stays usable meanwhile (longest pause ${Math.round(worst)} ms)`, unless(worst < 2000, "it was stuck"));
  await page.context().close();
}

// --- The screenshots.

if (process.env.SCREENSHOTS) {
  const shoot = async (colorScheme) => {
    const { page } = await open(`http://127.0.0.1:${stagePort}/night/`, { colorScheme, viewport: { width: 960, height: 1290 }, deviceScaleFactor: 1.25 });
    await page.waitForTimeout(62_000); // for a minute of rates
    await page.evaluate(() => (document.querySelector("#where").textContent = "127.0.0.1:7090"));
    await page.screenshot({ path: join(process.env.SCREENSHOTS, `status-${colorScheme}.png`) });
  };
  await Promise.all(["light", "dark"].map(shoot));
}

console.log(`status page: ${passed} checks passed in ${Math.round(performance.now() / 1000)} s`);
await browser.close();
process.exit(0);
