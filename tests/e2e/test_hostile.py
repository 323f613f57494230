# SPDX-License-Identifier: MIT
"""What the world does to connections: clocks that are set, processes that are stopped, peers that ask for too much."""

import collections
import contextlib
import os
import pickle
import select
import socket
import sys
import threading
import time

import pytest

import across

from . import remote_tasks as tasks
from .clients import client
from .daemon import BUILD, LOG, RunningCall, bystanders
from .test_bad_input import (
    APPLY,
    GOODBYE,
    GREETING,
    HELLO,
    IDLE,
    RESULT,
    SUCCESS,
    Raw,
    apply,
    connect_raw,
    frame,
    header,
    message,
)
from .test_limits import ask_status, call_once, make_room_for_lines, raised_file_limit
from .test_supervision import BEARABLE, SHORT, stopped
from .waiting import LIMIT, SLACK, count_threads, descendants, memory, wait_until

LONG = across.Options(timeout=60)


def put_uint(value):
    if value <= 0xFC:
        return [value]
    return [0xFD, *value.to_bytes(2, 'big')] if value < 1 << 16 else [0xFE, *value.to_bytes(4, 'big')]


def take_uint(data):
    size = {0xFD: 2, 0xFE: 4}.get(data[0], 0)
    return (int.from_bytes(data[1 : 1 + size], 'big') if size else data[0]), data[1 + size :]


def count_connections(daemon):
    return ask_status(daemon.addresses[0])['connection_counts']


# ---- stopped, and going on ----


def let_pass(timeouts):
    """Nothing tells that so much time has passed but the time."""
    time.sleep(timeouts * BEARABLE)


@pytest.mark.parametrize('stop', ['daemon', 'worker'])
def test_a_daemon_that_was_stopped_does_not_blame_its_clients(make_daemon, isolation, stop):
    """What they have sent meanwhile waits for it: it reads that before it looks at the clock."""
    daemon = make_daemon('--timeout', str(BEARABLE), isolation=isolation)
    conns = [daemon.connect(LONG) for _ in range(4)]
    workers = [conn.call(os.getpid) for conn in conns]
    everybody = [daemon.process.pid, *descendants(daemon.process.pid)]
    calls = [RunningCall(conn) for conn in conns[:2]]
    with stopped(*(everybody if stop == 'daemon' else set(workers))):
        let_pass(3)
    assert all(call.release() for call in calls)
    assert [conn.call(os.getpid) for conn in conns] == workers
    for conn in conns:
        conn.close()


def test_a_daemon_that_was_stopped_does_not_refuse_who_spoke_in_time(make_daemon, isolation):
    """The time for the handshake is over when it goes on, but all of the handshake is there to be read."""
    daemon = make_daemon('--handshake-timeout', str(BEARABLE), isolation=isolation)
    with Raw.to(daemon) as raw:
        raw.send(HELLO[:7])
        wait_until(lambda: count_connections(daemon)['handshaking'] == 1, 'the handshake')
        with stopped(daemon.process.pid, *descendants(daemon.process.pid)):
            raw.send(HELLO[7:] + apply(1, os.getpid))
            let_pass(3)
        raw.read(16)
        assert raw.read_message()[0][0] == GREETING
        assert daemon.is_worker(pickle.loads(raw.read_message()[1]))
        raw.send(message([GOODBYE]))
        raw.read_to_end()


WAITING = """
options = across.Options(timeout=float(sys.argv[2]))
conns = [across.Connection.from_unix(sys.argv[1], options=options) for _ in range(4)]
threads = [threading.Thread(target=conn.call, args=(tasks.wait_for, 'go on')) for conn in conns[:2]]
for thread in threads:
    thread.start()
for conn in conns:
    conn.call(tasks.add, 1, 2)
print('ready', flush=True)
sys.stdin.readline()
print(*(conn.call(tasks.add, 1, 2) for conn in conns))
for conn in conns:
    conn.call(tasks.set_event, 'go on')
for thread in threads:
    thread.join()
for conn in conns:
    conn.close()
"""


