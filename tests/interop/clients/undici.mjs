import { createReadStream } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { ProxyAgent, request } from "undici";

const file = process.env.BODY_FILE;
const dispatcher = new ProxyAgent(process.env.http_proxy);
for (const url of process.argv.slice(2)) {
  const options = file ? { method: "POST", body: createReadStream(file) } : {};
  const { statusCode, body } = await request(url, { dispatcher, ...options });
  console.log(`${await body.text()}\t${statusCode}`);
  // Before that, undici does not know that the connection is free, whatever proxy it is, and opens another.
  await setImmediate();
}
await dispatcher.close();
