# SPDX-License-Identifier: MIT
"""Which methods of an object its proxies have, and what is known of the object and its methods."""

import copy
import ctypes
import enum
import io
import os
import pydoc
import select
import socket
import subprocess
import sys
import tempfile
import types

import pytest

import across
from across.values import forwarding, methods, proxies


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Thing:
    """Has what instances, classes and slots may have of their own."""

    __slots__ = ('hook', 'empty', '__dict__')

    def __init__(self):
        self.hook = double
        self.own = double
        self.number = 5
        self._hidden = double

    def __len__(self):
        return 0

    def __call__(self):
        return 'an instance'

    @property
    def costly(self):
        raise AssertionError('nobody asked for it')

    def add(self, first, /, second: int = 2, *rest, key='k') -> str:
        """Add some numbers.

        And nothing else.
        """
        return first + second

    @classmethod
    def make(cls, value):
        """Make one of a value."""
        return value

    @staticmethod
    def count(value):
        return value


class Lazy:
    def __init__(self):
        self.asked = []

    def __getattr__(self, name):
        if name.startswith('get_'):
            self.__dict__['asked'].append(name)
            return lambda *args: (name, args)
        if name == 'value':
            return 7
        raise AttributeError(name)


class Odd:
    def __getattribute__(self, name):
        return double if name == 'shifted' else object.__getattribute__(self, name)


class False_:
    def __bool__(self):
        return False


def double(value):
    return value * 2


def get(name):
    """Return something of this process."""
    return across.Local(globals()[name] if name in globals() else sys.modules[name])


def make_module(functions=(), **attributes):
    module = types.ModuleType('made')
    vars(module).update(dict.fromkeys(functions, double), **attributes)
    return module


def use(proxy, name, *args):
    return getattr(proxy, name)(*args)


# ---- objects with methods of their own ----


def test_modules_have_their_functions(conn):
    numbers = conn.call(get, 'math')
    assert numbers.sqrt(16) == 4 and numbers.gcd(4, 6) == 2
    with pytest.raises(AttributeError):
        numbers.pi  # noqa: B018
    assert conn.create(make_module, ['f'], _g=double).f(2) == 4


def test_a_module_may_find_its_functions_late(conn):
    module = conn.create(make_late_module)
    assert module.late(3) == 6
    assert not hasattr(module, 'never')


def make_late_module():
    return make_module(__getattr__=find_late)


def find_late(name):
    if name != 'late':
        raise AttributeError(name)
    return double


def test_a_module_may_have_more_functions_than_are_listed(conn):
    count = methods.MAX_METHODS + 10
    module = conn.create(make_module, ['function{}'.format(number) for number in range(count)])
    assert all(use(module, 'function{}'.format(number), 4) == 8 for number in (0, 1000, count - 1))


def test_classes_have_their_functions(conn):
    cls = conn.call(get, 'Thing')
    assert cls.make(5) == 5 and cls.count(6) == 6
    thing = cls()  # makes one, and does not call __call__ of instances
    assert isinstance(thing, Thing)
    assert conn.create(Thing)() == 'an instance'
    with pytest.raises(TypeError):
        len(cls)
    colors = conn.call(get, 'Color')
    assert len(colors) == 2 and list(colors) == [Color.RED, Color.BLUE] and colors['RED'] is Color.RED
    assert list(reversed(colors)) == [Color.BLUE, Color.RED]
    assert conn.create(get_dict).fromkeys('ab', 1) == {'a': 1, 'b': 1}


def get_dict():
    return dict


def test_instances_have_their_attributes_that_can_be_called(conn):
    thing = conn.create(Thing)
    assert thing.own(2) == 4 and thing.hook(3) == 6
    for name in ('number', '_hidden', 'costly', 'empty'):
        with pytest.raises(AttributeError):
            getattr(thing, name)
    assert conn.create(types.SimpleNamespace, f=double).f(1) == 2


