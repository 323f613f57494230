# SPDX-License-Identifier: MIT
"""The ends of connections: orderly, abrupt, from every side, and with calls under way."""

import gc
import logging
import os
import signal
import socket
import subprocess
import threading
import weakref

import pytest
from sanitizers import HAS_TSAN

import across

from . import remote_tasks as tasks
from .clients import run_client, start_client
from .daemon import ACROSSD, LOG, close_broken
from .waiting import LIMIT, is_alive, join, wait_until

CLOSED = 'Connection is closed'
CANCELLED = 'Connection was cancelled'
REMOTELY = 'Connection was remotely closed'


class PendingCall:
    """A call in another thread that runs at the other end when the constructor returns, and does not end by itself."""

    def __init__(self, conn):
        started = threading.Event()
        self.error = None
        self.thread = threading.Thread(target=self._run, args=(conn, across.Local(started.set)))
        self.thread.start()
        assert started.wait(LIMIT)

    def _run(self, conn, started):
        try:
            conn.call(tasks.run_until, 'the end of the connection', started)
        except BaseException as error:
            self.error = error

    def join(self):
        join([self.thread])
        return self.error


# ---- by this side ----


def test_a_closed_connection_says_so(server):
    conn = server.connect()
    conn.call(os.getpid)
    assert conn.is_connected()
    conn.close()
    assert not conn.is_connected()
    with pytest.raises(across.DisconnectError, match='^{}$'.format(CLOSED)):
        conn.call(os.getpid)
    with pytest.raises(ValueError, match='^{}$'.format(CLOSED)):
        conn.__enter__()
    conn.close()
    conn.close()
    conn.cancel()
    conn.wait()


def test_a_cancelled_connection_says_so(server):
    conn = server.connect()
    conn.call(os.getpid)
    conn.cancel()
    conn.wait()
    assert not conn.is_connected()
    with pytest.raises(across.DisconnectError, match='^{}$'.format(CANCELLED)):
        conn.call(os.getpid)
    conn.cancel()
    conn.close()
    with pytest.raises(ValueError, match='^{}$'.format(CLOSED)):
        conn.__enter__()
    server.expect_cancelled(1)


def test_close_without_any_use(server):
    server.connect().close()
    with server.connect():
        pass


def test_cancel_right_after_construction(server):
    for _ in range(20):
        conn = server.connect()
        conn.cancel()
        conn.close()
        assert not conn.is_connected()
    server.allow_broken(20)


def test_close_fails_pending_calls(server):
    conn = server.connect()
    pending = [PendingCall(conn) for _ in range(5)]
    conn.close()
    for call in pending:
        error = call.join()
        assert type(error) is across.DisconnectError and str(error) == CLOSED


def test_cancel_fails_pending_calls(server):
    conn = server.connect()
    pending = [PendingCall(conn) for _ in range(5)]
    conn.cancel()
    for call in pending:
        error = call.join()
        assert type(error) is across.DisconnectError and str(error) == CANCELLED
    conn.close()
    server.expect_cancelled(1)


def test_close_from_several_threads(server):
    conn = server.connect()
    conn.call(os.getpid)
    threads = [threading.Thread(target=conn.close) for _ in range(10)]
    for thread in threads:
        thread.start()
    join(threads)
    assert not conn.is_connected()


def test_wait_returns_when_another_thread_closes(server):
    conn = server.connect()
    waiting = threading.Thread(target=conn.wait)
    waiting.start()
    conn.call(os.getpid)
    assert waiting.is_alive()
    conn.close()
    join([waiting])


def test_the_with_statement_closes_after_an_exception(server):
    with pytest.raises(LookupError):
        with server.connect() as conn:
            raise LookupError
    assert not conn.is_connected()


# ---- by the other side ----


def test_a_remote_function_that_closes_its_connection(server):
    conn = server.connect()
    pending = PendingCall(conn)
    with pytest.raises(across.DisconnectError, match='^{}'.format(REMOTELY)):
        conn.call(tasks.close_own_connection)
    assert str(pending.join()).startswith(REMOTELY)
    conn.wait()
    assert not conn.is_connected()
    with pytest.raises(across.DisconnectError, match='^{}'.format(REMOTELY)):
        conn.call(os.getpid)
    conn.close()


