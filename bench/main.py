# SPDX-License-Identifier: MIT
"""Measures acrossd, what one would use instead of it, and the limits, side by side; see docs/performance.md."""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import goals
import limits
import machine
import plots
import report
from contestants import NAMES
from rows import ROWS, Row

HERE = Path(__file__).resolve().parent
TITLES = {'plain_across': 'across 0.1.0', 'pyro5': 'Pyro5'}
CELL_SECONDS = 90  # a contestant that takes longer for one row has failed it
Cells = dict[str, dict[str, list[dict[str, Any]]]]
"""Outcomes by row, then by column: one for each round."""


def measure(args: argparse.Namespace, name: str, row: Row) -> dict[str, Any]:
    """The outcome of driver.py, or {'failed': why}."""
    package = args.plain if name == 'plain_across' else args.build / 'python'
    env = {
        **os.environ,
        'PYTHONPATH': f'{package}:{HERE}',
        'PYTHONDONTWRITEBYTECODE': '1',
        'BENCH_ACROSSD': str(args.build / 'acrossd'),
        'BENCH_VENV': sys.prefix,
        'BENCH_IDLE': str(args.idle),
    }
    command = [sys.executable, str(HERE / 'driver.py'), name, row.measure, row.transport, row.mode, row.cores]
    driver = subprocess.Popen(
        command + ['quick'] * args.quick,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = driver.communicate(timeout=CELL_SECONDS)
    except subprocess.TimeoutExpired:
        return {'failed': f'took longer than {CELL_SECONDS} s'}
    finally:
        end_group(driver)
    if driver.returncode != 0 or not output:
        return {'failed': errors.strip().rpartition('\n')[2] or f'status {driver.returncode}'}
    return dict(json.loads(output.splitlines()[-1]))


def end_group(driver: subprocess.Popen[str]) -> None:
    """Also ends what a driver has left behind."""
    try:
        os.killpg(driver.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    driver.wait()


def run_round(args: argparse.Namespace, names: list[str], rows: list[Row], cells: Cells) -> None:
    for row in rows:
        print(f'  {row.key}', file=sys.stderr)
        outcomes = cells.setdefault(row.key, {})
        if row.limit:
            outcomes.setdefault('limit', []).append({'figures': limits.limit(args.limits, row, args.quick)})
        for name in names:
            outcome = measure(args, name, row)
            if 'failed' in outcome:
                print(f'    {name}: {outcome["failed"]}', file=sys.stderr)
            outcomes.setdefault(TITLES.get(name, name), []).append(outcome)


def summary(outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians and quartiles over the rounds, or why there are none."""
    done = [outcome['figures'] for outcome in outcomes if 'figures' in outcome]
    if not done:
        return outcomes[0]
    figures = {}
    for name in done[0]:
        values = [each[name] for each in done]
        quartiles = statistics.quantiles(values, n=4, method='inclusive') if len(values) > 1 else values * 3
        figures[name] = {'median': statistics.median(values), 'q1': quartiles[0], 'q3': quartiles[2], 'rounds': values}
    return {'figures': figures}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--build', type=Path, required=True, help='the build folder, with acrossd and python/across')
    parser.add_argument('--plain', type=Path, required=True, help='the folder of plain across')
    parser.add_argument('--limits', type=Path, required=True, help='the program made from limits.c')
    parser.add_argument('--rounds', type=int, default=5, help='how often everybody is measured in turn (default: 5)')
    parser.add_argument('--idle', type=int, default=1000, help='idle connections that are held (default: 1000)')
    parser.add_argument('--only', metavar='WORD', help='only rows with that in their keys, e.g. null')
    parser.add_argument('--contestants', metavar='NAMES', help=f'only these, of {",".join(NAMES)}')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all figures there')
    parser.add_argument('--docs', type=Path, metavar='FOLDER', help='put tables and plots into the documentation there')
    parser.add_argument('--quick', action='store_true', help='one short round, to see that it works')
    args = parser.parse_args()
    if args.quick:
        args.rounds = 1
    return args


def main() -> None:
    args = parse_args()
    names = args.contestants.split(',') if args.contestants else list(NAMES)
    rows = [row for row in ROWS if not args.only or args.only in row.key]
    described = machine.describe()
    cells: Cells = {}
    done = 0
    try:
        while done < args.rounds:
            print(f'round {done + 1} of {args.rounds}', file=sys.stderr)
            run_round(args, names, rows, cells)
            names.reverse()
            done += 1
    except KeyboardInterrupt:
        print('interrupted: here is what has been measured', file=sys.stderr)
    results = {key: {name: summary(each) for name, each in row.items()} for key, row in cells.items()}
    described['idle connections'] = str(args.idle)
    described['rounds'] = f'{done}, everybody in turn'
    text = report.render(described, results)
    print(text)
    if args.json:
        document = {'machine': described, 'goals': goals.judge(results), 'results': results}
        args.json.write_text(json.dumps(document, indent=1) + '\n')
    if args.docs:
        report.insert(args.docs / 'performance.md', text)
        plots.draw_all(args.docs, results)


if __name__ == '__main__':
    main()
