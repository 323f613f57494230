# SPDX-License-Identifier: MIT
"""What Options(trust='data') takes and refuses, down to the codes of pickles. tests/e2e/testtrust.py has the wire."""

import array
import collections
import contextlib
import copyreg
import dataclasses
import datetime
import decimal
import enum
import functools
import os
import pathlib
import pickle
import random
import socket
import struct
import subprocess
import sys
import threading
import types
import uuid
import weakref

import pytest

import across
from across.values import trust
from across.values.text import clean

from . import trust_costs

FIRED = []


def fire(*args):
    """What no pickle may get to run."""
    FIRED.append(args)


@pytest.fixture(autouse=True)
def nothing_fires():
    FIRED.clear()
    yield
    assert FIRED == []


class Canary:
    def __reduce__(self):
        return fire, ('loaded',)


def load(data, *trusted, buffers=()):
    return trust.make_loads(trusted)(data, False, buffers=buffers)


def refuse(data, *trusted, match=None, error=pickle.UnpicklingError):
    with pytest.raises(error, match=match):
        load(data, *trusted)


# ---- pickles by hand ----

STOP, NONE, MARK, EMPTY_TUPLE, EMPTY_LIST, EMPTY_DICT = b'.', b'N', b'(', b')', b']', b'}'
REDUCE, BUILD, NEWOBJ, NEWOBJ_EX, TUPLE, TUPLE1, TUPLE2 = b'R', b'b', b'\x81', b'\x92', b't', b'\x85', b'\x86'
APPEND, APPENDS, SETITEM, SETITEMS, ADDITEMS, EMPTY_SET = b'a', b'e', b's', b'u', b'\x90', b'\x8f'
MEMOIZE, POP, FROZENSET = b'\x94', b'0', b'\x91'


def text(value):
    data = value.encode()
    return b'X' + struct.pack('<I', len(data)) + data


def named(module, name):
    return text(module) + text(name) + b'\x93'


def of(obj):
    return named(obj.__module__, obj.__qualname__)


def number(value):
    return b'J' + struct.pack('<i', value)


def items(*parts):
    return MARK + b''.join(parts) + TUPLE


def attributes(**values):
    return EMPTY_DICT + MARK + b''.join(text(name) + value for name, value in values.items()) + SETITEMS


# ---- what is taken ----

UTC = datetime.timezone.utc
PLAIN = [
    None, True, False, 0, 255, 256, 65536, -1, 1 << 40, -(1 << 2000), 1.5, float('-inf'), '', 'é\ud800', 'x' * 70000,
    b'', b'b' * 300, b'b' * 70000, bytearray(b'abc'), bytearray(), [], [1, [2, 3]], (), (1,), (1, 2), (1, 2, 3),
    (1, 2, 3, 4), {}, {'a': 1}, {1: {2: 3}, (1, (2,)): 4}, set(), {1, 'a'}, frozenset(), frozenset([1, (2, 3)]),
    list(range(3000)), {str(i): i for i in range(3000)}, set(range(3000)), 1 + 2j, range(1, 10, 2), slice(None, 5), ...,
    int, dict, datetime.date(2020, 1, 2), datetime.time(1, 2, 3, 4), datetime.time(1, tzinfo=UTC),
    datetime.datetime(2020, 1, 2, 3, 4, 5, 6, UTC), datetime.datetime(2020, 1, 2, 3, fold=1), datetime.timedelta(-1, 5),
    UTC, datetime.timezone(datetime.timedelta(hours=2), 'there'), decimal.Decimal('1.50'), decimal.Decimal('-Infinity'),
    uuid.UUID(int=5), pathlib.Path('/a/b'), pathlib.PurePosixPath('c'), pathlib.PureWindowsPath('c:\\d'),
    collections.OrderedDict(b=1, a=2), collections.Counter('aab'), collections.deque([1, 2], 5), collections.deque([3]),
    collections.defaultdict(list, {'a': [1]}), collections.defaultdict(None, {1: 2}),
]  # fmt: skip


@pytest.mark.parametrize('protocol', [3, 4, 5])
def test_plain_data(protocol):
    for value in PLAIN:
        data = pickle.dumps(value, protocol)
        expected, copied = pickle.loads(data), load(data)
        assert type(copied) is type(value) and copied == expected and repr(copied) == repr(expected)
    assert load(pickle.dumps(collections.deque([1], 2), protocol)).maxlen == 2
    assert load(pickle.dumps(collections.defaultdict(list), protocol))['new'] == []


@pytest.mark.parametrize('dump', [pickle.dumps, pickle._dumps])
def test_what_is_shared_stays_shared(dump):
    cycle = [1]
    cycle.append({'self': cycle, 'tuple': (cycle,)})
    copied = load(dump(cycle, 4))
    assert copied[1]['self'] is copied and copied[1]['tuple'][0] is copied
    many = [[i] for i in range(300)]
    copied = load(dump(many + many, 4))
    assert copied[0] is copied[300] and copied[299] is copied[599]


def test_a_pickle_is_read_from_any_buffer():
    data = pickle.dumps(PLAIN, 4)
    for buffer in (data, bytearray(data), memoryview(data)):
        assert load(buffer) == PLAIN


def test_buffers_out_of_band():
    writable = bytearray(b'abc')
    value = {'one': pickle.PickleBuffer(writable), 'two': pickle.PickleBuffer(b'def')}
    buffers = []
    data = pickle.dumps(value, 5, buffer_callback=buffers.append)
    copied = load(data, buffers=[writable, b'def'])
    assert copied['one'] is writable and bytes(copied['two']) == b'def'
    refuse(data, match='buffer that did not come')


# ---- names ----


