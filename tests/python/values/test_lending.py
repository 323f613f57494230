# SPDX-License-Identifier: MIT
"""Results that cannot be pickled: iterators, and views of mappings."""

import collections
import copy
import itertools
import os
import threading

import pytest

import across


class Numbers:
    """An iterator that only its process knows."""

    def __init__(self):
        self.lock = threading.Lock()
        self.next = 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.next == 3:
            raise StopIteration
        self.next += 1
        return self.next


class Table:
    """A mapping by its own methods."""

    def __init__(self, values):
        self.values_ = values

    def keys(self):
        return self.values_.keys()

    def __getitem__(self, key):
        return self.values_[key]

    def __reversed__(self):
        return Numbers()


Pair = collections.namedtuple('Pair', 'first second')


def generate(count):
    yield from range(count)


finished = threading.Event()


def make_counted_generator():
    try:
        yield from range(3)
    finally:
        finished.set()


def make_parts():
    return [generate(2), 'text', (generate(1), {'inner': Numbers()})], Pair(generate(3), 5)


def double_locally(number, index):
    return number * 2


def make_mapped():
    return map(double_locally, [1, 2], generate(2))


def make_lock():
    return [threading.Lock(), generate(1)]


def test_a_dict_has_its_views(conn):
    table = conn.create(dict, a=1, b=2)
    assert list(table.items()) == [('a', 1), ('b', 2)]
    assert list(table.keys()) == ['a', 'b'] and list(table.values()) == [1, 2]
    assert len(table.items()) == 2 and ('a', 1) in table.items() and 'c' not in table.keys()
    assert dict(table) == {'a': 1, 'b': 2} == {**table}
    items = table.items()
    table['c'] = 3
    assert len(items) == 3  # a view


@pytest.mark.parametrize('cls', [collections.OrderedDict, collections.Counter, Table])
def test_so_have_other_mappings(conn, cls):
    assert dict(conn.create(cls, {'a': 1, 'b': 2})) == {'a': 1, 'b': 2}


def test_views_of_a_mapping_that_is_no_dict(conn):
    assert dict(conn.execute('import os; os.environ.items()')) == dict(os.environ)


def test_iterators_as_results(conn):
    assert list(conn.call(Numbers)) == [1, 2, 3]
    assert list(conn.call(make_mapped)) == [2, 4]
    numbers = conn.call(generate, 3)
    assert isinstance(numbers, across.Proxy) and next(numbers) == 0 and list(numbers) == [1, 2]


def test_a_generator_gets_values_and_exceptions(conn):
    generator = conn.call(generate, 3)
    assert next(generator) == 0
    with pytest.raises(KeyError):
        generator.throw(KeyError('there'))
    assert list(generator) == []


def test_what_can_be_pickled_is_still_a_copy(conn):
    for value in (iter([1, 2]), zip([1], [2]), enumerate(['a'])):
        assert not isinstance(conn.call(copy.copy, value), across.Proxy)
    numbers = [1, 2, 3]
    assert list(conn.call(iter, numbers)) == numbers


def test_iterators_in_results(conn):
    (first, text, (second, inner)), pair = conn.call(make_parts)
    assert text == 'text' and list(first) == [0, 1] and list(second) == [0] and list(inner['inner']) == [1, 2, 3]
    assert type(pair) is Pair and list(pair.first) == [0, 1, 2] and pair.second == 5
    groups = conn.create(itertools.groupby, 'aab')
    key, group = next(groups)
    assert key == 'a' and list(group) == ['a', 'a']


def test_other_results_still_fail(conn):
    for func in (threading.Lock, make_lock):
        with pytest.raises(across.OperationError, match='Pickling failed due to TypeError: cannot pickle'):
            conn.call(func)


def test_a_view_has_no_copy(conn):
    items = conn.create(dict, a=1).items()
    with pytest.raises(across.OperationError):
        copy.deepcopy(items)


def test_they_are_released_with_their_proxy(conn):
    numbers = conn.call(make_counted_generator)
    assert next(numbers) == 0
    finished.clear()
    del numbers
    assert finished.wait(20)


def test_reversed(conn):
    assert list(reversed(conn.create(list, 'abc'))) == ['c', 'b', 'a']
    assert list(reversed(conn.create(dict, a=1, b=2))) == ['b', 'a']
    assert list(reversed(conn.create(Table, {}))) == [1, 2, 3]  # an iterator that cannot be pickled
    assert isinstance(reversed(conn.create(list)), across.Proxy)
    with pytest.raises(TypeError):
        reversed(conn.create(set))


def test_callbacks_may_return_them_as_well(conn):
    def source():
        return {'a': 1}.items()

    assert conn.call(consume, across.Local(source)) == [('a', 1)]


def consume(source):
    return list(source())
