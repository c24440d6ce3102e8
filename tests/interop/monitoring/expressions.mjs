// The expressions of the dashboard and of the rules, and what they name.
import { readFileSync } from "node:fs";
import { parser } from "@prometheus-io/lezer-promql";
import { parse } from "yaml";

const deploy = new URL("../../../deploy/", import.meta.url);
const read = (path) => readFileSync(new URL(path, deploy), "utf8");

export const dashboard = JSON.parse(read("grafana/sidebearer.json"));
export const panels = dashboard.panels.filter((panel) => panel.type !== "row");
export const rules = parse(read("prometheus/alerts.yaml")).groups.flatMap((group) => group.rules);

// What Grafana puts in place of its variables; all of a test lies within the intervals.
const variables = { __rate_interval: "10m", __interval: "10m" };
const filled = (text) => text.replace(/\$(\w+)/g, (_, name) => variables[name] ?? ".*");

// What the dashboard asks for: panels, the events that it marks, and the choices of its variables.
export const queries = [
  ...panels.flatMap((panel) =>
    panel.targets.map((target) => ({ where: `panel "${panel.title}"`, expr: filled(target.expr), legend: target.legendFormat })),
  ),
  ...dashboard.annotations.list.filter((list) => list.expr).map((list) => ({ where: `events "${list.name}"`, expr: filled(list.expr) })),
  ...dashboard.templating.list
    .filter((variable) => variable.type === "query")
    .map(({ name, definition }) => {
      const [, selector, label] = /^label_values\((.*), (\w+)\)$/.exec(definition);
      return { where: `variable "${name}"`, expr: filled(selector), legend: `{{${label}}}` };
    }),
];

export const ruleExpressions = rules.map((rule) => ({ where: `rule ${rule.alert ?? rule.record}`, expr: rule.expr }));

// The selectors of an expression as they are written, without ranges, and the labels that it groups or matches by.
export function named(expr) {
  const selectors = new Set();
  const labels = new Set();
  parser.parse(expr).iterate({
    enter(node) {
      const text = expr.slice(node.from, node.to);
      if (node.type.isError) throw new Error(`not PromQL at ${node.from}: ${expr}`);
      if (node.name === "VectorSelector") selectors.add(text);
      if (node.name === "LabelName" && node.node.parent.name === "GroupingLabels") labels.add(text);
    },
  });
  return { selectors, labels };
}
