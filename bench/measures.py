# SPDX-License-Identifier: MIT
"""How each figure is taken, whoever it is of. Times are in microseconds, rates in bytes per second, memory in bytes."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from contestants.base import BENCH, Contestant, Peer

SIZE = 64 << 20
PACE = 0.002  # seconds
HELD = 2500  # connections of one process: some need four descriptors for each
Figures = dict[str, float]


class Setting:
    """Where and how long a figure is taken."""

    def __init__(self, contestant: Contestant, transport: str, mode: str, cores: str, quick: bool, folder: str) -> None:
        self.contestant = contestant
        self.transport = transport or contestant.usual
        self.mode = mode
        self.cores = cores
        self.quick = quick
        self.folder = folder

    @contextlib.contextmanager
    def connected(self) -> Iterator[Peer]:
        """A connection that has carried calls, between processes that are on the cores where they are to be."""
        if self.cores == 'one':
            os.sched_setaffinity(0, {0})
        with self.contestant.serving(self.transport, self.mode, self.folder) as address:
            peer = self.contestant.connect(address)
            pid = peer.hold('bytes', 1)
            if self.cores == 'two':
                place(os.getpid(), 0)
                place(pid, 1)
            for _ in range(200):
                peer.null()
            yield peer
            peer.close()

    def count(self, usual: int, quick: int) -> int:
        return quick if self.quick else usual


def place(pid: int, core: int) -> None:
    """Binds all threads of a process, and those that they will start, to one core."""
    for task in os.listdir(f'/proc/{pid}/task'):
        os.sched_setaffinity(int(task), {core})


def times_of(call: Callable[[], object], count: int) -> list[float]:
    clock = time.perf_counter
    times = []
    for _ in range(count):
        begin = clock()
        call()
        times.append((clock() - begin) * 1e6)
    return times


def times_within(call: Callable[[], object], count: int, seconds: float, batch: int = 100) -> list[float]:
    """The same, but no more batches when the time is over."""
    end = time.perf_counter() + seconds
    times = times_of(call, batch)
    while len(times) < count and time.perf_counter() < end:
        times += times_of(call, batch)
    return times


def percentile(times: list[float], share: float) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def distribution(times: list[float]) -> Figures:
    return {'p50': percentile(times, 0.50), 'p99': percentile(times, 0.99)}


def null(setting: Setting) -> Figures:
    with setting.connected() as peer:
        return distribution(times_within(peer.null, setting.count(5000, 200), 0.7))


def method(setting: Setting) -> Figures:
    with setting.connected() as peer:
        call = peer.method()
        times_of(call, 200)
        return distribution(times_within(call, setting.count(3000, 200), 0.7))


def callback(setting: Setting) -> Figures:
    with setting.connected() as peer:
        call = peer.callback()
        times_of(call, 200)
        return distribution(times_within(call, setting.count(2000, 200), 0.7))


def calls_in_a_second(peer: Peer, threads: int, seconds: float) -> float:
    """Null calls of so many threads."""
    counts = [0] * threads
    stop = threading.Event()
    start = threading.Barrier(threads + 1, timeout=20)

    def work(number: int) -> None:
        call = peer.for_thread().null
        call()
        start.wait()
        while not stop.is_set():
            call()
            counts[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    start.wait()
    begin = time.perf_counter()
    time.sleep(seconds)
    total = sum(counts)
    taken = time.perf_counter() - begin
    stop.set()
    for worker in workers:
        worker.join()
    return total / taken


def threads(setting: Setting) -> Figures:
    with setting.connected() as peer:
        seconds = setting.count(15, 2) / 10
        one = calls_in_a_second(peer, 1, seconds)
        sixteen = calls_in_a_second(peer, 16, seconds)
        return {'one': one, 'sixteen': sixteen, 'ratio': sixteen / one}


def first(setting: Setting) -> Figures:
    times = []
    with setting.contestant.serving(setting.transport, setting.mode, setting.folder) as address:
        for number in range(setting.count(30, 5)):
            setting.contestant.pause_before_connect()
            begin = time.perf_counter()
            peer = setting.contestant.connect(address)
            peer.null()
            if number > 0:  # the first one imports
                times.append((time.perf_counter() - begin) * 1e6)
            peer.close()
    return distribution(times)


def make(kind: str, size: int) -> Any:
    """Bytes of no pattern, which nothing compresses, or an array of them."""
    data = random.Random(1).randbytes(size)
    if kind == 'bytes':
        return data
    import numpy

    return numpy.frombuffer(data, dtype=numpy.uint8).copy()


def transfer(setting: Setting, kind: str) -> Figures:
    """Rates of 64 MiB, to the server and from it."""
    with setting.connected() as peer:
        value = make(kind, SIZE)
        peer.hold(kind, SIZE)
        put, get = (peer.put, peer.get) if kind == 'bytes' else (peer.put_array, peer.get_array)
        figures = {}
        for name, call, give_length in (('put', lambda: put(value), None), ('get', get, len)):
            check_length(call(), give_length)
            times = times_within(call, setting.count(7, 1), 1.5, batch=1)
            figures[name] = SIZE / (statistics.median(times) / 1e6)
        return figures


def check_length(result: Any, give_length: Callable[[Any], int] | None) -> None:
    if (give_length(result) if give_length else result) != SIZE:
        raise RuntimeError('what arrived is not what was sent')


def transfer_bytes(setting: Setting) -> Figures:
    return transfer(setting, 'bytes')


def transfer_array(setting: Setting) -> Figures:
    return transfer(setting, 'array')


def status_of(pid: int, name: str) -> int:
    for line in Path(f'/proc/{pid}/status').read_text().splitlines():
        if line.startswith(name + ':'):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f'no {name} of process {pid}')


def peak_growth(call: Callable[[], object], pids: list[int]) -> list[float]:
    """By how much each process's memory grows at its peak while this is called."""
    before = []
    for pid in pids:
        Path(f'/proc/{pid}/clear_refs').write_text('5')  # the peak begins anew
        before.append(status_of(pid, 'VmRSS'))
    result = call()
    growth = [float(status_of(pid, 'VmHWM') - old) for pid, old in zip(pids, before)]
    del result
    return growth


