# SPDX-License-Identifier: MIT
"""Peers that break the protocol, on purpose or because they are cut off.

acrossd, and a connection of ours, name the error, close that connection, and take no memory for what was only claimed.
A connection that was there before goes on.
"""

import contextlib
import os
import pickle
import re
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import across

from . import remote_tasks as tasks
from .daemon import LOG
from .waiting import LIMIT

GREETING, APPLY, RESULT, GOODBYE, DEL_OBJS, IDLE = range(6)
CREATE, METHOD = 6, 9
SUCCESS, EXCEPTION, REFERENCE = 2, 3, 6
OPERATIONS = 4  # the feature
MAGIC = 0xE35B9E78
MAX_HEAD = 1 << 20
MAX_MESSAGE = 1 << 30
MAX_LENGTH = (1 << 63) - 1
IDLE_FLOOR = 0.05  # seconds: no more than twenty IDLE in a second


def superblock(magic=MAGIC, version=(0, 2, 0), extension=0, features=0):
    return struct.pack('>IBBBBII', magic, *version, extension, features, 0)


def header(length, more=False):
    return struct.pack('>Q', length * 2 + more)


def frame(body, more=False):
    return header(len(body), more) + body


def message(head, *buffers):
    """A message whose head consists of these bytes."""
    frames = [bytes(head), *buffers]
    return b''.join(frame(body, index < len(frames) - 1) for index, body in enumerate(frames))


def apply(call_id, func, *args):
    return message([APPLY, call_id, 0], pickle.dumps((func, args, {}), 4))


HELLO = superblock() + message([GREETING, 0])


class Raw:
    """A socket whose other end is a peer, and nothing that keeps to the protocol."""

    def __init__(self, sock):
        self.sock = sock
        sock.settimeout(LIMIT)

    @classmethod
    def to(cls, daemon):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(daemon.addresses[0][5:])
        return cls(sock)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def end(self):
        self.sock.shutdown(socket.SHUT_WR)

    def read(self, size):
        data = b''
        while len(data) < size:
            part = self.sock.recv(size - len(data))
            assert part, 'the stream ended after {!r}'.format(data)
            data += part
        return data

    def read_message(self):
        """The frames of the next message."""
        frames = []
        more = True
        while more:
            length, more = divmod(struct.unpack('>Q', self.read(8))[0], 2)
            frames.append(self.read(length))
        return frames

    def greet(self, hello=HELLO):
        """Say hello, and read what the peer says."""
        self.send(hello)
        assert self.read(4) == struct.pack('>I', MAGIC)
        self.read(12)
        assert self.read_message()[0][0] == GREETING

    def read_to_end(self):
        """What is left in a stream that the peer has to close. Unread bytes of ours make that a reset."""
        data = b''
        with contextlib.suppress(ConnectionResetError):
            while True:
                part = self.sock.recv(65536)
                if not part:
                    break
                data += part
        return data


@pytest.fixture
def daemon(make_daemon, isolation):
    """With both kinds of isolation."""
    return make_daemon(isolation=isolation)


@pytest.fixture
def honest(daemon):
    """A connection that was opened before, and works to the end."""
    with daemon.connect() as conn:
        assert conn.call(tasks.add, 1, 2) == 3
        yield conn
        assert conn.call(tasks.add, 3, 4) == 7


HUNG_UP = 'The peer hung up before it was served'


def expect_warning(daemon, reason, before=''):
    """Take the warning about one broken connection. `before` is a pattern for what precedes the reason.

    The supervisor may have noticed first that the peer has hung up.
    """
    reason = '({}{}|{})'.format(before, re.escape(reason), HUNG_UP)
    daemon.expect(LOG + 'connection [0-9]+ from .* (broke|was refused): ' + reason)


