"""Medians, ratios to each rival with their spread, what was aimed at, and the files of a report."""

import json
import statistics

import chart
from proxies import OURS
from rest import STATIC
from workloads import HTTP1 as BESIDE
from workloads import NOBODY, REVERSE, SECURE, UNTRACED, WORKLOADS

HTTP1 = BESIDE[0]

FIGURES = {"rate": ("requests/s", "{:.0f}"), "cpu": ("CPU us/request", "{:.1f}"), "p50": ("p50 ms", "{:.2f}"), "p99": ("p99 ms", "{:.2f}")}
TOLERATED = 0.001  # Errors: with more of them, a target counts as missed.
LEAST = 5  # Rounds: with less of them, or when one was spoiled, nothing is shown.

# Workload, rival, figure, and what the ratio of ours to theirs is to be at most.
RATIOS = [
    ("small-32", "nginx", "cpu", 0.95), ("small-32", "envoy", "cpu", 0.35), ("small-32", "relay", "cpu", 1.25),
    ("small-1000", "nginx", "cpu", 0.60), ("small-1000", "haproxy", "cpu", 0.75), ("small-1000", "envoy", "cpu", 0.40),
    ("small-1000", "relay", "cpu", 1.25),
    *((workload, REVERSE[0], "cpu", 1.05) for workload in ("forward-32", "forward-1000")),
    *((workload, rival, "cpu", 1.0) for workload in ("tunnel-32", "tunnel-1000") for rival in ("nginx", "haproxy", "squid")),
    *((workload, NOBODY[0], "cpu", 1.15) for workload in ("gateway-32", "gateway-http2-32")),
    *((workload, SECURE[0], "cpu", 1.10) for workload in ("intercepted-32", "intercepted-http2-32")),
    ("traced-32", UNTRACED[0], "cpu", 1.05),
    ("handshakes-32", "nginx", "cpu", 1.11),  # Which is 0.9 of the handshakes.
    ("half-32", "nginx", "p99", 1.0), ("half-32", "haproxy", "p99", 1.0), ("light-32", "envoy", "p99", 1.0),
]
# Below what a figure is to stay: at rest by whose, which and its unit, and for each connection by whose.
AT_REST = {
    "MB when idle, before it was asked anything (PSS)": (OURS, "ready", 1e6, 9),
    "MB when idle, before it was asked anything (RSS)": (OURS, "ready resident", 1e6, 9),
    "MB when idle, after an answer (PSS)": (OURS, "asked", 1e6, 9),
    "MB when idle, after an answer (RSS)": (OURS, "asked resident", 1e6, 9),
    f"the same, {STATIC.removeprefix(OURS + ', ')}": (STATIC, "asked resident", 1e6, 9),
    "ms from the start to the first answer": (OURS, "start", 1e-3, 50),
}
EACH = {"KB for each of 1,000 busy connections": OURS, "the same, each with one to the upstream (HTTP/1.1)": HTTP1}
EACH_MOST = 45
# The same protocol on both sides, which no target asks for: ours, workload, rival.
ALIKE = [
    (HTTP1, "small-32", "nginx"), (HTTP1, "small-32", "relay"), (HTTP1, "small-1000", "nginx"), (HTTP1, "small-1000", "haproxy"),
    (HTTP1, "small-1000", "relay"), (OURS, "shared-1000", "haproxy"), (OURS, "shared-1000", "envoy"),
]


def text(results):
    return "\n".join([*targets(results), *alike(results), *tables(results), *rest(results), *scale(results), *notes(results)])


def targets(results):
    """Every target of what was measured, met or not."""
    lines = ["## Targets", "", "| | target | measured | |", "| --- | ---: | ---: | --- |"]
    for workload, rival, key, most in RATIOS:
        if workload not in results["runs"]:
            continue
        runs = results["runs"][workload]
        found = ratios(runs, rival, key)
        middle = statistics.median(found) if found else None
        within = found and (middle < most if key == "p99" else middle <= most)
        behind = [runs.get(OURS, []), runs.get(rival, [])]
        told, met = verdict(found, within, "{:.2f}", behind, max(map(len, behind)))
        title = FIGURES[key][0].removesuffix(" ms")
        lines.append(f"| {workload}: our {title} / {rival}'s | {'<' if most == 1 else '≤'} {most:.2f} | {told} | {met} |")
    if not results["rest"]:
        return [*lines, ""]
    bounds = [(title, at_rest(results, name, key, unit), most, [], 0) for title, (name, key, unit, most) in AT_REST.items()]
    runs = results["runs"].get("small-1000", {})
    had = max(map(len, runs.values()), default=0)
    bounds += [(title, each_connection(results, name), EACH_MOST, [runs.get(name, [])], had) for title, name in EACH.items()]
    for title, found, most, behind, had in bounds:
        told, met = verdict(found, found and statistics.median(found) < most, "{:.1f}", behind, had)
        lines.append(f"| {title} | < {most} | {told} | {met} |")
    return [*lines, ""]


def verdict(found, within, form, behind, had):
    """What to tell of a target, and whether it counts as met: what was found, the rounds `behind` that, of which there
    were `had` if none failed."""
    if not found:
        return "not measured", "**not shown**"
    told = spread(found, form)
    if len(found) < LEAST or any(len(rounds) != had for rounds in behind):
        return f"{told}, {len(found)} rounds", "**not shown**"
    if any(errors(rounds) > TOLERATED for rounds in behind):
        return f"{told}, with errors", "**missed**"
    return told, "met" if within else "**missed**"


