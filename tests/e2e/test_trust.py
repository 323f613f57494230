# SPDX-License-Identifier: MIT
"""A client that takes data alone, Options(trust='data'): with honest servers, and with those that try to run something.

Each attack is tried on a client that trusts, too: there it has to succeed, or it would prove nothing.
"""

import contextlib
import copy
import logging
import os
import pickle
import socket
import sys
import threading
import weakref

import pytest

import across
import across.logging

from . import remote_tasks as tasks
from .test_bad_input import (
    APPLY,
    DEL_OBJS,
    EXCEPTION,
    GREETING,
    HELLO,
    RESULT,
    SUCCESS,
    Raw,
    apply,
    message,
    superblock,
)
from .test_plain_peer import OPTIONS as SPEAKS_OLD
from .test_plain_peer import plain_server
from .waiting import LIMIT, wait_until

OPERATION_ERROR = 4
CREATE, REPLICATE, METHOD = 6, 7, 9
REFERENCE = 6
ALL_FEATURES = 0xFFFFFFFF
OPERATIONS = 4  # the feature
BARE = 0xE54E6D01  # the magic of a Python without the package
REFUSAL = b'The peer refuses calls: '
DATA = across.Options(trust='data')


# ---- honest servers ----


@pytest.fixture
def data_conn(server):
    """A connection that takes data, over every transport."""
    with server.connect(DATA) as conn:
        yield conn


def test_values_cross(data_conn):
    for value in (None, 1, 'text', b'bytes' * 100000, [1, (2, {'k': {3.5}})], {'a': frozenset([1])}, range(3), 1j):
        assert data_conn.call(tasks.echo, value) == value
    with pytest.raises(across.OperationError, match=r'does not allow .*Point; Options\(trusted_types=...\)'):
        data_conn.call(tasks.Point, 1)
    assert data_conn.call(tasks.add, 1, 2) == 3


def test_trusted_types_cross(server):
    with server.connect(DATA.copy(trusted_types=[tasks.Point])) as conn:
        assert conn.call(tasks.Point, 1, 2) == tasks.Point(1, 2)


def test_proxies_work(data_conn):
    items = data_conn.create(list)
    data_conn.call(tasks.append_to, items, 'x')
    items.append('y')
    assert list(items) == ['x', 'y'] and len(items) == 2 and 'y' in items and items[0] == 'x'
    assert copy.deepcopy(items) == ['x', 'y']
    assert list(data_conn.create(tasks.generate, 3)) == list(range(3))
    point = data_conn.replicate(tasks.Point(1))
    assert point.move(2) is point and point.sum() == 3
    with data_conn.create(tasks.Manager) as manager:
        assert manager is not None
    with pytest.raises(across.RemoteError, match='IndexError'):
        items[7]


def test_dropped_proxies_release_their_objects(data_conn):
    live = data_conn.call(tasks.count_live_now)
    counted = data_conn.create(tasks.Counted)
    assert data_conn.call(tasks.count_live_now) == live + 1
    del counted
    wait_until(lambda: data_conn.call(tasks.count_live_now) == live, 'release of the object')


def test_objects_come_home(data_conn):
    here = []
    assert data_conn.call(tasks.echo, across.Local(here)) is here
    assert data_conn.call(tasks.echo, [across.Local(here), 1])[0] is here


def test_exceptions_are_remote_errors(data_conn):
    with pytest.raises(across.RemoteError) as info:
        data_conn.call(tasks.raise_with_cause)
    error = info.value
    assert str(error) == 'ValueError: effect' and 'in raise_with_cause' in error.remote_traceback
    assert type(error.__cause__) is across.RemoteError
    with pytest.raises(across.RemoteError, match=r'FileNotFoundError: \[Errno 2\] No such file .*/nowhere'):
        data_conn.call(os.stat, '/nowhere')
    with pytest.raises(across.RemoteError, match='SystemExit: 3'):
        data_conn.call(tasks.raise_system_exit, 3)
    with pytest.raises(across.RemoteError, match='KeyboardInterrupt'):
        data_conn.call(tasks.raise_keyboard_interrupt)
    assert data_conn.is_connected()


def test_operation_errors_stay(data_conn):
    with pytest.raises(across.OperationError, match='Pickling failed'):
        data_conn.call(tasks.make_unpicklable)
    with pytest.raises(across.OperationError, match='Unpickling failed'):
        data_conn.call(tasks.echo, tasks.Unloadable())
    with pytest.raises(across.OperationError, match='Pickling failed'):
        data_conn.call(tasks.echo, tasks.Unpicklable())


