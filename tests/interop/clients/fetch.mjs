// Node's own fetch. NODE_USE_ENV_PROXY=1 is enough from Node 24 on; an older one needs the agent of undici.
import { readFileSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { EnvHttpProxyAgent, setGlobalDispatcher } from "undici";

const file = process.env.BODY_FILE;
if (!process.allowedNodeEnvironmentFlags.has("--use-env-proxy")) setGlobalDispatcher(new EnvHttpProxyAgent());
for (const url of process.argv.slice(2)) {
  const response = await fetch(url, file ? { method: "POST", body: readFileSync(file) } : {});
  console.log(`${await response.text()}\t${response.status}`);
  // Before that, undici does not know that the connection is free, whatever proxy it is, and opens another.
  await setImmediate();
}
