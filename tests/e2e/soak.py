# SPDX-License-Identifier: MIT
"""Many connections, calls and proxies: memory, descriptors and processes return to where they were before.

`python -m e2e.soak [SCALE]` is what `dev/soak` runs; test_soak.py has a small scale. Scale 1 is 100,000 connections,
10 million calls and a million proxies, half of them with each kind of isolation. First a little of everything warms up
what is there once, whatever comes: caches, threads, the allocator's arenas.
"""

import collections
import concurrent.futures
import gc
import os
import sys
import tempfile
import time

from . import remote_tasks as tasks
from .daemon import Daemon
from .memory_tasks import count_allocated
from .test_status import ask_json
from .waiting import count_fds, count_threads, wait_until

CONNECTIONS, CALLS, PROXIES = 100_000, 10_000_000, 1_000_000
THREADS = 4
ALIVE = 1000  # proxies that a thread has at a time
WARM_UP = {'connections': 200, 'calls': 4_000, 'proxies': 4 * ALIVE}
# What may be more in the end: bytes and blocks that are in use. Caches fill by chance; a leak of one byte in each call
# would be five times as much.
MORE_BYTES = 1 << 20
MORE_BLOCKS = 4000
# And resident memory, in bytes. Supervisor and zygote have one thread. Where there are many, the allocator keeps
# for each of its arenas what threads have used at the same time, at the most; how many those were is chance.
MORE_RESIDENT = {'supervisor': 1 << 20, 'zygote': 1 << 20, 'client': 16 << 20, 'shared worker': 16 << 20}
ISOLATIONS = ('process', 'shared')

Work = collections.namedtuple('Work', 'connections calls proxies')
State = collections.namedtuple('State', 'memory allocated descriptors threads processes open running')
Result = collections.namedtuple('Result', 'before after seconds done')


def work_of(scale):
    """What is to be done with one kind of isolation."""
    return Work(*(round(count * scale / len(ISOLATIONS)) for count in (CONNECTIONS, CALLS, PROXIES)))


# ---- the work ----


def connect(daemon, count):
    for _ in range(count):
        with daemon.connect() as conn:
            assert conn.call(len, 'abc') == 3


def call(conn, count):
    for _ in range(count):
        conn.call(len, '')


def refer(conn, count):
    """Objects that are made at the other end, and dropped when there are some of them."""
    for begin in range(0, count, ALIVE):
        proxies = [conn.create(tasks.Counted, number) for number in range(begin, min(begin + ALIVE, count))]
        assert proxies[-1].get() == min(begin + ALIVE, count) - 1