def test_the_server_may_not_call_back(data_conn):
    called = []
    for func, args in [
        (tasks.call_back, [across.Local(called.append), 1]),
        (tasks.call_back_over_connection, [os.getpid]),
        (tasks.append_to, [across.Local(called), 1]),
    ]:
        with pytest.raises(across.RemoteError) as info:
            data_conn.call(func, *args)
        assert REFUSAL.decode() in str(info.value.__cause__)
    assert called == [] and data_conn.call(tasks.add, 1, 2) == 3


def test_nothing_is_exported(daemon):
    with daemon.connect(DATA) as conn, pytest.raises(ValueError, match="needs trust='full'"):
        conn.export('e2e')


def test_records_go_there_and_do_not_come_back(daemon):
    logger = logging.getLogger('e2e.trust')
    with daemon.connect(DATA) as conn:
        logger.addHandler(handler := across.logging.AcrossHandler(conn))
        try:
            logger.warning('into the daemon')
        finally:
            logger.removeHandler(handler)
        daemon.expect('into the daemon')
        conn.execute(
            'import across.logging, logging\nlogging.raiseExceptions = False\n'
            'logging.getLogger("e2e.back").addHandler(across.logging.AcrossHandler())\n'
            'logging.getLogger("e2e.back").warning("refused")'
        )
        assert conn.call(tasks.add, 1, 2) == 3


def test_functions_go_there_by_value_and_do_not_come_back(make_daemon):
    cloudpickle = pytest.importorskip('cloudpickle')
    folder = os.path.dirname(os.path.dirname(cloudpickle.__file__))
    daemon = make_daemon(env=dict(os.environ, PYTHONPATH=os.pathsep.join([folder, os.path.dirname(tasks.__file__)])))
    with daemon.connect(DATA.copy(pickler='cloudpickle')) as conn:
        assert conn.call(lambda x: [x, x], 3) == [3, 3]
        with pytest.raises(across.OperationError, match='does not allow cloudpickle'):
            conn.call(lambda: lambda: None)


def test_a_plain_server(plain_across, tmp_path):
    with plain_server(plain_across, 'unix', str(tmp_path / 'plain')) as address:
        with across.Connection.from_unix(address[5:], options=DATA.copy(**SPEAKS_OLD)) as conn:
            assert conn.call(tasks.echo, [1, {'a': (2,)}]) == [1, {'a': (2,)}]
            items = conn.create(list, 'ab')
            items.append('c')
            assert [items[place] for place in range(len(items))] == ['a', 'b', 'c']
            with pytest.raises(across.RemoteError) as info:
                conn.call(tasks.raise_value_error, 'there')
            assert str(info.value) == 'ValueError: there' and 'raise_value_error' in info.value.remote_traceback
            with pytest.raises(across.RemoteError):
                conn.call(tasks.call_back_over_connection, os.getpid)
            with pytest.raises(across.OperationError, match='does not allow'):
                conn.call(tasks.Point, 1)
            assert conn.call(tasks.add, 1, 2) == 3


def test_a_bare_python_is_sent_nothing():
    conn = across.Connection.from_command([sys.executable, '-I', '-c', across.get_bios()], options=DATA)
    with pytest.raises(across.DisconnectError, match='asks to be bootstrapped, which is not allowed here'):
        conn.call(os.getpid)
    with pytest.raises(across.ProtocolError, match='asks to be bootstrapped'):
        conn.close()


# ---- hostile servers ----


