# SPDX-License-Identifier: MIT
"""Calls that fork the process which runs them: what becomes of the child, and that nobody else notices."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sanitizers import HAS_TSAN

import across

from . import fork_tasks as forks
from . import remote_tasks as tasks
from .clients import run_client
from .daemon import ACROSSD, environment
from .test_servers import HANDLERS, PACKAGE, Server
from .waiting import LIMIT, ask_until_new, wait_until

ENDED = ('parent', 0)  # as a child does that is forked in a thread of plain Python
SENTENCE = 'DisconnectError: The connection belongs to the process that this one was forked from'


@pytest.fixture(params=HANDLERS)
def python_server(request, tmp_path):
    """A server of across.servers."""
    server = Server(request.param, 'unix', str(tmp_path / 'socket'))
    try:
        yield server
        server.stop()
    finally:
        server.kill()


# ---- what plain Python does ----


def test_a_child_that_is_forked_in_a_thread_of_plain_python_ends_with_status_0():
    source = """
import threading
from e2e import fork_tasks as forks
found = []
for how in ('return', 'raise', 'exit'):
    thread = threading.Thread(target=lambda: found.append(forks.fork_and_leave(how)))
    thread.start()
    thread.join()
print(found)
"""
    done = subprocess.run([sys.executable, '-c', source], capture_output=True, env=environment(PACKAGE), timeout=LIMIT)
    assert done.stdout.decode() == '{}\n'.format([ENDED] * 3)
    assert done.stderr.endswith(b'ChildError: in the child\n')


# ---- on servers ----


def test_a_child_that_returns_from_its_call_ends(server):
    with server.connect() as conn:
        for _ in range(3):
            assert conn.call(forks.fork_and_leave) == ENDED
        assert conn.call(forks.fork_and_leave, 'exit') == ENDED
        assert conn.call(forks.forkpty_and_leave) == ENDED
        assert conn.create(forks.fork_and_leave).__getitem__(0) == 'parent'
        assert conn.call(tasks.add, 1, 2) == 3


def test_a_child_that_raises_prints_it_and_ends(isolation, make_daemon):
    daemon = make_daemon(isolation=isolation)
    daemon.allow_lines('Traceback .*|  .*|.*ChildError: in the child')
    with daemon.connect() as conn:
        assert conn.call(forks.fork_and_leave, 'raise') == ENDED
        daemon.expect('.*ChildError: in the child')
        assert conn.call(tasks.add, 1, 2) == 3


def test_a_child_that_goes_on_where_an_argument_was_unpickled_or_a_result_pickled_ends(server):
    with server.connect() as conn:
        assert conn.call(tasks.echo, forks.ForksWhenLoaded()) == ENDED
        assert conn.call(forks.make_forking_result) == ENDED


def check_unpickling(conn, noted):
    assert conn.call(forks.echo_and_note, forks.ForksWhenLoaded(), str(noted)) == ENDED
    assert noted.read_text() == '{}\n'.format(conn.call(os.getpid))


def test_a_child_that_was_forked_while_a_call_was_unpickled_does_not_run_it(server, tmp_path):
    with server.connect() as conn:
        check_unpickling(conn, tmp_path / 'noted')


def test_a_child_that_a_client_forked_while_a_call_was_unpickled_does_not_run_it(tmp_path):
    first, second = (across.Connection.from_socket(sock) for sock in socket.socketpair())
    with first, second:
        check_unpickling(first, tmp_path / 'noted')


def test_a_child_that_returns_from_a_finalizer_ends(server):
    with server.connect() as conn:
        proxy = conn.create(forks.make_dropped)
        del proxy
        assert wait_until(lambda: conn.call(forks.take_statuses), 'the end of the object') == [ENDED]


def test_many_children_while_other_calls_run_end_without_exception(server):
    """Locks that other threads hold when it is forked stay locked in the child."""
    with server.connect() as conn, ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(lambda: [conn.call(tasks.echo, bytes(100)) for _ in range(300)]) for _ in range(2)]
        found = {conn.call(forks.fork_and_leave) for _ in range(30)}
        for future in busy:
            future.result()
    assert found == {ENDED}


def test_the_child_runs_no_exit_functions_of_its_parent(isolation, make_daemon, tmp_path):
    daemon = make_daemon(isolation=isolation)
    noted = tmp_path / 'noted'
    with daemon.connect() as conn:
        worker = conn.call(os.getpid)
        conn.call(forks.note_exits, str(noted))
        assert conn.call(forks.fork_and_leave) == ENDED
        assert not noted.exists()
    if isolation == 'process':
        wait_until(lambda: noted.exists() and noted.read_text(), "the worker's own")
        assert noted.read_text() == '{}\n'.format(worker)


def test_in_a_child_the_connection_is_an_error_that_says_why(server):
    with server.connect() as conn:
        assert conn.call(forks.use_connection_in_child) == (0, ['False', SENTENCE, 'None', SENTENCE])
        assert conn.call(tasks.add, 1, 2) == 3


@pytest.mark.skipif(HAS_TSAN, reason='ThreadSanitizer takes no threads of a child that was forked')
def test_a_child_can_open_a_connection_of_its_own(server):
    with server.connect() as conn:
        assert conn.call(forks.open_connection_in_child, [ACROSSD, '--stdio']) == 3


@pytest.mark.skipif(HAS_TSAN, reason='ThreadSanitizer takes no threads of a child that was forked')
def test_forked_processes_and_pools_work_in_calls(server):
    with server.connect() as conn:
        assert conn.call(forks.run_processes, 3) == ([0, 1, 2], [3, 2, 1])
        assert conn.call(forks.run_with_preexec) == 0


# ---- the board ----


def test_a_child_does_not_change_what_the_status_says_of_its_worker(isolation, make_daemon):
    daemon = make_daemon(isolation=isolation)
    with daemon.connect() as conn, ThreadPoolExecutor(1) as pool:
        worker = conn.call(os.getpid)
        started = threading.Event()
        future = pool.submit(conn.call, forks.fork_then_run_until, 'told', across.Local(started.set))
        assert started.wait(LIMIT)  # it has seen the child end
        wait_until(lambda: running_calls(daemon, worker) == 1, 'one call in the status')
        conn.call(tasks.set_event, 'told')
        assert future.result() == ENDED
        wait_until(lambda: running_calls(daemon, worker) == 0, 'the end of the call')


def running_calls(daemon, worker):
    """How many calls a worker runs, as `acrossd status` says."""
    command = [ACROSSD, 'status', '--json', daemon.addresses[0]]
    status = ask_until_new(
        lambda: json.loads(subprocess.run(command, check=True, capture_output=True, timeout=LIMIT).stdout)
    )
    (found,) = (entry for entry in status['workers'] if entry['pid'] == worker)
    return found['calls_running']


# ---- on servers in Python ----


def test_a_child_in_a_server_of_python_ends(python_server):
    with python_server.connect() as conn:
        assert conn.call(forks.fork_and_leave) == ENDED
        assert conn.call(forks.fork_and_leave, 'exit') == ENDED
        assert conn.call(tasks.echo, forks.ForksWhenLoaded()) == ENDED
        assert conn.call(forks.make_forking_result) == ENDED
        assert conn.call(forks.use_connection_in_child) == (0, ['False', SENTENCE, 'None', SENTENCE])
        assert conn.call(tasks.add, 1, 2) == 3


def test_a_child_in_a_server_of_python_is_ended_by_signals_and_its_parent_is_not(python_server):
    with python_server.connect() as conn:
        assert conn.call(forks.terminate_process) == -signal.SIGTERM
        assert conn.call(tasks.add, 1, 2) == 3
    with python_server.connect() as conn:
        assert conn.call(tasks.add, 1, 2) == 3


# ---- on clients ----

CALLBACKS = """
from e2e import fork_tasks as forks
for how in ('return', 'exit'):
    print(*conn.call(tasks.call_back, across.Local(forks.fork_and_leave), how))
    print(*conn.call(tasks.call_back_over_connection, forks.fork_and_leave, how))
print(conn.call(tasks.add, 1, 2))
"""


def test_a_child_that_a_client_forks_in_a_call_back_ends(daemon):
    assert run_client(daemon, CALLBACKS) == ['parent', '0'] * 4 + ['3']


def test_a_child_that_a_client_forks_while_it_pickles_has_no_connection_any_more(daemon):
    source = """
from e2e import fork_tasks as forks
class Forks:
    def __reduce__(self):
        self.pid = os.fork()
        return int, (5,)
value = Forks()
try:
    print(conn.call(tasks.echo, value))
    print(forks.wait_for_child(value.pid))
except across.DisconnectError as error:
    os._exit('forked from' in str(error))
"""
    assert run_client(daemon, source) == ['5', '1']
