# SPDX-License-Identifier: MIT
"""What works between the package across and its plain predecessor, whichever of them is the client.

As a script: `plain_client.py unix:PATH`, `tcp:HOST:PORT` or `stdio:COMMAND` checks it there, and prints "ok".
The tests import `check_all` for the other direction. Imports nothing but what both packages have.
"""

import copy
import functools
import logging
import os
import sys
import traceback

import across
from e2e import remote_tasks as tasks
from e2e.waiting import wait_until


def check_all(conn):
    """Check everything that both packages can do, over a connection whose other end has the tests' functions."""
    for check in CHECKS:
        check(conn)


def catch(kind, func, *args):
    """Call a function that has to raise an exception of exactly this type, and return the exception."""
    try:
        result = func(*args)
    except BaseException as error:
        assert type(error) is kind, error
        return error
    raise AssertionError('{!r} instead of an exception'.format(result))


def make_callback(func):
    """A reference to a function. The plain package cannot refer to functions themselves with new versions of Python."""
    return across.ref(functools.partial(func))


def check_call(conn):
    assert conn.call(os.getpid) != os.getpid()
    words = {'self': 1, 'func': 2, 'args': 3}
    assert conn.call(tasks.collect, 1, 2, **words) == ((1, 2), words)
    for value in (None, -1, 2**200, 1.5, 'tëxt', b'bytes', (1, [2, {3: {4}}]), tasks.Point(1, 2), len):
        assert conn.call(tasks.echo, value) == value
    for size in (0, 0xFC, 0xFD, 0xFFFF, 0x10000, 3 * 1024 * 1024):
        value = os.urandom(size)
        assert conn.call(tasks.echo, value) == value
    assert conn.execute('first + second', first=1, second=2) == 3


def check_call_ref(conn):
    point = conn.call_ref(tasks.Point, 1, y=2)
    assert isinstance(point, across.Proxy)
    assert point.sum() == 3
    assert conn.call(tasks.Point.sum, point) == 3


def check_replicate(conn):
    original = [1, 2]
    replica = conn.replicate(original)
    replica.append(3)
    assert original == [1, 2]
    assert copy.deepcopy(replica) == [1, 2, 3]


def check_proxy_methods(conn):
    items = conn.call_ref(dict)
    items['a'] = 1
    items.update({'b': 2})
    assert len(items) == 2 and items['b'] == 2 and 'a' in items and 'c' not in items
    del items['a']
    assert copy.deepcopy(items) == {'b': 2}
    assert catch(KeyError, lambda: items['a']).args == ('a',)
    assert conn.call_ref(functools.partial, tasks.add, 1)(2) == 3


def check_callback(conn):
    here = []
    conn.call(tasks.append_to, across.ref(here), os.getpid())
    conn.call(tasks.call_back, make_callback(here.append), 2)
    assert here == [os.getpid(), 2]
    assert conn.call(tasks.call_back, make_callback(os.getpid)) == os.getpid()
    there = conn.call(os.getpid)
    assert conn.call(tasks.ping_pong, 4) == [there, os.getpid()] * 2 + [there]


def check_coming_home(conn):
    """The other end keeps the object: a plain client may handle a release before the result ahead of it."""
    here = object()
    there = conn.call_ref(list)
    there.append(across.ref(here))
    there.append([across.ref(here)])
    assert there[0] is here
    assert there[1] == [here]
    assert conn.call(tasks.is_same, there, there)


def check_release(conn):
    objects = conn.call(tasks.make_counted, 3)
    assert [item.get() for item in objects] == [0, 1, 2]
    assert conn.call(tasks.count_live) == 3
    del objects
    wait_until(lambda: conn.call(tasks.count_live) == 0, 'the release of objects at the other end')