def test_a_local_function_that_closes_its_connection(server):
    conn = server.connect()
    with pytest.raises(across.DisconnectError):
        conn.call(tasks.call_back, across.Local(conn.close))
    conn.close()
    assert not conn.is_connected()


def test_a_killed_process_is_a_disconnect(server):
    """The supervisor is left to report what happened."""
    conn = server.connect()
    pending = PendingCall(conn)
    pid = conn.call(os.getpid)
    reason = '{}: The worker, process {}, was killed by signal 9 (Killed)'.format(REMOTELY, pid)
    with pytest.raises(across.DisconnectError) as caught:
        conn.call(os.kill, pid, signal.SIGKILL)
    assert str(caught.value) == str(pending.join()) == reason
    close_broken(conn)
    server.expect_killed(pid)


def test_close_raises_the_fatal_error_once():
    ours, theirs = socket.socketpair()
    conn = across.Connection.from_socket(ours)
    theirs.sendall(b'HTTP/1.1 200 OK\r\n')
    with pytest.raises(across.ProtocolError, match='Invalid magic: 0x48545450'):
        with conn:
            pass
    theirs.close()
    conn.close()
    with pytest.raises(across.DisconnectError, match='Connection was aborted due to .*Invalid magic|' + CLOSED):
        conn.call(os.getpid)


# ---- during the handshake ----


