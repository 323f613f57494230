# SPDX-License-Identifier: MIT
"""What carries the bytes: sockets, pipes, processes, and channels written in Python."""

import concurrent.futures
import contextlib
import os
import pickle
import socket
import ssl
import struct
import subprocess
import sys
import threading

import pytest

import across
import across.servers

SERVE = 'import across\nwith across.Connection.from_stdio() as conn: conn.wait()'


class SocketChannel:
    """A channel as a user would write it."""

    def __init__(self, sock):
        self.sock = sock
        self.calls = []

    def set_timeout(self, seconds):
        self.calls.append(('set_timeout', seconds))

    def connect(self):
        self.calls.append('connect')

    def recv_into(self, buffer):
        return self.sock.recv_into(buffer)

    def send(self, buffer):
        return self.sock.send(buffer[:1000])

    def cancel(self):
        self.calls.append('cancel')
        self.sock.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.calls.append('close')
        self.sock.close()


def broken(*args):
    raise LookupError('broken')


def get_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith('across-')]


@pytest.fixture
def ends():
    pair = socket.socketpair()
    yield pair
    for sock in pair:
        sock.close()


def test_channel_in_python(ends):
    channel = SocketChannel(ends[0])
    other = across.Connection.from_socket(ends[1])
    with across.Connection(channel, options=across.Options(timeout=7)) as conn:
        data = os.urandom(1 << 20)
        assert conn.call(bytes, data) == data
        assert other.call(len, data) == len(data)
    other.close()
    assert channel.calls[:2] == [('set_timeout', 7.0), 'connect']
    assert channel.calls[-1] == 'close' and channel.calls.count('close') == 1
    assert get_threads() == []


def test_channel_without_timeout(ends):
    channel = SocketChannel(ends[0])
    conn = across.Connection(channel, options=across.Options(timeout=None))
    conn.cancel()
    conn.close()
    assert not any(call[0] == 'set_timeout' for call in channel.calls)


@pytest.mark.parametrize('method', ['connect', 'recv_into', 'send', 'close'])
def test_error_in_a_channel_is_the_fatal_error(ends, method):
    channel = SocketChannel(ends[0])
    setattr(channel, method, broken)
    other = across.Connection.from_socket(ends[1])
    conn = across.Connection(channel)
    with pytest.raises(LookupError, match='broken'):
        conn.close()
    conn.close()
    with contextlib.suppress(EOFError, OSError):  # the other end may notice
        other.close()
    assert get_threads() == []


class Pipe:
    """Bytes on their way from one thread to another; once closed, its ends raise as soon as it is empty."""

    def __init__(self):
        self.condition = threading.Condition()
        self.data = bytearray()
        self.is_closed = False

    def write(self, data):
        with self.condition:
            if self.is_closed:
                raise LookupError('pipe is closed')
            self.data += data
            self.condition.notify_all()
        return len(data)

    def read_into(self, buffer):
        with self.condition:
            self.condition.wait_for(lambda: self.data or self.is_closed)
            if not self.data:
                raise LookupError('pipe is closed')
            size = min(len(buffer), len(self.data))
            buffer[:size] = self.data[:size]
            del self.data[:size]
        return size

    def close(self):
        with self.condition:
            self.is_closed = True
            self.condition.notify_all()


class MemoryChannel(across.channels.bridge.Channel):
    """One end of a channel without descriptors. Its cancel() ends both directions."""

    def __init__(self, in_pipe, out_pipe):
        self.recv_into = in_pipe.read_into
        self.send = out_pipe.write
        self.pipes = in_pipe, out_pipe

    def cancel(self):
        for pipe in self.pipes:
            pipe.close()


def make_memory_channels():
    there, back = Pipe(), Pipe()
    return MemoryChannel(there, back), MemoryChannel(back, there)


@pytest.mark.parametrize('first', [0, 1, None])
def test_a_channel_that_raises_at_the_end_closes_in_order(first):
    for _ in range(30):
        conns = [across.Connection(channel, options=across.Options(timeout=20)) for channel in make_memory_channels()]
        data = os.urandom(100000)
        assert [conn.call(bytes, data) for conn in conns] == [data] * 2
        if first is None:
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                for closing in [pool.submit(conn.close) for conn in conns]:
                    closing.result(20)
        else:
            conns[first].close()
            conns[not first].close()


def test_an_error_of_a_channel_counts_where_nobody_has_said_goodbye():
    conns = [across.Connection(channel) for channel in make_memory_channels()]
    assert conns[0].call(len, 'ab') == 2
    conns[0]._transport._channel.cancel()  # and nobody has told the links
    for conn in conns:
        conn.wait()
        with pytest.raises(LookupError, match='pipe is closed'):
            conn.close()


HELLO = bytes.fromhex('e35b9e78 00020000 00000000 00000000  0000000000000004 0000')
GOODBYE = bytes.fromhex('0000000000000002 03')