def test_a_client_that_was_stopped_does_not_blame_its_server(make_daemon, isolation):
    daemon = make_daemon(isolation=isolation)
    with client(daemon, WAITING, str(BEARABLE)) as process:
        assert process.stdout.readline() == b'ready\n'
        with stopped(process.pid):
            let_pass(3)
        out, err = process.communicate(b'\n', timeout=LIMIT)
        assert (out.split(), err, process.returncode) == ([b'3'] * 4, b'', 0)


# ---- clocks that are set ----

DAY = 86400


class Clock:
    """The wall clock of processes that are started from now on."""

    def __init__(self, path):
        self._path = path
        path.write_bytes(bytes(8))

    def set(self, seconds):
        """So far ahead of the true time from now on. In place: the file is mapped."""
        with open(self._path, 'r+b', buffering=0) as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))


@pytest.fixture
def clock(tmp_path, monkeypatch):
    shim = os.path.join(BUILD, 'tests', 'e2e', 'libclock_shim.so')
    if not os.path.exists(shim):
        pytest.skip('built without what is preloaded')
    monkeypatch.setenv('LD_PRELOAD', shim)
    monkeypatch.setenv('AX_CLOCK_FILE', str(tmp_path / 'clock'))
    return Clock(tmp_path / 'clock')


@pytest.mark.parametrize('step', [DAY, -DAY], ids=['forward', 'back'])
def test_nobody_notices_when_the_clock_is_set(make_daemon, isolation, clock, step):
    """Peers that keep to the timeouts stay connected, others are disconnected in time."""
    daemon = make_daemon('--timeout', str(BEARABLE), '--handshake-timeout', str(BEARABLE), isolation=isolation)
    with daemon.connect(LONG) as conn, Raw.to(daemon) as silent, Raw.to(daemon) as half:
        call = RunningCall(conn)
        silent.greet()
        half.send(HELLO[:7])
        clock.set(step)
        assert abs(conn.call(time.time) - time.time() - step) < 3600
        daemon.expect(LOG + 'connection [0-9]+ from .* broke: Nothing was received for .*')
        daemon.expect(LOG + 'connection [0-9]+ from .* was refused: The handshake was not finished within .*')
        assert call.release()
        with daemon.connect(LONG) as other:
            assert other.call(tasks.add, 1, 2) == 3


SETTING = """
options = across.Options(timeout=float(sys.argv[2]))
short = across.Connection.from_unix(sys.argv[1], options=options)
silent = across.Connection.from_unix(sys.argv[3], options=options)
short.call(tasks.add, 1, 2)
thread = threading.Thread(target=short.call, args=(tasks.pass_gate, sys.argv[4]))
thread.start()
print('ready', flush=True)
silent.wait()
print(silent.is_connected(), short.is_connected(), short.call(tasks.add, 1, 2), flush=True)
thread.join()
short.close()
"""


@pytest.mark.parametrize('step', [DAY, -DAY], ids=['forward', 'back'])
def test_a_client_does_not_notice_when_its_clock_is_set(make_daemon, tmp_path, clock, step):
    daemon = make_daemon()
    os.mkfifo(tmp_path / 'gate')
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / 'silent'))
        listener.listen()
        with client(daemon, SETTING, str(BEARABLE), str(tmp_path / 'silent'), str(tmp_path / 'gate')) as process:
            with Raw(listener.accept()[0]) as raw:
                raw.greet()
                assert process.stdout.readline() == b'ready\n'
                clock.set(step)
                assert process.stdout.readline() == b'False True 3\n'
            with open(tmp_path / 'gate', 'wb'):
                assert process.wait(LIMIT) == 0
    daemon.allow_broken(1)


# ---- too many, too much ----