@pytest.mark.parametrize(
    'name',
    [
        ('os', 'system'),
        ('posix', 'system'),
        ('builtins', 'eval'),
        ('builtins', 'getattr'),
        ('builtins', 'type'),
        ('builtins', 'object'),
        ('builtins', '__import__'),
        ('builtins', 'dict.fromkeys'),
        ('builtins', 'ValueError'),
        ('operator', 'attrgetter'),
        ('functools', 'partial'),
        ('copyreg', '_reconstructor'),
        ('copyreg', '__newobj__'),
        ('_codecs', 'encode'),
        ('types', 'FunctionType'),
        ('across', 'Connection'),
        ('across', 'Connection.from_command'),
        ('across', '_make_proxy.__globals__'),
        ('across', '_apply_method'),
        ('across', '_execute'),
        ('across', 'ref'),
        ('datetime', 'datetime.now'),
        ('uuid', 'os.system'),
        ('collections', '_sys.modules'),
        ('', ''),
        (__name__, 'fire'),
    ],
)
def test_other_names_are_refused(name):
    for data in (named(*name), b'c' + '\n'.join(name).encode() + b'\n'):
        refuse(data + STOP, match='does not allow .*trusted_types')
        refuse(data + EMPTY_TUPLE + REDUCE + STOP, match='does not allow .*trusted_types')


def test_names_import_nothing(tmp_path, monkeypatch):
    (tmp_path / 'across_canary.py').write_text('import {0}; {0}.fire("imported")'.format(__name__))
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ('fire', 'across_canary', 'datetime'):
        refuse(named('across_canary', name) + STOP)
    assert 'across_canary' not in sys.modules


def test_refused_names_are_shown_without_harm():
    with pytest.raises(pickle.UnpicklingError) as info:
        load(named('a\x1b[2J\n', 'b' * 100000) + STOP)
    assert '\\x1b' in str(info.value) and str(info.value).isprintable() and len(str(info.value)) < 1000


def test_names_are_text():
    refuse(number(1) + text('x') + b'\x93' + STOP, match='no str')


# ---- codes ----


def test_extension_codes_are_refused(monkeypatch):
    """Once any pickle of this process has used one, pickle.loads() does not even ask for its name."""
    copyreg.add_extension(__name__, 'fire', 0xE5)
    try:
        assert pickle.loads(b'\x82\xe5.') is fire
        for code in (b'\x82\xe5', b'\x83\xe5\0', b'\x84\xe5\0\0\0'):
            refuse(code + STOP, match='code 0x8[234]')
            refuse(code + EMPTY_TUPLE + REDUCE + STOP, match='code 0x8[234]')
    finally:
        copyreg.remove_extension(__name__, 'fire', 0xE5)
        copyreg.clear_extension_cache()


@pytest.mark.parametrize(
    'data',
    [
        b'Pid\n.',
        text('id') + b'Q.',
        b'(i' + __name__.encode() + b'\nfire\n.',
        b'(' + of(int) + b'o.',
        b'I1\n.',
        b'L1L\n.',
        b'F1.0\n.',
        b"S'a'\n.",
        b'Va\n.',
        b'U\x01a.',
        b'(l.',
        b'(d.',
        b'N2.',
        b'\x80\x06N.',
        b'\xff.',
    ],
)
def test_codes_of_older_protocols_and_persistent_ids_are_refused(data):
    refuse(data, match='The pickle has the (code|protocol)')


@pytest.mark.parametrize(
    'data',
    [b'', b'.', b'N', b'R.', b'(', b't.', b'1.', b'0.', b'a.', b']a.', b's.', b'}Ns.', b'u.', b'}(Nu.', b'e.',
     b'\x85.', b'\x86.', b'\x87.', b'h\0.', b'j\0\0\0\0.', b'\x94.', b'q\0.', b'b.', b'Nb', b'NNR.', b'NNb.', b'\x81.',
     b'NN\x81.', b'\x92.', b'NNN\x92.', b'\x93.', b'c', b'cos', b'cos\nsystem', b'X\xff\xff\xff\xff.',
     b'\x8e' + b'\xff' * 8, b'\x8d' + b'\xff' * 8 + b'.', b'\x96' + b'\x7f' * 8 + b'.', b'B\xff\xff\xff\xff',
     b'\x8b\xff\xff\xff\xff', b'G.', b'\x97.', b']\x90.', b'\x8fe.', b'\x95.'],
)  # fmt: skip
def test_malformed_pickles(data):
    refuse(data)


def load_mutants(count, seed):
    """Load so many pickles that were honest before some of their bytes were replaced, by any or by parts of attacks."""
    source = random.Random(seed)
    honest = [pickle.dumps(PLAIN, protocol) for protocol in (3, 4, 5)] + [pickle.dumps(value, 4) for value in PLAIN]
    honest += [pickle.dumps([Canary(), PLAIN[-12:]], 4), pickle.dumps(Everything.make(), 4)]
    honest += [pickle.dumps(record(KeyError(1), record(Plain), hops=[('host', 1, [('f', 1, 'g', 's')])]), 4)]
    words = [
        REDUCE,
        BUILD,
        NEWOBJ,
        APPENDS,
        SETITEMS,
        MEMOIZE,
        b'h\x03',
        of(fire),
        of(Plain),
        of(Color),
        named('os', 'mkdir'),
    ]
    loads = trust.make_loads(Everything.TYPES)
    for _ in range(count):
        data = bytearray(source.choice(honest)[:3000])
        for _ in range(source.randrange(1, 8)):
            where = source.randrange(len(data))
            word = source.choice([bytes([source.randrange(256)]), source.choice(words)])
            data[where : where + source.randrange(2)] = word
        for is_error in (False, True):
            try:
                loads(bytes(data), is_error)
            except Exception:
                pass  # anything but a crash, what fire() tells, and what an audit finds


_AUDIT = """
import pickle, sys
from {0} import FIRED, load_mutants
load_mutants(100, 0)  # what is imported when it is needed, is
'text'.encode('unicode_escape')  # for control characters in texts
def watch(event, args):
    if watching and event.split('.')[0] in SUSPICIOUS:
        print(event, *args)
SUSPICIOUS = 'import exec compile open os subprocess socket shutil ctypes pickle'.split()
watching = True
sys.addaudithook(watch)
load_mutants({1}, 1)
pickle.loads(b'cos\\ngetpid\\n.')  # this is noticed
watching = False
print(FIRED)
"""