def memory(setting: Setting, kind: str) -> Figures:
    """Peak growth in payloads, at either end, of the first large value that goes each way."""
    with setting.connected() as peer:
        put, get = (peer.put, peer.get) if kind == 'bytes' else (peer.put_array, peer.get_array)
        value = make(kind, SIZE)
        put(make(kind, 100))
        pids = [os.getpid(), peer.hold(kind, 100)]
        get()
        sender, receiver = peak_growth(functools.partial(put, value), pids)
        figures = {'put_sender': sender / SIZE, 'put_receiver': receiver / SIZE}
        del value
        peer.hold(kind, SIZE)
        receiver, sender = peak_growth(get, pids)
        return {**figures, 'get_sender': sender / SIZE, 'get_receiver': receiver / SIZE}


def memory_bytes(setting: Setting) -> Figures:
    return memory(setting, 'bytes')


def memory_array(setting: Setting) -> Figures:
    return memory(setting, 'array')


def paced(call: Callable[[], object], seconds: float) -> list[float]:
    """
    Times of calls that are due every two milliseconds, from when they are due.

    So calls that are late because an earlier one took long count as long, too: whoever calls at any time would have
    waited. Those that have not been made when twice the time is over count with what they have waited until then.
    """
    times = []
    begin = time.perf_counter()
    for number in range(int(seconds / PACE)):
        due = begin + number * PACE
        time.sleep(max(0.0, due - time.perf_counter()))
        if time.perf_counter() < begin + 2 * seconds:
            call()
        times.append((time.perf_counter() - due) * 1e6)
    return times


def beside_stream(setting: Setting) -> Figures:
    """Small calls on a connection that is quiet, and on one where another thread sends 64 MiB again and again."""
    with setting.connected() as peer:
        value = make('bytes', SIZE)
        seconds = setting.count(20, 5) / 10
        quiet = paced(peer.null, seconds)
        stop = threading.Event()
        sent = threading.Semaphore(0)

        def stream() -> None:
            other = peer.for_thread()
            while not stop.is_set():
                other.put(value)
                sent.release()

        streaming = threading.Thread(target=stream)
        streaming.start()
        sent.acquire()
        begin = time.perf_counter()
        busy = paced(peer.null, seconds)
        taken = time.perf_counter() - begin
        stop.set()
        messages = 0
        while sent.acquire(blocking=False):
            messages += 1
        streaming.join()
        return {
            'quiet': percentile(quiet, 0.99),
            'busy': percentile(busy, 0.99),
            'busy_p50': percentile(busy, 0.5),
            'ratio': percentile(busy, 0.99) / percentile(quiet, 0.99),
            'streamed': messages * SIZE / taken,
        }


def pids_below(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        for task in os.listdir(f'/proc/{each}/task'):
            found += map(int, Path(f'/proc/{each}/task/{task}/children').read_text().split())
    return found


def shares(pids: list[int]) -> int:
    """Bytes: the proportional share of these processes."""
    total = 0
    for pid in pids:
        for line in Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines():
            if line.startswith('Pss:'):
                total += int(line.split()[1]) * 1024
    return total


@contextlib.contextmanager
def held(contestant: Contestant, address: str, count: int) -> Iterator[None]:
    """So many connections that have made one call, in processes of their own, none of which runs out of descriptors."""
    name = type(contestant).__module__.rpartition('.')[2]
    holders = []
    try:
        while count > 0:
            command = [sys.executable, str(BENCH / 'hold.py'), name, address, str(min(count, HELD))]
            holders.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            count -= HELD
        for holder in holders:
            assert holder.stdout
            if holder.stdout.readline() != b'ready\n':
                raise RuntimeError('connections could not be made')
        yield
    finally:
        for holder in holders:
            holder.communicate()


def idle(setting: Setting) -> Figures:
    """Memory that the server needs for each connection that has made one call and says nothing."""
    contestant = setting.contestant
    count = int(os.environ.get('BENCH_IDLE', '1000')) if not setting.quick else 50
    with contestant.serving(setting.transport, setting.mode, setting.folder) as address:
        with held(contestant, address, 1):
            before = shares(pids_below(contestant.pid))
            with held(contestant, address, count):
                after = shares(pids_below(contestant.pid))
    return {'memory': (after - before) / count, 'count': count}