STRANGERS = [
    pytest.param(superblock(0x12345678), 'Invalid magic: 0x12345678', id='magic'),
    pytest.param(b'GET / HTTP/1.1\r\n', 'Invalid magic: 0x47455420', id='http'),
    pytest.param(bytes(16), 'Invalid magic: 0x0', id='zeros'),
    pytest.param(superblock(version=(0, 3, 0)), 'is not compatible with remote 0.3.0', id='minor'),
    pytest.param(superblock(version=(255, 2, 1)), 'is not compatible with remote 255.2.1', id='major'),
    pytest.param(superblock() + message([IDLE]), 'Invalid message in greeting state: 5', id='idle-first'),
    pytest.param(superblock() + apply(0, os.getpid), 'Invalid message in greeting state: 1', id='call-first'),
    pytest.param(superblock() + message([GOODBYE]), 'Invalid message in greeting state: 3', id='goodbye-first'),
    pytest.param(
        superblock() + header(MAX_LENGTH),
        'Message head of {} bytes is larger than the limit of {}'.format(MAX_LENGTH, MAX_HEAD),
        id='length-first',
    ),
]
MESSAGES = [
    pytest.param(message([GREETING, 0]), 'Invalid message in ready state: 0', id='second-greeting'),
    pytest.param(message([]), 'Invalid message in ready state: 0', id='empty-head'),
    pytest.param(message([6]), 'Invalid message in ready state: 6', id='type-6'),
    pytest.param(message([0xFD, 0xFF, 0xFF]), 'Invalid message in ready state: 65535', id='type-65535'),
    pytest.param(message([0xFF] * 9), 'Invalid message in ready state: {}'.format(2**64 - 1), id='type-64-bits'),
    pytest.param(message([RESULT, 17, SUCCESS, 0], b'N.'), 'Call not found: 17', id='result'),
    pytest.param(message([DEL_OBJS, 1, 77]), 'Object not found: 77', id='object'),
    pytest.param(message([APPLY, 9, 0]), 'Call 9 has no buffer', id='no-buffer'),
    pytest.param(
        message([DEL_OBJS, 200, 1]), 'List of 200 ids does not fit into the 1 bytes of its head', id='short-list'
    ),
    pytest.param(
        message([DEL_OBJS] + [0xFF] * 9),
        'List of {} ids is longer than the limit of 65536'.format(2**64 - 1),
        id='list',
    ),
    pytest.param(
        frame(bytes([APPLY, 0, 0]), True) + header(0, True) * 1024,
        'Message of 1025 frames is longer than the limit of 1024',
        id='frames',
    ),
    *(
        pytest.param(
            header(length),
            'Message head of {} bytes is larger than the limit of {}'.format(length, MAX_HEAD),
            id='head-of-{}'.format(length),
        )
        for length in (MAX_HEAD + 1, 1 << 32, 1 << 62, MAX_LENGTH)
    ),
    *(
        pytest.param(
            frame(bytes([APPLY, 0, 0]), True) + header(length),
            'Message of {} bytes is larger than the limit of {}'.format(length + 3, MAX_MESSAGE),
            id='buffer-of-{}'.format(length),
        )
        for length in (MAX_MESSAGE - 2, 1 << 32, 1 << 62, MAX_LENGTH)
    ),
]


# ---- to acrossd ----


@pytest.mark.parametrize(('data', 'reason'), STRANGERS)
def test_a_stranger_is_refused(daemon, honest, data, reason):
    with Raw.to(daemon) as raw:
        raw.send(data)
        expect_warning(daemon, reason, before='(Local across [0-9.]+ )?')
        raw.read_to_end()


@pytest.mark.parametrize(('data', 'reason'), MESSAGES)
def test_a_bad_message_ends_its_connection(daemon, honest, data, reason):
    with Raw.to(daemon) as raw:
        raw.greet()
        raw.send(data)
        expect_warning(daemon, reason)
        assert raw.read_to_end() == b'', 'a peer without extensions is told nothing'


def test_a_peer_that_knows_reasons_is_told(daemon, honest):
    with Raw.to(daemon) as raw:
        raw.greet(superblock(extension=1, features=1) + message([GREETING, 0]))
        raw.send(message([RESULT, 17, SUCCESS, 0], b'N.'))
        assert raw.read_message() == [bytes([GOODBYE, 18]) + b'Call not found: 17']
        assert raw.read_to_end() == b''
        expect_warning(daemon, 'Call not found: 17')


CONVERSATION = HELLO + apply(0, os.getpid) + message([IDLE]) + message([GOODBYE])


def name_cut(size):
    """What a peer says of a stream that ends after so many bytes of the conversation."""
    if size < 16:
        return 'Incomplete superblock'
    pos = 16
    while pos + 8 <= size:
        length = struct.unpack_from('>Q', CONVERSATION, pos)[0] // 2
        if pos + 8 + length > size:
            return 'Incomplete frame'
        pos += 8 + length
    return 'Incomplete frame size'


def test_a_whole_conversation_ends_in_order(daemon, honest):
    with Raw.to(daemon) as raw:
        raw.greet(CONVERSATION)
        raw.end()
        answers = raw.read_to_end()
    assert answers.endswith(message([GOODBYE]))


