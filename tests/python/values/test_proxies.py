# SPDX-License-Identifier: MIT
"""Proxies, and the marker that makes them."""

import copy
import gc
import operator
import pickle
import threading
import weakref

import pytest

import across


class Thing:
    def __init__(self):
        self.entered = None
        self.left_with = None

    def chain(self):
        return self

    def keywords(self, /, **kwargs):
        return kwargs

    def _private(self):
        return 'private'

    def __enter__(self):
        self.entered = True
        return self

    def __exit__(self, exc_type, exc, traceback):
        self.left_with = exc_type
        return exc_type is KeyError

    def get_left_with(self):
        return self.left_with


class Unpicklable(Exception):
    def __init__(self):
        super().__init__(threading.Lock())


def identity(obj):
    return obj


def append_to(items, item):
    items.append(item)


def get_numbers():
    return (number for number in range(3))


def test_container_methods(conn):
    cheeses = conn.create(list)
    cheeses.append('brie')
    cheeses.append('gouda')
    assert len(cheeses) == 2
    assert 'brie' in cheeses and 'feta' not in cheeses
    cheeses[0] = 'edam'
    del cheeses[1]
    assert cheeses[0] == 'edam'
    assert list(cheeses) == ['edam']
    assert copy.deepcopy(cheeses) == ['edam']


def test_replicate_copies(conn):
    original = [1]
    proxy = conn.replicate(original)
    proxy.append(2)
    assert original == [1] and copy.deepcopy(proxy) == [1, 2]


@pytest.mark.parametrize('make', [lambda conn: conn.create(object), lambda conn: conn.replicate(None)])
def test_an_object_without_methods_has_a_proxy(conn, make):
    proxy = make(conn)
    assert isinstance(proxy, across.Proxy) and conn.call(operator.is_, proxy, proxy)


def test_proxy_passed_home_is_the_object(conn):
    items = conn.create(list)
    conn.call(append_to, items, 'cheddar')
    assert copy.deepcopy(items) == ['cheddar']
    mine = []
    assert conn.call(identity, across.Local(mine)) is mine


def test_local_argument_and_result(conn):
    mine = []
    conn.call(append_to, across.Local(mine), 'feta')
    assert mine == ['feta']
    remote = conn.call(across.Local, [])
    remote.append('gorgonzola')
    assert len(remote) == 1


def test_functions_generators_and_files(conn, tmp_path):
    double = conn.create(operator.itemgetter, 1)
    assert double('abc') == 'b'
    assert conn.create(identity, dict)(self=1, args=2) == {'self': 1, 'args': 2}
    numbers = conn.create(get_numbers)
    assert iter(numbers) is numbers
    assert next(numbers) == 0
    assert list(numbers) == [1, 2]
    with conn.create(open, tmp_path / 'species', 'w') as file:
        file.write('unicorns\n')
    assert (tmp_path / 'species').read_text() == 'unicorns\n'


def test_method_that_returns_its_object_gives_the_proxy(conn):
    proxy = conn.create(Thing)
    assert proxy.chain() is proxy
    assert proxy.keywords(self=1, name=2, id=3) == {'self': 1, 'name': 2, 'id': 3}


def test_private_names_stay_local(conn):
    proxy = conn.create(Thing)
    with pytest.raises(AttributeError):
        proxy._private  # noqa: B018
    conn.close()
    repr(proxy)  # made here, without a call


def test_context_manager_sees_the_exception(conn):
    thing = conn.create(Thing)
    with thing as entered:
        assert entered is thing
        raise KeyError('swallowed over there')
    assert thing.get_left_with() is KeyError
    with pytest.raises(Unpicklable), thing:
        raise Unpicklable
    assert thing.get_left_with() is RuntimeError  # a stand-in


@pytest.mark.parametrize('drop_in_thread', [False, True])
def test_dropped_proxy_releases_its_object(conn, run_thread, drop_in_thread):
    released = threading.Event()
    proxy = conn.create(Thing)
    thing = next(obj for obj in gc.get_objects() if type(obj) is Thing)
    weakref.finalize(thing, released.set)
    del thing
    assert not released.is_set()
    held = [proxy]
    del proxy
    run_thread(held.clear) if drop_in_thread else held.clear()
    assert released.wait(60)


def test_pickling_needs_the_own_connection(conn, make_pair):
    proxy = conn.create(list)
    with pytest.raises(RuntimeError):
        pickle.dumps(proxy)
    with pytest.raises(RuntimeError):
        pickle.dumps(across.Local([]))
    with pytest.raises(across.OperationError):
        make_pair()[0].call(len, proxy)
    assert len(proxy) == 0
    with pytest.raises(TypeError):
        copy.copy(proxy)
    with pytest.raises(TypeError):
        across.Local(proxy)
    with pytest.raises(TypeError):
        across.Proxy()


def test_get_proxy_connection(conn):
    assert across.get_proxy_connection(conn.create(list)) is conn
    with pytest.raises(TypeError):
        across.get_proxy_connection([])


@pytest.mark.parametrize('name', ['_private', '__class__', '__reduce__', 'a b', 'x(self): pass\n def y', '', 3, None])
def test_names_from_the_peer_are_checked(name):
    with pytest.raises(ValueError, match='invalid method'):
        across._make_proxy(1, [name])


@pytest.mark.parametrize('names', [['x' * 201], ['m{}'.format(number) for number in range(2001)]])
def test_names_from_the_peer_are_bounded(names):
    from across.values import proxies

    with pytest.raises(ValueError, match='invalid method') as info:
        across._make_proxy(1, names)
    assert len(str(info.value)) < 300
    with pytest.raises(ValueError, match='invalid method'):
        proxies.make_proxy(1, ' '.join(names).encode())
    with pytest.raises(ValueError, match='invalid method'):
        proxies.make_proxy(1, b'get' + b' ' * 500000)
    for fine in (['x' * 200], names[:1] if len(names) > 1 else ['x']):
        with pytest.raises(RuntimeError):  # they pass, and then there is no connection that unpickles
            across._make_proxy(1, fine)


def test_proxy_types_are_shared_and_bounded(conn):
    assert type(conn.create(list)) is type(conn.create(list))
    from across.values import proxies

    for number in range(proxies.MAX_TYPES + 10):
        proxies._get_proxy_type(frozenset(['method{}'.format(number)]), False, '')
    assert len(proxies._types_kept._values) <= proxies.MAX_TYPES
    for number in range(30):
        proxies._get_proxy_type(frozenset('m{}_{}'.format(number, name) for name in range(2000)), False, '')
    assert sum(len(methods) for methods, _, _ in proxies._types_kept._values) <= proxies._MAX_KEPT_NAMES


def test_names_on_the_wire():
    for obj, name in [
        (across.ref, b'ref'), (across._make_proxy, b'_make_proxy'), (across._get_obj, b'_get_obj'),
        (across._apply_method, b'_apply_method'), (across._SELF, b'_SELF'), (across._apply_ref, b'_apply_ref'),
        (across._execute, b'_execute'), (across._export, b'_export'),
    ]:  # fmt: skip
        data = pickle.dumps(obj, 4)
        assert b'across\x94' in data and name + b'\x94' in data
        assert pickle.loads(data) is obj
