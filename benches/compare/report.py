"""Medians, ratios to each rival with their spread, and the files of a report."""

import datetime
import platform
import statistics
from pathlib import Path

OURS = "sidebearer"
FIGURES = {"rate": ("requests/s", "{:.0f}"), "cpu": ("CPU us/request", "{:.1f}"), "p50": ("p50 ms", "{:.2f}"), "p99": ("p99 ms", "{:.2f}")}


def table(results):
    """Markdown: one table a workload."""
    lines = []
    for workload, runs in results["runs"].items():
        lines += [f"### {workload}", ""]
        lines.append("| | " + " | ".join(title for title, _ in FIGURES.values()) + " | memory MB | our CPU / its CPU |")
        lines.append("| --- |" + " ---: |" * (len(FIGURES) + 2))
        for name, rounds in runs.items():
            cells = [form.format(statistics.median(run[key] for run in rounds)) for key, (_, form) in FIGURES.items()]
            cells.append(f"{results['memory'][name][workload] / 1e6:.1f}")
            cells.append(ratio(runs[OURS], rounds) if name != OURS else "")
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += ["### idle", "", "| | memory MB | start to the first answer, ms |", "| --- | ---: | ---: |"]
    for name, memory in results["memory"].items():
        lines.append(f"| {name} | {memory['idle'] / 1e6:.1f} | {results['start'][name] * 1e3:.0f} |")
    return "\n".join(lines) + "\n"


def ratio(ours, theirs):
    """Round by round: the median, and the range."""
    ratios = sorted(mine["cpu"] / other["cpu"] for mine, other in zip(ours, theirs))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def write(directory, results, arguments):
    directory.mkdir(exist_ok=True)
    model = next((line.split(": ")[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "unknown")
    facts = (
        f"{datetime.date.today()}, {model}, Linux {platform.release()}; {arguments.rounds} rounds of {arguments.seconds} s; medians. "
        "One core for the proxy, another for the upstream (nginx, TLS 1.3) and the load (wrk). sidebearer and Envoy get their "
        "token from a token endpoint, nginx and HAProxy set a fixed header; the relay copies bytes and knows no HTTP.\n"
    )
    (directory / "README.md").write_text(f"# Side by side\n\n{facts}\n![CPU per request](cpu.svg)\n\n{table(results)}")
    (directory / "cpu.svg").write_text(chart(results))


def chart(results):
    """CPU per request, bars by workload."""
    rows = []
    for workload, runs in results["runs"].items():
        rows.append((workload, None))
        rows += [(name, statistics.median(run["cpu"] for run in rounds)) for name, rounds in runs.items()]
    most = max(value for _, value in rows if value)
    height, parts = 22, []
    for at, (name, value) in enumerate(rows):
        y = 16 + at * height
        if value is None:
            parts.append(f'<text x="4" y="{y + 12}" font-weight="bold">{name}</text>')
            continue
        width = 380 * value / most
        fill = "#2b6cb0" if name == OURS else "#a0aec0"
        parts.append(f'<text x="20" y="{y + 12}">{name}</text><rect x="110" y="{y}" width="{width:.0f}" height="16" fill="{fill}"/>')
        parts.append(f'<text x="{116 + width:.0f}" y="{y + 12}">{value:.1f}</text>')
    size = f'width="560" height="{30 + len(rows) * height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">\n' + "\n".join(parts) + "\n</svg>\n"
