# SPDX-License-Identifier: MIT
"""Exceptions that cross connections."""

import gc
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import traceback
import weakref

import pytest

import across
from across import _records, _tracebacks


class CustomError(Exception):
    pass


class NotUnpicklable(Exception):
    def __init__(self, one, two):
        super().__init__(one)


class NotPicklable(Exception):
    def __init__(self):
        super().__init__('kept')
        self.lock = threading.Lock()


def fail_with(exc):
    raise exc


def fail_deep(hops):
    if hops:
        across.get_connection().call(fail_deep, hops - 1)
    raise CustomError('deep')  # the line that is shown


def fail_with_cause():
    try:
        raise KeyError('inner')
    except KeyError as error:
        raise CustomError('outer') from error


def fail_with_context():
    try:
        raise KeyError('inner')
    except KeyError:
        raise CustomError('outer')  # noqa: B904


def fail_suppressed():
    try:
        raise KeyError('inner')
    except KeyError:
        raise CustomError('outer') from None


def fail_with_notes():
    exc = json.JSONDecodeError('bad', 'document', 0)
    exc.__notes__ = ['a note']
    raise exc


def fail_with_unportable_context():
    try:
        raise NotPicklable()
    except NotPicklable:
        raise CustomError('outer')  # noqa: B904


def fail_with_group():
    try:
        raise KeyError('inner')
    except KeyError as inner:
        raise ExceptionGroup('several', [inner, CustomError('never raised')])  # noqa: B904, F821


def fail_unportable(cls, *args):
    raise cls(*args)


def catch(conn, *args):
    with pytest.raises(Exception) as info:
        conn.call(*args)
    return info.value


def format_exception(exc):
    return ''.join(traceback.format_exception(type(exc), exc, exc.__traceback__))


def test_traceback_shows_every_frame_of_every_hop(conn):
    text = format_exception(catch(conn, fail_deep, 3))
    assert text.count('<process {} on {}>'.format(os.getpid(), socket.gethostname())) == 4
    assert text.count('in fail_deep') == 4
    assert text.count('across.get_connection().call(fail_deep, hops - 1)') == 3
    assert text.count("raise CustomError('deep')  # the line that is shown") == 1
    assert 'File "{}", line {}, in fail_deep'.format(__file__, fail_deep.__code__.co_firstlineno + 3) in text


def test_cause_context_and_suppression(conn):
    caused = catch(conn, fail_with_cause)
    assert isinstance(caused.__cause__, KeyError) and caused.__cause__ is caused.__context__
    assert "raise KeyError('inner')" in format_exception(caused)
    assert isinstance(catch(conn, fail_with_context).__context__, KeyError)
    suppressed = catch(conn, fail_suppressed)
    assert suppressed.__suppress_context__ and suppressed.__cause__ is None


def test_notes_arrive(conn):
    exc = CustomError('noted')
    exc.__notes__ = ['a note']
    assert catch(conn, fail_with, exc).__notes__ == ['a note']


def test_notes_arrive_even_if_the_class_does_not_pickle_them(conn):
    assert catch(conn, fail_with_notes).__notes__ == ['a note']


def test_caller_sees_what_it_was_handling(conn):
    try:
        raise KeyError('handled here')
    except KeyError as handled:
        assert catch(conn, fail_deep, 0).__context__ is handled
        assert 'inner' in str(catch(conn, fail_with_context).__context__)


def test_context_that_cannot_cross_is_replaced(conn):
    exc = catch(conn, fail_with_unportable_context)
    assert type(exc) is CustomError
    assert type(exc.__context__) is RuntimeError and 'NotPicklable: kept' in str(exc.__context__)
    assert 'in fail_with_unportable_context' in format_exception(exc.__context__)


@pytest.mark.skipif(sys.version_info < (3, 11), reason='no exception groups')
def test_exception_groups_cross(conn):
    exc = catch(conn, fail_with_group)
    assert type(exc) is ExceptionGroup and exc.message == 'several'  # noqa: F821
    assert [type(member) for member in exc.exceptions] == [KeyError, CustomError]
    assert exc.__context__ is exc.exceptions[0]
    assert "raise KeyError('inner')" in format_exception(exc)


