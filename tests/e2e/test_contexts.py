# SPDX-License-Identifier: MIT
"""What calls leave in context variables and threads, and which other calls see it."""

import decimal
import threading
from concurrent.futures import ThreadPoolExecutor

import across

from . import context_tasks as contexts
from . import remote_tasks as tasks
from .test_servers import Server
from .waiting import wait_until

NEW = ('nothing', decimal.DefaultContext.prec)
NONE = (None, None)


def test_each_call_has_a_context_of_its_own(server):
    with server.connect() as conn:
        for value in 'abc':
            assert conn.call(contexts.set_context, value) == NEW
        keeper = conn.create(contexts.Keeper)
        assert keeper.set('method') == NEW
        assert keeper.look() == NEW
        assert conn.call(tasks.echo, contexts.SetWhenLoaded()) == NEW
        assert conn.call(contexts.look_at_context) == NEW
        assert conn.execute('from e2e import context_tasks; context_tasks.set_context(1)') == NEW


def test_calls_back_have_contexts_of_their_own_and_do_not_change_that_of_their_caller(server):
    with server.connect() as conn:
        found = []

        def back():
            found.append(contexts.set_context('back'))
            found.append(conn.call(contexts.set_context, 'nested'))
            found.append(contexts.look_at_context())

        with decimal.localcontext() as context:
            context.prec = 9
            token = contexts.variable.set('here')
            assert conn.call(contexts.set_context, 'outer', across.Local(back)) == NEW
            assert contexts.look_at_context() == ('here', 9)
            contexts.variable.reset(token)
        assert found == [NEW, NEW, ('back', 5)]


def test_calls_of_one_connection_find_what_they_have_left_in_their_thread(server):
    """One after the other they run in one of few threads, as long as there is no other connection."""
    with server.connect() as conn:
        assert conn.call(contexts.set_local, 'a') == NONE
        wait_until(lambda: conn.call(contexts.set_local, 'a') == ('a', 'a'), 'the same thread')


def check_locals_are_apart(server):
    with server.connect() as one, server.connect() as other, ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            assert one.call(contexts.set_local, 'one') in (NONE, ('one', 'one'))
            assert other.call(contexts.set_local, 'other') in (NONE, ('other', 'other'))
        barriers = [threading.Barrier(2) for _ in range(4)]  # several threads at once

        def set_at_once(conn, name, barrier):
            barrier.wait()
            return [conn.call(contexts.set_local, name) for _ in range(25)]

        futures = [
            pool.submit(set_at_once, conn, name, barrier)
            for barrier in barriers
            for conn, name in ((one, 'one'), (other, 'other'))
        ]
        for number, future in enumerate(futures):
            assert set(future.result()) <= {NONE, ('one', 'one') if number % 2 == 0 else ('other', 'other')}
    with server.connect() as new:
        assert new.call(contexts.look_at_local) == NONE


def test_nothing_that_a_client_leaves_in_a_thread_is_there_for_another_one(shared_daemon):
    check_locals_are_apart(shared_daemon)


def test_what_is_kept_in_threads_goes_with_its_connection(shared_daemon):
    with shared_daemon.connect() as conn:
        with shared_daemon.connect() as other:
            other.call(contexts.keep_in_thread)
            assert not other.call(contexts.is_dropped)  # for one of others that thread might be renewed
        wait_until(lambda: conn.call(contexts.is_dropped), 'the end of the object')


def test_a_server_in_python_keeps_threads_and_contexts_apart(tmp_path):
    server = Server('LocalConnectionHandler', 'unix', str(tmp_path / 'socket'))
    try:
        with server.connect() as conn:
            assert [conn.call(contexts.set_context, 'a') for _ in range(3)] == [NEW] * 3
        check_locals_are_apart(server)
        with server.connect() as conn:
            with server.connect() as other:
                other.call(contexts.keep_in_thread)
                assert not other.call(contexts.is_dropped)  # for one of others that thread might be renewed
            wait_until(lambda: conn.call(contexts.is_dropped), 'the end of the object')
        server.stop()
    finally:
        server.kill()
