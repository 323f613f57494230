# SPDX-License-Identifier: MIT
"""Measures what a worker for each connection costs, beside a shared one; see docs/performance.md."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from measures import shares

import across

TICKS = os.sysconf('SC_CLK_TCK')
SUPERBLOCK = bytes.fromhex('e35b9e78000200000000000000000000')  # of across 0.2


class Server:
    """A running acrossd on a unix socket."""

    def __init__(self, acrossd: Path, folder: str, *options: str) -> None:
        self.acrossd = acrossd
        self.path = os.path.join(folder, 'bench.sock')
        command = [str(acrossd), '--listen', 'unix:' + self.path, *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr
        line = self.process.stderr.readline()
        if not line.startswith('listening on'):
            raise RuntimeError(f'{command} said {line}')

    def connect(self) -> across.Connection:
        return across.Connection.from_unix(self.path)

    def status(self) -> dict[str, object]:
        """How it is now: an answer is good for a second, so the first one may be older."""
        command = [str(self.acrossd), 'status', 'unix:' + self.path, '--json']
        begin = time.time()
        while True:
            status = dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
            if status['as_of_ms'] >= int(begin * 1000):
                return status
            time.sleep(0.05)

    def pids(self) -> list[int]:
        """All processes of the server."""
        found = [self.process.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                for task in os.listdir(f'/proc/{pid}/task'):
                    found += map(int, Path(f'/proc/{pid}/task/{task}/children').read_text().split())
        return found

    def wait_for_rest(self) -> None:
        """Wait until connections that have ended have left one worker, spare or shared."""
        while True:
            workers = self.status()['workers']
            if len(workers) == 1 and workers[0]['state'] in ('spare', 'serving'):  # type: ignore[arg-type, index]
                return
            time.sleep(0.005)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


@contextlib.contextmanager
def serving(acrossd: Path, *options: str) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(acrossd, folder, *options)
        try:
            yield server
        finally:
            server.stop()


def cpu_seconds(pids: list[int]) -> dict[int, float]:
    """What each of these processes has taken; without those that have ended, as spare workers do."""
    seconds = {}
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
            seconds[pid] = (int(fields[11]) + int(fields[12])) / TICKS
    return seconds


def first_results(acrossd: Path, count: int, *options: str) -> list[float]:
    """Milliseconds from connect to the first result; with spare workers, once one is ready."""
    times = []
    with serving(acrossd, *options) as server:
        for _ in range(count):
            time.sleep(0.02)  # a spare worker is ready by then
            begin = time.perf_counter()
            with server.connect() as conn:
                conn.call(os.getpid)
                times.append((time.perf_counter() - begin) * 1e3)
    return times


def one_after_the_other(acrossd: Path, count: int) -> float:
    """Milliseconds for each of so many connections with one call, from connect to close, at once after a pause."""
    with serving(acrossd) as server:
        time.sleep(1)
        begin = time.perf_counter()
        for _ in range(count):
            with server.connect() as conn:
                conn.call(os.getpid)
        return (time.perf_counter() - begin) / count * 1e3


def burst(acrossd: Path, count: int) -> float:
    """Seconds until so many clients that connect at once are all served."""
    with serving(acrossd) as server, contextlib.ExitStack() as stack:
        time.sleep(1)
        socks = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(count)]
        begin = time.perf_counter()
        for sock in socks:
            sock.connect(server.path)
            sock.sendall(SUPERBLOCK)
        for sock in socks:
            if len(sock.recv(len(SUPERBLOCK), socket.MSG_WAITALL)) < len(SUPERBLOCK):
                raise RuntimeError('a client of the burst was not served')
        return time.perf_counter() - begin


def idle_memory(acrossd: Path, count: int, *options: str) -> float:
    """Bytes for each of so many idle connections that have made one call."""
    with serving(acrossd, *options) as server, contextlib.ExitStack() as stack:
        with server.connect() as conn:
            conn.call(os.getpid)
        server.wait_for_rest()
        before = shares(server.pids())
        for _ in range(count):
            stack.enter_context(server.connect()).call(os.getpid)
        return (shares(server.pids()) - before) / count


def idle_cpu(acrossd: Path, count: int, seconds: float, *options: str) -> float:
    """Share of one processor that so many idle connections take at the server, in percent."""
    with serving(acrossd, *options) as server, contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(server.connect()).call(os.getpid)
        pids = server.pids()
        before = cpu_seconds(pids)
        time.sleep(seconds)
        after = cpu_seconds(pids)
        return sum(after[pid] - before[pid] for pid in after) / seconds * 100


def throughput(acrossd: Path, clients: int, calls: int, *options: str) -> float:
    """Calls that burn a processor, in a second."""
    with serving(acrossd, *options) as server, contextlib.ExitStack() as stack:
        conns = [stack.enter_context(server.connect()) for _ in range(clients)]

        def work(conn: across.Connection) -> None:
            for _ in range(calls):
                conn.execute('sum(number * number for number in range(200000))')

        for conn in conns:
            work(conn)
        threads = [threading.Thread(target=work, args=(conn,)) for conn in conns]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return clients * calls / (time.perf_counter() - begin)


def measure(args: argparse.Namespace) -> dict[str, dict[str, object]]:
    rows: dict[str, list[float]] = {}

    def add(name: str, value: float) -> None:
        rows.setdefault(name, []).append(value)
        print(f'{name}: {value:.3g}', file=sys.stderr)

    preload = ['--preload', 'numpy'] if importlib.util.find_spec('numpy') else None
    for _ in range(args.rounds):
        for name, options in {
            'first result, shared (ms)': ['--isolation', 'shared'],
            'first result, spare worker (ms)': ['--spare-workers', '1'],
            'first result, no spare worker (ms)': ['--spare-workers', '0'],
        }.items():
            add(name, statistics.median(first_results(args.acrossd, args.connects, *options)))
            if preload:
                name = name.replace('(ms)', 'numpy preloaded (ms)')
                add(name, statistics.median(first_results(args.acrossd, args.connects, *options, *preload)))
        add('40 connections one after the other (ms each)', one_after_the_other(args.acrossd, 40))
        add('200 connections at once (s)', burst(args.acrossd, 200))
        add('memory of an idle worker with its keeper (kB)', idle_memory(args.acrossd, 50) / 1000)
        shared = ['--isolation', 'shared']
        add('memory of an idle connection, shared (kB)', idle_memory(args.acrossd, args.idle, *shared) / 1000)
        add(
            f'{args.idle} idle connections, shared (% of a core)',
            idle_cpu(args.acrossd, args.idle, args.seconds, *shared),
        )
        add(f'{args.idle} idle connections, processes (% of a core)', idle_cpu(args.acrossd, args.idle, args.seconds))
        one = throughput(args.acrossd, 1, args.calls)
        add(
            'throughput of two busy clients, processes (times that of one)',
            throughput(args.acrossd, 2, args.calls) / one,
        )
        one = throughput(args.acrossd, 1, args.calls, *shared)
        add(
            'throughput of two busy clients, shared (times that of one)',
            throughput(args.acrossd, 2, args.calls, *shared) / one,
        )
    return {
        name: {'median': statistics.median(values), 'min': min(values), 'max': max(values)}
        for name, values in rows.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--acrossd', type=Path, required=True)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--quick', action='store_true', help='few repetitions: to see that it works')
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    args.connects, args.idle, args.seconds, args.calls = 100, 1000, 60.0, 50
    if args.quick:
        args.rounds, args.connects, args.idle, args.seconds, args.calls = 1, 10, 50, 1.0, 5
    figures = measure(args)
    print('| | median | min | max |\n|---|---|---|---|')
    for name, row in figures.items():
        print('| {} | {:.3g} | {:.3g} | {:.3g} |'.format(name, row['median'], row['min'], row['max']))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + '\n')


if __name__ == '__main__':
    main()