def alike(results):
    """CPU where both speak the same protocol to the upstream."""
    lines = []
    for name, workload, rival in ALIKE:
        if found := ratios(results["runs"].get(workload, {}), rival, "cpu", name):
            lines.append(f"| {workload} | {name} | {rival} | {spread(found)} |")
    title = ["The same protocol on both sides, without a target:", "", "| | ours | rival | our CPU us/request / its |", "| --- | --- | --- | ---: |"]
    return [*title, *lines, ""] if lines else []


def tables(results):
    """One for each workload."""
    lines = []
    for workload, runs in results["runs"].items():
        if not runs:
            continue
        busy = workload == "small-1000"
        titles = [title for title, _ in FIGURES.values()] + ["memory MB"] + ["KB a connection"] * busy
        titles += ["errors", "our CPU / its CPU", "our p99 / its p99"]
        about = WORKLOADS[workload].about
        lines += [f"## {workload}", "", f"{about[0].upper()}{about[1:]}; {len(runs.get(OURS, []))} rounds.", ""]
        lines += ["| | " + " | ".join(titles) + " |", "| --- |" + " ---: |" * len(titles)]
        for name, rounds in runs.items():
            cells = [form.format(median(rounds, key)) for key, (_, form) in FIGURES.items()]
            cells.append(f"{median(rounds, 'memory') / 1e6:.1f}")
            if busy:
                each = each_connection(results, name)
                cells.append(f"{statistics.median(each):.1f}" if each else "")
            cells.append(f"{errors(rounds):.3%}" if errors(rounds) else "0")
            cells += [spread(ratios(runs, name, key)) if name != OURS and OURS in runs else "" for key in ("cpu", "p99")]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    return lines


def rest(results):
    columns = {
        "before it was asked anything, MB (PSS)": ("ready", 1e6, "{:.1f}"), "MB (RSS)": ("ready resident", 1e6, "{:.1f}"),
        "after an answer, MB (PSS)": ("asked", 1e6, "{:.1f}"), "MB (RSS) ": ("asked resident", 1e6, "{:.1f}"),
        "start to the first answer, ms": ("start", 1e-3, "{:.0f}"),
    }
    if not results["rest"]:
        return []
    lines = ["## At rest", "", "| | " + " | ".join(title.strip() for title in columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for name in results["rest"]:
        cells = (spread(at_rest(results, name, key, unit), form) for key, unit, form in columns.values())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def at_rest(results, name, key, unit):
    return [row[key] / unit for row in results["rest"].get(name, [])]


def scale(results):
    lines = []
    for name, rows in results["scale"].items():
        if rows:
            lines += [f"## Scale: {name}", "", "| " + " | ".join(rows[0]) + " |", "|" + " ---: |" * len(rows[0])]
            lines += ["| " + " | ".join("" if value is None else f"{value:,.1f}".removesuffix(".0") for value in row.values()) + " |" for row in rows]
            lines.append("")
    return lines


def notes(results):
    found = list(results["notes"])
    for workload, runs in results["runs"].items():
        for name, rounds in runs.items():
            opened = statistics.median(run.get("opened", 0) for run in rounds)
            if opened > TOLERATED:
                found.append(f"{workload}: {name} opened a connection to the upstream for {opened:.1%} of the requests.")
    return ["## Notes", "", *(f"- {note}" for note in found), ""] if found else []


def median(rounds, key):
    return statistics.median(run[key] for run in rounds)


def errors(rounds):
    return max(run["errors"] for run in rounds)


def each_connection(results, name):
    """KB more than at rest, for each of the 1,000 connections, round by round."""
    before = at_rest(results, OURS if name == HTTP1 else name, "asked", 1)
    rounds = results["runs"].get("small-1000", {}).get(name, [])
    return [(run["memory"] - statistics.median(before)) / 1000 / 1e3 for run in rounds] if before else []


def ratios(runs, rival, key, ours=OURS):
    """Ours to theirs, round by round."""
    return [mine[key] / other[key] for mine, other in zip(runs.get(ours, []), runs.get(rival, [])) if other[key]]


def spread(values, form="{:.2f}"):
    """The median, and the range."""
    if not values:
        return ""
    middle, least, most = (form.format(value) for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({least} to {most})" if len(values) > 1 else middle


def write(directory, results, facts):
    directory.mkdir(parents=True, exist_ok=True)
    pictures = {}
    if any(results["runs"].values()):
        pictures["CPU us/request"] = ("cpu.svg", chart.bars(results["runs"], "cpu"))
        pictures["p99 ms"] = ("p99.svg", chart.bars(results["runs"], "p99", "{:.2f}"))
    panels = [
        (f"{figure}", axis, [(row[axis], row[figure]) for row in results["scale"][axis] if row[figure] is not None])
        for axis, figure in [
            ("connections", "CPU us/request"), ("connections", "KB each"), ("routes", "CPU us/request"), ("routes", "start ms"),
            ("credentials", "KB each"), ("credentials", "CPU ms/s"),
        ]
        if len(results["scale"].get(axis, [])) > 1
    ]
    shards = results["scale"].get("shards", [])
    for count in sorted({row["connections"] for row in shards}):
        points = [(row["shards"], row["CPU us/request"]) for row in shards if row["connections"] == count]
        panels.append((f"CPU us/request, {count} connections", "shards", points))
    if panels:
        pictures["How it grows"] = ("scale.svg", chart.lines(panels))
    for name, picture in pictures.values():
        (directory / name).write_text(picture)
    shown = "\n\n".join(f"![{title}]({name})" for title, (name, _) in pictures.items())
    (directory / "README.md").write_text(f"# Side by side\n\n{facts}\n\n{shown}\n\n{text(results)}")
    (directory / "rounds.json").write_text(json.dumps(results, indent=1) + "\n")
