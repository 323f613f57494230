# SPDX-License-Identifier: MIT
"""Waiting for what happens in other threads and processes, and looking at them in /proc."""

import contextlib
import os
import random
import signal
import socket
import time

from sanitizers import HAS_ASAN

LIMIT = 60  # seconds; only a test that fails waits that long, however busy the machine is
SLACK = 16 if HAS_ASAN else 1  # factor for limits of memory
GONE = (FileNotFoundError, ProcessLookupError)  # what reading about a process raises when it has ended


def wait_until(condition, what):
    """Poll until condition() is true, and return what it returned."""
    deadline = time.monotonic() + LIMIT
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError('{} did not happen in {} seconds'.format(what() if callable(what) else what, LIMIT))
        time.sleep(0.002)


def join(threads):
    """Join threads; fail when one of them hangs."""
    deadline = time.monotonic() + LIMIT
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
        assert not thread.is_alive(), 'a thread hangs'


def list_fds(pid='self'):
    """What the descriptors of a process are, for people to read."""
    found = []
    for fd in os.listdir('/proc/{}/fd'.format(pid)):
        try:
            found.append('{} {}'.format(fd, os.readlink('/proc/{}/fd/{}'.format(pid, fd))))
        except FileNotFoundError:
            pass
    return sorted(found)


def count_fds(pid='self'):
    """How many descriptors a process has, but for shared libraries: newer ones of libffi keep their own file open."""
    return sum('.so.' not in fd for fd in list_fds(pid))


def count_sockets(pid='self'):
    return sum('socket:' in line for line in list_fds(pid))


def count_threads(pid='self'):
    return len(os.listdir('/proc/{}/task'.format(pid)))


def children(pid='self'):
    """The child processes of a process, zombies included."""
    found = []
    with contextlib.suppress(*GONE):
        for task in os.listdir('/proc/{}/task'.format(pid)):
            with contextlib.suppress(*GONE), open('/proc/{}/task/{}/children'.format(pid, task)) as file:
                found += map(int, file.read().split())
    return found


def descendants(pid):
    """The processes below a process, zombies included."""
    found = children(pid)
    for child in found:
        found += children(child)
    return found


def name_of(pid):
    """What a process calls itself; nothing when it is gone."""
    with contextlib.suppress(*GONE), open('/proc/{}/comm'.format(pid)) as file:
        return file.read().rstrip('\n')
    return ''


def parent_of(pid):
    """The parent of a process."""
    with open('/proc/{}/stat'.format(pid)) as file:
        return int(file.read().rpartition(')')[2].split()[1])


def start_of(pid):
    """When a process was started, which tells it from others with its id. None when it does not run any more."""
    with contextlib.suppress(*GONE), open('/proc/{}/stat'.format(pid)) as file:
        state, *fields = file.read().rpartition(')')[2].split()
        if state not in ('Z', 'X'):
            return int(fields[18])
    return None


def is_stopped(pid):
    """Whether all threads of a process are stopped: a signal takes a moment to reach those that run."""
    states = set()
    for task in os.listdir('/proc/{}/task'.format(pid)):
        with contextlib.suppress(*GONE), open('/proc/{}/task/{}/stat'.format(pid, task)) as file:
            states.add(file.read().rpartition(')')[2].split()[0])
    return states == {'T'}


def freeze(pid):
    """Stop a process with SIGSTOP, and wait until each of its threads has stopped."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(pid), lambda: 'the stop of process {}'.format(pid))


def is_alive(pid):
    """Whether a process runs: a zombie does not."""
    return start_of(pid) is not None


class Family:
    """A process and all below it, as found by each look()."""

    def __init__(self, pid):
        self._pid = pid
        self._members = {}

    def look(self):
        """Record the processes that run now."""
        for pid in [self._pid, *descendants(self._pid)]:
            self._members[pid, start_of(pid)] = name_of(pid)

    def alive(self):
        """Those that still run: names by process id."""
        return {
            pid: name for (pid, start), name in self._members.items() if start is not None and start_of(pid) == start
        }


def unused_port():
    """A port of 127.0.0.1 for programs that take no port 0. The kernel gives it to nobody who asks for any port."""
    with open('/proc/sys/net/ipv4/ip_local_port_range') as file:
        first, last = map(int, file.read().split())
    ports = [*range(1024, first), *range(last + 1, 65536)] or range(1024, 65536)
    while True:
        port = random.choice(ports)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(('127.0.0.1', port))
            return port


def memory(pid):
    """Resident memory of a process in bytes."""
    with open('/proc/{}/statm'.format(pid)) as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def ask_until_new(ask):
    """Ask for a status until there is one that was made afterwards, and return it."""
    asked_at = int(time.time() * 1000)
    found = []

    def look():
        found[:] = [ask()]
        return found[0]['as_of_ms'] > asked_at or time.sleep(0.1)

    wait_until(look, 'a new status')
    return found[0]
