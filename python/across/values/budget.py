# SPDX-License-Identifier: MIT
"""What loading one pickle may cost: a budget that grows with the pickle's size, to which all work is charged.

Reading one code of a pickle, and making the object that it stands for, costs no more than a fixed amount for each byte,
and is not charged. What can cost more than the bytes that ask for it is: copies, keys of dicts and sets, arithmetic,
arguments of calls, names, classes, texts of exceptions, and depth. docs/trust.md states the bound that follows from the
constants here, and tests/python/values/trust_costs.py measures it.

A unit of work is something that takes about 0.1 µs; memory is counted in bytes.
"""

from __future__ import annotations

import collections
import decimal
import functools
import gc
import time
from collections.abc import Iterable
from pickle import UnpicklingError
from typing import Any, Callable, Optional

# So much for the smallest pickle; all of it costs less than 10 ms, and 1 MiB.
_WORK = 30_000
_MEMORY = 1 << 20
# So much for each byte. A tuple that is a key of many dicts is hashed for each of them, and costs two bytes each time.
_WORK_PER_BYTE = 16
_MEMORY_PER_BYTE = 512

_ENTRY = 112  # bytes of an entry of a dict or set that is copied, while it grows
_NAME = 1024  # bytes that a method of a new class of proxies takes
_CLASS = 4096  # and the class itself
_MAX_KEY_DEPTH = 100  # of a key: hash() and == recurse without a look at the stack
_MAX_DEPTH = 100  # of objects inside each other whose deallocation recurses
_SMALL = 256  # entries: what a table of so many costs, however its keys collide, is about 1 µs for each byte
_BATCH = 1000  # keys that are added at a time to a table that is larger

_NUMBERS = frozenset((bool, int, float, type(None)))
_TEXTS = frozenset((str, bytes))  # their hashes are made with a secret of this process
_LIGHT = _NUMBERS | _TEXTS
_FRAGILE = (collections.deque, collections.defaultdict)  # deallocation recurses, once for each level
_SETTERS = (dict.__setitem__, collections.OrderedDict.__setitem__)

_clock: Callable[[], int] = getattr(time, 'thread_time_ns', time.process_time_ns)