def test_a_probe_that_says_nothing_is_no_warning(daemon, honest):
    with Raw.to(daemon) as raw:
        raw.end()
        assert raw.read_to_end() == b''


def test_conversations_cut_anywhere(daemon, honest):
    for size in range(1, len(CONVERSATION)):
        with Raw.to(daemon) as raw:
            raw.send(CONVERSATION[:size])
            raw.end()
            expect_warning(daemon, name_cut(size))
            raw.read_to_end()


@pytest.mark.parametrize(
    ('data', 'reason'),
    [
        (b'', 'Incomplete frame size'),
        (header(5)[:7], 'Incomplete frame size'),
        (message([APPLY, 0, 0], b'N.')[:9], 'Incomplete frame'),
        (header(1000, True) + b'claimed', 'Incomplete frame'),
    ],
    ids=['at-once', 'in-header', 'in-head', 'in-long-head'],
)
def test_a_peer_that_vanishes(daemon, honest, data, reason):
    with Raw.to(daemon) as raw:
        raw.greet()
        raw.send(data)
    expect_warning(daemon, reason)


def read_status(pid, name):
    """A line of /proc/PID/status that is in kB, in bytes."""
    with open('/proc/{}/status'.format(pid)) as file:
        return int(re.search('^{}:\\s+([0-9]+) kB$'.format(name), file.read(), re.MULTILINE).group(1)) << 10


def test_claimed_lengths_take_no_memory(shared_daemon):
    """The peaks count, so nothing depends on when one looks."""
    daemon = shared_daemon
    before = [read_status(daemon.worker, name) for name in ('VmHWM', 'VmPeak')]
    too_large = 'Message of {} bytes is larger than the limit of {}'.format((1 << 32) + 3, MAX_MESSAGE)
    for length, reason in ((MAX_MESSAGE - 3, 'Incomplete frame'), (1 << 32, too_large)):
        with contextlib.ExitStack() as stack:
            raws = [stack.enter_context(Raw.to(daemon)) for _ in range(8)]
            for raw in raws:
                raw.greet()
                raw.send(frame(bytes([APPLY, 0, 0]), True) + header(length) + b'claimed')
            for raw in raws:
                raw.end()
        for _ in raws:
            expect_warning(daemon, reason)
    resident, virtual = (read_status(daemon.worker, name) for name in ('VmHWM', 'VmPeak'))
    assert resident - before[0] < 8 << 20
    assert virtual - before[1] < 2 * MAX_MESSAGE  # eight claims at a time; threads account for some hundred MiB


def test_max_message(make_daemon, isolation):
    daemon = make_daemon('--max-message', '64K', isolation=isolation)
    with daemon.connect() as honest, Raw.to(daemon) as raw:
        raw.greet()
        raw.send(frame(bytes([APPLY, 0, 0]), True) + header(65536 - 2))
        expect_warning(daemon, 'Message of 65537 bytes is larger than the limit of 65536')
        assert raw.read_to_end() == b''
        assert honest.call(tasks.length, bytes(65000)) == 65000


def test_a_call_over_max_message_fails_alone(make_daemon, isolation):
    daemon = make_daemon('--max-message', '64K', isolation=isolation)
    with daemon.connect() as conn:
        with pytest.raises(across.OperationError, match='takes 65536 in one message') as info:
            conn.call(tasks.length, bytes(65536))
        assert not isinstance(info.value, across.DisconnectError)
        assert conn.call(tasks.length, bytes(65000)) == 65000


@pytest.mark.parametrize(
    ('data', 'kind'),
    [
        (pickle.dumps((tasks.length, (tasks.Unloadable(),), {}), 4), across.OperationError),
        (b'', across.OperationError),
        (b'\x80\x04', across.OperationError),
        (b'no pickle', across.OperationError),
        (pickle.dumps(1, 4), TypeError),
    ],
    ids=['raises', 'empty', 'cut', 'garbage', 'no-call'],
)
def test_a_pickle_that_cannot_be_loaded_fails_its_call_alone(daemon, honest, data, kind):
    with Raw.to(daemon) as raw:
        raw.greet()
        raw.send(message([APPLY, 5, 0], data))
        head, record = raw.read_message()
        assert head[:3] == bytes([RESULT, 5, EXCEPTION])
        assert type(pickle.loads(record)[0]) is kind
        raw.send(apply(6, os.getpid))
        head, value = raw.read_message()
        assert head[:3] == bytes([RESULT, 6, SUCCESS])
        assert daemon.is_worker(pickle.loads(value))
        raw.send(message([GOODBYE]))
        assert raw.read_to_end() == message([GOODBYE])


