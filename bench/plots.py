# SPDX-License-Identifier: MIT
"""Bar charts as SVG, readable on light and on dark ground."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from rows import ROWS

Results = dict[str, dict[str, dict[str, Any]]]
LABEL, BARS, NUMBER, LINE, HEAD = 110, 420, 90, 22, 34
STYLE = """
text { font: 13px sans-serif; fill: #24292f }
.title { font-weight: bold }
.other { fill: #8c959f }
.ours { fill: #0969da }
.limit { stroke: #cf222e; stroke-width: 2; stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #d1d7e0 }
  .other { fill: #6e7681 }
  .ours { fill: #4493f8 }
  .limit { stroke: #f85149 }
}
"""
CHARTS = {
    'performance-null.svg': (
        ('null unix one', 'p50', 1, 'Null call, unix socket, one core: p50, µs (less is better)'),
        ('null unix two', 'p50', 1, 'Null call, unix socket, two cores: p50, µs'),
        ('callback one', 'p50', 1, 'A call that calls back, one core: p50, µs'),
    ),
    'performance-threads.svg': (
        ('threads', 'one', 1e-3, '1,000 null calls per second, one thread (more is better)'),
        ('threads', 'sixteen', 1e-3, '16 threads on one connection'),
    ),
    'performance-large.svg': (
        ('bytes unix', 'put', 1e-9, '64 MiB of bytes to the server, unix socket: GB/s (more is better)'),
        ('bytes unix', 'get', 1e-9, 'From the server'),
        ('array', 'put', 1e-9, 'A numpy array of 64 MiB to the server'),
        ('array', 'get', 1e-9, 'From the server'),
    ),
    'performance-first.svg': (
        ('first shared', 'p50', 1e-3, 'Connect to first result, one interpreter for all: p50, ms (less is better)'),
    ),
}
"""By file: row, figure, factor, and title of each part."""


def values_of(results: Results, key: str, name: str, factor: float) -> dict[str, float]:
    found = {}
    for column, outcome in results.get(key, {}).items():
        if name in outcome.get('figures', {}):
            found[column] = outcome['figures'][name]['median'] * factor
    return found


def part(title: str, values: dict[str, float], top: int, descending: bool) -> list[str]:
    """One title with its bars; the limit is a line across them."""
    limit = values.pop('limit', None)
    scale = BARS / max([*values.values(), limit or 0])
    lines = [f'<text class="title" x="8" y="{top + 20}">{escape(title)}</text>']
    for number, name in enumerate(sorted(values, key=lambda each: values[each], reverse=descending)):
        y = top + HEAD + number * LINE
        width = max(1.0, values[name] * scale)
        kind = 'ours' if name == 'acrossd' else 'other'
        lines.append(f'<text x="{LABEL - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>')
        lines.append(f'<rect class="{kind}" x="{LABEL}" y="{y}" width="{width:.1f}" height="{LINE - 5}"/>')
        lines.append(f'<text x="{LABEL + width + 6:.1f}" y="{y + 13}">{values[name]:.3g}</text>')
    if limit:
        x, bottom = LABEL + limit * scale, top + HEAD + len(values) * LINE - 5
        lines.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{top + HEAD - 3}" y2="{bottom}"/>')
        lines.append(f'<text x="{x + 4:.1f}" y="{bottom + 12}">limit {limit:.3g}</text>')
    return lines


def draw(path: Path, results: Results, parts: tuple[tuple[str, str, float, str], ...]) -> None:
    better = {row.key: row.higher_is_better for row in ROWS}
    lines, top = [], 0
    for key, name, factor, title in parts:
        values = values_of(results, key, name, factor)
        if values:
            lines += part(title, dict(values), top, better[key])
            top += HEAD + len(values) * LINE + 14
    if not lines:
        return
    width = LABEL + BARS + NUMBER
    size = f'width="{width}" height="{top}" viewBox="0 0 {width} {top}"'
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n' + '\n'.join(lines) + '\n</svg>\n'
    )


def draw_all(folder: Path, results: Results) -> None:
    for name, parts in CHARTS.items():
        draw(folder / name, results, parts)
