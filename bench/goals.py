# SPDX-License-Identifier: MIT
"""The project's own goals, and whether figures meet them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rows import ROWS, Row

US = 'acrossd'
TIE = 1.01  # figures that differ by less are the same
Results = dict[str, dict[str, dict[str, Any]]]


class MissingError(Exception):
    """A goal's figures have not been taken."""


def figure(results: Results, key: str, name: str, column: str = US) -> float:
    try:
        return float(results[key][column]['figures'][name]['median'])
    except KeyError:
        raise MissingError from None


def best_peer(results: Results, row: Row, name: str) -> tuple[str, float]:
    """Who has the best figure of that name but us."""
    found = {}
    for column in results.get(row.key, {}):
        if column not in (US, 'limit'):
            try:
                found[column] = figure(results, row.key, name, column)
            except MissingError:
                continue
    if not found:
        raise MissingError
    choose = max if row.higher_is_better else min
    best = choose(found, key=lambda column: found[column])
    return best, found[best]


Judgement = tuple[str, bool]


def times_limit(key: str, most: float) -> Callable[[Results], Judgement]:
    def judge(results: Results) -> Judgement:
        ours, limit = figure(results, key, 'p50'), figure(results, key, 'p50', 'limit')
        return f'{ours:.1f} µs, limit {limit:.1f} µs: {ours / limit:.2f} times', ours <= most * limit

    return judge


def below_managers(key: str) -> Callable[[Results], Judgement]:
    def judge(results: Results) -> Judgement:
        ours, theirs = figure(results, key, 'p50'), figure(results, key, 'p50', 'managers')
        return f'{ours:.1f} µs, managers {theirs:.1f} µs', ours < theirs

    return judge


def share_of_managers(key: str, most: float) -> Callable[[Results], Judgement]:
    def judge(results: Results) -> Judgement:
        ours, theirs = figure(results, key, 'p50'), figure(results, key, 'p50', 'managers')
        return f'{ours:.1f} µs, managers {theirs:.1f} µs: {ours / theirs:.2f} times', ours <= most * theirs

    return judge


def threads_gain(results: Results) -> Judgement:
    ours, theirs = figure(results, 'threads', 'sixteen'), figure(results, 'threads', 'sixteen', 'managers')
    return f'{ours:,.0f}, managers {theirs:,.0f}: {ours / theirs:.2f} times', ours >= 1.5 * theirs


def first_result(results: Results) -> Judgement:
    ours = figure(results, 'first shared', 'p50')
    row = next(row for row in ROWS if row.key == 'first shared')
    name, best = best_peer(results, row, 'p50')
    return f'{ours / 1000:.2f} ms, {name} {best / 1000:.2f} ms', ours < best


def times_null(measure: str, cores: str, most: float) -> Callable[[Results], Judgement]:
    def judge(results: Results) -> Judgement:
        ours, null = figure(results, f'{measure} {cores}', 'p50'), figure(results, f'null unix {cores}', 'p50')
        return f'{ours:.1f} µs: {ours / null:.2f} times', ours <= most * null

    return judge


def share_of_rate(key: str, way: str, least: float) -> Callable[[Results], Judgement]:
    def judge(results: Results) -> Judgement:
        ours, raw = figure(results, key, way), figure(results, key, way, 'limit')
        fresh = figure(results, key, 'fresh', 'limit')
        text = f'{ours / 1e9:.2f} GB/s, raw {raw / 1e9:.2f}: {ours / raw:.2f} times'
        text += f' (into fresh memory {fresh / 1e9:.2f}: {ours / fresh:.2f} times)'
        return text, ours >= least * raw

    return judge


def peak_memory(results: Results) -> Judgement:
    names = ('put_sender', 'put_receiver', 'get_sender', 'get_receiver')
    peak = max(figure(results, 'memory array', name) for name in names)
    return f'{peak:.2f} times payload', peak <= 1.1


def beside_stream(results: Results) -> Judgement:
    quiet, busy = figure(results, 'beside stream', 'quiet'), figure(results, 'beside stream', 'busy')
    return f'{quiet / 1000:.2f} → {busy / 1000:.2f} ms: {busy / quiet:.1f} times', busy <= 5 * quiet


def idle_memory(results: Results) -> Judgement:
    ours, count = figure(results, 'idle', 'memory'), figure(results, 'idle', 'count')
    return f'{ours / 1000:.1f} kB, of {count:,.0f}', ours <= 8000


def behind(results: Results, row: Row, name: str) -> str:
    """Who is better than we by more than a hundredth; '' if nobody is."""
    ours = figure(results, row.key, name)
    who, best = best_peer(results, row, name)
    worse = ours < best / TIE if row.higher_is_better else ours > best * TIE
    return who if worse else ''


def ahead(results: Results) -> Judgement:
    """In every row that somebody else can do."""
    compared = 0
    worse = []
    for row in ROWS:
        for name in row.compared:
            try:
                who = behind(results, row, name)
            except MissingError:
                continue
            compared += 1
            if who:
                worse.append(f'{row.key}, {name} ({who})')
    if not compared:
        raise MissingError
    text = f'{compared - len(worse)} of {compared} figures'
    return text + ('; not in: ' + '; '.join(worse) if worse else ''), not worse


def list_goals() -> list[tuple[str, Callable[[Results], Judgement]]]:
    goals: list[tuple[str, Callable[[Results], Judgement]]] = []
    for transport in ('unix', 'tcp', 'stdio'):
        for cores in ('one', 'two', 'free'):
            where = {'one': 'one core', 'two': 'two cores', 'free': 'free'}[cores]
            key = f'null {transport} {cores}'
            goals.append((f'null call p50, {transport}, {where}: ≤ 1.25 times limit', times_limit(key, 1.25)))
            if transport == 'unix':
                goals.append((f'null call p50, {transport}, {where}: below managers', below_managers(key)))
    goals.append(('null call p50, unix, two cores: ≤ 0.4 times managers', share_of_managers('null unix two', 0.4)))
    goals.append(('null calls per second, 16 threads on one connection: ≥ 1.5 times managers', threads_gain))
    goals.append(('connect to first result, unix, shared: below the fastest peer', first_result))
    for cores in ('one', 'two'):
        where = f'{cores} core' + 's' * (cores == 'two')
        goals.append((f'call of a proxy method p50, {where}: ≤ 1.2 times null call', times_null('method', cores, 1.2)))
        goals.append(
            (f'callback inside a call p50, {where}: ≤ 2.2 times null call', times_null('callback', cores, 2.2))
        )
    for way, where in (('put', 'to the server'), ('get', 'from the server')):
        for transport in ('unix', 'tcp', 'stdio'):
            title = f'64 MiB bytes, {transport}, {where}: ≥ 0.8 times raw stream'
            goals.append((title, share_of_rate(f'bytes {transport}', way, 0.8)))
        goals.append((f'64 MiB numpy array, unix, {where}: ≥ 0.95 times raw stream', share_of_rate('array', way, 0.95)))
    goals.append(('peak memory growth for the array, either end: ≤ 1.1 times payload', peak_memory))
    goals.append(('p99 of small calls beside 64 MiB messages: ≤ 5 times quiet p99', beside_stream))
    goals.append(('memory per idle connection, shared: ≤ 8 kB', idle_memory))
    goals.append(('ahead of the best of the peers in every row', ahead))
    return goals


def judge(results: Results) -> list[dict[str, Any]]:
    """Those goals whose figures have been taken."""
    judged = []
    for title, check in list_goals():
        try:
            measured, met = check(results)
        except MissingError:
            continue
        judged.append({'goal': title, 'measured': measured, 'met': met})
    return judged
