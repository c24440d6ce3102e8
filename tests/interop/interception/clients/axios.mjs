import { createReadStream } from "node:fs";
import axios from "axios";

const file = process.env.BODY_FILE;
for (const url of process.argv.slice(2)) {
  const { data, status } = file ? await axios.post(url, createReadStream(file)) : await axios.get(url);
  console.log(`${JSON.stringify(data)}\t${status}`);
}