def test_an_object_that_finds_methods_itself_is_asked(conn):
    lazy = conn.create(Lazy)
    assert lazy.get_this(1) == ('get_this', (1,)) and hasattr(lazy, 'get_that')
    for name in ('value', 'nothing', '_get_it', '__len__'):
        with pytest.raises(AttributeError):
            getattr(lazy, name)
    assert copy.deepcopy(conn.call(getattr, lazy, 'asked'))[0] == 'get_this'
    assert conn.create(Odd).shifted(4) == 8


def test_functions_of_a_library(conn):
    library = conn.create(ctypes.CDLL, None)
    assert library.abs(-5) == 5 and library.toupper(ord('a')) == ord('A')
    with pytest.raises(AttributeError):
        library.no_such_function()


def test_a_temporary_file(conn):
    with conn.create(tempfile.NamedTemporaryFile, 'w+') as file:
        file.write('unicorns\n')
        file.seek(0)
        assert file.read() == 'unicorns\n'


def test_nothing_is_evaluated_before_it_is_asked_for():
    lazy = Lazy()
    names = methods.get_methods(lazy, True)
    assert '__getattr__' in names and not lazy.asked
    assert 'costly' not in methods.get_methods(Thing(), True)


def test_a_peer_that_takes_no_descriptions_gets_plain_names():
    for obj in (Lazy(), ctypes.CDLL(None), io.BytesIO(), make_late_module()):
        assert not {'__getattr__', 'fileno'}.intersection(methods.get_methods(obj, False))


def test_hidden_names_are_not_asked_for():
    assert not methods.has_method(Thing(), '_hidden')
    assert not methods.has_method(Thing(), '__init__')
    assert methods.has_method(Thing(), 'own') and not methods.has_method(Thing(), 'number')


# ---- what stays in its process ----


def test_descriptors_are_not_forwarded(conn, tmp_path):
    with conn.create(open, tmp_path / 'file', 'w') as file:
        with pytest.raises(io.UnsupportedOperation, match=r'fileno: the file of .* is open in another process'):
            file.fileno()
        with pytest.raises(io.UnsupportedOperation):
            subprocess.run([sys.executable, '-c', 'pass'], stdout=file)
        with pytest.raises(io.UnsupportedOperation):
            select.select([file], [], [], 0)
        with pytest.raises(TypeError):
            os.fspath(file)
    with pytest.raises(io.UnsupportedOperation):
        conn.create(tempfile.NamedTemporaryFile).fileno()
    with pytest.raises(AttributeError):
        conn.create(list).fileno()


def test_nor_are_those_of_sockets(conn):
    sock = conn.create(socket.socket)
    for name in ('fileno', 'detach'):
        with pytest.raises((io.UnsupportedOperation, AttributeError)):
            getattr(sock, name)()
    sock.close()


def test_a_file_of_this_process_is_no_file_of_a_program_there(conn):
    with tempfile.TemporaryFile() as file:
        with pytest.raises(io.UnsupportedOperation, match='fileno'):
            conn.call(subprocess.run, [sys.executable, '-c', 'pass'], stdout=across.Local(file))
        assert conn.call(use, across.Local(file), 'write', b'text') == 4


def test_numbers_and_paths_stay_there(conn):
    with pytest.raises(TypeError):
        os.fdopen(conn.replicate(1))
    with pytest.raises(TypeError):
        open(conn.replicate(1))


# ---- truth ----


@pytest.mark.parametrize('value', [0, 1, None, '', 'text', [], [1], 0.0, Color.RED])
def test_a_proxy_is_as_true_as_its_object(conn, value):
    assert bool(conn.replicate(value)) is bool(value)


def test_classes_say_what_is_true(conn):
    assert not conn.create(False_) and conn.create(Lazy) and not conn.create(Thing)
    assert conn.call(get, 'Thing')  # the class, of which an instance is false


# ---- what proxies tell ----


