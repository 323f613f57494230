# SPDX-License-Identifier: MIT
"""The limits that contestants are held against, taken in the same rounds; see limits.c."""

from __future__ import annotations

import os
import pickle
import statistics
import subprocess
from pathlib import Path

from measures import SIZE, Figures, distribution, percentile, times_of
from rows import NULL, Row


def run(program: Path, transport: str, what: str, cores: str, count: int) -> list[float]:
    command = [str(program), transport, what, cores, str(count)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=120).stdout
    return [float(line) for line in output.split()]


def pickled_call() -> None:
    """What pickle does for a null call: the call and its result, there and back."""
    func, args, kwargs = pickle.loads(pickle.dumps((len, ('',), {}), protocol=4))
    pickle.loads(pickle.dumps(func(*args, **kwargs), protocol=4))


def pickle_time(count: int) -> float:
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})
    times = times_of(pickled_call, count)
    os.sched_setaffinity(0, everywhere)
    return percentile(times, 0.5)


def limit(program: Path, row: Row, quick: bool) -> Figures:
    """For null calls: the kernel's ping-pong and pickle. For transfers: the stream's rate, also into fresh memory."""
    transport = row.transport or 'unix'
    if row.limit == NULL:
        kernel = distribution(run(program, transport, 'pingpong', row.cores, 200 if quick else 5000))
        pickling = pickle_time(200 if quick else 5000)
        return {
            'p50': kernel['p50'] + pickling,
            'p99': kernel['p99'] + pickling,
            'kernel': kernel['p50'],
            'pickle': pickling,
        }
    count = 2 if quick else 8
    rate = SIZE / (statistics.median(run(program, transport, 'stream', 'free', count)) / 1e6)
    fresh = SIZE / (statistics.median(run(program, transport, 'fresh', 'free', count)) / 1e6)
    return {'put': rate, 'get': rate, 'fresh': fresh}