def make_result(value):
    """The frames of a RESULT of call 0."""
    data = pickle.dumps(value, 4)
    return struct.pack('>Q4sQ', 4 * 2 + 1, b'\x02\x00\x02\x00', len(data) * 2) + data


class ScriptedChannel(across.channels.bridge.Channel):
    """A peer that has said all of this when the first call comes; then recv_into() raises, or send(), or both do."""

    def __init__(self, script, raising):
        self.script = [HELLO, script] if script else [HELLO]
        self.raising = raising
        self.called = threading.Event()
        self.cancelled = threading.Event()
        self.sent = 0

    def recv_into(self, buffer):
        if not self.script and 'recv_into' not in self.raising:
            assert self.cancelled.wait(20)
            return 0
        if not self.script:
            raise LookupError('nothing more')
        if self.script[0][:1] != HELLO[:1]:
            assert self.called.wait(20)
        data = self.script[0]
        size = min(len(data), len(buffer))
        buffer[:size] = data[:size]
        self.script[0] = data[size:]
        if not self.script[0]:
            del self.script[0]
        return size

    def send(self, buffer):
        self.sent += len(buffer)
        if self.sent > len(HELLO) + 50:  # this is a call
            self.called.set()
            if 'send' in self.raising:
                raise (BrokenPipeError if 'reset' in self.raising else LookupError)('nothing more')
        return len(buffer)

    def cancel(self):
        self.cancelled.set()


@pytest.mark.parametrize('ends', ['goodbye', 'stream'])
@pytest.mark.parametrize('raising', ['recv_into', 'recv_into and send with a reset'])
def test_what_came_before_an_error_of_a_channel_counts(raising, ends):
    value = os.urandom(3 << 20)
    script = make_result(value) + (GOODBYE if ends == 'goodbye' else b'')
    conn = across.Connection(ScriptedChannel(script, raising), options=across.Options(timeout=20))
    assert conn.call(len, 'x' * 100) == value
    conn.wait()
    if ends == 'goodbye':
        conn.close()
    else:
        with pytest.raises(LookupError, match='nothing more'):
            conn.close()
    assert get_threads() == []


def test_an_error_of_sending_ends_a_channel_whose_peer_says_nothing_more():
    conn = across.Connection(ScriptedChannel(b'', 'send'), options=across.Options(timeout=None))
    with pytest.raises(across.DisconnectError, match='nothing more'):
        conn.call(len, 'x' * 100)
    with pytest.raises(LookupError, match='nothing more'):
        conn.close()


@pytest.mark.parametrize('method', ['recv_into', 'send'])
@pytest.mark.parametrize('size', [None, -1, 1 << 40, 'x'])
def test_nonsense_from_a_channel_is_refused(ends, method, size):
    channel = SocketChannel(ends[0])
    setattr(channel, method, lambda buffer: size)
    with pytest.raises((TypeError, ValueError), match='channel'):
        across.Connection(channel).close()


@pytest.mark.parametrize('wrap', [across.channels.sockets.SocketChannel, SocketChannel])
def test_a_signal_handler_may_cancel_what_its_thread_is_cancelling(ends, wrap):
    conn = across.Connection(wrap(sock=ends[0]))
    lock = conn._transport._lock
    with lock:  # the signal comes here
        assert lock.acquire(blocking=False)
        lock.release()
        conn.cancel()
    conn.close()
    assert ends[0].fileno() == -1


def test_a_socket_that_a_thread_is_at_work_with_is_not_closed():
    entered, released, closed, descriptors = threading.Event(), threading.Event(), threading.Event(), []

    class Slow(across.channels.sockets.SocketChannel):
        def _secure(self):
            sock = self._sock
            entered.set()
            assert released.wait(60)
            descriptors.append(sock.fileno())

        def _close(self):
            super()._close()
            closed.set()

    with socket.create_server(('127.0.0.1', 0)) as listener:
        conn = across.Connection(Slow(address=listener.getsockname()))
        assert entered.wait(60)
        conn.cancel()
        conn.close()
        released.set()
        assert closed.wait(60)
    assert descriptors[0] >= 0


def test_cancel_while_a_channel_connects(ends):
    channel = SocketChannel(ends[0])
    connecting, cancelled = threading.Event(), threading.Event()

    def connect():
        connecting.set()
        cancelled.wait(60)

    channel.connect, channel.cancel = connect, cancelled.set
    conn = across.Connection(channel)
    assert connecting.wait(60)
    conn.cancel()
    with pytest.raises(across.DisconnectError):
        conn.call(len, '')
    conn.close()
    assert channel.calls[-1] == 'close'


def test_unix(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / 'socket'))
        listener.listen()
        conn = across.Connection.from_unix(tmp_path / 'socket')
        other = across.Connection.from_socket(listener.accept()[0])
        with conn, other:
            assert conn.call(os.getpid) == os.getpid()


