# SPDX-License-Identifier: MIT
"""What a client of any package across tries with a server of any: `matrix_client.py FEATURE CLIENT SERVER PATH`.

Prints what came of it as a line of JSON: null, or the error. Imports nothing but what all packages have, by the names
of the oldest. Servers import this module, too, for what they are to run.
"""

import contextlib
import copy
import functools
import gc
import json
import logging
import logging.handlers
import os
import sys
import tempfile
import traceback
import weakref

import across
import across.logging
from e2e import deadly_tasks as deadly
from e2e import remote_tasks as tasks
from e2e.waiting import wait_until

TIMEOUT = 2  # seconds, for the feature that is about it
FEATURES = {}
STOP = 'stop the server'  # what is printed to have that done
PLAIN = 'plain'


def feature(title, **options):
    """Mark a function that tries a feature over a connection with these options, and raises when it does not work."""

    def add(func):
        FEATURES[func.__name__] = (title, func, options)
        return func

    return add


# ---- calls ----


@feature('`call`')
def call(conn):
    assert conn.call(os.getpid) != os.getpid()
    value = {'text': 'tëxt', 'number': 2**100, 'items': (1, [2.5, None, b'bytes']), 'point': tasks.Point(1, 2)}
    assert conn.call(tasks.echo, value) == value
    assert conn.call(tasks.collect, 1, self=2) == ((1,), {'self': 2})


@feature('an exception, with its cause and traceback')
def exception(conn):
    try:
        conn.call(tasks.raise_with_cause)
    except ValueError as error:
        text = traceback.format_exc()
        assert error.args == ('effect',) and type(error.__cause__) is KeyError
        for part in ('remote_tasks.py', 'in raise_with_cause', "raise ValueError('effect') from error"):
            assert part in text, text
    else:
        raise AssertionError('no exception')


@feature('`execute`, with a value')
def execute(conn):
    assert conn.execute('import os\nfirst = 1\n(first + second, os.getpid())', second=2) == (3, conn.call(os.getpid))


@feature('16 MiB of bytes, there and back')
def large(conn):
    value = os.urandom(16 << 20)
    assert conn.call(tasks.echo, value) == value


# ---- objects ----


@feature('`create`, and methods of the proxy')
def create(conn):
    items = conn.call_ref(dict)
    assert isinstance(items, across.Proxy)
    items.update(a=1)
    items['b'] = 2
    assert len(items) == 2 and 'a' in items and items['b'] == 2
    assert copy.deepcopy(items) == {'a': 1, 'b': 2}
    assert conn.call_ref(functools.partial, tasks.add, 1)(2) == 3


@feature('iterating over a proxy')
def iterate(conn):
    assert list(conn.call_ref(tasks.generate, 4)) == [0, 1, 2, 3]
    assert sorted(conn.call_ref(dict, b=1, a=2)) == ['a', 'b']


@feature('a proxy as context manager')
def enter(conn):
    manager = conn.call_ref(tasks.Manager)
    with manager as entered:
        entered.get_events()
    assert manager.get_events() == ['enter', 'exit']


@feature('`replicate`')
def replicate(conn):
    original = [1, 2]
    replica = conn.replicate(original)
    replica.append(3)
    assert original == [1, 2] and copy.deepcopy(replica) == [1, 2, 3]


@feature('`Local`: a callback')
def local(conn):
    here = []

    def note(value):
        here.append(value)
        return os.getpid()

    assert conn.call(tasks.call_back, across.ref(note), 1) == os.getpid()
    conn.call(tasks.append_to, across.ref(here), 2)
    assert here == [1, 2]


_kept = []


def get_kept():
    return _kept[0]


def keep(proxy):
    _kept.append(proxy)


@feature('a proxy that comes home')
def come_home(conn):
    here = tasks.Point(1, 2)
    conn.call(keep, across.ref(here))
    assert conn.call(get_kept) is here


class Late:
    """Takes a while to be read: until what came back with it has been dropped at the other end."""

    conn = None

    def __reduce__(self):
        return _load_late, ()


def _load_late():
    wait_until(lambda: Late.conn.call(has_been_dropped), 'the end of the proxy')


def has_been_dropped():
    gc.collect()
    return _given() is None