def test_repr_names_class_and_place(conn):
    assert repr(conn.create(list)).startswith('<across.Proxy of builtins.list, object ')
    assert repr(conn) in repr(conn.create(list))
    assert '{}.Thing,'.format(__name__) in repr(conn.create(Thing))
    assert ' of module math,' in repr(conn.call(get, 'math'))
    assert ' of class {}.Thing,'.format(__name__) in repr(conn.call(get, 'Thing'))
    assert ' of function {}.double,'.format(__name__) in repr(conn.call(across.Local, double))


def test_labels_from_the_peer_are_cut_and_clean():
    assert methods.clean_label('x' * 1000) == 'x' * methods.MAX_LABEL
    assert methods.clean_label('a\x1b[31m\nb') == 'a\\x1b[31m\\nb'
    with pytest.raises(ValueError, match='invalid methods'):
        across._make_proxy(1, [], 5)


def test_help_shows_docs_and_signature(conn):
    text = pydoc.plain(pydoc.render_doc(conn.create(Thing).add))
    assert 'add(first, /, second: int = 2, *rest, key=' in text and '-> str' in text and 'Add some numbers.' in text
    text = pydoc.plain(pydoc.render_doc(conn.create(list).append))
    assert 'append(object, /)' in text and list.append.__doc__ in text


def test_of_what_only_the_other_side_knows(conn, monkeypatch):
    monkeypatch.setattr(forwarding, '_find_known', lambda label, name: None)
    proxies._types_kept.__init__()
    thing = conn.create(Thing)
    add = thing.add
    assert add(1) == 3 and add(1, second=4) == 5 and add == thing.add and add != thing.own
    text = pydoc.plain(pydoc.render_doc(add))
    assert "add(first, /, second: int = 2, *rest, key='k') -> str" in text and 'And nothing else.' in text
    assert 'sqrt(x, /)' in pydoc.plain(pydoc.render_doc(conn.call(get, 'math').sqrt))
    assert conn.call(use, thing, 'count', 3) == 3
    conn.close()
    assert thing.count.__doc__ is None


def test_a_method_that_is_sent_home_is_the_method(conn):
    for obj in (conn.create(list), conn.create(make_module, ['append'])):
        assert isinstance(conn.call(identify, obj.append), str)


def identify(method):
    return type(method).__name__


def test_docs_of_this_process_are_found_without_running_anything():
    class Trap(types.ModuleType):
        def __getattribute__(self, name):
            raise AssertionError('looked up')

    sys.modules['trap'] = Trap('trap')
    try:
        assert forwarding._find_known('trap.Class', 'method') is None
    finally:
        del sys.modules['trap']
    for label in ('', 'list', 'nowhere.list', 'os.path.join', 'builtins.list.append'):
        assert forwarding._find_known(label, 'append') is None
    assert forwarding._find_known('builtins.list', 'append') is list.append


def test_an_attribute_error_says_what_works(conn):
    thing = conn.create(Thing)
    with pytest.raises(AttributeError, match=r"has no attribute 'number'.* conn[.]call[(]getattr, proxy, 'number'[)]"):
        thing.number  # noqa: B018
    with pytest.raises(AttributeError, match=r'conn[.]call[(]setattr, proxy'):
        thing.number = 3
    with pytest.raises(AttributeError, match=r'conn[.]call[(]delattr, proxy'):
        del thing.number
    assert conn.call(getattr, thing, 'number') == 5


# ---- identity ----


def test_whether_two_proxies_are_of_one_object(conn, make_pair):
    things = conn.create(list)
    first, second = conn.call(make_two)
    assert first is not second and first != second and across.same_object(first, second)
    assert across.same_object(first, first) and not across.same_object(first, things)
    other, _ = make_pair()
    assert not across.same_object(first, other.create(list))
    with pytest.raises(TypeError):
        across.same_object(first, [])


def make_two():
    value = []
    return across.Local(value), across.Local(value)
