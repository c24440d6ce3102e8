"""SVG: bars by workload, and lines by size."""

import math
import statistics

from proxies import OURS

BLUE, GREY = "#2b6cb0", "#a0aec0"


def svg(width, height, parts):
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    back = f'<rect width="{width}" height="{height}" fill="white"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">\n' + "\n".join([back, *parts]) + "\n</svg>\n"


def bars(runs_by_workload, key, form="{:.1f}"):
    """The median of one figure; each workload on its own scale, since they differ a hundredfold."""
    parts, y = [], 16
    for workload, runs in runs_by_workload.items():
        values = {name: statistics.median(run[key] for run in rounds) for name, rounds in runs.items()}
        if not values:
            continue
        most = max(values.values()) or 1
        parts.append(f'<text x="4" y="{y + 12}" font-weight="bold">{workload}</text>')
        y += 20
        for name, value in values.items():
            width, fill = 340 * value / most, BLUE if name == OURS else GREY
            parts.append(f'<text x="16" y="{y + 12}">{name}</text><rect x="160" y="{y}" width="{width:.0f}" height="15" fill="{fill}"/>')
            parts.append(f'<text x="{166 + width:.0f}" y="{y + 12}">{form.format(value)}</text>')
            y += 19
        y += 8
    return svg(580, y + 8, parts)


def lines(panels):
    """Each panel: a title, what is on its x axis, and the points; x is logarithmic, y begins at 0."""
    width, height, parts = 380, 220, []
    for at, (title, axis, points) in enumerate(panels):
        left, top = 50 + at % 2 * (width + 20), 34 + at // 2 * (height + 60)
        right, bottom = left + width - 70, top + height - 50
        most = max(y for _, y in points) * 1.15 or 1
        span = math.log10(points[-1][0]) - math.log10(points[0][0]) or 1
        where = [
            (left + (right - left) * (math.log10(x) - math.log10(points[0][0])) / span, bottom - (bottom - top) * y / most, x, y)
            for x, y in points
        ]
        parts.append(f'<text x="{left}" y="{top - 12}" font-weight="bold">{title}</text>')
        parts.append(f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="{GREY}"/>')
        path = " ".join(f"{px:.0f},{py:.0f}" for px, py, _, _ in where)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{BLUE}" stroke-width="2"/>')
        for px, py, x, y in where:
            parts.append(f'<circle cx="{px:.0f}" cy="{py:.0f}" r="3" fill="{BLUE}"/>')
            parts.append(f'<text x="{px:.0f}" y="{py - 7:.0f}" text-anchor="middle" font-size="10">{y:.3g}</text>')
            parts.append(f'<text x="{px:.0f}" y="{bottom + 14}" text-anchor="middle" font-size="10">{x:,}</text>')
        parts.append(f'<text x="{(left + right) / 2:.0f}" y="{bottom + 30}" text-anchor="middle">{axis}</text>')
    rows = (len(panels) + 1) // 2
    return svg(2 * (width + 20) + 20, rows * (height + 60) + 10, parts)
