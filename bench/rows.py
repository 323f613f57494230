# SPDX-License-Identifier: MIT
"""What is measured: one entry for each row of the tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

NULL, TRANSFER = 'null', 'transfer'
"""Kinds of limits, see limits.py."""


@dataclass(frozen=True)
class Row:
    key: str
    title: str
    measure: str
    """A function of measures.py."""
    shown: tuple[str, ...]
    """Its figures that the table has."""
    show: Callable[[float], str]
    transport: str = ''
    """'' is unix, or what a contestant without unix sockets has instead."""
    cores: str = 'free'
    mode: str = 'usual'
    limit: str = ''
    higher_is_better: bool = False
    counts: tuple[str, ...] = ()
    """The figures that are compared between contestants, if not the first one alone."""

    @property
    def compared(self) -> tuple[str, ...]:
        return self.counts or self.shown[:1]


def micros(value: float) -> str:
    return f'{value:.1f}' if value < 1000 else f'{value:.0f}'


def millis(value: float) -> str:
    return f'{value / 1000:.2f}' if value < 1e5 else f'{value / 1000:.0f}'


def gigabytes(value: float) -> str:
    return f'{value / 1e9:.2f}'


def thousands(value: float) -> str:
    return f'{value / 1000:.1f}'


def kilobytes(value: float) -> str:
    return f'{value / 1000:.1f}'


def ratio(value: float) -> str:
    return f'{value:.2f}'


CORES = {'one': 'one core', 'two': 'two cores', 'free': 'wherever the kernel puts them'}


def null_rows() -> list[Row]:
    rows = []
    for cores, where in CORES.items():
        for transport in ('unix', 'tcp', 'stdio'):
            title = f'null call, {transport}, {where}: p50 / p99, µs'
            rows.append(
                Row(f'null {transport} {cores}', title, 'null', ('p50', 'p99'), micros, transport, cores, limit=NULL)
            )
    return rows


def call_rows() -> list[Row]:
    rows = []
    for cores in ('one', 'two'):
        for measure, title in (('method', 'method of a proxy'), ('callback', 'call that calls back')):
            title = f'{title}, {CORES[cores]}: p50 / p99, µs'
            rows.append(Row(f'{measure} {cores}', title, measure, ('p50', 'p99'), micros, cores=cores))
    title = 'null calls of 1 thread / of 16, one connection: 1,000 per second'
    rows.append(
        Row(
            'threads', title, 'threads', ('one', 'sixteen'), thousands, higher_is_better=True, counts=('one', 'sixteen')
        )
    )
    title = 'null call while 64 MiB messages are sent: p99 quiet / busy, ms'
    rows.append(Row('beside stream', title, 'beside_stream', ('quiet', 'busy'), millis, counts=('busy',)))
    return rows


def connection_rows() -> list[Row]:
    shown = ('p50', 'p99')
    return [
        Row(
            'first shared',
            'connect to first result, one interpreter: p50 / p99, ms',
            'first',
            shown,
            millis,
            mode='shared',
        ),
        Row('first own', 'the same, an interpreter for each connection, ms', 'first', shown, millis, mode='own'),
        Row('first stdio', 'start to first result, stdio: p50 / p99, ms', 'first', shown, millis, 'stdio'),
        Row('idle', 'memory of an idle connection at the server, kB', 'idle', ('memory',), kilobytes, mode='idle'),
    ]


def transfer_rows() -> list[Row]:
    rates = ('put', 'get')
    peaks = ('put_sender', 'put_receiver', 'get_sender', 'get_receiver')
    compared = {'limit': TRANSFER, 'higher_is_better': True, 'counts': rates}
    rows = []
    for transport in ('unix', 'tcp', 'stdio'):
        title = f'64 MiB bytes, {transport}: to / from the server, GB/s'
        asked = '' if transport == 'unix' else transport
        rows.append(Row(f'bytes {transport}', title, 'transfer_bytes', rates, gigabytes, asked, **compared))
    title = '64 MiB numpy array: to / from the server, GB/s'
    rows.append(Row('array', title, 'transfer_array', rates, gigabytes, **compared))
    title = 'peak memory growth, 64 MiB {}: sender / receiver, to the server; sender / receiver, from it; payloads'
    rows.append(Row('memory bytes', title.format('bytes'), 'memory_bytes', peaks, ratio, counts=peaks))
    rows.append(Row('memory array', title.format('numpy array'), 'memory_array', peaks, ratio, counts=peaks))
    return rows


TABLES = {
    'Small calls': null_rows() + call_rows(),
    'Connections': connection_rows(),
    'Large values': transfer_rows(),
}
ROWS = [row for rows in TABLES.values() for row in rows]
