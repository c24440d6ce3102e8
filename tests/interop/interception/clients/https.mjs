import { createReadStream } from "node:fs";
import { request } from "node:https";
import { once } from "node:events";
import { text } from "node:stream/consumers";

const file = process.env.BODY_FILE;
for (const url of process.argv.slice(2)) {
  const asking = request(url, { method: file ? "POST" : "GET" });
  if (file) createReadStream(file).pipe(asking);
  else asking.end();
  const [answer] = await once(asking, "response");
  console.log(`${await text(answer)}\t${answer.statusCode}\tHTTP/${answer.httpVersion}`);
}