CROWD = 1000
STALLED = 'Nothing (could be sent|was received)'  # signs of life of a thread of this process may be late


@contextlib.contextmanager
def crowd(daemon, hello):
    """Peers that send these bytes and then nothing."""
    with raised_file_limit() as files, contextlib.ExitStack() as stack:
        if files < 4 * CROWD:
            pytest.skip('not enough open files for {} peers'.format(CROWD))
        peers = []
        for _ in range(CROWD):  # those that say nothing for long enough may have to go
            peers.append(stack.enter_context(Raw.to(daemon)))
            peers[-1].send(hello)
        yield peers


def test_half_open_connections_take_little_and_go_in_time(make_daemon, isolation):
    with raised_file_limit():
        limits = ['--max-handshakes', str(CROWD + 100), '--max-handshakes-per-source', str(CROWD + 100)]
        daemon = make_daemon('--handshake-timeout', '4', *limits, isolation=isolation)
    make_room_for_lines(daemon)
    before = memory(daemon.process.pid)
    with crowd(daemon, HELLO[:7]):
        wait_until(lambda: count_connections(daemon)['handshaking'] >= CROWD // 2, 'many handshakes')
        assert call_once(daemon) == 3
        wait_until(lambda: count_connections(daemon)['open'] == 0, 'the end of all handshakes')
        assert memory(daemon.process.pid) - before < CROWD * 4096 * SLACK
    daemon.allow_broken(CROWD)


def test_messages_that_were_only_announced_take_no_memory(make_daemon):
    """A gigabyte each, a thousand times at once."""
    with raised_file_limit():
        daemon = make_daemon(isolation='shared')
    make_room_for_lines(daemon)
    before = memory(daemon.worker)
    with crowd(daemon, HELLO + frame(bytes([APPLY, 0, 0]), True) + header(1 << 29)):
        wait_until(lambda: count_connections(daemon)['open'] == CROWD, 'all connections')
        assert call_once(daemon) == 3
        assert memory(daemon.worker) - before < CROWD * 8192 * SLACK
    daemon.allow_broken(CROWD)


@contextlib.contextmanager
def signs_of_life(raw):
    """The peer never reads, but it is there."""
    stop = threading.Event()

    def send():
        with contextlib.suppress(OSError):
            while not stop.wait(SHORT / 4):
                raw.send(message([IDLE]))

    thread = threading.Thread(target=send)
    thread.start()
    yield
    stop.set()
    thread.join()


def test_a_peer_that_never_reads_has_to_go(make_daemon, isolation):
    """What waits for it is bounded: one result for each thread that serves it, and some that are queued."""
    size, queued, threads = 1 << 20, 16 << 20, 256
    daemon = make_daemon('--timeout', str(SHORT), isolation=isolation)
    with bystanders(daemon), Raw.to(daemon) as raw:
        raw.greet()
        raw.send(apply(0, os.getpid))
        worker = pickle.loads(raw.read_message()[1])
        before = memory(worker)
        peak = before
        body = pickle.dumps((tasks.make_bytes, (size,), {}), 4)
        raw.send(b''.join(message([APPLY, *put_uint(call), 0], body) for call in range(1, 1000)))
        with signs_of_life(raw):
            while not raw_is_over(raw):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError, IndexError):
                    peak = max(peak, memory(worker))
        daemon.expect(LOG + 'connection [0-9]+ from .* broke: {} for .*'.format(STALLED))
    assert peak - before < ((threads + 32) * size + queued) * SLACK


def raw_is_over(raw):
    """The other side has hung up. Nothing is read."""
    poll = select.poll()
    poll.register(raw.sock, select.POLLHUP)
    return any(event & select.POLLHUP for _, event in poll.poll(5))


def test_a_server_that_never_reads_is_given_up():
    with connect_raw(options=across.Options(timeout=SHORT)) as (conn, raw), signs_of_life(raw):
        with pytest.raises(across.DisconnectError, match=STALLED):
            conn.call(len, bytes(8 << 20))
        with pytest.raises(OSError, match=STALLED):
            conn.close()


