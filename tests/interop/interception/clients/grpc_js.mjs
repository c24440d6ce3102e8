import { readFileSync } from "node:fs";
import { Client, credentials } from "@grpc/grpc-js";

const message = process.env.BODY_FILE ? readFileSync(process.env.BODY_FILE) : Buffer.from("hello");
const same = (bytes) => bytes;
for (const url of process.argv.slice(2)) {
  const { hostname, port } = new URL(url);
  const client = new Client(`${hostname}:${port || 443}`, credentials.createSsl());
  const answer = await new Promise((resolve, reject) =>
    client.makeUnaryRequest("/interop/Seen", same, same, message, { deadline: Date.now() + 30_000 }, (error, value) =>
      error ? reject(error) : resolve(value),
    ),
  );
  console.log(`${answer}\t200\tHTTP/2`);
  client.close();
}
