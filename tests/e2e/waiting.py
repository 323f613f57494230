# SPDX-License-Identifier: MIT
"""Waiting for what happens in other threads and processes, and looking at them in /proc."""

import os
import time

LIMIT = 8  # seconds; only a test that fails waits that long


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


def count_fds(pid='self'):
    return len(os.listdir('/proc/{}/fd'.format(pid)))


def list_fds(pid='self'):
    """What the descriptors of a process are, for people to read."""
    found = []
    for fd in os.listdir('/proc/{}/fd'.format(pid)):
        try:
            found.append('{} {}'.format(fd, os.readlink('/proc/{}/fd/{}'.format(pid, fd))))
        except FileNotFoundError:
            pass
    return sorted(found)


def count_sockets(pid='self'):
    return sum('socket:' in line for line in list_fds(pid))


def count_threads(pid='self'):
    return len(os.listdir('/proc/{}/task'.format(pid)))


def children(pid='self'):
    """The child processes of a process, zombies included."""
    found = []
    for task in os.listdir('/proc/{}/task'.format(pid)):
        try:
            with open('/proc/{}/task/{}/children'.format(pid, task)) as file:
                found += map(int, file.read().split())
        except FileNotFoundError:
            pass
    return found


def is_alive(pid):
    """Whether a process runs: a zombie does not."""
    try:
        with open('/proc/{}/stat'.format(pid)) as file:
            return file.read().rpartition(')')[2].split()[0] not in ('Z', 'X')
    except (FileNotFoundError, ProcessLookupError):
        return False


def in_session(session):
    """The processes that run in a session."""
    found = []
    for name in os.listdir('/proc'):
        if name.isdigit():
            try:
                with open('/proc/{}/stat'.format(name)) as file:
                    fields = file.read().rpartition(')')[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == session and fields[0] not in ('Z', 'X'):
                found.append(int(name))
    return found


def memory(pid):
    """Resident memory of a process in bytes."""
    with open('/proc/{}/statm'.format(pid)) as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
