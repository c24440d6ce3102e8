// Node's own WebSocket.
import { readFileSync } from "node:fs";

const file = process.env.BODY_FILE;
for (const url of process.argv.slice(2)) {
  const webSocket = new WebSocket(url);
  const answer = await new Promise((resolve, reject) => {
    webSocket.onopen = () => webSocket.send(file ? readFileSync(file) : "hello");
    webSocket.onmessage = ({ data }) => resolve(data);
    webSocket.onerror = ({ error }) => reject(error);
  });
  console.log(`${answer}\t101`);
  webSocket.close();
}