def test_interpreter_and_logging_show_remote_tracebacks():
    source = """
import across, logging, socket
source = "def func():\\n    raise ValueError('far away')  # the line\\nfunc()"
one, other = [across.Connection.from_socket(end) for end in socket.socketpair()]
try:
    one.execute(source)
except ValueError:
    logging.exception('logged')
one.execute(source)
"""
    shown = subprocess.run([sys.executable, '-c', source], stderr=subprocess.PIPE, text=True).stderr
    assert shown.count("    raise ValueError('far away')  # the line\n") == 2, shown
    assert shown.count(', line 2, in func') == 2
    assert shown.count(' on {}>'.format(socket.gethostname())) == 2


@pytest.mark.parametrize('args', [(NotPicklable,), (NotUnpicklable, 'kept', 2)])
def test_exception_that_cannot_cross_is_described(conn, args):
    exc = catch(conn, fail_unportable, *args)
    assert type(exc) is across.OperationError
    assert 'kept' in format_exception(exc) and args[0].__name__ in format_exception(exc)
    assert 'in fail_unportable' in format_exception(exc)
    assert conn.is_connected()


@pytest.mark.parametrize('cls', [across.OperationError, across.DisconnectError])
def test_operation_errors_do_not_cross_as_themselves(conn, cls):
    exc = catch(conn, fail_unportable, cls, 'theirs')
    assert type(exc) is RuntimeError
    assert str(exc) == 'Cannot raise {} between processes'.format(cls.__name__)
    assert type(exc.__cause__) is cls


def test_long_chains_are_bounded():
    exc = None
    for number in range(5000):
        outer = ValueError(number)
        outer.__context__ = exc
        exc = outer
    copied = _records.load_error(pickle.loads(pickle.dumps(_records.dump_error(exc), 4)))
    length = 0
    while copied is not None:
        length, copied = length + 1, copied.__context__
    assert 10 < length <= _records._MAX_EXCEPTIONS + 1


def test_cycles_survive():
    one, two = ValueError(1), ValueError(2)
    one.__cause__, two.__cause__ = two, one
    copied = _records.load_error(pickle.loads(pickle.dumps(_records.dump_error(one), 4)))
    assert copied.__cause__.__cause__ is copied


def test_deep_recursion_is_bounded():
    def recurse():
        recurse()

    with pytest.raises(RecursionError) as info:
        recurse()
    hops = _tracebacks.pack(info.value.__traceback__, here=False)
    assert len(hops) == 1 and len(hops[0][2]) <= _tracebacks._MAX_ENTRIES + 1
    assert 'Previous line repeated' in ''.join(traceback.format_tb(_tracebacks.unpack(hops)))


def test_caught_exception_leaves_no_cycle(conn):
    gc.collect()
    gc.disable()
    try:
        try:
            conn.call(fail_with, CustomError())
        except CustomError as error:
            reference = weakref.ref(error)
        assert reference() is None
    finally:
        gc.enable()


@pytest.mark.parametrize('record', [None, 3, (1, 2), (3, None, False, None, []), (ValueError(), None, False, 7, [])])
def test_malformed_records_are_errors(record):
    with pytest.raises((TypeError, ValueError)):
        _records.load_error(record)


plain_site = os.environ.get('AX_PLAIN_ACROSS')


@pytest.mark.skipif(not plain_site, reason='AX_PLAIN_ACROSS does not name the folder of across 0.1')
def test_plain_peer_understands_records_and_is_understood():
    source = 'import across\nwith across.Connection.from_stdio() as conn: conn.wait()'
    proc = subprocess.Popen(
        [sys.executable, '-c', source], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, 'PYTHONPATH': plain_site},
    )  # fmt: skip
    with across.Connection.from_process(proc, options=across.Options(protocol_version=(0, 1))) as conn:
        with pytest.raises(ZeroDivisionError) as info:
            conn.execute('1 / 0')
        assert str(proc.pid) in format_exception(info.value)
        text = conn.execute(
            'import traceback\ntry: func("spam")\nexcept ValueError: text = traceback.format_exc()\ntext',
            func=across.Local(int),
        )
        assert 'invalid literal' in text and str(os.getpid()) in text
    assert proc.returncode == 0
