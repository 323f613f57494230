# SPDX-License-Identifier: MIT
"""What pickles cost a client with Options(trust='data'): an oracle, samples of each kind of attack, and a generator.

Each input is loaded and dropped in a child process, whose processor time, peak memory and way to end are checked
against the bound that docs/trust.md states. Run as a program, under any Python that has the package:

    trust_costs.py                  each sample
    trust_costs.py --inputs N       so many generated and mutated inputs
    trust_costs.py --minutes N      generated and mutated inputs, until so many minutes have passed

Both print figures. What exceeds the bound is printed with a description, written to a file in --found, and makes the
exit status 1.
"""

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import gc
import hashlib
import os
import pathlib
import pickle
import random
import resource
import signal
import socket
import struct
import sys
import time
import traceback
import uuid

import across
from across import engines
from across.values import trust

try:
    import numpy
except ImportError:
    numpy = None

# The bound, as docs/trust.md has it.
SECONDS, SECONDS_PER_BYTE = 0.05, 20e-6
MEMORY, MEMORY_PER_BYTE = 4 << 20, 1 << 10

TRIES = 3  # what else runs on the machine can only add to the time: the least of some tries counts
MAX_SIZE = 4 << 20  # of an input that is generated


# ---- types that the client trusts ----


@dataclasses.dataclass
class Row:
    x: object = None
    y: object = None


@dataclasses.dataclass(frozen=True)
class Key:
    x: object = None
    y: object = None


class Color(enum.Enum):
    RED = 1
    BLUE = 'blue'
    BOTH = (1, 'blue')


class Bits(enum.Flag):
    ONE = 1
    TWO = 2


class Number(enum.IntFlag):
    ONE = 1
    TWO = 2


Pair = collections.namedtuple('Pair', 'left right')


class Bag(list):
    pass


class Table(dict):
    pass


TRUSTED = [Row, Key, Color, Bits, Number, Pair, Bag, Table] + ([numpy.ndarray] if numpy else [])
if sys.version_info >= (3, 10):

    @dataclasses.dataclass(frozen=True, slots=True)
    class Slotted:
        x: object = None
        y: object = None

    TRUSTED.append(Slotted)


# ---- the oracle ----


class Cost:
    """What a child process has reported."""

    def __init__(self, seconds, memory, status):
        self.seconds = seconds
        self.memory = memory
        self.status = status  # of waitpid()

    def describe(self):
        if os.WIFSIGNALED(self.status):
            return 'killed by {}'.format(signal.Signals(os.WTERMSIG(self.status)).name)
        if self.status:
            return 'ended with {}'.format(self.status)
        return '{:.3f} s, {:.1f} MiB'.format(self.seconds, self.memory / (1 << 20))

    def share(self, size):
        """How much of the bound was used: above 1 it is exceeded."""
        if self.status:
            return float('inf')
        seconds = self.seconds / (SECONDS + SECONDS_PER_BYTE * size)
        return max(seconds, self.memory / (MEMORY + MEMORY_PER_BYTE * size))


def measure(data, is_error, on_wire=False):
    """Return what it costs to load a pickle, and to drop what came of it."""
    best = None
    for _ in range(TRIES):
        cost = _measure_once(data, is_error, on_wire)
        if best is None or cost.status or cost.seconds < best.seconds:
            best = cost
        if best.status or best.share(len(data)) < 0.5:
            break
    return best


def _measure_once(data, is_error, on_wire):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        _run_child(data, is_error, on_wire, writer)
    os.close(writer)
    with os.fdopen(reader, 'rb') as file:
        report = file.read()
    _, status = os.waitpid(child, 0)
    if len(report) != 16:
        return Cost(0, 0, status or -1)
    return Cost(*struct.unpack('dq', report), status)


def check_oracle():
    """Make sure that the oracle notices what it is for."""

    def load_by(func):
        globals()['_load_here'] = lambda data, is_error: func
        try:
            return measure(b'', False)
        finally:
            globals()['_load_here'] = load_here

    def spin():
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass

    load_here = _load_here
    assert load_by(lambda: None).share(0) < 0.5
    assert 1 < load_by(spin).share(0) < 100
    assert 1 < load_by(lambda: b'x' * (64 << 20)).share(0) < 100
    assert load_by(lambda: os.kill(os.getpid(), signal.SIGSEGV)).share(0) == float('inf')
    assert load_by(lambda: os._exit(3)).share(0) == float('inf')


def _run_child(data, is_error, on_wire, writer):
    status = 1
    try:
        seconds = int(2 * (SECONDS + SECONDS_PER_BYTE * len(data))) + 10
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        load = _load_on_wire(data, is_error) if on_wire else _load_here(data, is_error)
        before = resource.getrusage(resource.RUSAGE_SELF)
        load()
        gc.collect()
        after = resource.getrusage(resource.RUSAGE_SELF)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        os.write(writer, struct.pack('dq', seconds, (after.ru_maxrss - before.ru_maxrss) << 10))
        status = 0
    except BaseException:
        traceback.print_exc()
    os._exit(status)


class _Owner:
    """Stands for a connection, to proxies of pickles that did not come over one."""

    class _link:
        operations = True

    def _get_invoke(self, handle):
        return print