class Canary:
    """Makes a folder where it is unpickled."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return os.mkdir, (self._path,)


class Named:
    """Pickles as the call of something that the other side has by name."""

    def __init__(self, name, *args):
        self._name = name
        self._args = args

    def __reduce__(self):
        func = self._name
        if isinstance(func, str):
            func = getattr(across, func)
        return func, self._args


@pytest.fixture
def canary(tmp_path):
    return Canary(str(tmp_path / 'fired'))


@pytest.fixture
def has_fired(tmp_path):
    return (tmp_path / 'fired').exists


@contextlib.contextmanager
def hostile(options, behave, greet=True):
    """A connection of ours to a server that does as it is told: `behave(raw)` runs in a thread."""
    ours, theirs = socket.socketpair()
    raw = Raw(theirs)
    failure = []

    def run():
        try:
            with raw:
                if greet:
                    raw.greet()
                behave(raw)
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run)
    conn = across.Connection.from_socket(ours, options=options)
    thread.start()
    try:
        yield conn
    finally:
        thread.join(LIMIT)
        conn.cancel()
        with contextlib.suppress(across.ProtocolError, EOFError, OSError):
            conn.close()
    assert not thread.is_alive() and failure == []


def read_call(raw):
    """The id of the call that comes next, in the form that a head has it in."""
    while True:
        head = raw.read_message()[0]
        if head[0] in (APPLY, CREATE):
            return head[1]


def answer_with(kind, *buffers, refs=()):
    def behave(raw):
        raw.send(message([RESULT, read_call(raw), kind, len(refs), *refs], *buffers))
        read_call(raw)  # the client lives
        raw.end()

    return behave


def provoke(conn):
    """Make a call, whatever comes of it, and another one: it proves that the first answer was dealt with."""
    for _ in range(2):
        with contextlib.suppress(Exception):
            conn.call(os.getpid)


def dump(value):
    return pickle.dumps(value, 4)


def dump_record(exc, context=None, suppress=False, cause=None, hops=()):
    return dump((exc, context, suppress, cause, list(hops)))


def an_exception_with(state):
    class State(Exception):
        def __reduce__(self):
            return ValueError, ('x',), state

    return State()


ANSWERS = {
    'result': lambda canary: (SUCCESS, dump(canary)),
    'in a list': lambda canary: (SUCCESS, dump([1, {'k': (canary,)}])),
    'key': lambda canary: (SUCCESS, dump({canary: 1})),
    'argument of data': lambda canary: (SUCCESS, dump(Named(complex, canary))),
    'id of a proxy': lambda canary: (SUCCESS, dump(Named('_make_proxy', canary, []))),
    'methods of a proxy': lambda canary: (SUCCESS, dump(Named('_make_proxy', 1, canary))),
    'method of a proxy': lambda canary: (SUCCESS, dump(Named('_make_proxy', 1, ['append', canary]))),
    'id of an object': lambda canary: (SUCCESS, dump(Named('_get_obj', canary))),
    'applied method': lambda canary: (SUCCESS, dump(Named('_apply_method', canary._path, 'strip', (canary,), {}))),
    'snippet': lambda canary: (SUCCESS, dump(Named('_execute', 'import os; os.mkdir({!r})'.format(canary._path), {}))),
    'created': lambda canary: (SUCCESS, dump(Named('_apply_ref', os.mkdir, (canary._path,), {}))),
    'exec': lambda canary: (SUCCESS, dump(Named(exec, 'import os; os.mkdir({!r})'.format(canary._path)))),
    'protocol 0': lambda canary: (SUCCESS, pickle.dumps(canary, 0)),
    'protocol 2': lambda canary: (SUCCESS, pickle.dumps(canary, 2)),
    'protocol 5': lambda canary: (SUCCESS, pickle.dumps(canary, 5)),
    'cut off': lambda canary: (SUCCESS, pickle.dumps(canary, 3)[:-1]),
    'followed by more': lambda canary: (SUCCESS, dump(canary) + b'garbage'),
    'record': lambda canary: (EXCEPTION, dump(canary)),
    'exception': lambda canary: (EXCEPTION, dump_record(canary)),
    'argument of an exception': lambda canary: (EXCEPTION, dump_record(ValueError(canary))),
    'state of an exception': lambda canary: (EXCEPTION, dump_record(an_exception_with({'x': canary}))),
    'note': lambda canary: (EXCEPTION, dump_record(an_exception_with({'__notes__': [canary]}))),
    'context': lambda canary: (EXCEPTION, dump_record(ValueError(), canary)),
    'suppression': lambda canary: (EXCEPTION, dump_record(ValueError(), None, canary)),
    'cause': lambda canary: (EXCEPTION, dump_record(ValueError(), cause=canary)),
    'exception of a cause': lambda canary: (
        EXCEPTION, dump_record(ValueError(), cause=(canary, None, False, None, [])),
    ),
    'traceback': lambda canary: (EXCEPTION, dump_record(ValueError(), hops=[canary])),
    'host': lambda canary: (EXCEPTION, dump_record(ValueError(), hops=[(canary, 1, [])])),
    'process id': lambda canary: (EXCEPTION, dump_record(ValueError(), hops=[('host', canary, [])])),
    'entries': lambda canary: (EXCEPTION, dump_record(ValueError(), hops=[('host', 1, canary)])),
    'entry': lambda canary: (EXCEPTION, dump_record(ValueError(), hops=[('host', 1, [canary])])),
    'source line': lambda canary: (EXCEPTION, dump_record(ValueError(), hops=[('host', 1, [('f', 1, 'g', canary)])])),
}  # fmt: skip


@pytest.fixture(params=['full', 'data'])
def trust(request):
    return request.param


@pytest.mark.parametrize('name', ANSWERS)
def test_answers_run_nothing(canary, has_fired, trust, name):
    with hostile(across.Options(trust=trust), answer_with(*ANSWERS[name](canary))) as conn:
        provoke(conn)
        assert has_fired() == (trust == 'full')


def test_what_a_refused_answer_refers_to_is_released(canary):
    seen = []

    def behave(raw):
        raw.send(message([RESULT, read_call(raw), SUCCESS, 2, 5, 7], dump([Named('_make_proxy', 5, ['x']), canary])))
        seen.append(raw.read_message()[0])
        raw.end()

    with hostile(DATA, behave) as conn:
        with pytest.raises(across.OperationError, match=r'does not allow \w+.mkdir'):
            conn.call(os.getpid)
    head = seen[0]
    assert head[:2] == bytes([DEL_OBJS, head[1]]) and set(head[2:]) <= {5, 7}


def requests(canary):
    yield apply(3, os.mkdir, canary._path)
    yield message([APPLY, 3, 0], dump(canary))
    yield message([APPLY, 3, 0], dump((across._apply_ref, (os.mkdir, (canary._path,), {}), {})))
    yield message([APPLY, 3, 0], dump((across.ref, (canary,), {})))
    yield message([APPLY, 3, 0], dump((across._execute, ('import os\nos.mkdir({!r})'.format(canary._path), {}), {})))


@pytest.mark.parametrize('number', range(5))
def test_requests_run_nothing(canary, has_fired, trust, number):
    answers = []

    def behave(raw):
        raw.send(list(requests(canary))[number])
        answers.append(raw.read_message())
        raw.end()

    with hostile(across.Options(trust=trust), behave) as conn:
        conn.wait()
    assert has_fired() == (trust == 'full')
    if trust == 'data':
        assert answers[0][0][:3] == bytes([RESULT, 3, OPERATION_ERROR]) and REFUSAL in answers[0][0]


@pytest.mark.parametrize('type', [CREATE, REPLICATE, METHOD])
def test_operations_run_nothing(canary, has_fired, trust, type):
    """Where the client knows none, they are a breach."""
    known = []

    def behave(raw):
        raw.send(superblock(extension=1, features=ALL_FEATURES) + message([GREETING, 0]))
        known.append(raw.read(16)[11] & OPERATIONS)
        raw.read_message()
        names = [0, 3, *b'pop'] if type == METHOD else []
        raw.send(message([type, 3, *names, 0], dump((os.mkdir, (canary._path,), {}))))
        assert (REFUSAL in raw.read_message()[0]) == bool(known[0] and trust == 'data')
        raw.end()

    with hostile(across.Options(trust=trust), behave, greet=False) as conn:
        conn.wait()
    assert has_fired() == bool(known[0] and trust == 'full' and type == CREATE)


def test_references_are_names(canary, has_fired):
    """A proxy is made of names that are no pickle. Where the client knows no references, they are a breach."""

    def behave(raw):
        raw.send(superblock(extension=1, features=ALL_FEATURES) + message([GREETING, 0]))
        is_known = raw.read(16)[11] & OPERATIONS
        raw.read_message()
        for names in (dump(canary), b'pop __class__', b'get')[: 3 if is_known else 1]:
            raw.send(message([RESULT, read_call(raw), REFERENCE, 1, 5], names))
        raw.end()

    with hostile(DATA, behave, greet=False) as conn:
        for _ in range(2):
            with pytest.raises((across.OperationError, across.DisconnectError)):
                conn.create(list)
        with contextlib.suppress(across.DisconnectError):
            assert hasattr(conn.create(list), 'get')
    assert not has_fired()


def test_references_of_refused_requests_are_released(canary):
    seen = []

    def behave(raw):
        raw.send(message([APPLY, 3, 2, 8, 9], dump(canary)))
        raw.read_message()
        seen.extend(raw.read_message())
        raw.end()

    with hostile(DATA, behave) as conn:
        conn.wait()
    assert seen == [bytes([DEL_OBJS, 2, 8, 9])]


def test_a_flood_of_requests_is_refused_and_the_client_goes_on(canary, has_fired):
    def behave(raw):
        call = read_call(raw)
        for _ in range(2000):
            raw.send(message([APPLY, 3, 0], dump(canary)))
        for _ in range(2000):
            assert REFUSAL in raw.read_message()[0]
        raw.send(message([RESULT, call, SUCCESS, 0], dump('here')))
        raw.end()

    with hostile(DATA, behave) as conn:
        assert conn.call(os.getpid) == 'here'
    assert not has_fired()


def test_nobody_is_bootstrapped(trust):
    sent = []

    def behave(raw):
        raw.send(superblock(magic=BARE, version=(0, 1, 0)))
        raw.read(16)
        if trust == 'full':
            sent.append(int.from_bytes(raw.read(4), 'big'))
        else:
            sent.append(len(raw.read_to_end()))
        raw.end()

    with hostile(across.Options(trust=trust), behave, greet=False) as conn:
        conn.wait()
        if trust == 'data':
            with pytest.raises(across.ProtocolError, match='asks to be bootstrapped, which is not allowed here'):
                conn.close()
    assert (sent[0] > 10000) == (trust == 'full')


def test_objects_that_the_server_drops_are_dropped():
    class Held:
        pass

    held = Held()
    reference = weakref.ref(held)

    def behave(raw):
        frames = raw.read_message()
        assert frames[0][0] == APPLY and frames[0][2] == 1
        raw.send(message([RESULT, frames[0][1], SUCCESS, 0], dump(None)) + message([DEL_OBJS, 1, frames[0][3]]))
        raw.read_message()
        raw.end()

    with hostile(DATA, behave) as conn:
        conn.call(tasks.echo, across.Local(held))
        del held
        wait_until(lambda: reference() is None, 'release of the object')
        with contextlib.suppress(across.OperationError):
            conn.call(os.getpid)


class Command:
    """An object of the client that a server should only get to hold."""

    def __init__(self):
        self.calls = []

    def __call__(self, *args):
        self.calls.append(args)

    append = extend = __call__


HOME = b'\x80\x04\x8c\x06across\x8c\x08_get_obj\x93K\x00\x85R'


@pytest.mark.parametrize(
    'tail', [b'\x8c\x02rm\x85R', b'\x8c\x01xa', b'(\x8c\x01xe', b'}\x8c\x05calls]sb', b'N}\x8c\x05calls]s\x86b']
)
def test_objects_of_the_client_are_not_used(trust, tail):
    command = Command()
    command.calls.append('kept')

    with hostile(across.Options(trust=trust), answer_with(SUCCESS, HOME + tail + b'.')) as conn:
        with contextlib.suppress(across.OperationError):
            conn.call(tasks.echo, across.Local(command))
        with contextlib.suppress(across.OperationError):
            conn.call(os.getpid)
    assert (command.calls == ['kept']) == (trust == 'data')


def test_proxies_of_a_hostile_server_answer_with_data(canary, has_fired):
    def behave(raw):
        proxy = dump(Named('_make_proxy', 5, ['get', '__len__', '__iter__', '__next__']))
        raw.send(message([RESULT, read_call(raw), SUCCESS, 1, 5], proxy))
        for _ in range(4):
            raw.send(message([RESULT, read_call(raw), SUCCESS, 0], dump(canary)))
        raw.end()

    with hostile(DATA, behave) as conn:
        proxy = conn.call(os.getpid)
        for use in (proxy.get, proxy.__len__, proxy.__iter__, proxy.__next__):
            with pytest.raises(across.OperationError, match='does not allow'):
                use()
        del proxy
    assert not has_fired()


def test_a_goodbye_with_a_canary_is_text(canary, has_fired):
    data = dump(canary)

    def behave(raw):
        raw.greet(superblock(extension=1, features=1) + message([GREETING, 0]))
        raw.send(message([3, len(data), *data]))
        raw.end()

    with hostile(DATA, behave, greet=False) as conn:
        conn.wait()
    assert not has_fired()


def test_a_canary_in_front_of_everything(canary, has_fired):
    for hello in (dump(canary), HELLO[:16] + dump(canary), HELLO + dump(canary), HELLO + message(dump(canary))):

        def behave(raw, hello=hello):
            raw.send(hello)
            raw.end()
            raw.read_to_end()

        with hostile(DATA, behave, greet=False) as conn:
            conn.wait()
    assert not has_fired()