def test_a_connection_that_broke_is_collected(caplog):
    """Although its error, raised where it was used, leads to the frames, and they lead to the connection."""

    def use():
        proc = subprocess.Popen([ACROSSD, '--stdio'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with across.Connection.from_pipes(proc.stdout, proc.stdin) as conn:
            broken.append(weakref.ref(conn))
            proc.kill()
            proc.wait()
            conn.wait()

    broken = []
    caplog.set_level(logging.CRITICAL, 'across')  # what is logged is kept, with all that it mentions
    with pytest.raises(EOFError):
        use()
    gc.collect()
    wait_until(lambda: gc.collect() == 0 and broken[0]() is None, 'the end of the connection')


def test_cancel_during_the_handshake():
    ours, theirs = socket.socketpair()
    with theirs:
        conn = across.Connection.from_socket(ours)
        errors = []

        def call():
            try:
                conn.call(os.getpid)
            except across.DisconnectError as error:
                errors.append(str(error))

        calling = threading.Thread(target=call)
        closing = threading.Thread(target=conn.close)
        calling.start()
        closing.start()
        assert theirs.recv(4) == b'\xe3\x5b\x9e\x78'
        assert conn.is_connected()
        conn.cancel()
        join([calling, closing])
        assert errors in ([CANCELLED], [CLOSED])


def test_the_handshake_times_out():
    ours, theirs = socket.socketpair()
    with theirs:
        conn = across.Connection.from_socket(ours, options=across.Options(timeout=0.01))
        conn.wait()
        with pytest.raises(OSError):
            conn.close()


def test_connecting_to_nobody(tmp_path):
    for make in (
        lambda: across.Connection.from_unix(str(tmp_path / 'nobody')),
        lambda: across.Connection.from_tcp('127.0.0.1', 1),
    ):
        with pytest.raises(OSError):
            with make():
                pass
        conn = make()
        with pytest.raises(across.DisconnectError, match='aborted due to'):
            conn.call(os.getpid)
        with pytest.raises(OSError):
            conn.close()


def test_a_command_that_fails():
    conn = across.Connection.from_shell('exit 3')
    conn.wait()
    with pytest.raises(subprocess.CalledProcessError) as caught:
        conn.close()
    assert caught.value.returncode == 3


# ---- client processes ----


def test_ctrl_c_interrupts_a_call_and_the_connection_goes_on(daemon):
    client = start_client(
        daemon,
        """
tell = lambda: print('waiting', flush=True)
for turn in range(3):
    try:
        conn.call(tasks.call_back_then_wait_for, 'ctrl-c', across.Local(tell))
    except KeyboardInterrupt:
        print('interrupted', conn.call(tasks.add, turn, 1), flush=True)
conn.call(tasks.set_event, 'ctrl-c')
conn.close()
""",
    )
    try:
        for turn in range(3):
            assert client.stdout.readline() == b'waiting\n'
            client.send_signal(signal.SIGINT)
            assert client.stdout.readline() == b'interrupted %d\n' % (turn + 1)
        out, err = client.communicate(timeout=LIMIT)
        assert (out, err, client.returncode) == (b'', b'', 0)
    finally:
        client.kill()
        client.communicate()


def test_a_client_that_exits_without_close_ends_well(daemon):
    assert run_client(daemon, 'print(conn.call(tasks.add, 1, 2))') == ['3']


def test_a_client_that_exits_while_a_call_waits_ends_well(shared_daemon):
    source = """
started = threading.Event()
def run():
    try:
        conn.call(tasks.call_back_then_wait_for, 'exit', across.Local(started.set))
    except across.DisconnectError as error:
        print('disconnected')
threading.Thread(target=run, daemon=True).start()
started.wait(30)
"""
    run_client(shared_daemon, source)
    with shared_daemon.connect() as conn:
        conn.call(tasks.set_event, 'exit')


def test_a_client_that_is_killed_disturbs_nobody(make_daemon, isolation):
    daemon = make_daemon(isolation=isolation)
    with daemon.connect() as honest:
        client = start_client(daemon, 'print(conn.call(tasks.add, 1, 2), flush=True); conn.wait()')
        assert client.stdout.readline() == b'3\n'
        client.kill()
        client.communicate()
        daemon.expect(
            LOG + 'connection [0-9]+ from .* pid {} uid [0-9]+ broke: Incomplete frame size'.format(client.pid)
        )
        assert honest.call(tasks.add, 1, 2) == 3


def test_a_thread_learns_that_its_client_is_gone(shared_daemon, tmp_path):
    path = tmp_path / 'note'
    conn = shared_daemon.connect()
    conn.call(tasks.wait_for_disconnect, str(path))
    conn.close()
    wait_until(lambda: path.exists() and path.read_text() == 'gone', 'the note')


# From 3.12 on, Python warns of every fork in a process that has several threads. The engine has some, and heeds forks.
FORKING = """
import warnings
warnings.filterwarnings('ignore', 'This process .* is multi-threaded, use of fork', DeprecationWarning)
"""


def test_a_forked_child_leaves_the_connection_to_its_parent(daemon):
    source = """
assert conn.call(tasks.add, 1, 2) == 3
pid = os.fork()
if pid == 0:
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
print(conn.call(tasks.add, 2, 3), conn.is_connected())
conn.close()
"""
    assert run_client(daemon, FORKING + source) == ['5', 'True']


@pytest.mark.skipif(HAS_TSAN, reason='ThreadSanitizer takes no threads of a child that was forked')
def test_a_forked_child_can_open_a_connection_of_its_own(daemon):
    source = """
assert conn.call(tasks.add, 1, 2) == 3
pid = os.fork()
if pid == 0:
    with across.Connection.from_unix(sys.argv[1]) as own:
        os._exit(own.call(tasks.add, 3, 4))
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
print(conn.call(tasks.add, 2, 3))
conn.close()
"""
    assert run_client(daemon, FORKING + source) == ['5']
    daemon.expect_broken(1)


def test_a_child_started_by_the_client_does_not_hold_the_connection(daemon):
    source = """
import subprocess
quiet = subprocess.DEVNULL
child = subprocess.Popen(['sleep', '1000'], close_fds=False, stdin=quiet, stdout=quiet, stderr=quiet)
conn.close()
print(child.pid)
"""
    (pid,) = run_client(daemon, source)
    try:
        daemon.check_quiet()
        assert is_alive(int(pid))
    finally:
        os.kill(int(pid), signal.SIGKILL)