class _Handle:
    owner = _Owner()
    id = 1


def _load_here(data, is_error):
    loads = trust.make_loads(TRUSTED)
    engines.claim = lambda id: _Handle()

    def load():
        try:
            value = loads(data, is_error)
            del value
        except Exception as error:
            describe(error)

    return load


def describe(error):
    """Do what a connection does with an exception that unpickling raises, and what a program does that logs it."""
    across._errors.describe_error(error)
    ''.join(traceback.format_exception(type(error), error, error.__traceback__))


def _load_on_wire(data, is_error):
    ours, theirs = socket.socketpair()
    options = across.Options(trust='data', trusted_types=TRUSTED, timeout=None)
    conn = across.Connection.from_socket(ours, options=options)
    peer = across.Connection.from_socket(theirs, options=across.Options(timeout=None))
    conn.call(abs, 1)
    peer._link.dumps = lambda value, protocol: data

    def load():
        try:
            value = conn.call(_fail if is_error else abs, 1)
            del value
        except Exception as error:
            describe(error)

    return load


def _fail(value):
    raise ValueError(value)


# ---- pickles by hand ----


def text(value):
    data = value.encode('utf-8', 'surrogatepass')
    return b'X' + struct.pack('<I', len(data)) + data


def blob(value):
    return b'B' + struct.pack('<I', len(value)) + value


def number(value):
    if -(1 << 31) <= value < 1 << 31:
        return b'J' + struct.pack('<i', value)
    size = value.bit_length() // 8 + 1
    data = value.to_bytes(size, 'little', signed=True)
    return (b'\x8a' + bytes([size]) if size < 256 else b'\x8b' + struct.pack('<i', size)) + data


def get(place):
    return b'h' + bytes([place]) if place < 256 else b'j' + struct.pack('<I', place)


def named(module, name):
    return text(module) + text(name) + b'\x93'


def of(obj):
    return named(obj.__module__, obj.__qualname__)


def items(*parts):
    return b'(' + b''.join(parts) + b't'


def call(func, *args):
    return of(func) + items(*args) + b'R'


def state(**values):
    return b'}(' + b''.join(text(name) + value for name, value in values.items()) + b'u'


def as_list(*parts):
    return b'](' + b''.join(parts) + b'e'


def keep(*parts):
    """Put values into the memo, from place 0 on, and take them from the stack again."""
    return b''.join(part + b'\x940' for part in parts)


def record(exc, context=b'N', cause=b'N', hops=b']'):
    return items(exc, context, b'\x89', cause, hops)


# ---- samples: each is made for a size of roughly so many bytes ----

SAMPLES = {}  # by name: a function, and whether it makes an exception record


def sample(func):
    SAMPLES[func.__name__.replace('_', ' ')] = func, func.__name__.startswith('record_')
    return func


