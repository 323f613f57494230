# SPDX-License-Identifier: MIT
"""Calls: arguments, results, exceptions, many at a time, and calls back."""

import os
import re
import socket
import sys
import threading
import traceback
import types

import pytest

import across

from . import remote_tasks as tasks
from .waiting import count_threads, join, wait_until

MIB = 1024 * 1024


def run_threads(count, target):
    """Run target(number) in threads; raise what one of them raised."""
    errors = []

    def run(number):
        try:
            target(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    join(threads)
    if errors:
        raise errors[0]


# ---- the ways to call ----


def test_call_runs_in_the_other_process(conn, server):
    pid = conn.call(os.getpid)
    assert pid != os.getpid() and server.is_worker(pid)


def test_values_of_many_types_come_back_equal(conn):
    for value in (None, True, -1, 2**200, 1.5, 'tëxt', b'bytes', (1, [2, {3: {4}}]), tasks.Point(1, 2), os.getpid, int):
        assert conn.call(tasks.echo, value) == value


def test_any_keyword_reaches_the_function(conn):
    words = {'self': 1, 'func': 2, 'args': 3, 'kwargs': 4, 'obj': 5, 'options': 6}
    assert conn.call(tasks.collect, 1, 2, **words) == ((1, 2), words)
    assert conn.create(tasks.collect, 1, 2, **words)[1] == words


def test_execute_takes_any_variable_and_gives_the_last_expression(conn):
    assert conn.execute('self + source', self=1, source=2) == 3
    assert conn.execute('a = 1') is None
    assert conn.execute('import os\nos.getpid()') == conn.call(os.getpid)
    assert conn.execute('') is None


def test_an_error_in_executed_source_shows_its_line(conn):
    with pytest.raises(ZeroDivisionError) as caught:
        conn.execute('a = 1\nb = a / 0\n')
    text = ''.join(traceback.format_exception(caught.type, caught.value, caught.tb))
    assert 'line 2' in text and 'b = a / 0' in text
    with pytest.raises(SyntaxError):
        conn.execute('a b')


def test_create_returns_a_proxy(conn):
    point = conn.create(tasks.Point, 1, y=2)
    assert isinstance(point, across.Proxy)
    assert point.sum() == 3
    assert isinstance(conn.call_ref(list), across.Proxy)


def test_replicate_makes_a_copy_over_there(conn):
    original = [1, 2]
    copy = conn.replicate(original)
    assert isinstance(copy, across.Proxy)
    copy.append(3)
    assert len(copy) == 3 and original == [1, 2]


def test_bound_methods_and_classes_can_be_called(conn):
    assert conn.call(tasks.Point(3, 4).sum) == 7
    assert conn.call(tasks.Point, 3, 4) == tasks.Point(3, 4)
    assert conn.call('a,b'.split, ',') == ['a', 'b']


# ---- sizes and numbers ----


@pytest.mark.parametrize('size', [0, 1, 64 * 1024 - 1, 64 * 1024, MIB + 1, 64 * MIB])
def test_values_of_all_sizes_pass_both_ways(conn, size):
    value = os.urandom(min(size, MIB)) * (size // MIB if size > MIB + 1 else 1)
    assert conn.call(tasks.length, value) == len(value)
    assert conn.call(tasks.echo, value) == value


def test_a_large_value_does_not_hold_up_small_calls_on_another_connection(server):
    with server.connect() as first, server.connect() as second:
        done = threading.Event()
        value = bytes(16 * MIB)

        def run():
            try:
                for _ in range(4):
                    assert first.call(tasks.echo, value) == value
            finally:
                done.set()

        thread = threading.Thread(target=run)
        thread.start()
        count = 0
        while not done.is_set():
            assert second.call(tasks.add, count, 1) == count + 1
            count += 1
        join([thread])
        assert count > 0


def test_each_of_50_threads_gets_its_own_results(conn):
    def run(number):
        for turn in range(40):
            assert conn.call(tasks.collect, number, turn, pad=b'x' * (turn * 100)) == (
                (number, turn),
                {'pad': b'x' * (turn * 100)},
            )

    run_threads(50, run)


def test_blocking_calls_run_side_by_side(conn):
    idents = []
    run_threads(50, lambda number: idents.append(conn.call(tasks.meet, 'side by side', 50)))
    assert len(set(idents)) == 50


def test_a_blocked_call_does_not_delay_others(conn):
    results = []
    thread = threading.Thread(target=lambda: results.append(conn.call(tasks.wait_for, 'others')))
    thread.start()
    for number in range(100):
        assert conn.call(tasks.add, number, 1) == number + 1
    assert results == []
    conn.call(tasks.set_event, 'others')
    join([thread])
    assert results == [True]


def test_calls_beyond_the_thread_limit_wait_for_a_thread(unix_conn, tmp_path):
    path = str(tmp_path / 'gate')
    os.mkfifo(path)
    worker = unix_conn.call(os.getpid)
    before = count_threads(worker)
    results = []

    def run():
        results.append(unix_conn.call(tasks.pass_gate, path))

    threads = [threading.Thread(target=run) for _ in range(300)]
    for thread in threads:
        thread.start()
    wait_until(lambda: count_threads(worker) >= before + 250, 'many calls at once')
    assert results == []
    with open(path, 'wb'):
        join(threads)
    assert results == [True] * 300
    assert count_threads(worker) < 300


def test_calls_that_all_wait_for_calls_back_never_hang(unix_conn):
    """When every thread over there waits for this side, further calls are refused, because they might wait for ever."""
    gate = threading.Event()
    results = []

    def run():
        try:
            results.append(unix_conn.call(tasks.call_back, across.Local(lambda: gate.wait(60))))
        except across.OperationError as error:
            results.append(str(error))
            gate.set()

    threads = [threading.Thread(target=run) for _ in range(300)]
    for thread in threads:
        thread.start()
    join(threads)
    refused = [result for result in results if result is not True]
    assert len(results) == 300 and 0 < len(refused) < 300
    assert all('Too many calls' in text for text in refused)
    assert unix_conn.call(tasks.add, 1, 2) == 3


# ---- calls back ----


def test_calls_back_nest_50_deep(conn):
    there = conn.call(os.getpid)
    assert conn.call(tasks.ping_pong, 50) == [there, os.getpid()] * 25 + [there]


def test_calls_back_nest_200_deep_side_by_side(unix_conn):
    def run(number):
        assert len(unix_conn.call(tasks.ping_pong, 20 + number)) == 21 + number

    run_threads(5, run)
    assert len(unix_conn.call(tasks.ping_pong, 200)) == 201


def test_an_exception_passes_through_all_levels(conn):
    with pytest.raises(ValueError, match='from the bottom') as caught:
        conn.call(tasks.ping_pong_then_raise, 7)
    text = ''.join(traceback.format_exception(caught.type, caught.value, caught.tb))
    assert text.count('raise ValueError') == 1
    assert text.count('return across.get_connection().call(ping_pong_then_raise, depth - 1)') == 7


def test_get_connection_is_the_calls_own(conn):
    assert conn.call(tasks.has_connection)
    assert conn.call(tasks.get_connection_twice)
    seen = []

    def note():
        seen.append(across.get_connection())

    conn.call(tasks.call_back, across.Local(note))
    assert seen == [conn]


def test_get_connection_outside_of_a_call_is_a_value_error(conn):
    with pytest.raises(ValueError):
        across.get_connection()
    assert conn.call(tasks.get_connection_in_thread) == 'ValueError'


def test_two_connections_are_kept_apart(server):
    with server.connect() as first, server.connect() as second:
        seen = []

        def inner():
            seen.append(across.get_connection())

        def outer():
            seen.append(across.get_connection())
            second.call(tasks.call_back, across.Local(inner))
            seen.append(across.get_connection())

        first.call(tasks.call_back, across.Local(outer))
        assert seen == [first, second, first]


# ---- exceptions ----


def format_error(caught):
    return ''.join(traceback.format_exception(caught.type, caught.value, caught.tb))


def test_an_exception_keeps_its_type_arguments_and_attributes(conn):
    with pytest.raises(tasks.CustomError) as caught:
        conn.call(tasks.raise_custom)
    assert caught.value.args == (42, 'custom') and caught.value.code == 42
    with pytest.raises(FileNotFoundError) as caught:
        conn.call(open, '/nowhere/at all')
    assert caught.value.filename == '/nowhere/at all'


def test_the_traceback_shows_remote_file_line_function_source_host_and_process(conn):
    with pytest.raises(ValueError) as caught:
        conn.call(tasks.raise_nested, 2)
    text = format_error(caught)
    assert re.search('File ".*remote_tasks.py", line [0-9]+, in raise_nested\n *raise_nested\\(depth - 1\\)', text)
    assert "raise ValueError('deep')" in text
    assert str(conn.call(os.getpid)) in text and socket.gethostname() in text
    assert 'test_calls.py' in text


def test_cause_context_and_suppression_cross(conn):
    with pytest.raises(ValueError) as caught:
        conn.call(tasks.raise_with_cause)
    assert isinstance(caught.value.__cause__, KeyError) and caught.value.__cause__.args == ('cause',)
    assert 'direct cause' in format_error(caught)
    with pytest.raises(ValueError) as caught:
        conn.call(tasks.raise_with_context)
    assert caught.value.__cause__ is None and caught.value.__context__.args == ('context',)
    assert 'During handling' in format_error(caught)
    with pytest.raises(ValueError) as caught:
        conn.call(tasks.raise_without_context)
    assert caught.value.__suppress_context__ and 'hidden' not in format_error(caught)


def test_causes_in_a_circle_cross(conn):
    with pytest.raises(ValueError) as caught:
        conn.call(tasks.raise_in_circle)
    assert caught.value.args == ('first',)
    assert caught.value.__cause__.args == ('second',)
    assert caught.value.__cause__.__cause__ is caught.value


@pytest.mark.skipif(sys.version_info < (3, 11), reason='exceptions have notes from Python 3.11 on')
def test_notes_cross(conn):
    with pytest.raises(ValueError) as caught:
        conn.call(tasks.raise_with_notes)
    assert caught.value.__notes__ == ['first note', 'second note']


def test_exceptions_that_are_no_errors_cross_too(conn):
    for exc in (KeyboardInterrupt('ctrl'), SystemExit(3), StopIteration(5), GeneratorExit(), across.ProtocolError('p')):
        with pytest.raises(type(exc)) as caught:
            conn.call(tasks.raise_instance, exc)
        assert caught.value.args == exc.args


def test_system_exit_in_a_call_is_an_exception_of_that_call(conn):
    pid = conn.call(os.getpid)
    with pytest.raises(SystemExit) as caught:
        conn.call(tasks.raise_system_exit, 3)
    assert caught.value.code == 3
    assert conn.call(os.getpid) == pid


def test_operation_errors_never_cross_as_themselves(conn):
    names = {tasks.raise_operation_error: 'OperationError', tasks.raise_disconnect_error: 'DisconnectError'}
    for func, name in names.items():
        with pytest.raises(RuntimeError) as caught:
            conn.call(func)
        assert str(caught.value) == 'Cannot raise {} between processes'.format(name)
        assert type(caught.value.__cause__) is getattr(across, name) and str(caught.value.__cause__) == 'mine'
    assert conn.is_connected()


def test_what_cannot_be_pickled_is_an_operation_error(conn):
    for call in (
        lambda: conn.call(tasks.echo, tasks.Unpicklable()),
        lambda: conn.call(lambda: None),
        lambda: conn.call(tasks.make_unpicklable),
        lambda: conn.create(tasks.echo, threading.Lock()),
        lambda: conn.replicate(sys._getframe()),
        lambda: conn.call(tasks.raise_unpicklable),
    ):
        with pytest.raises(across.OperationError) as caught:
            call()
        assert type(caught.value) is across.OperationError
    assert conn.call(tasks.add, 1, 2) == 3


def test_what_cannot_be_unpickled_is_an_operation_error(conn):
    for call in (
        lambda: conn.call(tasks.echo, tasks.Unloadable()),
        lambda: conn.call(tasks.make_unloadable),
        lambda: conn.call(tasks.raise_unloadable),
    ):
        with pytest.raises(across.OperationError) as caught:
            call()
        assert type(caught.value) is across.OperationError
    assert conn.call(tasks.add, 1, 2) == 3


def test_a_function_that_only_this_side_has_is_an_operation_error(conn, monkeypatch):
    module = types.ModuleType('only_here')
    exec('def func(): pass', module.__dict__)
    monkeypatch.setitem(sys.modules, 'only_here', module)
    with pytest.raises(across.OperationError, match="No module named 'only_here'"):
        conn.call(module.func)


def test_exceptions_from_calls_back_cross_both_connections_ends(conn):
    def fail():
        raise LookupError('here')

    with pytest.raises(LookupError, match='here') as caught:
        conn.call(tasks.call_back, across.Local(fail))
    text = format_error(caught)
    assert 'in fail' in text and 'in call_back' in text
