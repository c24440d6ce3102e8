// Asks a Prometheus that scrapes sidebearer for what the dashboard and the rules name: every selector has series, every label
// exists in them, and every query of the dashboard has an answer with the labels of its legend.
//
// usage: node check.mjs ADDRESS
import { readFileSync } from "node:fs";
import { named, panels, queries, ruleExpressions } from "./expressions.mjs";

const [address] = process.argv.slice(2);
const problems = [];
let checked = 0;

async function ask(path, parameters) {
  const answer = await (await fetch(`${address}/api/v1/${path}?${new URLSearchParams(parameters)}`)).json();
  if (answer.status !== "success") throw new Error(`${path} ${JSON.stringify(parameters)}: ${answer.error}`);
  return answer.data;
}

function expect(good, where, what) {
  checked += 1;
  if (!good) problems.push(`${where}: ${what}`);
}

const answers = new Map();
const seriesOf = (selector) => {
  if (!answers.has(selector)) answers.set(selector, ask("series", { "match[]": selector }));
  return answers.get(selector);
};

for (const { where, expr } of [...queries, ...ruleExpressions]) {
  const { selectors, labels } = named(expr);
  const found = new Set();
  for (const selector of selectors) {
    const series = await seriesOf(selector);
    expect(series.length > 0, where, `no series has been scraped that is ${selector}`);
    for (const one of series) for (const label of Object.keys(one)) found.add(label);
  }
  for (const label of labels) expect(found.has(label), where, `no series of it has the label ${label}`);
}

for (const { where, expr, legend } of queries) {
  const { resultType, result } = await ask("query", { query: expr });
  expect(resultType === "vector" && result.length > 0, where, `no answer to ${expr}`);
  for (const [, label] of (legend ?? "").matchAll(/{{(\w+)}}/g)) {
    expect(result.some(({ metric }) => label in metric), where, `the legend names ${label}, which is not in the answer`);
  }
}

// A code of an error is counted for one fault, the one that docs/errors.md says.
const document = readFileSync(new URL("../../../docs/errors.md", import.meta.url), "utf8");
const codes = [...document.matchAll(/^\| `(\w+)` \| \d+ \| \d+ \| (\w[\w ]*) \|/gm)];
expect(codes.length > 15, "docs/errors.md", `only ${codes.length} errors in the table`);
const faults = panels.find(({ title }) => title === "Errors by fault").targets.map(({ expr, legendFormat }) => {
  const [, operator, codes] = /error(=~|!~)"([^"]*)"/.exec(expr);
  const pattern = new RegExp(`^(?:${codes})$`);
  return { fault: legendFormat, has: (code) => pattern.test(code) === (operator === "=~") };
});
for (const [, code, fault] of codes) {
  const counted = faults.filter(({ has }) => has(code)).map((one) => one.fault);
  expect(counted.join() === fault, 'panel "Errors by fault"', `${code} is of ${fault}, and counts for ${counted.join(" and ")}`);
}

for (const problem of problems) console.error(problem);
console.log(`${checked} checks of the dashboard and the rules, ${problems.length} failed`);
process.exit(problems.length === 0 ? 0 : 1);
