// The package ws asks a proxy only by the agent that it is given.
import { readFileSync } from "node:fs";
import { globalAgent as agent } from "node:https";
import WebSocket from "ws";

const file = process.env.BODY_FILE;
for (const url of process.argv.slice(2)) {
  const webSocket = new WebSocket(url, { agent });
  const answer = await new Promise((resolve, reject) => {
    webSocket.on("open", () => webSocket.send(file ? readFileSync(file) : "hello"));
    webSocket.on("message", resolve);
    webSocket.on("error", reject);
  });
  console.log(`${answer}\t101`);
  webSocket.close();
}