@pytest.mark.parametrize(
    ('head', 'error'),
    [([77, 3, *b'pop'], KeyError), ([77, 1, 0xFF], KeyError), ([0, 1, 0xFF], UnicodeDecodeError)],
    ids=['unknown', 'both', 'no-text'],
)
def test_a_method_that_cannot_be_called_fails_its_call_alone(daemon, honest, head, error):
    """What its arguments refer to is released."""
    with Raw.to(daemon) as raw:
        raw.greet(superblock(extension=1, features=OPERATIONS) + message([GREETING, 0]))
        raw.send(message([CREATE, 5, 0], pickle.dumps((list, (), {}), 4)))
        assert raw.read_message()[0][:3] == bytes([RESULT, 5, REFERENCE])
        raw.send(message([METHOD, 6, *head, 1, 9], pickle.dumps(((), {}), 4)))
        (answer, record), released = sorted([raw.read_message(), raw.read_message()])
        failed = pickle.loads(record)
        assert released == [bytes([DEL_OBJS, 1, 9])]
        assert answer[:3] == bytes([RESULT, 6, EXCEPTION])
        assert type(failed[0]) is across.OperationError and type(failed[1][0]) is error
        raw.send(message([GOODBYE]))
        raw.read_to_end()


def test_a_short_timeout_does_not_make_a_flood(daemon, honest):
    """A peer that asks for a sign of life every half of a millisecond gets it, but not that often."""
    started = time.monotonic()
    with Raw.to(daemon) as raw:
        raw.greet(superblock() + message([GREETING, 1]))
        for _ in range(6):
            assert raw.read_message() == [bytes([IDLE])]
        assert time.monotonic() - started > 3 * IDLE_FLOOR
        raw.send(message([GOODBYE]))
        assert raw.read_to_end().endswith(message([GOODBYE]))


# ---- to a connection of ours ----


@contextlib.contextmanager
def connect_raw(greet=True, options=None):
    """A connection of ours, and the raw end of its stream."""
    ours, theirs = socket.socketpair()
    conn = across.Connection.from_socket(ours, options=options)
    try:
        with Raw(theirs) as raw:
            if greet:
                raw.greet()
            yield conn, raw
    finally:
        conn.cancel()
        with contextlib.suppress(across.ProtocolError, EOFError, OSError):
            conn.close()


def check_failed(conn, kind, reason):
    conn.wait()
    with pytest.raises(across.DisconnectError):
        conn.call(os.getpid)
    with pytest.raises(kind) as info:
        conn.close()
    assert type(info.value) is kind
    text = str(info.value)
    assert re.fullmatch('(Local across [0-9.]+ )?' + re.escape(reason) + '(; .*)?', text)  # with a way out


@pytest.mark.parametrize(('data', 'reason'), STRANGERS)
def test_our_connection_refuses_a_stranger(honest, data, reason):
    with connect_raw(greet=False) as (conn, raw):
        raw.send(data)
        check_failed(conn, across.ProtocolError, reason)


@pytest.mark.parametrize(('data', 'reason'), MESSAGES)
def test_our_connection_ends_with_a_bad_message(honest, data, reason):
    with connect_raw() as (conn, raw):
        raw.send(data)
        check_failed(conn, across.ProtocolError, reason)


def test_our_connection_is_cut_anywhere():
    for size in range(CONVERSATION.index(message([GOODBYE]))):
        with connect_raw(greet=False) as (conn, raw):
            raw.send(CONVERSATION[:size])
            raw.end()
            check_failed(conn, EOFError, name_cut(size))


@pytest.mark.parametrize(
    ('answer', 'reason'),
    [
        (message([RESULT, 0, 1, 0], b'N.'), 'Result of call {} has an unknown kind: 1'),
        (message([RESULT, 0, SUCCESS, 0]), 'Result of call {} has no buffer'),
    ],
    ids=['kind', 'no-buffer'],
)
def test_a_bad_result_fails_the_call_that_waits(answer, reason):
    with connect_raw() as (conn, raw), ThreadPoolExecutor(1) as pool:
        call = pool.submit(conn.call, os.getpid)
        head, _ = raw.read_message()
        assert head[0] == APPLY and head[1] <= 0xFC
        raw.send(answer[:9] + head[1:2] + answer[10:])
        with pytest.raises(across.DisconnectError, match=reason.format(head[1])):
            call.result(LIMIT)
        check_failed(conn, across.ProtocolError, reason.format(head[1]))