def times(size, part):
    return part * max(1, size // len(part))


# Constructors


@sample
def record_of_an_error_that_reads_out_of_bounds(size):
    start = -(10**12)
    args = items(text('utf-8'), blob(b'abc'), number(start), number(start + 1), text('x'))
    return record(named('builtins', 'UnicodeDecodeError') + args + b'R') + b'.'


@sample
def record_of_an_error_of_text_that_reads_out_of_bounds(size):
    args = items(text('utf-8'), text('abc'), number(1 << 62), number((1 << 62) + 1), text('x'))
    return record(named('builtins', 'UnicodeEncodeError') + args + b'R') + b'.'


@sample
def range_of_large_numbers(size):
    bits = 4 * size
    return call(range, number(0), number(1 << 2 * (bits // 3)), number(1 << bits // 3)) + b'.'


@sample
def ranges_of_the_largest_numbers(size):
    start = keep(of(range), number(0), number((1 << 1023) - 1), number(1 << 511))
    return start + as_list(times(size, b'h\0h\1h\2h\3\x87R')) + b'.'


@sample
def paths_of_many_parts(size):
    return keep(of(pathlib.PurePosixPath), text('a/' * (size // 4))) + as_list(times(size // 2, b'h\0h\1\x85R')) + b'.'


@sample
def paths_of_many_words(size):
    words = items(times(size // 2, b'h\1'))
    return keep(of(pathlib.PureWindowsPath), text('')) + words + b'\x940' + as_list(times(size // 2, b'h\0h\2R')) + b'.'


@sample
def decimals_of_many_digits(size):
    start = keep(of(decimal.Decimal), text('9' * (size // 2)))
    return start + as_list(times(size // 2, b'h\0h\1\x85R')) + b'.'


@sample
def timedelta_of_large_numbers(size):
    large = number(1 << 4 * size)
    return large + b'\x94' + call(datetime.timedelta, b'h\0', b'h\0', b'h\0') + b'.'


@sample
def dates(size):
    start = keep(of(datetime.datetime), b'C\x0a' + b'\x07\xe4\x01\x02' + b'\0' * 6)
    return start + as_list(times(size, b'h\0h\1\x85R')) + b'.'


# Keys


def collide(count):
    """Numbers of one hash."""
    return [number((index + 1) * ((1 << 61) - 1)) for index in range(count)]


def tower(depth, base, grow):
    """Something with the same two things inside, each of them with the same two..."""
    return base + b''.join(grow(index) for index in range(depth))


def set_tower(depth, place):
    """Frozensets of pairs, in the memo from a place on."""
    parts = [b'(K\1\x91\x94']
    for index in range(depth):
        inner = get(place + index)
        parts.append(b'0(' + inner + b'K\1\x86' + inner + b'K\2\x86\x91\x94')
    return b''.join(parts)


@sample
def two_towers_of_frozensets_are_keys(size):
    depth = min(90, size // 30)
    return b'}' + set_tower(depth, 0) + b'N' + b's' + set_tower(depth, depth + 1) + b'Ns.'


@sample
def towers_of_frozensets_in_frozensets(size):
    depth = min(90, size // 30)
    first, second = set_tower(depth, 0), set_tower(depth, depth + 1)
    return b'(' + first + second + b'\x91.'


def pair_tower(depth, place, pair):
    parts = [b'K\1\x94']
    for index in range(depth):
        inner = get(place + index)
        parts.append(b'0' + pair(inner) + b'\x94')
    return b''.join(parts)


@sample
def two_towers_of_tuples_are_keys(size):
    depth = min(90, size // 20)

    def make(place):
        return pair_tower(depth, place, lambda inner: inner + inner + b'\x86')

    return b'}' + make(0) + b'Ns' + make(depth + 1) + b'Ns.'


@sample
def two_towers_of_dataclasses_are_keys(size):
    depth = min(90, size // 20)

    def make(place):
        return pair_tower(depth, place, lambda inner: b'h\0' + inner + inner + b'\x86R')

    return keep(of(Key)) + b'}' + make(1) + b'Ns' + make(depth + 2) + b'Ns.'


@sample
def keys_of_one_hash(size):
    count = size // 12
    return b'}(' + b''.join(key + b'N' for key in collide(count)) + b'u.'


@sample
def keys_of_one_hash_one_by_one(size):
    return b'}' + b''.join(key + b'Ns' for key in collide(size // 13)) + b'.'


@sample
def items_of_one_hash(size):
    return b'\x8f(' + b''.join(collide(size // 11)) + b'\x90.'


@sample
def items_of_one_hash_in_a_frozenset(size):
    return b'(' + b''.join(collide(size // 11)) + b'\x91.'


@sample
def items_of_one_hash_in_a_list(size):
    return of(set) + as_list(*collide(size // 11)) + b'\x85R.'


@sample
def keys_of_one_hash_are_counted_again(size):
    made = b'}(' + b''.join(key + b'N' for key in collide(min(1000, size // 24))) + b'u'
    return keep(of(collections.Counter), made) + as_list(times(size // 2, b'h\0h\1\x85R')) + b'.'


@sample
def frozensets_of_one_hash_are_compared(size):
    made = b'(' + b''.join(collide(min(1000, size // 24))) + b'\x91'
    return keep(made, made) + as_list(times(size // 4, b'}h\0Nsh\1Ns')) + b'.'


@sample
def tuples_of_one_hash(size):
    keys = collide(size // 16)
    return b'}(' + b''.join(key + b'\x85N' for key in keys) + b'u.'


@sample
def uuids_of_one_hash(size):
    made = (b'h\0)\x81}h\1' + key + b'sb' for key in collide(size // 20))
    return keep(of(uuid.UUID), text('int')) + b'\x8f(' + b''.join(made) + b'\x90.'


@sample
def large_numbers_are_keys(size):
    return number(1 << 4 * size) + b'\x94' + as_list(times(size // 2, b'}h\0Ns')) + b'.'


@sample
def large_numbers_in_tuples_are_keys(size):
    return number(1 << 4 * size) + b'\x85\x94' + as_list(times(size // 2, b'}h\0Ns')) + b'.'


@sample
def large_tuples_are_keys(size):
    return items(times(size // 2, b'K\1')) + b'\x94' + as_list(times(size // 2, b'}h\0Ns')) + b'.'


@sample
def a_decimal_has_the_hash_of_a_large_number(size):
    bits = 4 * size
    value = hash(1 << bits)
    return (
        keep(number(1 << bits), call(decimal.Decimal, text(str(value))))
        + as_list(times(size // 2, b'}h\0Nsh\1Ns'))
        + b'.'
    )


@sample
def a_tuple_is_made_a_key_again_and_again(size):
    return b'K\1\x85\x94}' + times(size, b'h\0Ns') + b'.'


# Depth


def nest(size, make, grow):
    """Objects inside each other, the outermost first: all are made before any is put into another."""
    count = size // (len(make) + len(grow))
    return make * count + grow * (count - 1)


for _cls in (collections.deque, collections.defaultdict, collections.OrderedDict, collections.Counter):

    def _nested(size, cls=_cls):
        if cls is collections.deque:
            return keep(of(cls)) + nest(size, b'h\0)R', b'a') + b'.'
        count = size // 6  # each in the one before it, under the key None
        return keep(of(cls)) + b'h\0)RN' * count + b'h\0)R' + b's' * count + b'.'

    SAMPLES['nested {}s'.format(_cls.__name__)] = _nested, False

    def _nested_and_refused(size, make=_nested):
        return make(size)[:-1] + b'\xff'

    SAMPLES['nested {}s in a pickle that is refused'.format(_cls.__name__)] = _nested_and_refused, False


@sample
def nested_deques_with_the_innermost_last(size):
    count = size // 12
    parts = [b'h\0)R\x940'] * count
    parts += [get(index) + get(index + 1) + b'a0' for index in range(1, count)]
    return keep(of(collections.deque)) + b''.join(parts) + get(1) + b'.'


@sample
def deques_in_a_circle(size):
    count = size // 12
    parts = [b'h\0)R\x940'] * count
    parts += [get(index) + get(index % count + 1) + b'a0' for index in range(1, count + 1)]
    return keep(of(collections.deque)) + b''.join(parts) + get(1) + b'.'


@sample
def nested_lists(size):
    return nest(size, b']', b'a') + b'.'


@sample
def nested_sets_of_tuples(size):
    return b')' + times(size, b'\x85') + b'.'


@sample
def nested_rows(size):
    make = b'h\0)\x81}h\1'
    count = size // 9
    return keep(of(Row), text('x')) + make * count + b'N' + b'sb' * count + b'.'


@sample
def nested_bags(size):
    return keep(of(Bag)) + nest(size, b'h\0)\x81', b'a') + b'.'


@sample
def nested_tables(size):
    count = size // 6
    return keep(of(Table)) + (b'h\0)\x81' + b'N') * count + b'N' + b's' * count + b'.'


@sample
def nested_pairs(size):
    count = size // 5
    return keep(of(Pair)) + b'h\0' * count + b'N' + b'N\x86\x81' * count + b'.'


@sample
def record_of_nested_strangers(size):
    count = size // 4
    return record(keep(named('some', 'thing')) + b'h\0' * count + b')R' + b'\x85R' * (count - 1)) + b'.'


# Memory and copies


@sample
def empty_sets(size):
    return as_list(times(size, b'\x8f')) + b'.'


@sample
def empty_sets_in_the_memo(size):
    return as_list(times(size, b'\x8f\x94')) + b'.'


@sample
def empty_dicts(size):
    return as_list(times(size, b'}')) + b'.'


@sample
def marks(size):
    return times(size, b'(') + b'.'


for _cls in (collections.deque, collections.defaultdict, collections.OrderedDict, collections.Counter, bytearray):

    def _many(size, cls=_cls):
        return keep(of(cls)) + as_list(times(size, b'h\0)R')) + b'.'

    SAMPLES['many {}s'.format(_cls.__name__)] = _many, False


@sample
def bytearrays_are_copied(size):
    start = keep(of(bytearray), blob(b'x' * (size // 2)))
    return start + as_list(times(size // 2, b'h\0h\1\x85R')) + b'.'


@sample
def sets_are_made_of_a_list(size):
    numbers = as_list(*(number(index) for index in range(size // 10)))
    return keep(of(set), numbers) + as_list(times(size // 2, b'h\0h\1\x85R')) + b'.'


@sample
def dicts_are_counted(size):
    made = b'}(' + b''.join(number(index) + b'N' for index in range(size // 12)) + b'u'
    return keep(of(collections.Counter), made) + as_list(times(size // 2, b'h\0h\1\x85R')) + b'.'


@sample
def a_state_is_set_again_and_again(size):
    made = state(**{'n{}'.format(index): b'N' for index in range(size // 24)})
    return keep(of(Row), made) + as_list(times(size // 2, b'h\0)\x81h\1b')) + b'.'


@sample
def keywords_are_given_again_and_again(size):
    made = state(**{'n{}'.format(index): b'N' for index in range(size // 24)})
    return keep(of(Table), made) + as_list(times(size // 2, b'h\0)h\1\x92')) + b'.'


@sample
def bags_are_made_of_a_list(size):
    return keep(of(Bag), as_list(times(size // 2, b'N'))) + as_list(times(size // 2, b'h\0h\1\x85R')) + b'.'


@sample
def bags_are_made_of_a_range(size):
    return keep(of(Bag), call(range, number(0), number(1 << 40), number(1))) + b'h\0h\1\x85R.'


@sample
def text_of_surrogates(size):
    return text('\ud800' * (size // 3)) + b'.'


@sample
def the_memo_is_full_of_holes(size):
    return b'N' + b''.join(b'r' + struct.pack('<I', index << 20 & 0xFFFFFFFF) for index in range(size // 5)) + b'.'


# Names and classes


@sample
def record_of_names_that_grow(size):
    start = named('some', 'thing') + b'\x94'
    return record(start + times(size, b')R\x94')) + b'.'


@sample
def record_of_long_names(size):
    start = keep(text('m' * (size // 4)), text('n' * (size // 4)))
    return record(start + as_list(times(size // 2, b'h\0h\1\x93'))) + b'.'


@sample
def record_of_classes_by_value(size):
    start = keep(named('cloudpickle.cloudpickle', '_make_skeleton_class'), text('n' * (size // 2)))
    return record(start + as_list(times(size // 2, b'h\0Nh\1\x86R)R'))) + b'.'


MAKE_PROXY = named('across', '_make_proxy')


@sample
def a_class_of_proxies_for_each_list(size):
    count = size // 20
    parts = [b'\x94]\x940']
    for index in range(count):
        parts.append(b'h\1' + text('m{}'.format(index)) + b'a0h\0K\1h\1\x86R')
    return items(MAKE_PROXY + b''.join(parts)) + b'.'


@sample
def a_class_of_proxies_for_each_pair(size):
    names = [text('m{}'.format(index)) for index in range(min(200, size // 20))]
    count, made = size // 12, []
    for index in range(count):
        first, second = index % len(names), index // len(names) % len(names)
        made.append(b'h\0K\1]' + get(first + 1) + b'a' + get(second + 1) + b'a\x86R')
    return keep(MAKE_PROXY, *names) + as_list(*made) + b'.'


@sample
def a_class_of_proxies_for_each_label(size):
    names = as_list(*(text('m{}'.format(index)) for index in range(min(200, size // 40))))
    made = (b'h\0K\1h\1' + text('a.' * 90 + str(index)) + b'\x87R' for index in range(size // 200))
    return keep(MAKE_PROXY, names) + as_list(*made) + b'.'


@sample
def proxies_of_many_methods(size):
    names = as_list(*(text('m{}'.format(index)) for index in range(min(2000, size // 20))))
    return keep(MAKE_PROXY, names) + as_list(times(size // 2, b'h\0K\1h\1\x86R')) + b'.'


@sample
def a_method_whose_name_is_a_tower(size):
    return MAKE_PROXY + b'K\1](' + pair_tower(60, 0, lambda inner: as_list(inner, inner)) + b'e\x86R.'


# Enumerations


@sample
def a_flag_of_many_bits(size):
    return call(Number, number(1 << 8 * size)) + b'.'


@sample
def a_flag_of_all_bits(size):
    return call(Bits, number((1 << 8 * size) - 1)) + b'.'


@sample
def flags(size):
    made = (b'h\0' + number(index << 20) + b'\x85R' for index in range(size // 8))
    return keep(of(Number)) + as_list(*made) + b'.'


@sample
def a_member_whose_value_is_a_tower(size):
    return of(Color) + pair_tower(60, 0, lambda inner: inner + inner + b'\x86') + b'\x85R.'


@sample
def a_member_whose_value_is_a_tower_of_lists(size):
    return of(Color) + pair_tower(60, 0, lambda inner: as_list(inner, inner)) + b'\x85R.'


@sample
def a_member_whose_value_is_a_long_text_many_times(size):
    return of(Color) + text('x' * (size // 2)) + b'\x940' + items(times(size // 2, b'h\0')) + b'\x85R.'


# Exceptions


def _chained(count, exc, hops):
    value = record(exc, hops=hops)
    for _ in range(count - 1):
        value = record(exc, value, hops=hops)
    return value + b'.'


@sample
def record_of_one_long_path(size):
    path = call(pathlib.PurePosixPath, text('x' * (size // 2)))
    ten = as_list(b'h\0' * 10)
    start = keep(path, ten, named('builtins', 'ValueError'))
    exc = b'h\2' + items(b'h\1' * 10) + b'R'
    return start + _chained(max(1, min(150, size // 80)), exc, b']')


@sample
def record_of_lists_of_lists_of_texts(size):
    start = keep(text('\U000e0001' * 300), named('builtins', 'ValueError'))
    ten = as_list(as_list(as_list(b'h\0' * 10) * 10) * 10)
    return start + ten + b'\x940' + _chained(max(1, min(150, size // 20)), b'h\1h\2\x85R', b']')


@sample
def record_of_one_traceback_in_many_exceptions(size):
    entry = items(b'h\0', number(1), b'h\0', b'h\0')
    start = keep(text('\x1b\U000e0001' * 200), entry, named('builtins', 'ValueError'))
    entries = as_list(b'h\1' * min(2000, size // 4))
    hops = as_list(items(b'h\0', number(1), b'h\3') * min(100, size // 20))
    return start + entries + b'\x940' + hops + b'\x940' + _chained(max(1, min(150, size // 20)), b'h\2)R', b'h\4')


@sample
def record_of_many_hops(size):
    start = keep(text('h'), named('builtins', 'ValueError'))
    hops = as_list(items(b'h\0', number(1), b']') * 100)
    return start + hops + b'\x940' + _chained(max(1, min(150, size // 20)), b'h\1)R', b'h\2')


@sample
def record_of_far_lines(size):
    start = keep(text('h'), number(60000), named('builtins', 'ValueError'))
    made = (items(text('f{}'.format(index)), b'h\1', b'h\0', text('s')) for index in range(size // 30))
    return start + record(b'h\2)R', hops=as_list(items(b'h\0', number(1), as_list(*made)))) + b'.'


@sample
def record_of_one_far_line_in_many_versions(size):
    start = keep(text('h'), number(60000), named('builtins', 'ValueError'))
    made = (items(b'h\0', b'h\1', b'h\0', text('s{}'.format(index))) for index in range(size // 20))
    return start + record(b'h\2)R', hops=as_list(items(b'h\0', number(1), as_list(*made)))) + b'.'


@sample
def record_of_printable_text(size):
    start = keep(text('\U0001f600' * 900), named('builtins', 'ValueError'))
    entries = as_list(times(size // 3, items(b'h\0', number(7), b'h\0', b'h\0')))
    hops = as_list(items(b'h\0', number(1), b'h\2') * 100)
    return start + entries + b'\x940' + hops + b'\x940' + _chained(max(1, min(150, size // 30)), b'h\1)R', b'h\3')


@sample
def record_of_a_group(size):
    start = keep(named('builtins', 'ExceptionGroup'), named('builtins', 'ValueError') + text('x') + b'\x85R')
    group = b'h\0' + items(text('g'), as_list(b'h\1' * 100)) + b'R'
    for _ in range(min(90, size // 30)):
        group = b'h\0' + items(text('g'), as_list(group, b'h\1', b'h\1')) + b'R'
    return start + record(group) + b'.'


@sample
def record_of_groups_of_one_group(size):
    parts = [keep(named('builtins', 'ExceptionGroup'), named('builtins', 'ValueError') + text('x') + b'\x85R')]
    for index in range(min(90, size // 30)):
        parts.append(b'h\0' + items(text('g'), as_list(get(index + 1) * 50)) + b'R\x940')
    return b''.join(parts) + record(get(len(parts))) + b'.'


@sample
def record_of_notes(size):
    start = keep(text('\x1b' * (size // 2)), named('builtins', 'ValueError'))
    notes = state(__notes__=as_list(b'h\0' * 100))
    return start + notes + b'\x940' + _chained(max(1, min(150, size // 30)), b'h\1)Rh\2b', b']')


@sample
def record_of_large_numbers(size):
    start = keep(number(1 << 4 * size), named('builtins', 'ValueError'))
    return start + _chained(max(1, min(150, size // 30)), b'h\1h\0\x85R', b']')


@sample
def record_of_numbers_that_are_just_written(size):
    start = keep(number((1 << 9999) + 1), named('builtins', 'ValueError'))
    return start + _chained(max(1, min(150, size // 30)), b'h\1' + items(b'h\0' * 10) + b'R', b']')


if numpy:

    def call_dtype(code):
        return named('numpy', 'dtype') + items(text(code), b'\x89', b'\x88') + b'R'

    def start_array():
        args = items(named('numpy', 'ndarray'), items(b'K\0'), blob(b'b'))
        return named('numpy.core.multiarray', '_reconstruct') + args + b'R'

    def from_buffer():
        return named('numpy.core.numeric', '_frombuffer')

    @sample
    def arrays_of_nothing(size):
        args = items(b'K\1', items(number(1 << 40)), call_dtype('U0'), b'\x89', blob(b''))
        return start_array() + args + b'b.'

    @sample
    def arrays_that_are_empty_and_large(size):
        args = items(b'K\1', items(number(1 << 30), number(0)), call_dtype('i8'), b'\x89', blob(b''))
        return start_array() + args + b'b.'

    @sample
    def arrays_of_a_buffer_that_are_empty_and_large(size):
        return from_buffer() + items(blob(b''), call_dtype('i8'), items(number(1 << 30), number(0)), text('C')) + b'R.'

    @sample
    def arrays_inside_each_other(size):
        start = keep(from_buffer(), call_dtype('i1'), items(b'K\1'), text('C'))
        parts = (b'\x940h\0(' + get(4 + index) + b'h\1h\2h\3tR' for index in range(size // 14))
        return start + blob(b'x') + b''.join(parts) + b'.'

    @sample
    def read_only_arrays_inside_each_other(size):
        start = keep(from_buffer(), call_dtype('i1'), items(b'K\1'), text('C'))
        parts = (b'\x98\x940h\0(' + get(4 + index) + b'h\1h\2h\3tR' for index in range(size // 14))
        return start + blob(b'x') + b''.join(parts) + b'.'

    @sample
    def arrays_of_one_buffer(size):
        start = keep(from_buffer(), call_dtype('i1'), items(b'K\1'), text('C'), blob(b'x'))
        return start + as_list(times(size, b'h\0(h\4h\1h\2h\3tR')) + b'.'

    @sample
    def a_number_of_numpy_has_the_hash_of_a_tuple(size):
        depth = min(24, size.bit_length())
        value = 1
        for _ in range(depth):
            value = (value, value)
        scalar = named('numpy.core.multiarray', 'scalar') + items(
            call_dtype('i8'), blob(struct.pack('<q', hash(value)))
        )
        tuples = pair_tower(depth, 0, lambda inner: inner + inner + b'\x86')
        return b'}' + tuples + b'Ns' + scalar + b'RNs.'


# ---- inputs that are generated ----


class Generator:
    """Makes pickles that refer to the same things in many ways and many times, and changes honest ones."""

    CALLED = (
        collections.deque, collections.defaultdict, collections.OrderedDict, collections.Counter, bytearray, range,
        slice, set, frozenset, complex, decimal.Decimal, datetime.date, datetime.time, datetime.datetime,
        datetime.timedelta,
        datetime.timezone, uuid.UUID, pathlib.PurePosixPath, pathlib.PureWindowsPath, *TRUSTED,
    )  # fmt: skip
    NAMES = (
        ('across', '_make_proxy'), ('across', '_get_obj'), ('builtins', 'getattr'), ('_operator', 'or_'),
        ('builtins', 'ValueError'), ('builtins', 'OSError'), ('builtins', 'UnicodeDecodeError'), ('some', 'thing'),
        ('numpy', 'dtype'), ('numpy.core.multiarray', '_reconstruct'), ('numpy.core.multiarray', 'scalar'),
        ('numpy.core.numeric', '_frombuffer'), ('numpy._core.numeric', '_frombuffer'),
        ('cloudpickle.cloudpickle', '_make_skeleton_class'),
    )  # fmt: skip

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.honest = [pickle.dumps(value, protocol) for value in self._make_values() for protocol in (3, 4, 5)]

    def make(self):
        """Return a description, a pickle, and whether it is an exception record."""
        make = self.random.choice([self._make_sample, self._make_program, self._make_program, self._make_mutant])
        name, data, is_error = make()
        if self.random.random() < 0.3:
            name, data = name + ', changed', self._change(data)
        return name, data[:MAX_SIZE], is_error

    def _make_values(self):
        rows = [Row(index, Key(index, 'text')) for index in range(10)]
        zone = datetime.timezone.utc
        values = [
            rows, [Color.RED, Color.BOTH, Bits.ONE, Number.TWO], Pair(1, [2]), Bag([1, 2]), Table(a=1),
            {(index, 'x'): index for index in range(20)}, {frozenset([index]) for index in range(20)},
            [datetime.datetime(2020, 1, 2, 3, 4, 5, 6, zone), datetime.timedelta(1), decimal.Decimal('1.5')],
            [uuid.UUID(int=5), pathlib.PurePosixPath('/a/b'), range(5), slice(1, 2), 1j, bytearray(b'abc')],
            collections.OrderedDict(a=1), collections.Counter('abc'), collections.deque([1], 5),
            collections.defaultdict(list, a=[1]), {str(index): index for index in range(100)}, set(range(100)),
            self._make_record(ValueError(1, 'two'), self._make_record(OSError(2, 'no', 'file'))),
            self._make_record(UnicodeDecodeError('ascii', b'\xff', 0, 1, 'no')),
        ]  # fmt: skip
        if numpy:
            values += [numpy.arange(5), numpy.float64(1), numpy.array(['a', 'bc']), numpy.array(['2020'], 'M8[s]')]
        return values

    def _make_record(self, exc, context=None):
        return exc, context, False, None, [('host', 7, [('file.py', 3, 'function', 'source')] * 3)]

    def _size(self):
        return int(2 ** self.random.uniform(5, 17))

    def _make_sample(self):
        name, (make, is_error) = self.random.choice(list(SAMPLES.items()))
        size = self._size()
        return '{} of size {}'.format(name, size), make(size), is_error

    def _make_mutant(self):
        data = self.random.choice(self.honest)
        for _ in range(self.random.randrange(1, 4)):
            data = self._change(data)
        return 'an honest pickle, changed', data, self.random.random() < 0.3

    def _change(self, data):
        """Replace some bytes, or repeat a part."""
        data = bytearray(data)
        for _ in range(self.random.randrange(1, 6)):
            start = self.random.randrange(len(data) + 1)
            end = min(len(data), start + int(2 ** self.random.uniform(0, 6)))
            kind = self.random.randrange(4)
            if kind == 0:
                count = int(2 ** self.random.uniform(1, 12))
                data[start:end] = bytes(data[start:end]) * count
            elif kind == 1:
                data[start : start + self.random.randrange(2)] = bytes([self.random.randrange(256)])
            elif kind == 2:
                del data[start:end]
            else:
                data[start:start] = self._make_part(12)
            if len(data) > MAX_SIZE:
                break
        return bytes(data)

    # Programs: a number of things in the memo, and a part that is repeated and refers to them

    def _make_program(self):
        self.places = 0
        parts = []
        for _ in range(self.random.randrange(3, 30)):
            parts.append(self._make_thing() + b'\x940')
            self.places += 1
        body = []
        for _ in range(self.random.randrange(1, 4)):
            part = self._make_part(self.places) if self.random.random() < 0.8 else self._make_growth()
            body.append(part)
        repeats = int(2 ** self.random.uniform(0, 14))
        end = self.random.choice([b'e', b't', b'\x91', b'u', b'\x90'])
        opening = {b'e': b'](', b't': b'(', b'\x91': b'(', b'u': b'}(', b'\x90': b'\x8f('}[end]
        value = b''.join(parts) + opening + b''.join(body) * repeats + end
        if self.random.random() < 0.4:
            name = self.random.choice(['ValueError', 'OSError', 'KeyError', 'UnicodeDecodeError', 'Missing'])
            return 'a record of a program', record(named('builtins', name) + value + b'\x85R') + b'.', True
        return 'a program', value + b'.', False

    def _get(self, places=None):
        return get(self.random.randrange(max(1, self.places if places is None else places)))

    def _make_thing(self):
        kind = self.random.randrange(12)
        if kind == 0:
            return of(self.random.choice(self.CALLED))
        if kind == 1:
            return named(*self.random.choice(self.NAMES))
        if kind == 2:
            return number(self.random.randrange(-(1 << self._size() % 4000), 1 << self._size() % 4000))
        if kind == 3:
            return text(
                self.random.choice(['x', 'a/', '9', '\x1b', '\U000e0001', 'i8', 'U0', 'int', 'm']) * self._count()
            )
        if kind == 4:
            return blob(b'x' * self._count())
        if kind == 5:
            return as_list(*(self._get() for _ in range(self._count())))
        if kind == 6:
            return items(*(self._get() for _ in range(self._count())))
        if kind == 7:
            return b'(' + b''.join(self._get() for _ in range(self._count())) + b'\x91'
        if kind == 8:
            return b'}(' + b''.join(self._get() + b'N' for _ in range(self._count())) + b'u'
        if kind == 9:
            return as_list(*collide(self._count()))
        return self._make_part(self.places)

    def _count(self):
        return int(2 ** self.random.uniform(0, self.random.choice([2, 6, 11])))

    def _make_part(self, places):
        """Make one value, or something that fails, of what is in the memo."""
        one, two = self._get(places), self._get(places)
        func = of(self.random.choice(self.CALLED)) if self.random.random() < 0.5 else self._get(places)
        return self.random.choice([
            one, one + b'\x85', one + two + b'\x86', b'(' + one + two + b'\x91', func + b')R', func + one + b'\x85R',
            func + one + two + b'\x86R', func + b')\x81', func + b')\x81' + one + b'b', func + one + b'\x85\x81',
            b']' + one + b'a', b'}' + one + two + b's', b'\x8f(' + one + two + b'\x90', func + one + b'R',
            b']', b'\x8f',
            func + b')R' + one + b'a', func + b')R' + one + two + b's', one + two + b'\x93', one + b'\x98',
            b'N', one + b'\x94',
        ])  # fmt: skip

    def _make_growth(self):
        """Something that has the thing in a place of the memo twice inside, and then takes its place."""
        place = self._get()
        grow = self.random.choice([
            place + place + b'\x86', b'(' + place + b'K\1\x86' + place + b'K\2\x86\x91', as_list(place, place),
            of(Key) + place + place + b'\x86R', b'}K\1' + place + b's', of(collections.deque) + b')R' + place + b'a',
            place + b')R', of(collections.defaultdict) + b')RN' + place + b's',
        ])  # fmt: skip
        return grow + (b'q' if place[:1] == b'h' else b'r') + place[1:] + b'0'


# ---- the program ----


def check(name, data, is_error, on_wire, found, worst):
    """Measure an input. Return whether it keeps to the bound; say so if not."""
    cost = measure(data, is_error, on_wire)
    share = cost.share(len(data))
    worst.append((share, name, len(data), cost.describe()))
    worst.sort(reverse=True)
    del worst[10:]
    if share <= 1:
        return True
    where = ''
    if found:
        path = pathlib.Path(found, hashlib.sha256(data).hexdigest()[:16] + ('.record' if is_error else '.value'))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        where = ', in {}'.format(path)
    how = ' on a connection' if on_wire else ''
    print('FAILED: {}{}: {} bytes: {}{}'.format(name, how, len(data), cost.describe(), where), flush=True)
    return False


def run_samples(sizes, found, worst):
    done = failed = 0
    for name, (make, is_error) in SAMPLES.items():
        for size in sizes:
            for on_wire in (False, True):
                failed += not check(name, make(size), is_error, on_wire, found, worst)
                done += 1
    return done, failed


def run_generated(seconds, count, seed, found, worst):
    done = failed = 0
    generator = Generator(seed)
    end = time.monotonic() + seconds
    while time.monotonic() < end and done < count:
        name, data, is_error = generator.make()
        on_wire = generator.random.random() < 0.1
        failed += not check(name, data, is_error, on_wire, found, worst)
        done += 1
    return done, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--minutes', type=float, help='run generated inputs for so long')
    parser.add_argument('--inputs', type=int, help='run so many generated inputs')
    parser.add_argument('--seed', type=int, default=None)
    parser.add_argument('--sizes', type=int, nargs='+', default=[2000, 60000])
    parser.add_argument('--found', help='folder for inputs that exceed the bound')
    options = parser.parse_args()
    gc.freeze()  # what is there already is not looked at again, and not copied, in each child
    check_oracle()
    worst = []
    if options.minutes is None and options.inputs is None:
        done, failed = run_samples(options.sizes, options.found, worst)
    else:
        seed = random.randrange(1 << 32) if options.seed is None else options.seed
        print('Seed {}'.format(seed), flush=True)
        done, failed = run_generated(
            60 * options.minutes if options.minutes is not None else float('inf'),
            options.inputs if options.inputs is not None else float('inf'),
            seed,
            options.found,
            worst,
        )
    version = sys.version.split()[0]
    print('Python {}, {} engine: {} inputs, {} exceed the bound'.format(version, engines.name, done, failed))
    for share, name, size, cost in worst:
        print('  {:6.1%} of the bound: {}, {} bytes: {}'.format(share, name, size, cost))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
