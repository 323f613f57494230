# SPDX-License-Identifier: MIT
"""The tables, in Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import goals
from rows import TABLES, Row

COLUMNS = ('limit', 'acrossd', 'across 0.1.0', 'rpyc', 'Pyro5', 'execnet', 'mitogen', 'managers')
BEGIN = '<!-- figures of bench/run: begin -->'
END = '<!-- figures of bench/run: end -->'
Results = dict[str, dict[str, dict[str, Any]]]


def cell(row: Row, outcome: dict[str, Any] | None) -> str:
    if outcome is None:
        return ''
    if 'figures' not in outcome:
        return '—' if 'cannot' in outcome else 'failed'
    figures = outcome['figures']
    text = ' / '.join(row.show(figures[name]['median']) for name in row.shown if name in figures)
    return text + spread(row, figures)


def spread(row: Row, figures: dict[str, Any]) -> str:
    """The middle half of the rounds, where it is wider than a tenth of the median."""
    compared = figures.get(row.compared[0])
    if not compared or compared['q3'] - compared['q1'] < 0.1 * abs(compared['median']):
        return ''
    return f' ({row.show(compared["q1"])} … {row.show(compared["q3"])})'


def table(rows: list[Row], results: Results) -> list[str]:
    columns = [column for column in COLUMNS if any(column in results.get(row.key, {}) for row in rows)]
    lines = ['| | ' + ' | '.join(columns) + ' |', '|---|' + '---|' * len(columns)]
    for row in rows:
        if row.key in results:
            cells = [cell(row, results[row.key].get(column)) for column in columns]
            lines.append(f'| {row.title} | ' + ' | '.join(cells) + ' |')
    return lines


def reasons(results: Results) -> list[str]:
    """Why there are dashes."""
    found: dict[str, list[str]] = {}
    for row in (row for rows in TABLES.values() for row in rows):
        for column, outcome in results.get(row.key, {}).items():
            why = outcome.get('cannot') or outcome.get('failed')
            if why:
                found.setdefault(f'{column} {why}', []).append(row.key)
    return [f'- {why}: {", ".join(keys)}' for why, keys in sorted(found.items())]


def render(machine: dict[str, str], results: Results) -> str:
    lines = ['    ' + f'{name}: {value}' for name, value in machine.items()]
    lines += ['']
    for title, rows in TABLES.items():
        if any(row.key in results for row in rows):
            lines += [f'**{title}**', '', *table(rows, results), '']
    lines += ['Dashes:', '', *reasons(results), '']
    judged = goals.judge(results)
    lines += ['**Goals**', '', '| goal | measured | met |', '|---|---|---|']
    lines += [f'| {goal["goal"]} | {goal["measured"]} | {"yes" if goal["met"] else "no"} |' for goal in judged]
    return '\n'.join(lines)


def insert(document: Path, text: str) -> None:
    """Replaces what stands between the two marks."""
    before, begin, rest = document.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f'{document} lacks the marks {BEGIN} and {END}')
    document.write_text(f'{before}{begin}\n{text}\n{end}{after}')
