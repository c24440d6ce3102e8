// Shows Chromium each URL. With $BODY_FILE, a page of the same origin posts it there. Chromium reads https_proxy, and trusts
// what the NSS database of its user does.
//
// usage: node chromium.mjs PROFILE URL...
// Prints a line for each: its text, its status and its protocol; or Chromium's error, and ends.
import { readFileSync } from "node:fs";
import { show, startChromium } from "../../devtools.mjs";

const [profile, ...urls] = process.argv.slice(2);
const file = process.env.BODY_FILE;
const browser = await startChromium([`user-data-dir=${profile}`]);
await browser.send("Network.enable");

for (const url of urls) {
  const { error, text, response } = await show(browser, url);
  if (error) {
    console.error(error);
    process.exit(1);
  }
  console.log(file ? await post(url) : [text, response.status, response.protocol].join("\t"));
}
process.exit(0);

async function post(url) {
  const body = JSON.stringify(`data:application/octet-stream;base64,${readFileSync(file, "base64")}`);
  const expression = `(async () => {
    const answer = await fetch(${JSON.stringify(url)}, { method: "POST", body: await (await fetch(${body})).blob() });
    return (await answer.text()) + "\\t" + answer.status;
  })()`;
  const { result, exceptionDetails } = await browser.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
  if (exceptionDetails) throw new Error(exceptionDetails.exception.description);
  return result.value;
}
