// The rules of deploy/prometheus/alerts.yaml with every time divided: what they wait for and what they look back at. Nothing
// else of them changes.
//
// usage: node shorten.mjs DIVISOR <alerts.yaml
import { readFileSync } from "node:fs";

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 };
const divisor = Number(process.argv[2]);
const shorter = (number, unit) => Math.ceil((number * SECONDS[unit]) / divisor);

const text = readFileSync(0, "utf8")
  .replace(/\[(\d+)([smhd])\]/g, (_, number, unit) => `[${shorter(number, unit)}s]`)
  .replace(/\bfor: (\d+)([smhd])$/gm, (_, number, unit) => `for: ${shorter(number, unit)}s`)
  .replace(/time\(\) \+ (\d+)/g, (_, seconds) => `time() + ${shorter(seconds, "s")}`);
process.stdout.write(text);