def test_unix_without_listener(tmp_path):
    conn = across.Connection.from_unix(tmp_path / 'none')
    with pytest.raises(FileNotFoundError, match=r'unix:.*none'):
        conn.__enter__()
    conn.close()


def test_unix_with_full_backlog_can_be_cancelled(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(tmp_path / 'socket'))
        listener.listen(0)
        first.connect(str(tmp_path / 'socket'))
        conn = across.Connection.from_unix(tmp_path / 'socket')
        assert conn.is_connected()
        conn.cancel()
        conn.close()


def test_tcp_tries_every_address(monkeypatch):
    with socket.create_server(('127.0.0.1', 0)) as listener, socket.socket() as closed:
        closed.bind(('127.0.0.1', 0))  # and does not listen

        def resolve(host, port, *args):
            assert host == 'two.example'
            return [(socket.AF_INET, socket.SOCK_STREAM, 0, '', s.getsockname()) for s in (closed, listener)]

        monkeypatch.setattr(socket, 'getaddrinfo', resolve)
        conn = across.Connection.from_tcp('two.example', 1)
        accepted = listener.accept()[0]
        other = across.Connection.from_socket(accepted)
        with conn, other:
            assert conn.call(os.getpid) == os.getpid()
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_tcp_refused():
    with socket.socket() as closed:
        closed.bind(('127.0.0.1', 0))
        port = closed.getsockname()[1]
        with pytest.raises(ConnectionRefusedError, match='tcp:127.0.0.1:{}'.format(port)):
            across.Connection.from_tcp('127.0.0.1', port).close()


@pytest.mark.parametrize('port', [65536, '65536', -1, 2**40])
def test_ports_that_no_host_has(port):
    with pytest.raises(ValueError, match='port'):
        across.Connection.from_tcp('127.0.0.1', port)
    with pytest.raises(ValueError, match='port'):
        across.servers.run_tcp('127.0.0.1', port)


def test_tcp_passes_over_families_that_the_host_lacks(monkeypatch):
    with socket.create_server(('127.0.0.1', 0)) as listener:

        def resolve(host, port, *args):
            return [(family, socket.SOCK_STREAM, 0, '', listener.getsockname()) for family in (-7, socket.AF_INET)]

        monkeypatch.setattr(socket, 'getaddrinfo', resolve)
        conn = across.Connection.from_tcp('two.example', 1)
        other = across.Connection.from_socket(listener.accept()[0])
        with conn, other:
            assert conn.call(os.getpid) == os.getpid()


def test_name_that_is_being_looked_up_can_be_cancelled(monkeypatch):
    looking, go_on = threading.Event(), threading.Event()

    def resolve(*args):
        looking.set()
        go_on.wait(60)
        raise socket.gaierror('unknown')

    monkeypatch.setattr(socket, 'getaddrinfo', resolve)
    conn = across.Connection.from_tcp('slow.example', 1)
    assert looking.wait(60)
    conn.cancel()
    conn.close()
    go_on.set()


def test_tls_socket_is_refused(ends):
    with ssl.create_default_context().wrap_socket(ends[0], server_hostname='x', do_handshake_on_connect=False) as sock:
        with pytest.raises(TypeError, match='plain socket'):
            across.Connection.from_socket(sock)


def test_pipes_with_bytes_read_ahead():
    (in_1, out_2), (in_2, out_1) = os.pipe(), os.pipe()
    other = across.Connection.from_pipes(open(in_2, 'rb', 0), open(out_2, 'wb', 0))
    file = open(in_1, 'rb')
    assert file.peek()  # now the superblock is in its buffer
    conn = across.Connection.from_pipes(file, open(out_1, 'wb', 0))
    with conn, other:
        assert conn.call(os.getpid) == other.call(os.getpid) == os.getpid()
    assert file.closed


def test_command_and_stdio():
    with across.Connection.from_command([sys.executable, '-c', SERVE]) as conn:
        assert conn.call(os.getpid) != os.getpid()
        conn.call(os.system, 'echo harmless')
        conn.execute('print("harmless too")')
        assert conn.call(len, 'ab') == 2


def test_failed_program_is_reported():
    with pytest.raises(subprocess.CalledProcessError) as info:
        across.Connection.from_shell('exit 7').close()
    assert info.value.returncode == 7


def test_program_that_does_not_exist():
    with pytest.raises(FileNotFoundError):
        across.Connection.from_command(['/nonexistent/program'])
    with pytest.raises(TypeError):
        across.Connection.from_command('ls')


def test_cancelled_program_is_killed_and_joined():
    proc = subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    conn = across.Connection.from_process(proc)
    conn.cancel()
    conn.close()
    assert proc.returncode == -9


def test_process_without_pipes_is_refused():
    proc = subprocess.Popen(['true'])
    with pytest.raises(ValueError, match='Standard input'):
        across.Connection.from_process(proc)
    proc.wait()
