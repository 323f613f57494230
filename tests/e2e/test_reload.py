# SPDX-License-Identifier: MIT
"""SIGHUP: new connections get new code, old ones keep theirs. And the stop of a daemon with many workers."""

import contextlib
import os
import signal

import pytest

import across

from . import deadly_tasks as deadly
from . import remote_tasks as tasks
from .daemon import LOG, RunningCall, close_broken, environment
from .test_daemon import signal_and_wait
from .test_supervision import start_call, wait_for_end
from .waiting import join, wait_until

RELOADED = LOG + 'reloaded: new connections get new workers'
FAILED = LOG + 'the reload failed: new connections get workers as before'


class Code:
    """A preloaded module whose source changes."""

    def __init__(self, folder):
        self._path = folder / 'changing.py'
        self.options = ('--preload', 'changing')
        self.env = environment(str(folder))
        self.write(0)

    def write(self, value):
        self._path.write_text('value = {!r}\n'.format(value))

    def write_source(self, source):
        self._path.write_text(source)

    @staticmethod
    def read(conn):
        """What a connection's worker has loaded."""
        return conn.call(deadly.get_global, 'changing', 'value')

    def read_new(self, daemon):
        with daemon.connect() as conn:
            return self.read(conn)


@pytest.fixture
def code(tmp_path):
    return Code(tmp_path)


def reload(daemon):
    daemon.process.send_signal(signal.SIGHUP)
    daemon.expect(RELOADED)


# ---- reloading ----


def test_a_reload_is_for_new_connections(make_daemon, code):
    daemon = make_daemon(*code.options, env=code.env)
    with daemon.connect() as old:
        call = RunningCall(old)
        workers, zygote = daemon.find_workers(2), daemon.find_zygote()
        code.write(1)
        assert code.read_new(daemon) == 0
        reload(daemon)
        wait_for_end(zygote)
        assert code.read_new(daemon) == 1
        assert code.read(old) == 0 and old.call(os.getpid) in workers
        assert call.release() is True
    daemon.find_idle_workers()


def test_spare_workers_of_old_code_are_replaced(make_daemon, code):
    daemon = make_daemon(*code.options, env=code.env, spare=3)
    before = daemon.find_idle_workers()
    code.write(1)
    reload(daemon)
    wait_for_end(*before)
    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(daemon.connect()) for _ in range(4)]
        assert [code.read(conn) for conn in conns] == [1] * 4


def test_a_reload_of_the_shared_worker(make_daemon, code):
    """The old one serves those that it has, and ends with the last of them."""
    daemon = make_daemon(*code.options, env=code.env, isolation='shared')
    first, second = daemon.connect(), daemon.connect()
    old = first.call(os.getpid)
    code.write(1)
    reload(daemon)
    with daemon.connect() as third:
        assert [code.read(conn) for conn in (first, second, third)] == [0, 0, 1]
        assert third.call(os.getpid) != old == second.call(os.getpid)
        first.close()
        assert second.call(tasks.add, 1, 2) == 3
        second.close()
        wait_for_end(old)
        assert code.read(third) == 1
    daemon.forget_worker()
    assert daemon.worker != old


def test_an_idle_worker_of_old_code_is_replaced(make_daemon, code, isolation):
    daemon = make_daemon(*code.options, env=code.env, isolation=isolation)
    (old,) = daemon.find_idle_workers()
    code.write(1)
    reload(daemon)
    wait_for_end(old)
    assert code.read_new(daemon) == 1
    daemon.forget_worker()


BROKEN_CODE = {
    'raises': ('raise ValueError("not today")', 'ValueError: not today'),
    'exits': ('import os; os._exit(3)', LOG + 'the zygote, process [0-9]+, exited with status 3'),
    'dies': ('import os; os.kill(os.getpid(), 9)', LOG + 'the zygote, process [0-9]+, was killed by signal 9 .*'),
}


@pytest.mark.parametrize('source, says', BROKEN_CODE.values(), ids=BROKEN_CODE)
def test_a_reload_that_fails_changes_nothing(make_daemon, code, isolation, source, says):
    daemon = make_daemon(*code.options, env=code.env, isolation=isolation)
    zygote = daemon.find_zygote()
    with daemon.connect() as old:
        code.write_source(source)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.expect(says)
        daemon.expect(FAILED)
        assert daemon.find_zygote() == zygote
        assert code.read(old) == 0 and code.read_new(daemon) == 0
        code.write(2)
        reload(daemon)
        assert code.read(old) == 0 and code.read_new(daemon) == 2
    daemon.forget_worker()
    daemon.allow_lines('Traceback .*|  .*|' + LOG + 'the interpreter did not start, .*')


def test_several_reloads_in_a_row(make_daemon, code, isolation):
    daemon = make_daemon(*code.options, env=code.env, isolation=isolation)
    with contextlib.ExitStack() as stack:
        conns = []
        for value in range(1, 4):
            conns.append(stack.enter_context(daemon.connect()))
            assert code.read(conns[-1]) == value - 1
            code.write(value)
            reload(daemon)
        assert [code.read(conn) for conn in conns] == [0, 1, 2]
        assert code.read_new(daemon) == 3
    daemon.forget_worker()


