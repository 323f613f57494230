# SPDX-License-Identifier: MIT
"""The life of a connection, and calls."""

import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

import across


def collect(*args, **kwargs):
    return args, kwargs


def count_down(number):
    return across.get_connection().call(count_down, number - 1) if number else 'done'


def run_script(source):
    """Run Python source in a process of its own; return what it prints. Fails when it does not end."""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore::DeprecationWarning', '-c', source], capture_output=True, timeout=60, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_calls_go_both_ways(make_pair):
    for conn in make_pair():
        assert conn.call(os.getpid) == os.getpid()


@pytest.mark.parametrize('name', ['self', 'func', 'args', 'kwargs', 'obj', 'name'])
def test_any_keyword_reaches_the_function(conn, name):
    assert conn.call(collect, 1, **{name: 2}) == ((1,), {name: 2})


def test_nested_calls(conn):
    assert conn.call(count_down, 20) == 'done'


def test_execute_returns_the_last_expression(conn):
    assert conn.execute('y = x + 1\ny * 2', x=3) == 8
    assert conn.execute('z = 1') is None
    assert conn.execute('source', source='any name') == 'any name'


def test_unpicklable_arguments_and_results_fail_one_operation(conn):
    with pytest.raises(across.OperationError) as info:
        conn.call(len, threading.Lock())
    assert not isinstance(info.value, across.DisconnectError)
    with pytest.raises(across.OperationError) as info:
        conn.call(threading.Lock)
    assert not isinstance(info.value, across.DisconnectError)
    assert conn.call(len, 'ab') == 2


def test_get_connection_outside_of_a_call():
    with pytest.raises(ValueError):
        across.get_connection()


def test_get_connection_in_a_call(make_pair):
    one, other = make_pair()
    one.call(_note_connection)
    assert _noted.pop() is other


def _note_connection():
    _noted.append(across.get_connection())


_noted = []


def test_with_waits_and_closes(conn):
    with conn as entered:
        assert entered is conn
        assert conn.is_connected()
    assert not conn.is_connected()
    with pytest.raises(across.DisconnectError, match='Connection is closed'):
        conn.call(len, '')
    with pytest.raises(ValueError, match='Connection is closed'):
        conn.__enter__()
    conn.close()


def test_with_after_cancel(conn):
    conn.cancel()
    with pytest.raises(ValueError, match='Connection is closed'):
        conn.__enter__()


def test_wait_ends_when_the_peer_closes(make_pair):
    one, other = make_pair()
    one.__enter__()
    other.close()
    one.wait()
    with pytest.raises(across.DisconnectError, match='remotely closed'):
        one.call(len, '')
    one.close()


def test_close_after_the_peer_has_closed(make_pair):
    for _ in range(20):
        one, other = make_pair()
        one.__enter__()
        other.close()
        one.wait()
        one.close()
        with pytest.raises(across.DisconnectError, match=r'^Connection is closed$'):
            one.call(len, '')


def test_programs_may_keep_something_with_a_connection(conn):
    conn.purpose = 'lab'
    assert conn.purpose == 'lab'


def test_cancel_breaks_a_waiting_call(conn, run_thread):
    called, go_on = threading.Event(), threading.Event()
    _events.update(called=called, go_on=go_on)
    run_thread(lambda: called.wait(60) and conn.cancel())
    with pytest.raises(across.DisconnectError, match='cancelled'):
        conn.call(_wait_to_go_on)
    go_on.set()


_events = {}


def test_close_raises_the_fatal_error_once():
    ours, theirs = socket.socketpair()
    with theirs:
        conn = across.Connection.from_socket(ours)
        theirs.sendall(b'\0' * 16)
        with pytest.raises(across.ProtocolError, match='Invalid magic'):
            conn.close()
    conn.close()


def test_with_raises_why_the_handshake_failed():
    ours, theirs = socket.socketpair()
    theirs.close()
    with pytest.raises((EOFError, OSError)):
        across.Connection.from_socket(ours).__enter__()


def test_keyboard_interrupt_leaves_the_connection_usable(conn, run_thread):
    called, go_on = threading.Event(), threading.Event()
    _events.update(called=called, go_on=go_on)
    main = threading.get_ident()

    def interrupt():
        called.wait(60)
        signal.pthread_kill(main, signal.SIGINT)

    run_thread(interrupt)
    with pytest.raises(KeyboardInterrupt):
        conn.call(_wait_to_go_on)
    go_on.set()
    assert conn.call(len, 'abc') == 3
    conn.close()


def _wait_to_go_on():
    _events['called'].set()
    _events['go_on'].wait(60)


def test_exit_with_open_connections():
    assert (
        run_script("""if True:
        import across, os, socket
        a, b = (across.Connection.from_socket(s) for s in socket.socketpair())
        proxy = a.create(list)
        print(a.call(os.getpid) == os.getpid())
    """)
        == 'True\n'
    )


def test_forked_child_has_no_part_in_a_connection():
    assert (
        run_script("""if True:
        import across, os, socket, sys
        a, b = (across.Connection.from_socket(s) for s in socket.socketpair())
        proxy = a.create(list)
        pid = os.fork()
        if pid == 0:
            try:
                a.call(os.getpid)
            except across.DisconnectError:
                print('dead')
            a.cancel()
            a.close()
            c, d = (across.Connection.from_socket(s) for s in socket.socketpair())
            print(c.call(os.getpid) == os.getpid(), flush=True)
            sys.exit(0)
        print(os.waitpid(pid, 0)[1])
        proxy.append(1)
        print(len(proxy))
        a.close()
        b.close()
    """)
        == 'dead\nTrue\n0\n1\n'
    )


def test_public_names():
    assert across.ref is across.Local is across.Reference
    assert across.Connection.call_ref is across.Connection.create
    assert issubclass(across.DisconnectError, across.OperationError)
    assert not issubclass(across.ProtocolError, across.OperationError)
    assert across.engine and across.__version__
