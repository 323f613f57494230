# SPDX-License-Identifier: MIT
"""Control groups: where one is delegated to acrossd, each worker has one of its own, which ends with it.

A thread makes and removes groups at its own pace, and some are kept ahead: so threads and descriptors are not
counted here.
"""

import contextlib
import os
import signal
import time

import pytest

from . import deadly_tasks as deadly
from .daemon import ACROSSD, LOG
from .test_status import ask_json
from .waiting import is_alive, wait_until

LEAF = 'acrossd.supervisor'


def used(group):
    """The line of the log that says so."""
    return LOG + 'each worker has a control group in ' + group + ', which can have .*'


def find_mount():
    """Where the hierarchy of cgroup v2 is."""
    with open('/proc/self/mountinfo') as file:
        for line in file:
            if ' - cgroup2 ' in line:
                return line.split()[4]
    return None


def remove(path):
    """A group with all below it, whose processes are killed."""
    for child in (entry.path for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)):
        remove(child)
    with contextlib.suppress(OSError), open(path + '/cgroup.kill', 'w') as file:
        file.write('1')

    def is_removed():
        with contextlib.suppress(OSError):
            os.rmdir(path)
        return not os.path.exists(path)

    wait_until(is_removed, 'the removal of {}'.format(path))


@pytest.fixture
def group():
    """A delegated group."""
    path = '{}/acrossd-test-{}-{}'.format(find_mount(), os.getpid(), time.monotonic_ns())
    try:
        os.mkdir(path)
        os.setxattr(path, 'trusted.delegate', b'1')
    except OSError as error:
        with contextlib.suppress(OSError):
            os.rmdir(path)
        pytest.skip('no control group can be made: {}'.format(error))
    yield path
    remove(path)


def start_in(group):
    """A command that starts acrossd in this group."""
    return ('sh', '-c', 'echo $$ >"$0"/cgroup.procs; exec "$@"', group, ACROSSD)


def members(path):
    with contextlib.suppress(OSError), open(path + '/cgroup.procs') as file:
        return set(map(int, file.read().split()))
    return set()


def workers_of(group):
    return [entry.path for entry in os.scandir(group) if entry.name.startswith('acrossd.worker-')]


def group_of(group, pid):
    """The group of the workers' that a process is in."""
    (found,) = [path for path in workers_of(group) if pid in members(path)]
    return found


def test_each_worker_has_a_group_with_all_that_it_starts(group, make_daemon, isolation):
    daemon = make_daemon(command=start_in(group), isolation=isolation)
    daemon.expect(used(group))
    assert ask_json(daemon.addresses[0])['worker_groups'] is True
    with daemon.connect() as conn, daemon.connect() as other:
        worker, started = conn.call(os.getpid), conn.call(deadly.start_daemon)
        own = group_of(group, worker)
        assert {worker, started} <= members(own)
        assert members(own) & (members(group_of(group, other.call(os.getpid)))) == (
            members(own) if isolation == 'shared' else set()
        )
        assert members(group) == set()
        supervisor = members('{}/{}'.format(group, LEAF))
        assert {daemon.process.pid, daemon.find_zygote(), daemon.keeper_of(worker)} <= supervisor
        assert not {worker, started} & supervisor
        os.kill(started, signal.SIGKILL)
    if isolation == 'process':
        wait_until(lambda: not os.path.exists(own), 'the end of the group')
    daemon.stop(check=False)
    wait_until(lambda: workers_of(group) == [], 'the end of all groups')


def test_a_group_ends_with_its_worker(group, make_daemon):
    daemon = make_daemon(command=start_in(group))
    daemon.expect(used(group))
    conn = daemon.connect()
    worker, started = conn.call(os.getpid), conn.call(deadly.start_daemon)
    own = group_of(group, worker)
    os.kill(daemon.keeper_of(worker), signal.SIGKILL)
    wait_until(lambda: not os.path.exists(own), 'the end of the group')
    assert not is_alive(worker) and not is_alive(started)
    conn.wait()
    with contextlib.suppress(EOFError, OSError):
        conn.close()
    daemon.expect_lost(worker, '(ended together with its keeper|was killed by signal 9 [(]Killed[)])')
    daemon.stop(check=False)


def test_what_a_killed_supervisor_has_left_is_removed(group, make_daemon):
    """By the next acrossd in the same group, unless the first one still runs."""
    first = make_daemon(command=start_in(group))
    first.expect(used(group))
    first.kill()
    wait_until(lambda: members('{}/{}'.format(group, LEAF)) == set(), 'the end of the first one')
    left = set(workers_of(group))
    assert left
    running = '{}/acrossd.worker-{}-1'.format(group, os.getpid())
    os.mkdir(running)
    second = make_daemon(command=start_in(group))
    second.expect(used(group))
    wait_until(lambda: not left & set(workers_of(group)), 'the removal of groups whose processes were killed')
    assert os.path.exists(running)
    second.stop(check=False)


def test_a_group_that_is_not_delegated_is_left_alone(group, make_daemon):
    os.setxattr(group, 'trusted.delegate', b'0')
    daemon = make_daemon('--worker-tasks', '100', command=start_in(group))
    daemon.expect(LOG + '--worker-tasks needs a control group .*')
    answer = ask_json(daemon.addresses[0])
    assert answer['worker_groups'] is False and answer['limits']['worker_tasks'] is None
    assert daemon.process.pid in members(group) and os.path.exists(group + '/' + LEAF) is False
