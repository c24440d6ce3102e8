import { readFileSync } from "node:fs";
import { request } from "undici";

const file = process.env.BODY_FILE;
for (const url of process.argv.slice(2)) {
  const { statusCode, body } = await request(url, file ? { method: "POST", body: readFileSync(file) } : {});
  console.log(`${await body.text()}\t${statusCode}`);
}
