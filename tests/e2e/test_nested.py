# SPDX-License-Identifier: MIT
"""Calls made while a call is served run in the thread that waits for it: both processes are like one program."""

import sys
import threading

import pytest

import across

from . import remote_tasks as tasks

pytestmark = pytest.mark.skipif(across.engines.name != 'native', reason='the pure engine gives each call a thread')

DEEP = 1000


@pytest.fixture
def deep_stacks(conn):
    """Room for Python's own frames, of which each call takes several, on both sides."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10 * DEEP)
    conn.call(sys.setrecursionlimit, 10 * DEEP)
    yield
    conn.call(sys.setrecursionlimit, limit)
    sys.setrecursionlimit(limit)


def test_a_callback_runs_in_the_thread_of_the_caller(conn):
    seen = []
    conn.call(tasks.call_back, across.Local(lambda: seen.append(threading.get_ident())))
    assert seen == [threading.get_ident()]


def test_threads_get_their_own_callbacks(conn):
    seen = {}

    def run():
        def note():
            seen[threading.get_ident()] = threading.get_ident()

        for _ in range(50):
            conn.call(tasks.call_back, across.Local(note))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == sorted(seen.values()) and len(seen) == 8


def test_what_belongs_to_the_thread_is_there(conn):
    own = threading.local()
    own.value = 'mine'
    lock = threading.RLock()

    def look():
        with lock:
            return own.value

    with lock:
        assert conn.call(tasks.call_back, across.Local(look)) == 'mine'


def test_both_ends_stay_in_one_thread_however_deep(conn):
    here, there = conn.call(tasks.note_threads, 20, [], [])
    assert here == [threading.get_ident()] * 10
    assert len(there) == 11 and len(set(there)) == 1


def test_an_exception_comes_through_both_stacks(conn):
    def fail():
        raise LookupError('here')

    with pytest.raises(LookupError, match='here'):
        conn.call(tasks.call_back, across.Local(fail))


def test_calls_may_be_a_thousand_deep(conn, deep_stacks):
    assert len(set(conn.call(tasks.ping_pong, DEEP))) == 2


def test_the_end_of_the_stack_is_a_recursion_error(unix_conn):
    for depth in (DEEP, DEEP + 1):
        with pytest.raises(RecursionError):
            unix_conn.call(tasks.ping_pong, depth)
    assert len(unix_conn.call(tasks.ping_pong, 10)) == 11


def test_through_two_connections_and_back(server):
    """A call over the first is still the one that a call back over it belongs to, whatever lies between."""
    seen = []
    with server.connect() as first, server.connect() as second:

        def inner():
            first.call(tasks.call_back, across.Local(lambda: seen.append(threading.get_ident())))

        first.call(tasks.call_back, across.Local(lambda: second.call(tasks.call_back, across.Local(inner))))
    assert seen == [threading.get_ident()]


def test_an_import_that_needs_itself(unix_conn, tmp_path, monkeypatch):
    """A module calls its importer while it is imported, which imports it in its turn: the same thread, no deadlock."""
    (tmp_path / 'circle.py').write_text(
        'import across\nearly = 1\nlate = across.get_connection().execute("import circle_home; circle_home.ask()")\n'
    )
    (tmp_path / 'circle_home.py').write_text(
        'conn = None\ndef ask():\n    return conn.execute("import circle; circle.early")\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import circle_home

    circle_home.conn = unix_conn
    unix_conn.export('circle')
    assert unix_conn.execute('import circle; circle.late') == 1