def check_exceptions(conn):
    error = catch(ValueError, conn.call, tasks.raise_value_error, 'told')
    assert error.args == ('told',)
    text = ''.join(traceback.format_exception(type(error), error, error.__traceback__))
    assert 'in raise_value_error' in text and 'raise ValueError(text)' in text and 'remote_tasks.py' in text, text
    assert catch(tasks.CustomError, conn.call, tasks.raise_custom).code == 42
    assert repr(catch(ValueError, conn.call, tasks.raise_with_cause).__cause__) == "KeyError('cause')"
    assert repr(catch(ValueError, conn.call, tasks.raise_with_context).__context__) == "KeyError('context')"


def check_exceptions_of_callbacks(conn):
    def fail_here():
        raise KeyError('here')

    error = catch(KeyError, conn.call, tasks.call_back, make_callback(fail_here))
    text = ''.join(traceback.format_exception(type(error), error, error.__traceback__))
    assert 'in fail_here' in text and 'in call_back' in text, text
    assert catch(ValueError, conn.call, tasks.ping_pong_then_raise, 3).args == ('from the bottom',)


def check_operation_errors(conn):
    catch(across.OperationError, conn.call, tasks.echo, tasks.Unpicklable())
    catch(across.OperationError, conn.call, tasks.echo, tasks.Unloadable())
    catch(across.OperationError, conn.call, tasks.make_unpicklable)
    catch(across.OperationError, conn.call, tasks.make_unloadable)
    catch(across.OperationError, conn.call, tasks.raise_unpicklable)
    assert conn.call(tasks.add, 1, 2) == 3


def check_names(conn):
    """What both packages have for users crosses by names that both find."""
    assert conn.call(repr, across.Options(timeout=7.5)) == 'Options(timeout=7.5)'
    assert conn.execute('import across\nacross.Options(timeout=7.5)').timeout == 7.5
    assert conn.call(across.set_debug_level, 0) is None
    assert 'ACROSS' in conn.call(across.get_bios)


def check_log_records(conn):
    records = []

    class Handler(logging.Handler):
        def emit(self, record):
            records.append(record)

    logger = logging.getLogger('e2e.forwarded')
    logger.propagate = False
    logger.handlers[:] = [Handler()]
    conn.call(tasks.forward_logs, logger.name)
    try:
        conn.call(tasks.log, logger.name, logging.WARNING, 'number %d', 7)
        conn.call(tasks.log_exception, logger.name, 'failed')
    finally:
        conn.call(tasks.stop_logs, logger.name)
        logger.handlers.clear()
    first, second = records
    assert (first.name, first.levelno, first.getMessage()) == (logger.name, logging.WARNING, 'number 7')
    assert first.process == conn.call(os.getpid)
    assert second.getMessage() == 'failed' and "KeyError: 'logged'" in second.exc_text


CHECKS = [
    check_call,
    check_call_ref,
    check_replicate,
    check_proxy_methods,
    check_callback,
    check_coming_home,
    check_release,
    check_exceptions,
    check_exceptions_of_callbacks,
    check_operation_errors,
    check_names,
    check_log_records,
]


def check_ours(conn):
    """What a server of the new package does for plain clients."""
    table = conn.call_ref(dict, a=1, b=2)
    assert sorted(table.items()) == [('a', 1), ('b', 2)] and dict(table) == {'a': 1, 'b': 2}
    assert list(conn.call(tasks.generate, 3)) == [0, 1, 2]
    assert conn.call_ref(int, 1) and not conn.call_ref(int, 0)
    assert list(reversed(conn.call_ref(list, 'ab'))) == ['b', 'a']
    file = conn.call_ref(open, os.devnull)
    assert not hasattr(file, 'fileno') and file.read() == ''


def connect(address):
    kind, _, rest = address.partition(':')
    if kind == 'unix':
        return across.Connection.from_unix(rest)
    if kind == 'tcp':
        host, _, port = rest.rpartition(':')
        return across.Connection.from_tcp(host, int(port))
    return across.Connection.from_command([rest, '--stdio'])


if __name__ == '__main__':
    with connect(sys.argv[1]) as conn:
        check_all(conn)
        check_ours(conn)
    print('ok')