def share_out(work, count, *args):
    """In several threads at once."""
    with concurrent.futures.ThreadPoolExecutor(THREADS) as executor:
        parts = [count // THREADS + (index < count % THREADS) for index in range(THREADS)]
        for future in [executor.submit(work, *args, part) for part in parts]:
            future.result()


def do(daemon, work):
    """Returns the seconds that each kind of work took."""
    seconds = {}
    begin = time.monotonic()

    def note(name):
        nonlocal begin
        seconds[name] = time.monotonic() - begin
        begin = time.monotonic()

    share_out(connect, work.connections, daemon)
    note('connections')
    with daemon.connect() as conn:
        share_out(call, work.calls, conn)
        note('calls')
        share_out(refer, work.proxies, conn)
        gc.collect()
        wait_until(lambda: conn.call(tasks.count_live) == 0, 'the release of all objects')
        note('proxies')
    return seconds


# ---- what is there ----


def read_memory(pid):
    """Bytes: all that is resident, and the share of it that is this process's own."""
    with open('/proc/{}/smaps_rollup'.format(pid)) as file:
        fields = dict(line.split(':', 1) for line in file.read().splitlines()[1:])
    return tuple(int(fields[name].split()[0]) << 10 for name in ('Rss', 'Pss'))


def look(daemon):
    """Measured when nothing runs."""
    daemon.check_quiet()
    gc.collect()
    answer = wait_for_rest(daemon)
    members = {'supervisor': daemon.process.pid, 'zygote': daemon.find_zygote(), 'client': os.getpid()}
    if daemon.worker:
        members['shared worker'] = daemon.worker
    allocated = {'client': count_allocated()}
    if daemon.worker:
        with daemon.connect() as conn:
            allocated['shared worker'] = conn.call(count_allocated)
        wait_for_rest(daemon)
    return State(
        allocated=allocated,
        memory={name: read_memory(pid) for name, pid in members.items()},
        descriptors={name: count_fds(pid) for name, pid in members.items()},
        threads={'supervisor': count_threads(daemon.process.pid)},
        processes=dict(daemon.count_children()),
        open=answer['connection_counts']['open'],
        running=answer['call_counts']['running'],
    )


def wait_for_rest(daemon):
    def ask():
        answer = ask_json(daemon.addresses[0])
        return answer if answer['connection_counts']['open'] == 0 and answer['call_counts']['running'] == 0 else None

    return wait_until(ask, 'the end of all connections')


def check(result):
    """What is left of it all."""
    before, after = result.before, result.after
    assert after.processes == before.processes
    assert after.threads == before.threads
    assert (after.open, after.running) == (0, 0)
    for name, descriptors in before.descriptors.items():
        assert after.descriptors[name] <= descriptors, '{}: {} descriptors'.format(name, after.descriptors[name])
    for name, sizes in before.memory.items():
        for size, now in zip(sizes, after.memory[name]):
            assert now - size < MORE_RESIDENT[name], '{} grew from {} to {} bytes'.format(name, size, now)
    for name, (blocks, size) in before.allocated.items():
        now_blocks, now = after.allocated[name]
        assert now - size < MORE_BYTES, '{} uses {} bytes, and used {}'.format(name, now, size)
        assert now_blocks - blocks < MORE_BLOCKS, '{} uses {} blocks, and used {}'.format(name, now_blocks, blocks)


def run(isolation, work, folder):
    """Do the work on a new daemon."""
    listen = 'unix:{}/soak-{}'.format(folder, isolation)
    with Daemon('--listen', listen, isolation=isolation) as daemon:
        do(daemon, Work(**WARM_UP))
        look(daemon)
        before = look(daemon)
        done = ask_json(daemon.addresses[0])['call_counts']['done']
        seconds = do(daemon, work)
        after = look(daemon)
        done = ask_json(daemon.addresses[0])['call_counts']['done'] - done
        assert done >= work.connections + work.calls + work.proxies
        return Result(before, after, seconds, done)


# ---- the report ----


def report(isolation, work, result):
    print('{}:'.format(isolation))
    for name, count in zip(work._fields, work):
        seconds = result.seconds[name]
        print('  {:,} {} in {:.0f} s, {:,.0f} a second'.format(count, name, seconds, count / seconds))
    print('  calls that were answered: {:,}'.format(result.done))
    for name, (rss, pss) in result.before.memory.items():
        now_rss, now_pss = result.after.memory[name]
        fds, now_fds = result.before.descriptors[name], result.after.descriptors[name]
        words = [name, *(size / 1e6 for size in (rss, now_rss, pss, now_pss)), fds, now_fds]
        print('  {:13}  resident {:.2f} -> {:.2f} MB, own {:.2f} -> {:.2f} MB, descriptors {} -> {}'.format(*words))
    for name, (blocks, size) in result.before.allocated.items():
        now_blocks, now = result.after.allocated[name]
        words = [name, size / 1e6, now / 1e6, blocks, now_blocks]
        print('  {:13}  in use {:.2f} -> {:.2f} MB of C, {:,} -> {:,} blocks of Python'.format(*words))
    print('  processes {} -> {}'.format(result.before.processes, result.after.processes), flush=True)


def main():
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    work = work_of(scale)
    for isolation in ISOLATIONS:
        with tempfile.TemporaryDirectory() as folder:
            result = run(isolation, work, folder)
            report(isolation, work, result)
            check(result)
    print('soak: everything is where it was')


if __name__ == '__main__':
    main()