def test_whatever_is_changed_in_a_pickle_it_runs_nothing():
    """In a process of its own: an audit never ends."""
    tests = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([os.path.dirname(across.__path__[0]), tests]))
    command = [sys.executable, '-c', _AUDIT.format(__name__, MUTANTS)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ('pickle.find_class os getpid\n[]\n', '')


MUTANTS = 3000


# ---- calls, states and contents ----


class Home:
    """An object of this process that a pickle gets hold of."""

    def __init__(self):
        self.kept = 'as it was'

    def __call__(self, *args):
        fire('called', args)

    def append(self, item):
        fire('append', item)

    extend = add = append

    def __setitem__(self, key, value):
        fire('setitem', key, value)

    def __setstate__(self, state):
        fire('setstate', state)


@pytest.fixture
def answer():
    """Connects with trust='data', and gives a function: what the other side answers with, byte for byte."""
    made = []

    def ask(data, *args, trusted=()):
        ours, theirs = socket.socketpair()
        conn = across.Connection.from_socket(
            ours, options=across.Options(trust='data', trusted_types=trusted, timeout=20)
        )
        peer = across.Connection.from_socket(theirs, options=across.Options(timeout=20))
        made.extend([conn, peer])
        peer._link.dumps = lambda value, protocol: data
        return conn.call(swallow, *args)

    yield ask
    for conn in made:
        conn.cancel()
        with contextlib.suppress(Exception):
            conn.close()


def swallow(*args):
    kept.append(args)


kept = []
HOME = named('across', '_get_obj') + number(0) + TUPLE1 + REDUCE


def test_an_object_comes_home(answer):
    home = Home()
    assert answer(HOME + STOP, across.Local(home)) is home


@pytest.mark.parametrize(
    'tail',
    [
        EMPTY_TUPLE + REDUCE,
        text('word') + TUPLE1 + REDUCE,
        EMPTY_TUPLE + NEWOBJ,
        EMPTY_TUPLE + EMPTY_DICT + NEWOBJ_EX,
        attributes(kept=NONE) + BUILD,
        NONE + attributes(kept=NONE) + TUPLE2 + BUILD,
        NONE + APPEND,
        MARK + NONE + APPENDS,
        text('key') + NONE + SETITEM,
        MARK + text('key') + NONE + SETITEMS,
        MARK + NONE + ADDITEMS,
    ],
)
def test_an_object_that_comes_home_is_not_called_and_not_changed(answer, tail):
    for home in (Home(), fire, Home, Everything.make()[0], [1], {1: 2}, {1}, collections.OrderedDict(a=1)):
        before = repr(getattr(home, '__dict__', home))
        with pytest.raises(across.OperationError, match='Unpickling failed'):
            answer(HOME + tail + STOP, across.Local(home), trusted=Everything.TYPES)
        assert repr(getattr(home, '__dict__', home)) == before


def test_a_class_that_comes_home_is_none_that_is_trusted(answer):
    with pytest.raises(across.OperationError, match='Unpickling failed'):
        answer(HOME + EMPTY_TUPLE + NEWOBJ + STOP, across.Local(Canary))


PROXY = named('across', '_make_proxy') + number(3) + EMPTY_LIST + text('__call__') + APPEND + TUPLE2 + REDUCE


@pytest.mark.parametrize(
    'tail',
    [
        EMPTY_TUPLE + REDUCE,
        NONE + attributes(_Proxy__apply=HOME) + TUPLE2 + BUILD,
        attributes(_Proxy__apply=HOME) + BUILD,
        NONE + APPEND,
    ],
)
def test_a_proxy_is_not_called_and_not_changed(answer, tail):
    with pytest.raises(across.OperationError, match='Unpickling failed'):
        answer(PROXY + tail + STOP, across.Local(fire))


@pytest.mark.parametrize('id', [b'K\1K\2\x86', text('1'), NONE, number(-1), b'\x8a\x09' + b'\0' * 8 + b'\1', b'\x88'])
@pytest.mark.parametrize('methods', [EMPTY_LIST, EMPTY_DICT, EMPTY_LIST + text('_x') + APPEND, text('abc')])
def test_proxies_of_nonsense_are_refused(answer, id, methods):
    with pytest.raises(across.OperationError, match='Unpickling failed'):
        answer(named('across', '_make_proxy') + id + methods + TUPLE2 + REDUCE + STOP)


def test_names_of_methods_are_identifiers(answer):
    for name in ('a b', '__class__', '_Proxy__apply', '__reduce__', '', 'a=1):\n import os #'):
        with pytest.raises(across.OperationError, match='invalid method'):
            methods = EMPTY_LIST + text(name) + APPEND
            answer(named('across', '_make_proxy') + number(1) + methods + TUPLE2 + REDUCE + STOP)


@pytest.mark.parametrize('target', ['int', 'list', 'datetime.datetime', 'decimal.Decimal', 'across._make_proxy'])
def test_types_and_functions_are_not_changed(target):
    module, _, name = ('builtins.' + target if '.' not in target else target).rpartition('.')
    for state in (attributes(canary=NONE), NONE + attributes(canary=NONE) + TUPLE2):
        refuse(named(module, name) + state + BUILD + STOP)
    assert not hasattr(across._make_proxy, 'canary')


def test_trusted_types_are_not_changed():
    for cls in Everything.TYPES:
        before = dict(vars(cls))
        for state in (attributes(canary=NONE), NONE + attributes(canary=NONE) + TUPLE2):
            refuse(of(cls) + state + BUILD + STOP, *Everything.TYPES)
        assert dict(vars(cls)) == before


def test_only_what_is_meant_to_be_called_is_called():
    for target in (of(int), of(list), named('builtins', 'Ellipsis'), text('str'), NONE, EMPTY_LIST):
        refuse(target + EMPTY_TUPLE + REDUCE + STOP, match='not allow')
        refuse(target + EMPTY_TUPLE + NEWOBJ + STOP, match='not allow')
    refuse(of(decimal.Decimal) + EMPTY_TUPLE + NEWOBJ + STOP, match='not allow')
    refuse(of(decimal.Decimal) + EMPTY_LIST + REDUCE + STOP, match='no tuple')
    refuse(of(Plain) + EMPTY_TUPLE + EMPTY_LIST + NEWOBJ_EX + STOP, Plain, match='keyword')


@pytest.mark.parametrize(
    ('cls', 'args'),
    [
        (bytearray, items(number(1 << 30))),
        (bytearray, items(EMPTY_LIST)),
        (range, items(text('1'), NONE, NONE)),
        (slice, items(EMPTY_LIST, NONE, NONE)),
        (set, items(of(int))),
        (frozenset, items(EMPTY_TUPLE)),
        (complex, items(text('1'))),
        (decimal.Decimal, items(EMPTY_TUPLE)),
        (datetime.date, items(number(1), number(2), number(3))),
        (datetime.datetime, items(b'C\x0a' + b'\xff' * 10)),
        (datetime.datetime, items(b'C\x0a\x07\xe4\x01\x02' + b'\xff' * 6)),
        (datetime.datetime, items(b'C\x0a\x07\xe4\x01\x02' + b'\0' * 6, text('zone'))),
        (datetime.time, items(b'C\x06' + b'\x40' * 6)),
        (datetime.date, items(b'C\x04\x07\xe4\x02\x1f')),
        (datetime.timezone, items(number(1))),
        (datetime.timedelta, items(NONE)),
        (pathlib.PosixPath, items(number(1))),
        (collections.OrderedDict, items(EMPTY_LIST)),
        (collections.deque, items(EMPTY_LIST, number(1))),
        (collections.defaultdict, items(of(pathlib.PosixPath))),
        (collections.defaultdict, items(text('x'))),
        (collections.Counter, items(text('abc'))),
        (uuid.UUID, items(text('x'))),
    ],
)
def test_plain_types_are_made_of_what_they_should(cls, args):
    refuse(of(cls) + args + REDUCE + STOP, error=(pickle.UnpicklingError, ValueError, TypeError))


def test_a_uuid_is_a_number():
    start = of(uuid.UUID) + EMPTY_TUPLE + NEWOBJ
    assert load(start + attributes(int=number(7)) + BUILD + STOP) == uuid.UUID(int=7)
    for value in (text('x'), number(-1), EMPTY_LIST, b'\x88'):
        refuse(start + attributes(int=value) + BUILD + STOP)
    refuse(start + (attributes(int=number(7)) + BUILD) * 2 + STOP)
    refuse(of(uuid.UUID) + text('x') + TUPLE1 + NEWOBJ + STOP)


# ---- what the user trusts ----


class Plain:
    def __init__(self):
        self.x = 1

    def method(self):
        return 'mine'

    def __eq__(self, other):
        return type(other) is Plain and vars(other) == vars(self)

    __hash__ = None


class Slotted:
    __slots__ = ('a', '__b')

    def __init__(self):
        self.a, self.__b = 1, 2

    def __eq__(self, other):
        return type(other) is Slotted and (self.a, self.__b) == (other.a, other.__b)

    __hash__ = None


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: int
    y: list = dataclasses.field(default_factory=list)


Pair = collections.namedtuple('Pair', 'left right')


class Color(enum.Enum):
    RED = 1


class Bits(enum.Flag):
    ONE = 1
    TWO = 2
    FOUR = 4


class Number(enum.IntEnum):
    ONE = 1


class Stateful:
    def __init__(self, x):
        self.x = x

    def __getstate__(self):
        return self.x

    def __setstate__(self, state):
        self.x = state

    def __eq__(self, other):
        return type(other) is Stateful and self.x == other.x

    __hash__ = None


class MyList(list):
    pass


class MyDict(dict):
    pass


class MyText(str):
    pass


class WithKeywords(tuple):
    def __new__(cls, *, word):
        return super().__new__(cls, [word])

    def __getnewargs_ex__(self):
        return (), {'word': self[0]}


class Everything:
    TYPES = (
        Plain, Slotted, Frozen, Pair, Color, Bits, Number, Stateful, MyList, MyDict, MyText, WithKeywords,
        collections.UserList,
    )  # fmt: skip

    @staticmethod
    def make():
        filled = MyList([1, 2])
        filled.extra = 'extra'
        return [
            Plain(), Slotted(), Frozen(1, [2]), Pair(1, [2]), Color.RED, Bits.ONE, Bits.ONE | Bits.TWO, Bits(7),
            Bits(0), Number.ONE, Stateful([5]), filled, MyDict(a=1), MyText('text'), WithKeywords(word='x'),
            collections.UserList([1]),
        ]  # fmt: skip


@pytest.mark.parametrize('protocol', [3, 4, 5])
def test_trusted_types(protocol):
    if protocol == 3:
        values = [value for value in Everything.make() if not isinstance(value, WithKeywords)]  # by functools.partial
    else:
        values = Everything.make()
    for value in values:
        if sys.version_info[:2] == (3, 11) and isinstance(value, Bits) and value.name is None:
            continue  # 3.11 pickles those by calling object.__new__
        copied = load(pickle.dumps(value, protocol), *Everything.TYPES)
        assert type(copied) is type(value) and copied == value
        assert getattr(copied, '__dict__', None) == getattr(value, '__dict__', None)
        refuse(pickle.dumps(value, protocol), match='does not allow')


def test_trusted_functions():
    assert load(of(make_pair) + number(1) + TUPLE1 + REDUCE + STOP, make_pair) == Pair(1, 1)
    refuse(of(make_pair) + number(1) + TUPLE1 + REDUCE + STOP)
    refuse(of(make_pair) + EMPTY_TUPLE + NEWOBJ + STOP, make_pair, match='not allow')


def make_pair(value):
    return Pair(value, value)


def test_arrays_of_python():
    value = array.array('d', [1.5, 2.5])
    for protocol in (3, 4, 5):
        data = pickle.dumps(value, protocol)
        assert load(data, array.array, array._array_reconstructor) == value
        refuse(data, match='does not allow')


def test_what_a_trusted_function_keeps_is_not_changed():
    call = of(get_kept) + EMPTY_TUPLE + REDUCE
    refuse(call + NONE + APPEND + STOP, get_kept, match='fills')
    assert load(call + STOP, get_kept) is KEPT and KEPT == []


KEPT = []


def get_kept():
    return KEPT


def test_members_of_enumerations_are_not_changed():
    red = of(Color) + number(1) + TUPLE1
    for made in (red + REDUCE, red + NEWOBJ):
        for state in (attributes(_value_=number(2)), NONE + attributes(_value_=number(2)) + TUPLE2):
            refuse(made + state + BUILD + STOP, Color)
    assert Color.RED.value == 1


@pytest.mark.parametrize(
    'data',
    [
        named('builtins', 'getattr') + of(Plain) + text('__init__') + TUPLE2 + REDUCE,
        named('builtins', 'getattr') + of(Color) + text('__members__') + TUPLE2 + REDUCE,
        named('builtins', 'getattr') + of(Color) + text('mro') + TUPLE2 + REDUCE,
        named('builtins', 'getattr') + of(int) + text('real') + TUPLE2 + REDUCE,
        named('builtins', 'getattr') + of(Color) + TUPLE1 + REDUCE,
        named('_operator', 'or_') + number(1) + number(2) + TUPLE2 + REDUCE,
        named('_operator', 'or_') + EMPTY_DICT + EMPTY_DICT + TUPLE2 + REDUCE,
    ],
)
def test_enumerations_open_no_door(data):
    refuse(data + STOP, *Everything.TYPES, error=(pickle.UnpicklingError, KeyError))


def test_attributes_do_not_hide_methods():
    made = of(Plain) + EMPTY_TUPLE + NEWOBJ
    refuse(made + attributes(method=NONE) + BUILD + STOP, Plain, match='replaces a method')
    refuse(made + attributes(__eq__=NONE) + BUILD + STOP, Plain, match='replaces a method')
    assert vars(load(made + attributes(x=number(3)) + BUILD + STOP, Plain)) == {'x': 3}


class Shaped(dict):
    default = 1
    maker = int
    half = functools.partialmethod(divmod, 2)

    @property
    def area(self):
        return 2

    @functools.cached_property
    def size(self):
        return 3


@pytest.mark.parametrize('name', ['items', 'get', 'fromkeys', '__len__', '__init_subclass__', 'maker', 'half'])
def test_attributes_hide_no_methods_that_are_not_functions(name):
    refuse(of(Shaped) + EMPTY_TUPLE + NEWOBJ + attributes(**{name: NONE}) + BUILD + STOP, Shaped, match='replaces')


def test_attributes_hide_values():
    state = attributes(default=number(5), size=number(6), area=number(7), other=number(8)) + BUILD
    value = load(of(Shaped) + EMPTY_TUPLE + NEWOBJ + state + STOP, Shaped)
    assert (value.default, value.size, value.area, value.other) == (5, 6, 2, 8)


@pytest.mark.skipif(sys.version_info < (3, 10), reason='dataclasses have no slots')
def test_the_state_of_a_dataclass_with_slots_is_no_proxy(answer):
    cls = trust_costs.Slotted
    with pytest.raises(across.OperationError, match='a state that is none'):
        answer(of(cls) + EMPTY_TUPLE + NEWOBJ + PROXY + BUILD + STOP, trusted=[cls])


@pytest.mark.parametrize('name', ['__class__', '__dict__', 'method', 'x', '__doc__', '__weakref__'])
def test_slots_are_slots(name):
    state = NONE + attributes(**{name: of(Slotted)}) + TUPLE2
    refuse(of(Plain) + EMPTY_TUPLE + NEWOBJ + state + BUILD + STOP, Plain, Slotted, match='no slot')


@pytest.mark.parametrize(
    'state', [number(1), EMPTY_LIST, EMPTY_DICT + number(1) + NONE + SETITEM, text('x') + EMPTY_DICT + TUPLE2]
)
def test_states_are_states(state):
    made = of(Plain) + EMPTY_TUPLE + NEWOBJ
    refuse(made + state + BUILD + STOP, Plain, match='a state that is none')


def test_a_state_is_set_once_and_contents_come_before_it():
    state = attributes(x=number(1)) + BUILD
    refuse(of(Plain) + EMPTY_TUPLE + NEWOBJ + state + state + STOP, Plain, match='sets a state')
    refuse(of(MyList) + EMPTY_TUPLE + NEWOBJ + state + NONE + APPEND + STOP, MyList, match='fills')


@pytest.mark.parametrize('value', [1, 'os', None, lambda: 0.5])
def test_trusted_types_have_names(value):
    if callable(value):
        assert across.Options(trusted_types=[value]).trusted_types == (value,)
        return
    with pytest.raises(TypeError):
        across.Options(trusted_types=[value])


# ---- what a small pickle can cost ----


def test_places_of_the_memo_are_not_left_out():
    assert load(NONE + b'r\0\0\0\0' + b'r\1\0\0\0' + b'r\0\0\0\0.') is None
    refuse(NONE + b'r\xff\xff\xff\xff.', match='memo')
    refuse(NONE + b'q\1.', match='memo')


def test_lists_may_be_as_deep_as_they_like():
    value = load(EMPTY_LIST * 200000 + APPEND * 199999 + STOP)
    while value:
        (value,) = value


@pytest.mark.parametrize('put', [SETITEM, ADDITEMS, FROZENSET])
@pytest.mark.parametrize(('grow', 'count'), [(TUPLE1, 200000), (b'\x94h\0' + TUPLE2, 1)])
def test_keys_are_shallow(put, grow, count):
    key = EMPTY_TUPLE + grow * count
    if put == SETITEM:
        data = EMPTY_DICT + key + NONE + SETITEM
    else:
        data = (EMPTY_SET if put == ADDITEMS else b'') + MARK + key + put
    if count > 1:
        refuse(data + STOP, match='values inside each other')
    else:
        assert load(data + STOP) in ({((), ()): None}, {((), ())})


def double(times):
    """A tuple of twice the same tuple of twice the same..., in few bytes. Its hash() would never be known."""
    return EMPTY_TUPLE + b''.join(MEMOIZE + b'h' + bytes([place]) + TUPLE2 for place in range(times))


def test_keys_are_hashed_in_time():
    assert load(double(60) + STOP)
    refuse(EMPTY_DICT + double(60) + NONE + SETITEM + STOP, match='more work or memory')
    refuse(of(set) + EMPTY_LIST + double(60) + APPEND + TUPLE1 + REDUCE + STOP, match='more work or memory')


def test_copies_are_counted():
    source = b'B\0\0\1\0' + b'x' * 65536 + MEMOIZE
    make = of(bytearray) + MEMOIZE
    copy = b'h\1h\0' + TUPLE1 + REDUCE + POP
    refuse(source + make + copy * 1000 + STOP, match='more work or memory')
    assert load(source + make + copy * 3 + STOP)


# ---- numpy ----


def numpy_values(numpy):
    return [
        numpy.arange(3), numpy.zeros((0, 2)), numpy.arange(6.0).reshape(2, 3), numpy.array(['ab', 'c']),
        numpy.asfortranarray(numpy.ones((2, 3))), numpy.array([b'ab']), numpy.array([True]), numpy.array(1j),
        numpy.array(['2020'], 'M8[s]'), numpy.arange(2, dtype='>i4'), numpy.float64(1.5), numpy.bool_(True),
        numpy.datetime64('2020-01-01'), numpy.dtype('f4'), [numpy.arange(2)] * 2,
    ]  # fmt: skip


@pytest.mark.parametrize('protocol', [3, 4, 5])
def test_arrays(protocol):
    numpy = pytest.importorskip('numpy')
    for value in numpy_values(numpy):
        data = pickle.dumps(value, protocol)
        expected, copied = pickle.loads(data), load(data, numpy.ndarray)
        assert type(copied) is type(expected) and repr(copied) == repr(expected)
        if getattr(expected, 'size', 0):
            assert copied.flags.f_contiguous == expected.flags.f_contiguous
        refuse(data, match='does not allow')


def test_arrays_of_objects_are_refused():
    numpy = pytest.importorskip('numpy')
    for value in (numpy.array([Canary()]), numpy.zeros(1, [('field', 'i4')]), numpy.dtype('O'), numpy.zeros(1, 'V3')):
        refuse(pickle.dumps(value, 4), numpy.ndarray)


@pytest.mark.parametrize(
    'change',
    [
        (b'K\x03\x85', b'K\x04\x85'),  # more items than bytes
        (b'i8', b'O8'),
        (b'i8', b'V8'),
        (b'i8', b'i4'),
        (b'J\xff\xff\xff\xff', b'J\x7f\0\0\0'),
        (b'X\x01\0\0\0<', b'X\x01\0\0\0O'),
        (b'\x8c\x01<', b'\x8c\x01O'),
    ],
)
def test_arrays_are_checked(change):
    numpy = pytest.importorskip('numpy')
    data = pickle.dumps(numpy.arange(3, dtype='i8'), 4)
    if change[0] in data:
        refuse(data.replace(*change), numpy.ndarray)


def test_units_of_time_of_all_versions_of_numpy():
    """Since 2.5 numpy pickles None as the metadata of a dtype that has none, before {}."""
    numpy = pytest.importorskip('numpy')
    data = pickle.dumps(numpy.dtype('M8[D]'), 3)
    start, end = data.rpartition(EMPTY_DICT if EMPTY_DICT in data else NONE)[::2]
    for metadata in (EMPTY_DICT, NONE):
        dtype = load(start + metadata + end, numpy.ndarray)
        assert dtype == numpy.dtype('M8[D]') and not dtype.metadata
    refuse(start + EMPTY_LIST + end, numpy.ndarray, match='array')
    refuse(start + EMPTY_DICT + NONE + NONE + SETITEM + end, numpy.ndarray, match='array')


def test_arrays_out_of_band():
    numpy = pytest.importorskip('numpy')
    buffers = []
    data = pickle.dumps(numpy.arange(3), 5, buffer_callback=buffers.append)
    assert list(load(data, numpy.ndarray, buffers=buffers)) == [0, 1, 2]
    with pytest.raises(pickle.UnpicklingError, match='array'):
        load(data, numpy.ndarray, buffers=[b'short'])


def dtype_of_times(unit):
    start = named('numpy', 'dtype') + text('M8') + b'\x89\x88\x87' + REDUCE
    numbers = (number(value) for value in (4,))
    state = items(*numbers, text('<'), NONE, NONE, NONE, number(-1), number(-1), number(0), EMPTY_DICT + unit + TUPLE2)
    return start + state + BUILD


@pytest.mark.parametrize('place', ['all', 'unit', 'number'])
def test_a_dtype_asks_no_proxy(answer, place):
    numpy = pytest.importorskip('numpy')
    parts = [b'C\x02us', number(1), number(1), number(1)]
    assert load(dtype_of_times(items(*parts)) + STOP, numpy.ndarray) == numpy.dtype('M8[us]')
    proxy = named('across', '_make_proxy') + number(3) + items(text('__len__'), text('__iter__')) + TUPLE2 + REDUCE
    if place != 'all':
        parts[0 if place == 'unit' else 1] = proxy
    with pytest.raises(across.OperationError, match='array, or a part of one'):
        answer(dtype_of_times(proxy if place == 'all' else items(*parts)) + STOP, trusted=[numpy.ndarray])


@pytest.mark.parametrize('shape', [(0,), (0, 3), (1 << 40, 0), (2, 0, 1 << 30)])
@pytest.mark.parametrize('order', ['C', 'F'])
def test_empty_arrays_keep_their_shape(shape, order):
    numpy = pytest.importorskip('numpy')
    value = numpy.empty(0, 'i8').reshape(shape, order=order)
    for protocol in (4, 5):
        copied = load(pickle.dumps(value, protocol), numpy.ndarray)
        assert (copied.shape, copied.dtype) == (shape, value.dtype)


def test_arrays_of_nothing_have_few_items():
    numpy = pytest.importorskip('numpy')
    refuse(trust_costs.SAMPLES['arrays of nothing'][0](0), numpy.ndarray, match='array')


# ---- exceptions ----


def load_record(data):
    error = trust.make_loads(())(data, True)
    assert type(error) is across.RemoteError
    return error


def record(exc, context=None, suppress=False, cause=None, hops=()):
    return exc, context, suppress, cause, list(hops)


@pytest.mark.parametrize(
    ('exc', 'shown'),
    [
        (ValueError(), 'ValueError'),
        (ValueError('bad'), 'ValueError: bad'),
        (ValueError(1, 'two'), "ValueError: (1, 'two')"),
        (KeyError('key'), "KeyError: 'key'"),
        (FileNotFoundError(2, 'No such file', 'name'), "FileNotFoundError: [Errno 2] No such file: 'name'"),
        (
            UnicodeDecodeError('ascii', b'\xff', 0, 1, 'no'),
            "UnicodeDecodeError: 'ascii' codec can't decode byte 0xff in position 0: no",
        ),
        (
            UnicodeDecodeError('ascii', b'\xff\xfe', 0, 2, 'no'),
            "UnicodeDecodeError: 'ascii' codec can't decode bytes in position 0-1: no",
        ),
        (
            UnicodeEncodeError('ascii', 'é', 0, 1, 'no'),
            "UnicodeEncodeError: 'ascii' codec can't encode character '\\xe9' in position 0: no",
        ),
        (
            UnicodeEncodeError('ascii', 'a\ud800', 1, 2, 'no'),
            "UnicodeEncodeError: 'ascii' codec can't encode character '\\ud800' in position 1: no",
        ),
        (
            UnicodeEncodeError('ascii', '\U0001f600', 0, 1, 'no'),
            "UnicodeEncodeError: 'ascii' codec can't encode character '\\U0001f600' in position 0: no",
        ),
        (
            UnicodeTranslateError('abc', 0, 2, 'no'),
            "UnicodeTranslateError: can't translate characters in position 0-1: no",
        ),
        (OSError(18, 'Cross', 'a', None, 'b'), "OSError: [Errno 18] Cross: 'a' -> 'b'"),
        (OSError('just text'), 'OSError: just text'),
        (SystemExit(3), 'SystemExit: 3'),
        (KeyboardInterrupt(), 'KeyboardInterrupt'),
        (StopIteration(5), 'StopIteration: 5'),
        (across.DisconnectError('gone'), 'across.DisconnectError: gone'),
        (decimal.InvalidOperation(decimal.Decimal('1.5')), "decimal.InvalidOperation: Decimal('1.5')"),
        (ValueError(pathlib.PurePosixPath('a'), {'k': (1,)}), "ValueError: (PurePosixPath('a'), {'k': (1,)})"),
        (ValueError([Plain()]), 'ValueError: [{}.Plain()]'.format(__name__)),
        (ValueError(1 << 20000), 'ValueError: <a number of 20001 bits>'),
        (ValueError(list(range(100))), 'ValueError: [{}, …]'.format(', '.join(map(str, range(10))))),
        (ValueError([[[[[1]]]]]), 'ValueError: [[[[…]]]]'),
        (ValueError('\x1b[31mred\n\tnext\x00'), 'ValueError: \\x1b[31mred\n\tnext\\x00'),
    ],
)
def test_exceptions_are_text(exc, shown):
    for protocol in (3, 4, 5):
        assert str(load_record(pickle.dumps(record(exc), protocol))) == shown


def test_errors_that_read_out_of_bounds_are_not_made():
    args = items(text('utf-8'), b'C\3abc', b'\x8a\6' + b'\0\0\0\0\0\x80', b'\x8a\6' + b'\1\0\0\0\0\x80', text('x'))
    exc = named('builtins', 'UnicodeDecodeError') + args + REDUCE
    assert "can't decode bytes in position -1" in str(load_record(items(exc, NONE, NONE, NONE, EMPTY_LIST) + STOP))


def test_texts_are_cleaned_alike():
    for value in ('a\\b', 'it\'s "so"\x1b\n\t', '\\\x00\\n\n', '\u200b\U000e0001\ud800é', "'", '\x85"'):
        for keep in ('', '\n\t'):
            expected = ''.join(
                char if char.isprintable() or char in keep else char.encode('unicode_escape').decode() for char in value
            )
            assert clean(value, 100, keep) == expected


class Custom(Exception):
    def __init__(self, one, two):
        fire('made')
        super().__init__(one)
        self.two = two

    def __reduce__(self):
        return type(self), (self.args[0], self.two), {'two': self.two, '__notes__': ['a note', 3]}

    def __setstate__(self, state):
        fire('set')


def test_classes_of_exceptions_are_not_called():
    custom = Custom.__new__(Custom, 'one')
    custom.args, custom.two = ('one',), Canary()
    error = load_record(pickle.dumps(record(custom), 4))
    assert error.type_name == __name__ + '.Custom'
    assert error.text == "('one', {}.fire('loaded'))".format(__name__)
    assert error.__notes__ == ['a note']


def test_cause_context_and_traceback():
    hops = [('host', 7, [('file.py', 3, 'func', '  raise x')])]
    inner = record(KeyError('inner'), hops=hops)
    error = load_record(pickle.dumps(record(ValueError('outer'), inner, True, inner, hops), 4))
    assert error.__suppress_context__
    assert error.__cause__ is not None and str(error.__cause__) == "KeyError: 'inner'"
    assert str(error.__context__) == "KeyError: 'inner'"
    assert 'process 7 on host' in error.remote_traceback and 'File "file.py", line 3, in func' in error.remote_traceback
    assert '    raise x\n' in error.remote_traceback
    assert error.__traceback__.tb_frame.f_code.co_filename == '<process 7 on host>'


def test_an_exception_that_is_mentioned_twice_is_one():
    one, two = ValueError(1), ValueError(2)
    error = load_record(pickle.dumps(record(one, None, False, record(two, None, False, one)), 4))
    assert error.__cause__.__cause__ is error


def test_chains_are_bounded():
    chain = None
    for index in range(400):
        chain = record(ValueError(index), chain)
    error, length = load_record(pickle.dumps(chain, 4)), 0
    while error is not None:
        length, last, error = length + 1, error, error.__context__
    assert length == 101 and 'left out' in str(last)


def test_what_is_mentioned_again_and_again_is_not_written_out_again_and_again():
    entry = ('f' * 5000, 1, 'g' * 5000, 's\0' * 100000)
    hops = [('host' * 500, 1, [entry] * 2000)] * 100
    decimals = [decimal.Decimal('1' * 500000)] * 20
    chain = None
    for index in range(100):
        error = ValueError(index, 'text' * 500000, [[decimals] * 20] * 20)
        error.__notes__ = ['note' * 500000] * 1000
        chain = (error, chain, False, chain, hops)
    error, total = load_record(pickle.dumps(chain, 4)), 0
    while error is not None:
        total, error = total + len(str(error)) + len(error.remote_traceback), error.__context__
    assert total < 64 << 20  # of 80 GB


def test_exceptions_may_be_as_deep_as_they_like():
    called = named('builtins', 'ValueError') * 100000 + EMPTY_TUPLE + REDUCE + (TUPLE1 + REDUCE) * 99999
    nested = named('builtins', 'ValueError') + EMPTY_LIST * 100000 + APPEND * 99999 + TUPLE1 + REDUCE
    for data in (called, nested):
        assert '…' in str(load_record(data + STOP))


def test_operation_errors_of_the_other_side_stay_what_they_are():
    error = trust.make_loads(())(
        pickle.dumps(record(across.OperationError('failed'), None, True, record(KeyError()))), True
    )
    assert type(error) is across.OperationError and str(error) == 'failed'
    assert type(error.__cause__) is across.RemoteError


def test_remote_errors_travel_on():
    error = across.RemoteError('ValueError', 'bad', 'File "x"')
    copied = pickle.loads(pickle.dumps(error))
    assert (str(copied), copied.type_name, copied.text, copied.remote_traceback) == (
        'ValueError: bad', 'ValueError', 'bad', 'File "x"',
    )  # fmt: skip


@pytest.mark.parametrize(
    'data',
    [
        None,
        3,
        (),
        (ValueError, None, False, None, []),
        record(3),
        record(ValueError(), cause=7),
        record(ValueError(), hops=[1]),
        record(ValueError(), hops=[(Plain, 1, [])]),
        record(ValueError(), hops=[('host', '1', [])]),
        record(ValueError(), hops=[('host', 1, [('f', 1, 'g', Plain)])]),
        (ValueError(), None, False, None, {}),
    ],
)
def test_malformed_records_are_errors(data):
    with pytest.raises((TypeError, ValueError)):
        trust.make_loads(())(pickle.dumps(data, 4), True)


@pytest.mark.parametrize('place', ['exception', 'argument', 'context', 'suppress', 'cause', 'hops', 'host', 'source'])
def test_nothing_in_a_record_is_run(place):
    hops = [('host', 7, [('file.py', 3, 'func', Canary() if place == 'source' else 'source')])]
    if place == 'host':
        hops = [(Canary(), 7, [])]
    if place == 'hops':
        hops = [Canary()]
    data = pickle.dumps(
        (
            Canary() if place == 'exception' else ValueError(Canary() if place == 'argument' else 1),
            Canary() if place == 'context' else None,
            Canary() if place == 'suppress' else False,
            Canary() if place == 'cause' else None,
            hops,
        ),
        4,
    )
    try:
        trust.make_loads((fire,))(data, True)
    except (TypeError, ValueError):
        pass
    assert FIRED == []
    try:
        pickle.loads(data)
    finally:
        assert FIRED == [('loaded',)]  # what would happen without
        FIRED.clear()


def test_a_class_that_crosses_by_value_has_its_name():
    cloudpickle = pytest.importorskip('cloudpickle')
    cls = types.new_class('ByValue', (Exception,))
    cls.__module__ = '__main__'
    error = load_record(cloudpickle.dumps(record(cls('text')), protocol=4))
    assert str(error) == 'ByValue: text'


# ---- connections ----


@pytest.fixture
def pair():
    """Makes a connection with trust='data', to one in this process that trusts."""
    made = []

    def make(**options):
        ours, theirs = socket.socketpair()
        made.append(across.Connection.from_socket(ours, options=across.Options(trust='data', **options)))
        made.append(across.Connection.from_socket(theirs))
        return made[-2:]

    yield make
    for conn in made:
        conn.cancel()
        with contextlib.suppress(Exception):
            conn.close()


def raise_it(exc):
    raise exc


def test_calls_of_the_other_side_are_refused(pair):
    conn, peer = pair()
    assert conn.call(len, 'abc') == 3
    for ask in (
        lambda: peer.call(fire),
        lambda: peer.create(fire),
        lambda: peer.replicate(Canary()),
        lambda: peer.execute('1'),
    ):
        with pytest.raises(across.OperationError, match='The peer refuses calls: '):
            ask()
    assert conn.call(len, 'abcd') == 4


def test_references_of_refused_calls_are_released(pair):
    _, peer = pair()
    collected, released = Plain(), threading.Event()
    weakref.finalize(collected, released.set)
    with pytest.raises(across.OperationError, match='The peer refuses calls: '):
        peer.call(fire, across.Local(collected))
    del collected
    assert released.wait(60)


def test_proxies_work(pair):
    conn, _ = pair()
    proxy = conn.create(list)
    proxy.extend([1, 2])
    assert len(proxy) == 2 and proxy[1] == 2 and 2 in proxy and list(proxy) == [1, 2]
    with pytest.raises(across.RemoteError, match='IndexError: list index out of range'):
        proxy[5]
    handed_back = conn.call(list, proxy)
    assert handed_back == [1, 2]


def test_what_is_raised_is_a_remote_error(pair):
    conn, _ = pair()
    with pytest.raises(across.RemoteError) as info:
        conn.call(raise_it, KeyError('key'))
    assert (info.value.type_name, info.value.text) == ('KeyError', "'key'")
    assert 'in raise_it' in info.value.remote_traceback


def test_what_is_handled_becomes_the_context(pair):
    conn, _ = pair()
    try:
        raise KeyError('handled here')
    except KeyError as handled:
        with pytest.raises(across.RemoteError) as info:
            conn.call(raise_it, ValueError())
        assert info.value.__context__ is handled


def test_exporting_needs_trust(pair):
    conn, _ = pair()
    with pytest.raises(ValueError, match="needs trust='full'"):
        conn.export('os')
    with pytest.raises(ValueError, match="needs trust='full'"):
        pair(accept_exported_modules=True)


def test_trust_is_one_of_two():
    assert across.Options().trust == 'full'
    for value in ('none', '', None, True, ['data']):
        with pytest.raises(ValueError, match='trust must be'):
            across.Options(trust=value)


def test_what_the_user_trusts_comes_over_a_connection(pair):
    conn, _ = pair(trusted_types=[Pair])
    assert conn.call(make_pair, 1) == Pair(1, 1)
    with pytest.raises(across.OperationError, match=r'does not allow .*Frozen; Options\(trusted_types=...\)'):
        conn.call(Frozen, 1)