def test_reloads_that_overtake_each_other(make_daemon, code, isolation):
    """The last one counts."""
    daemon = make_daemon(*code.options, env=code.env, isolation=isolation)
    for value in range(1, 9):
        code.write(value)
        daemon.process.send_signal(signal.SIGHUP)
    daemon.expect(RELOADED)
    wait_until(lambda: code.read_new(daemon) == 8, 'the newest code')
    daemon.find_idle_workers()
    daemon.find_zygote()
    daemon.forget_worker()
    daemon.allow_lines(RELOADED)


def test_a_reload_while_the_zygote_is_being_replaced(make_daemon, code):
    daemon = make_daemon(*code.options, env=code.env)
    zygote = daemon.find_zygote()
    code.write(1)
    os.kill(zygote, signal.SIGKILL)
    reload(daemon)
    assert code.read_new(daemon) == 1
    daemon.find_zygote()
    daemon.allow_lines(LOG + 'the zygote, process {}, was killed by signal 9 [(]Killed[)]'.format(zygote))


def test_a_replaced_zygote_has_the_code_of_now(make_daemon, code):
    daemon = make_daemon(*code.options, env=code.env)
    zygote = daemon.find_zygote()
    code.write(1)
    os.kill(zygote, signal.SIGKILL)
    daemon.expect(LOG + 'the zygote, process {}, was killed by signal 9 [(]Killed[)]'.format(zygote))
    wait_until(lambda: code.read_new(daemon) == 1, 'a worker of the new zygote')


def test_a_stop_during_a_reload(make_daemon, code, tmp_path, isolation):
    """The new zygote hangs in a module, and nothing is left of it."""
    gate = tmp_path / 'gate'
    os.mkfifo(gate)
    daemon = make_daemon(*code.options, env=code.env, isolation=isolation)
    code.write_source('open({!r})\n'.format(str(gate)))
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: daemon.count_children()['acrossd-zygote'] == 2, 'the new zygote')
    assert code.read_new(daemon) == 0
    signal_and_wait(daemon)
    daemon.join(0)


# ---- stopping ----

WORKERS = 5


def start_calls(daemon):
    conns = [daemon.connect() for _ in range(WORKERS)]
    return conns, [RunningCall(conn) for conn in conns], [conn.call(deadly.start_daemon) for conn in conns]


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_calls_in_many_workers_finish_when_the_daemon_stops(make_daemon, number):
    daemon = make_daemon('--grace', '1000', spare=3)
    conns, calls, daemons = start_calls(daemon)
    signal_and_wait(daemon, number)
    daemon.find_workers(WORKERS)  # no spare ones any more
    for count in range(WORKERS):
        assert calls[count].release() is True
        conns[count].wait()
        with pytest.raises(across.DisconnectError, match='remotely closed: The server is stopping'):
            conns[count].call(os.getpid)
        conns[count].close()
        wait_until(lambda left=WORKERS - count - 1: len(daemon.workers()) == left, 'the end of its worker')
    daemon.join(0)
    wait_for_end(*daemons)


def test_calls_in_many_workers_are_cut_off_after_the_grace_period(make_daemon):
    daemon = make_daemon('--grace', '0.05')
    conns, threads = zip(*[start_call(daemon, tasks.call_back_then_wait_for, 'never') for _ in range(WORKERS)])
    daemons = [conn.call(deadly.start_daemon) for conn in conns]
    signal_and_wait(daemon)
    join(threads)
    for conn in conns:
        close_broken(conn)
        daemon.expect(LOG + r'calls that still ran after 0\.050 seconds of grace, and were ended: 1')
    daemon.join(0)
    wait_for_end(*daemons)


def test_a_second_signal_kills_all_workers(make_daemon):
    daemon = make_daemon('--grace', '1000')
    conns, calls, daemons = start_calls(daemon)
    workers = [conn.call(os.getpid) for conn in conns]
    signal_and_wait(daemon)
    daemon.send_signal(signal.SIGTERM)
    for conn, call, worker in zip(conns, calls, workers):
        assert type(call.error()) is across.DisconnectError
        close_broken(conn)
        daemon.expect(LOG + 'the worker, process {}, was killed; connections lost: 1'.format(worker))
    daemon.join(0)
    wait_for_end(*daemons, *workers)


def test_a_death_while_the_daemon_stops_is_told(make_daemon):
    daemon = make_daemon('--grace', '1000')
    conns, calls, _ = start_calls(daemon)
    worker = conns[0].call(os.getpid)
    signal_and_wait(daemon)
    os.kill(worker, signal.SIGKILL)
    assert type(calls[0].error()) is across.DisconnectError
    daemon.expect(
        LOG + 'the worker, process {}, was killed by signal 9 [(]Killed[)]; connections lost: 1'.format(worker)
    )
    assert all(call.release() is True for call in calls[1:])
    for conn in conns:
        close_broken(conn)
    daemon.join(0)
