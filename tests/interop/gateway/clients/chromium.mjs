// Shows Chromium each URL through a proxy, and answers for the user when the proxy asks for a password: once, then the
// user gives up.
//
// usage: node chromium.mjs PROXY PIN PROFILE URL...
// PIN is the SHA-256 of the public key to trust, in base64. PROXY_KEY is the password; without it the user cancels.
// Prints a line for each page: its text, its status, how often the user was asked for it, and its protocol; or
// Chromium's error for it.
import { show, startChromium } from "../../devtools.mjs";

const [proxy, pin, profile, ...urls] = process.argv.slice(2);
const key = process.env.PROXY_KEY;
const browser = await startChromium([`proxy-server=${proxy}`, `ignore-certificate-errors-spki-list=${pin}`, `user-data-dir=${profile}`]);
const { send, listeners } = browser;

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
  const { error, text, response } = await show(browser, url);
  console.log((error ? [error, "-", asked] : [text, response.status, asked, response.protocol]).join("\t"));
}
process.exit(0);
