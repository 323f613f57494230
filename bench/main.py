# SPDX-License-Identifier: MIT
"""Measures calls and transfers beside the kernel's own limits and plain across; see docs/performance.md."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from contestants import Contestant

TRANSPORTS = ('unix', 'tcp', 'stdio')
Samples = dict[str, dict[str, list[list[float]]]]
"""Microseconds by row, then by column: one list for each round."""


def limit(program: Path, transport: str, what: str, count: int) -> list[float]:
    output = subprocess.run([str(program), transport, what, str(count)], check=True, stdout=subprocess.PIPE, text=True)
    return [float(line) for line in output.stdout.split()]


def pickle_times(count: int) -> list[float]:
    """What pickle takes for a null call: the call and its result, there and back, in this process."""
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        func, args, kwargs = pickle.loads(pickle.dumps((len, ('',), {}), protocol=4))
        pickle.loads(pickle.dumps(func(*args, **kwargs), protocol=4))
        times.append((time.perf_counter() - begin) * 1e6)
    return times


def run_round(args: argparse.Namespace, contestants: list[Contestant], samples: Samples, folder: Path) -> None:
    def add(row: str, column: str, times: list[float]) -> None:
        samples.setdefault(row, {}).setdefault(column, []).append(times)

    add('pickle alone', 'limit', pickle_times(args.calls))
    for transport in TRANSPORTS:
        add(f'null call, {transport}', 'limit', limit(args.limits, transport, 'pingpong', args.calls))
        add(f'null call, {transport}', 'limit + handover', limit(args.limits, transport, 'handover', args.calls))
        add(f'64 MiB and back, {transport}', 'limit', limit(args.limits, transport, 'stream', args.transfers))
        for contestant in contestants:
            with contestant.serving(transport, folder) as address:
                name = contestant.name
                add(f'null call, {transport}', name, contestant.measure('calls', address, args.calls))
                add(f'64 MiB and back, {transport}', name, contestant.measure('transfer', address, args.transfers))
                add(f'first result, {transport}', name, contestant.measure('connect', address, args.connects))


def percentile(times: list[float], share: float) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def summary(rounds: list[list[float]]) -> dict[str, float]:
    """Medians over the rounds, and how far the rounds' p50 lie apart."""
    p50s = [percentile(times, 0.50) for times in rounds]
    return {
        'p50': statistics.median(p50s),
        'p99': statistics.median(percentile(times, 0.99) for times in rounds),
        'p50_min': min(p50s),
        'p50_max': max(p50s),
    }


def describe_machine() -> dict[str, str]:
    model = 'unknown processor'
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        if line.startswith('model name'):
            model = line.partition(':')[2].strip()
            break
    commit = subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], stdout=subprocess.PIPE, text=True, check=False)
    compiler = subprocess.run(['cc', '--version'], stdout=subprocess.PIPE, text=True, check=True)
    return {
        'processor': f'{model}, {os.cpu_count()} cores',
        'kernel': platform.release(),
        'python': platform.python_version(),
        'compiler': compiler.stdout.splitlines()[0],
        'commit': commit.stdout.strip() or 'unknown',
    }


def format_cell(row: str, cell: dict[str, float] | None) -> str:
    if cell is None:
        return ''
    if row.startswith('null call') or row == 'pickle alone':
        return f'{cell["p50"]:.1f} / {cell["p99"]:.1f} µs'
    if row.startswith('64 MiB'):
        return f'{cell["p50"] / 1000:.0f} ms'
    return f'{cell["p50"] / 1000:.2f} ms'


def print_table(results: dict[str, dict[str, dict[str, float]]], columns: list[str]) -> None:
    print('| | ' + ' | '.join(columns) + ' |')
    print('|---|' + '---|' * len(columns))
    for row, cells in results.items():
        print(f'| {row} | ' + ' | '.join(format_cell(row, cells.get(column)) for column in columns) + ' |')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--build', type=Path, required=True, help='the build folder, with acrossd and python/across')
    parser.add_argument('--plain', type=Path, required=True, help='the folder of plain across')
    parser.add_argument('--limits', type=Path, required=True, help='the program made from limits.c')
    parser.add_argument('--rounds', type=int, default=5, help='how often everybody is measured in turn (default: 5)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all figures there')
    parser.add_argument('--quick', action='store_true', help='one short round, to see that it works')
    args = parser.parse_args()
    args.calls, args.transfers, args.connects = (200, 1, 3) if args.quick else (5000, 5, 30)
    if args.quick:
        args.rounds = 1
    return args


def main() -> None:
    args = parse_args()
    contestants = [
        Contestant('acrossd', args.build / 'python', args.build / 'acrossd'),
        Contestant('across 0.1.0', args.plain, None),
    ]
    machine = describe_machine()
    samples: Samples = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.rounds):
            print(f'round {number + 1} of {args.rounds}', file=sys.stderr)
            run_round(args, contestants, samples, Path(folder))
            contestants.reverse()
    results = {row: {name: summary(rounds) for name, rounds in cells.items()} for row, cells in samples.items()}
    print('\n'.join(f'{name}: {value}' for name, value in machine.items()))
    print(f'{args.rounds} rounds, in turn; calls: p50 / p99; medians over the rounds\n')
    print_table(results, ['limit', 'limit + handover', 'acrossd', 'across 0.1.0'])
    if args.json:
        args.json.write_text(json.dumps({'machine': machine, 'rounds': args.rounds, 'microseconds': results}, indent=1))


if __name__ == '__main__':
    main()