def give_back(proxy):
    global _given
    _given = weakref.ref(proxy)
    return [Late(), proxy]


@feature('a proxy that comes home and is dropped there meanwhile')
def come_home_late(conn):
    Late.conn = conn
    here = tasks.Point(1, 2)
    assert conn.call(give_back, across.ref(here))[1] is here


# ---- modules, functions, logs ----


@feature('`export` of a module')
def export(conn):
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, 'only_here.py'), 'w') as file:
            file.write('import os\n\ndef double(value):\n    return 2 * value, os.getpid()\n')
        sys.path.insert(0, folder)
        import only_here

        conn.export('only_here')
        assert conn.call(only_here.double, 4) == (8, conn.call(os.getpid))


@feature('a lambda is called (`pickler`)', pickler='cloudpickle')
def call_lambda(conn):
    offset = 3
    assert conn.call(lambda value: (value + offset, os.getpid()), 4) == (7, conn.call(os.getpid))


@feature('a lambda is returned (`pickler`)', pickler='cloudpickle')
def return_lambda(conn):
    assert conn.execute('lambda value: value + 1')(2) == 3


@feature('log records, both ways')
def logs(conn):
    here = logging.handlers.BufferingHandler(100)
    logger = logging.getLogger('matrix')
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    logger.addHandler(here)
    conn.call(tasks.forward_logs, 'matrix')
    conn.call(tasks.log, 'matrix', logging.WARNING, 'number %d', 7)
    wait_until(lambda: here.buffer, 'a record from there')
    assert [record.getMessage() for record in here.buffer] == ['number 7']

    there = conn.call_ref(logging.handlers.BufferingHandler, 100)
    conn.execute('import logging; logging.getLogger("matrix").handlers[:] = [handler]', handler=there)
    logger.handlers[:] = [across.logging.AcrossHandler(conn)]
    logger.warning('number %d', 8)
    assert conn.execute('[record.getMessage() for record in handler.buffer]', handler=there) == ['number 8']


# ---- trouble ----


@feature('a call that holds the GIL for longer than the timeout', timeout=TIMEOUT)
def hold_gil(conn):
    assert conn.call(deadly.hold_gil, 2 * TIMEOUT) == 'slept'
    assert conn.call(tasks.add, 1, 2) == 3


def get_reason(conn, func, *args):
    """What a call says that fails because the connection has ended."""
    try:
        conn.call(func, *args)
    except across.DisconnectError as error:
        with contextlib.suppress(Exception):  # the same reason once more
            conn.close()
        return str(error)
    raise AssertionError('still connected')


@feature('the reason when a worker dies')
def worker_dies(conn):
    reason = get_reason(conn, os._exit, 3)
    assert 'exited with status 3' in reason, reason


# The last one: there is no server any more.
@feature('the reason when the server stops')
def server_stops(conn):
    conn.call(os.getpid)
    print(STOP, flush=True)
    conn.wait()
    reason = get_reason(conn, os.getpid)
    assert 'stopping' in reason, reason


# ---- one of them ----


def connect(path, server, options):
    if server == PLAIN and get_kind() != PLAIN:
        options['protocol_version'] = (0, 1)
    return across.Connection.from_unix(path, options=across.Options(**options))


def get_kind():
    """Which engine this process has."""
    return getattr(across, 'engine', PLAIN)


def get_kind_of(conn):
    return conn.execute('import across; getattr(across, "engine", {!r})'.format(PLAIN))


def attempt(name, client, server, path):
    assert get_kind() == client, 'this is the client {}'.format(get_kind())
    _, func, options = FEATURES[name]
    conn = connect(path, server, dict(options))
    assert get_kind_of(conn) == server, 'this is the server {}'.format(get_kind_of(conn))
    func(conn)
    conn.close()


def main(*args):
    error = None
    try:
        attempt(*args)
    except BaseException as exc:
        error = '{}: {}'.format(type(exc).__name__, exc)
    print(json.dumps(error), flush=True)
    os._exit(0)  # the answer is all that is wanted of this process, and it may be unable to end


if __name__ == '__main__':
    from e2e import matrix_client  # by the name that servers know it by

    matrix_client.main(*sys.argv[1:])