class Budget:
    """The budget of one pickle of `size` bytes, with all that came with it. UnpicklingError when it is exceeded."""

    __slots__ = ('_work', '_memory', '_tables', '_fragile', '_classes', '_trusted', 'has_large_numbers')

    def __init__(self, size: int, trusted: Optional[dict[int, Any]] = None) -> None:
        self._work = _WORK + _WORK_PER_BYTE * size
        self._memory = _MEMORY + _MEMORY_PER_BYTE * size
        # By id() of a dict or set: itself, and how many of its keys have which hash.
        self._tables: dict[int, tuple[Any, dict[int, int]]] = {}
        self._fragile: list[Any] = []
        self._classes: set[tuple[frozenset[str], str]] = set()
        self._trusted = {} if trusted is None else trusted  # classes by id(), whose instances are keys like tuples
        self.has_large_numbers = False  # some int of the pickle has more than 255 bytes

    # ---- work and memory ----

    def spend(self, work: int, memory: int = 0) -> None:
        """Charge work, and memory that is more than what a code of the pickle takes anyway."""
        self._work -= work
        self._memory -= memory
        if self._work < 0 or self._memory < 0:
            raise UnpicklingError('The pickle takes more work or memory than one of its size should')

    def spend_copy(self, count: int) -> None:
        """Charge a copy of so many references into a list, a dict or a set."""
        self.spend(count, count * _ENTRY)

    def spend_bytes(self, count: int) -> None:
        """Charge a copy of so many bytes or characters."""
        self.spend(count >> 4, 4 * count)

    def spend_number(self, bits: int) -> None:
        """Charge arithmetic with a number of so many bits: division and conversion take time by their square."""
        self.spend((bits >> 6) ** 2 >> 6)

    def spend_class(self, names: frozenset[str], label: str) -> None:
        """Charge a class of proxies with these methods. Proxies of one kind share a class."""
        self.spend(len(names))
        if (names, label) not in self._classes:
            self._classes.add((names, label))
            self.spend(500 + 50 * len(names), _CLASS + _NAME * len(names))

    def spend_value(self, value: Any) -> None:
        """Charge what it takes to hash, compare or print a value, however often it refers to the same parts."""
        self._weigh(value, 0)

    # ---- keys ----

    def is_free(self, table: Any, keys: list[Any]) -> bool:
        """Whether these keys can be added to a dict or set without a charge."""
        kinds = {*map(type, keys)}
        if kinds <= _TEXTS:
            return True
        return kinds <= _LIGHT and len(keys) + len(table) <= _SMALL and not self.has_large_numbers

    def fill(self, table: Any, keys: list[Any], put: Callable[[int, int], None], is_copy: bool = False) -> None:
        """Add keys to a dict or set, in batches: put(start, end) adds a part of them.

        `is_copy`: the keys are those of another container, so that no bytes of the pickle stand for each of them.

        How long that takes depends on how many of them collide. This is counted for keys that take long to compare,
        and timed for numbers, whose hashes the peer can choose.
        """
        kinds = set(map(type, keys))
        if not kinds <= _TEXTS:
            self._check_keys(table, keys, kinds)
            if is_copy or len(keys) > _SMALL or _is_large(table):
                self._fill_timed(len(keys), put)
                return
        put(0, len(keys))

    def make_set(self, cls: Any, items: list[Any], is_copy: bool = False) -> Any:
        """Make a set or frozenset, as fill() does."""
        kinds = set(map(type, items))
        if not kinds <= _TEXTS:
            self._check_keys(items, items, kinds)
            if is_copy or len(items) > _SMALL:
                made: set[Any] = set()
                self._fill_timed(len(items), lambda start, end: made.update(items[start:end]))
                return made if cls is set else self._timed(lambda: cls(made))
        return cls(items)

    def _fill_timed(self, count: int, put: Callable[[int, int], None]) -> None:
        for start in range(0, count, _BATCH):
            self._timed(functools.partial(put, start, start + _BATCH))

    def _timed(self, work: Callable[[], Any]) -> Any:
        start = _clock()
        result = work()
        self.spend((_clock() - start) // 100)
        return result

    def _check_keys(self, table: Any, keys: list[Any], kinds: set[type]) -> None:
        if int in kinds and self.has_large_numbers:
            for key in keys:
                if type(key) is int:
                    self.spend_number(key.bit_length())
        if not kinds <= _LIGHT:
            entry = self._tables.get(id(table))
            if entry is None:
                entry = self._tables[id(table)] = (table, {})  # which keeps the table, and so its id()
            for key in keys:
                if type(key) not in _LIGHT:
                    self._check_key(key, entry[1])

    def _check_key(self, key: Any, hashes: dict[int, int]) -> None:
        if type(key) is tuple and set(map(type, key)) <= _NUMBERS and not self.has_large_numbers:
            cost = 1 + len(key)
            self.spend(cost)
        else:
            cost = self._weigh(key)
        value = hash(key)
        collisions = hashes.get(value, 0)
        if collisions:
            self.spend(collisions * cost)
        hashes[value] = collisions + 1

    def _weigh(self, value: Any, text_shift: int = 8) -> int:
        """Charge one walk through a value, and return what it costs to compare it with one that is as large.

        2 ** text_shift characters count as much as another value.
        """
        level = [value]
        size = extra = 0
        has_sets = False
        for _ in range(_MAX_KEY_DEPTH):
            inner: list[Any] = []
            for item in level:
                cls = type(item)
                if cls in _TEXTS:
                    extra += len(item) >> text_shift
                elif cls in _NUMBERS:
                    if cls is int and self.has_large_numbers:
                        self.spend_number(item.bit_length())
                else:
                    parts = self._get_parts(item, cls)
                    has_sets = has_sets or (cls is frozenset or cls is set or cls is dict)
                    size += len(parts)
                    self.spend(4 + 4 * len(parts))
                    inner.extend(parts)
            if not inner:
                size += len(level)
                self.spend(len(level) + extra, 8 * extra)
                return (size * size if has_sets else size) + extra
            level = inner
        raise UnpicklingError('The pickle has a key of too many values inside each other')

    def _get_parts(self, item: Any, cls: type) -> Any:
        """Return what hash() and == look at, of something that is neither text nor a number."""
        if issubclass(cls, tuple):
            return tuple.__getitem__(item, slice(None)) if cls is not tuple else item
        if cls is frozenset or cls is set or cls is list or cls is collections.deque:
            return item
        if issubclass(cls, dict):
            self.spend(2 * dict.__len__(item))
            return [*dict.keys(item), *dict.values(item)]
        if cls is decimal.Decimal:
            self.spend_number(8 * item.__sizeof__())
        elif cls is range or cls is slice:
            return item.start, item.stop, item.step
        elif cls is memoryview:
            self.spend(item.nbytes >> 4)
        elif id(cls) in self._trusted:
            return [part for part in gc.get_referents(item) if not isinstance(part, type)]
        return (None,) * 8  # UUIDs, dates, paths: Python code compares them, or much of C's

    # ---- depth ----

    def note_fragile(self, obj: Any) -> None:
        """Remember an object if it is of a type whose deallocation recurses: see check_depth()."""
        if type(obj) in _FRAGILE:
            self._fragile.append(obj)

    def check_depth(self) -> None:
        """Refuse deques and defaultdicts that are so deep inside each other that dropping them overflows the stack."""
        if len(self._fragile) > _MAX_DEPTH and not _is_shallow(self._fragile):
            raise UnpicklingError('The pickle has too many deques or defaultdicts inside each other')

    def dismantle(self) -> None:
        """After a failure: empty containers that check_depth() has not found shallow, so that they can be dropped."""
        for obj in self._fragile:
            obj.clear()


def _is_large(table: Any) -> bool:
    """Whether it matters how keys in a dict or set collide. The time that code of a user's own takes is not counted."""
    cls: Any = type(table)
    if issubclass(cls, dict):
        return cls.__setitem__ in _SETTERS and dict.__len__(table) > _SMALL
    return issubclass(cls, set) and cls.add is set.add and set.__len__(table) > _SMALL


def _is_shallow(objects: Iterable[Any]) -> bool:
    """Whether no more than _MAX_DEPTH of these objects are directly inside each other."""
    by_id = {id(obj): obj for obj in objects}
    holders: dict[int, list[int]] = {}
    missing: dict[int, int] = {}  # how many objects directly inside this one have no height yet
    for key, obj in by_id.items():
        inside = {id(part) for part in gc.get_referents(obj) if type(part) in _FRAGILE}
        inside &= by_id.keys()
        missing[key] = len(inside)
        for part in inside:
            holders.setdefault(part, []).append(key)
    level = [key for key, count in missing.items() if not count]
    left = len(missing)
    for _ in range(_MAX_DEPTH):
        left -= len(level)
        above = []
        for key in level:
            for holder in holders.get(key, ()):
                missing[holder] -= 1
                if not missing[holder]:
                    above.append(holder)
        level = above
    return not level and left <= _MAX_DEPTH  # those that are left are in cycles, or hold some
