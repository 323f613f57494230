# SPDX-License-Identifier: MIT
"""Runs scenarios once for each point, and says what came of it. `python -m torture.sweep` is what dev/torture runs."""

import argparse
import collections
import concurrent.futures
import math
import os
import sys
import time

from e2e import daemon as daemons

from . import judge, scenarios, symbols
from .ledger import Point

SHIM = os.path.join(daemons.BUILD, 'tests', 'torture', 'torture.so')
LEARNING = 3  # runs without a failure before those with one: threads make them differ a little
PATIENCE = [0, 0.1, 1]  # seconds; what is still there after the last one has leaked


class Learned:
    """A scenario, its sites, and what it leaves behind when nothing fails."""

    def __init__(self, scenario):
        self.scenario = scenario
        self.leftovers = judge.Leftovers()
        self.sites = {}
        for _ in range(LEARNING):
            verdict, run = judge.run(scenario, SHIM)
            assert verdict.outcome == 'success', '{}: {}, {}'.format(scenario.name, verdict.outcome, verdict.why)
            self.leftovers.learn(run.ledger)
            for site in run.ledger.sites():
                known = self.sites.get(site.key)
                if known is None or known.calls < site.calls:
                    self.sites[site.key] = site

    def _sorted(self):
        return sorted(self.sites.values(), key=lambda site: site.key)

    def points(self):
        """All of them."""
        return [
            Point(site, call, error)
            for site in self._sorted()
            for error in site.errors
            for call in range(1, site.calls + 1)
        ]

    def first_points(self):
        """One for each line of the sources, in each role of process, whoever led to it."""
        chosen = {}
        for site in self._sorted():
            if site.errors:
                chosen.setdefault((site.role, site.frames[0]), Point(site, 1, site.errors[0]))
        return list(chosen.values())

    def try_point(self, point):
        """The result of the point."""
        for patience in PATIENCE:
            verdict, run = judge.run(self.scenario, SHIM, point, self.leftovers, patience)
            if verdict.outcome != 'leaked':
                break
        return Result(self.scenario, point, verdict, run.lines)


class Result:
    """What came of one point."""

    def __init__(self, scenario, point, verdict, lines):
        self.scenario = scenario
        self.point = point
        self.verdict = verdict
        self.lines = lines

    def __str__(self):
        point, verdict = self.point, self.verdict
        head = '{}: call {} fails with {}: {}{}'.format(
            self.scenario.name, point.call, point.error, verdict.outcome, verdict.why and ', ' + verdict.why
        )
        return '\n'.join([head, '  ' + symbols.describe(point.site), *('  | ' + line for line in self.lines)])


def spread(items):
    """The same items, so that each beginning of the list is an even choice of them; always in the same order."""
    step = max(1, int(len(items) * 0.618))
    while math.gcd(step, max(1, len(items))) != 1:
        step += 1
    return [items[i * step % len(items)] for i in range(len(items))]


class Table:
    """Counts results."""

    def __init__(self):
        self._rows = collections.defaultdict(collections.Counter)

    def add(self, result):
        site = result.point.site
        for row in ((site.function.kind, site.role), ('all', '')):
            self._rows[row][result.verdict.outcome] += 1

    def __str__(self):
        lines = [
            '| what fails | in | points | success | error | not reached | crashed | leaked | hung | wrong |',
            '|---|---|---|---|---|---|---|---|---|---|',
        ]
        for (kind, role), counts in sorted(self._rows.items(), key=lambda row: (row[0][0] == 'all', row[0])):
            cells = [kind, role, sum(counts.values()), *(counts[outcome] for outcome in judge.Verdict.OUTCOMES)]
            lines.append('| {} |'.format(' | '.join(map(str, cells))))
        return '\n'.join(lines)


def sweep(seconds, jobs, only):
    """Try all points, or as many as fit into that time; returns the table, and how many were bad."""
    table, bad = Table(), 0
    chosen = [scenario for scenario in scenarios.ALL if not only or scenario.name in only]
    for number, scenario in enumerate(chosen):
        begin = time.monotonic()
        end = begin + seconds / (len(chosen) - number)
        learned = Learned(scenario)
        points = spread(learned.points())
        tried = 0
        with concurrent.futures.ThreadPoolExecutor(jobs) as executor:
            while tried < len(points) and time.monotonic() < end:
                batch = points[tried : tried + 8 * jobs]
                tried += len(batch)
                for result in executor.map(learned.try_point, batch):
                    table.add(result)
                    if not result.verdict.is_good:
                        bad += 1
                        print(result, flush=True)
        took = time.monotonic() - begin
        seconds -= took
        print('{}: {} of {} points in {:.0f} s'.format(scenario.name, tried, len(points), took), flush=True)
    return table, bad


def main():
    parser = argparse.ArgumentParser(
        prog='dev/torture', description='Makes each call of acrossd to the system fail once.'
    )
    parser.add_argument('minutes', nargs='?', default='all', help='how long, or "all" (default)')
    parser.add_argument('--jobs', type=int, default=os.cpu_count(), help='runs at a time')
    parser.add_argument(
        '--only', action='append', help='a scenario, instead of all: ' + ', '.join(s.name for s in scenarios.ALL)
    )
    args = parser.parse_args()
    problem = judge.find_problem(SHIM)
    if problem:
        sys.exit('torture: ' + problem)
    table, bad = sweep(math.inf if args.minutes == 'all' else 60 * float(args.minutes), args.jobs, args.only)
    print(table)
    print('torture: {} points went wrong'.format(bad) if bad else 'torture: nothing crashed, leaked or hung')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
