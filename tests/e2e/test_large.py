# SPDX-License-Identifier: MIT
"""Large values: they keep type and content, whatever way they take, and cost little more memory than they have."""

import concurrent.futures
import os
import pickle
import signal

import pytest

import across

from . import remote_tasks as tasks
from .clients import run_client
from .daemon import close_broken
from .waiting import LIMIT, SLACK, wait_until

MIB = 1024 * 1024
LARGE = 64 * 1024
"""Bytes from which on an object is sent from its own memory."""


def pattern(size, first=0):
    """Bytes that differ from their neighbours, and from the same ones of another pattern."""
    block = bytes((first + i * 7 + i // 251) % 256 for i in range(4099))
    return (block * (size // len(block) + 1))[:size]


def echo(conn, value):
    """What comes back, which has the type of what was sent."""
    back = conn.call(tasks.echo, value)
    assert type(back) is type(value)
    return back


# ---- types and values ----


@pytest.mark.parametrize('size', [0, 1, LARGE - 1, LARGE, LARGE + 1, MIB - 1, 3 * MIB + 5])
@pytest.mark.parametrize('kind', [bytes, bytearray])
def test_bytes_of_any_size_come_back_equal(conn, kind, size):
    value = kind(pattern(size))
    assert echo(conn, value) == value


def test_a_bytearray_that_has_arrived_can_change(conn):
    value = bytearray(pattern(2 * MIB))
    back = echo(conn, value)
    back[0] ^= 1
    back.extend(b'more')
    assert len(back) == len(value) + 4 and back[0] != value[0]
    value.append(0)  # nobody holds it any more


def test_large_text_comes_back_equal(conn):
    for value in ('x' * MIB, 'ä' * LARGE, '\U0001f40d' * MIB, '\udc80' * LARGE):
        assert echo(conn, value) == value


def test_bytes_that_look_like_a_pickle_come_back_equal(conn):
    for value in (b'\x95' * MIB, b'B\x00\x00\x01\x00' * LARGE, pickle.dumps([pattern(MIB)], 5), b'\x97' * LARGE):
        assert echo(conn, value) == value
        assert echo(conn, [1.5, value, 'B\x00\x00\x01\x00' * 3, value[1:], -7]) == [
            1.5,
            value,
            'B\x00\x00\x01\x00' * 3,
            value[1:],
            -7,
        ]


def test_large_values_within_others_come_back_equal(conn):
    data = pattern(MIB)
    value = {
        'a': [data, (bytearray(data[1:]), {'b': data[2:]})],
        b'c' * LARGE: 'text' * MIB,
        'small': list(range(9999)),
    }
    assert echo(conn, value) == value
    assert conn.call(tasks.collect, data, value, key=data) == ((data, value), {'key': data})


def test_one_object_in_two_places_stays_one(conn):
    data = pattern(MIB)
    first, second, third = echo(conn, [data, data, bytearray(data)])
    assert first is second and first == third


def test_more_buffers_than_a_message_has_frames(conn):
    value = [pattern(LARGE, i) for i in range(1100)]
    assert echo(conn, value) == value


def test_a_subclass_of_bytes_keeps_its_class(conn):
    value = tasks.Blob(pattern(MIB))
    value.name = 'blob'
    back = echo(conn, value)
    assert back == value and back.name == 'blob'


def test_a_pickle_buffer_arrives_as_a_buffer(conn):
    for size in (3, MIB):
        data = pattern(size)
        assert conn.call(bytes, pickle.PickleBuffer(data)) == data
        assert bytes(conn.call(pickle.PickleBuffer, data)) == data
        assert memoryview(conn.call(pickle.PickleBuffer, data)).readonly
        assert not memoryview(conn.call(pickle.PickleBuffer, bytearray(data))).readonly


# ---- arrays ----


@pytest.mark.in_venv
def test_arrays_come_back_equal(conn):
    numpy = pytest.importorskip('numpy')
    plain = numpy.arange(MIB, dtype='i4').reshape(1024, 1024)
    for value in (plain, plain.T, plain[::2, ::3], plain[1:], plain.astype('>f8'), plain[:0], plain.astype(object)):
        back = echo(conn, value)
        assert back.dtype == value.dtype and back.shape == value.shape and (back == value).all()


@pytest.mark.in_venv
def test_arrays_stay_writeable_or_read_only(conn):
    numpy = pytest.importorskip('numpy')
    value = numpy.zeros(MIB)
    back = echo(conn, value)
    back[5] = 1
    assert back.flags.writeable and value[5] == 0
    value.flags.writeable = False
    assert not echo(conn, value).flags.writeable


@pytest.mark.in_venv
def test_an_array_changed_between_calls_is_seen_as_it_is_then(conn):
    numpy = pytest.importorskip('numpy')
    value = numpy.zeros(MIB, dtype='u1')
    for i in range(5):
        value[:] = i
        assert (echo(conn, value) == i).all()


# ---- errors ----


def test_a_value_that_cannot_be_pickled_behind_a_large_one(conn):
    for _ in range(3):
        with pytest.raises(across.OperationError, match='not for pickling'):
            conn.call(tasks.echo, [bytearray(pattern(MIB)), tasks.Unpicklable()])
    locked = bytearray(pattern(MIB))
    with pytest.raises(across.OperationError, match='not for pickling'):
        conn.call(tasks.echo, [locked, tasks.Unpicklable()])
    locked.append(0)
    with pytest.raises(across.OperationError, match='not for pickling'):
        conn.call(tasks.add_unpicklable, [pattern(MIB)])
    assert conn.call(tasks.echo, 1) == 1


def test_an_exception_brings_what_is_large(conn):
    data = pattern(MIB)
    with pytest.raises(KeyError) as caught:
        conn.call(tasks.raise_instance, KeyError(data))
    assert caught.value.args == (data,)


# ---- memory ----

PAYLOAD = 64 * MIB

MEASURE = """
def growth_here(func, *args):
    before = tasks.reset_peak()
    result = conn.call(func, *args)
    print(tasks.peak() - before)
    return result

def growth_there(func, *args):
    before = conn.call(tasks.reset_peak)
    result = conn.call(func, *args)
    print(conn.call(tasks.peak) - before)
    return result
"""


def measure(daemon, source):
    """What the measured calls of a new client grow its process, or the worker's, by, as parts of PAYLOAD."""
    return [int(word) * 1024 / PAYLOAD for word in run_client(daemon, MEASURE + source)]


@pytest.mark.in_venv
@pytest.mark.skipif(SLACK > 1, reason='AddressSanitizer keeps what is freed')
def test_an_array_costs_its_receiver_little_more_than_its_size(daemon):
    pytest.importorskip('numpy')
    source = """
size = {}
data = conn.call(tasks.make_array, 1 << 20)
conn.call(len, data)
data = tasks.make_array(size)
growth_there(len, data)
growth_here(len, data)
del data
growth_here(tasks.make_array, size)
"""
    there, sender, here = measure(daemon, source.format(PAYLOAD))
    assert 0.9 < there <= 1.1 and 0.9 < here <= 1.1
    assert sender < 0.1


def test_bytes_cost_their_sender_nothing(daemon):
    source = """
data = bytes({0})
conn.call(len, data)
growth_here(len, data)
growth_here(len, bytearray(data))
"""
    assert max(measure(daemon, source.format(PAYLOAD))) < 0.1


# ---- ends in the middle ----


def test_a_peer_that_dies_in_the_middle_gives_the_memory_back(daemon):
    data = bytearray(pattern(PAYLOAD))
    conn = daemon.connect()
    worker = conn.call(os.getpid)
    os.kill(worker, signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        result = executor.submit(conn.call, len, data)
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(across.DisconnectError):
            result.result(LIMIT)
    close_broken(conn)
    daemon.expect_lost(worker)
    wait_until(lambda: may_grow(data), 'the end of the lock on the bytearray')


def test_an_interrupted_call_leaves_the_connection_and_the_data_whole(daemon):
    source = """
import signal
data = bytearray(os.urandom(1 << 20) * 64)
worker = conn.call(os.getpid)
os.kill(worker, signal.SIGSTOP)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    conn.call(len, data)
except KeyboardInterrupt:
    print('interrupted')
os.kill(worker, signal.SIGCONT)
print(conn.call(tasks.echo, data) == data)
conn.close()
"""
    assert run_client(daemon, source) == ['interrupted', 'True']


def may_grow(data):
    try:
        data.append(0)
    except BufferError:
        return False
    return True


def test_many_threads_send_and_receive_large_values(conn):
    def run(number):
        value = pattern(3 * MIB + number, number)
        for kind in (bytes, bytearray, bytes):
            assert echo(conn, kind(value)) == value
            assert conn.call(len, b'x' * number) == number

    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        for future in [executor.submit(run, number) for number in range(4)]:
            future.result(LIMIT)