# ---- calls without end ----

CALLS = 100_000
MAX_CALLS = 1024  # in progress, of one peer
MAX_THREADS = 256  # that run calls of a process
OTHER_THREADS = 8  # of a worker


class Flood:
    """A plain peer that makes so many calls as fast as it can, and counts what comes back."""

    def __init__(self, raw):
        self._raw = raw
        self._file = raw.sock.makefile('rb')
        self.answers = collections.Counter()
        self.refused = 0
        self.called = []  # calls of the other side

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def call(self, func, *args):
        """In a thread: the other side need not read everything before it answers."""
        body = pickle.dumps((func, args, {}), 4)
        data = b''.join(message([APPLY, *put_uint(call), 0], body) for call in range(CALLS))
        thread = threading.Thread(target=self._raw.send, args=(data,))
        thread.start()
        return thread

    def read_until(self, condition):
        while not condition():
            frames = []
            more = True
            while more:
                length, more = divmod(int.from_bytes(self._file.read(8), 'big'), 2)
                frames.append(self._file.read(length))
            kind, (number, rest) = frames[0][0], take_uint(frames[0][1:])
            if kind == RESULT:
                self.answers[number] += 1
                self.refused += rest[0] != SUCCESS
            elif kind == APPLY:
                self.called.append(number)

    def read_the_rest(self):
        """All calls have an answer in the end, and not more than one."""
        self.read_until(lambda: len(self.answers) == CALLS)
        assert set(self.answers.values()) == {1}


@contextlib.contextmanager
def flooding(daemon):
    """A flood, and a check of what it costs its worker."""
    with Raw.to(daemon) as raw:
        raw.greet()
        raw.send(apply(0, os.getpid))
        worker = pickle.loads(raw.read_message()[1])
        before = memory(worker)
        with Flood(raw) as flood:
            yield raw, flood, worker
            assert memory(worker) - before < SLACK << 26
            raw.send(message([GOODBYE]))
            raw.read_to_end()


def test_a_hundred_thousand_calls_that_block(make_daemon, isolation, tmp_path):
    """So many as a peer may have are in progress, and the others are refused. Threads are bounded."""
    daemon = make_daemon('--timeout', 'none', isolation=isolation)  # the peer gives no signs of life
    gate = tmp_path / 'gate'
    os.mkfifo(gate)
    with flooding(daemon) as (_, flood, worker):
        thread = flood.call(tasks.pass_gate, str(gate))
        flood.read_until(lambda: flood.refused == CALLS - MAX_CALLS)
        thread.join()
        assert len(flood.answers) == CALLS - MAX_CALLS
        assert count_threads(worker) <= MAX_THREADS + OTHER_THREADS
        with open(gate, 'wb'):
            flood.read_the_rest()
        assert flood.refused == CALLS - MAX_CALLS


def test_a_hundred_thousand_calls_that_call_back(make_daemon, isolation):
    """When every thread waits for the peer, no more calls wait for a thread: the peer could wait for them."""
    daemon = make_daemon('--timeout', 'none', isolation=isolation)  # the peer gives no signs of life
    with flooding(daemon) as (raw, flood, worker):
        thread = flood.call(tasks.ping_pong, 1)
        flood.read_until(lambda: len(flood.answers) + len(flood.called) == CALLS)
        thread.join()
        assert len(flood.called) == MAX_THREADS and flood.refused == CALLS - MAX_THREADS
        assert count_threads(worker) <= MAX_THREADS + OTHER_THREADS
        for call in flood.called:
            raw.send(message([RESULT, *put_uint(call), SUCCESS, 0], pickle.dumps([0], 4)))
        flood.read_the_rest()
        assert flood.refused == CALLS - MAX_THREADS
