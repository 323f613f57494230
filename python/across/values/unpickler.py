# SPDX-License-Identifier: MIT
"""An unpickler that calls nothing by itself.

Plain data is made here. What a name means, what may be called, and what may be given a state is up to a subclass:
pickle's own asks a subclass for the first of these only, and lets a pickle call and change any object it refers to.

It reads what pickle writes with protocols 3 to 5, and refuses all other codes: extension codes, persistent ids, and
those of older protocols. It does not recurse. What could take more time or memory than a fixed amount for each byte is
charged to a budget.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pickle import UnpicklingError
from typing import Any, Callable, Optional, Union

from .budget import Budget

_Data = Union[bytes, memoryview]
_Op = Callable[['Unpickler', Any, int], int]

_COPIED = 64 << 10  # bytes of a pickle that is read from a copy: slices of bytes are made faster than those of buffers
_STOP = ord('.')


class Unpickler:
    """Reads one pickle."""

    __slots__ = ('budget', '_data', '_stack', '_marks', '_memo', '_buffers', '_apart', '_foreign')

    def __init__(self, data: Any, buffers: Iterable[Any] = (), trusted: Optional[dict[int, Any]] = None) -> None:
        view = memoryview(data).cast('B')
        size = len(view)
        self._apart: dict[int, Any] = {}  # by id(): what came beside the pickle
        if buffers:
            buffers = list(buffers)
            self._apart.update((id(part), part) for part in buffers)
            size += sum(memoryview(part).nbytes for part in buffers)
        self._data: _Data = view if len(view) > _COPIED else bytes(view)
        self._stack: list[Any] = []
        self._marks: list[int] = []  # where in the stack
        self._memo: list[Any] = []
        self._buffers = iter(buffers)  # out of band
        self.budget = Budget(size, trusted)
        self._foreign: dict[int, Any] = {}  # by id(): what this unpickler has not made, and must not change

    def load(self) -> Any:
        """Return the value. UnpicklingError when the pickle is malformed, or refused."""
        try:
            data, pos = self._data, 0
            while True:
                op = data[pos]
                if op == _STOP:
                    value = self._stack.pop()
                    self.budget.check_depth()
                    return value
                pos = _OPS[op](self, data, pos + 1)
        except BaseException as error:
            self.budget.dismantle()
            if isinstance(error, (IndexError, KeyError, struct.error)):
                # Reading on beyond the end, too: what is cut off is noticed by the next code, which is not there.
                raise UnpicklingError('The pickle is malformed or cut off') from error
            raise

    # ---- for subclasses ----

    def find(self, module: str, name: str) -> Any:
        """Return what a name means."""
        raise NotImplementedError

    def call(self, func: Any, args: tuple[Any, ...]) -> Any:
        """Call something that is on the stack, with arguments of the peer's choice."""
        raise NotImplementedError

    def make(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make an instance without calling its class."""
        raise NotImplementedError

    def set_state(self, obj: Any, state: Any) -> None:
        """Give an object its state."""
        raise NotImplementedError

    def extend(self, obj: Any, items: list[Any]) -> None:
        """Append to a list that this unpickler has not made."""
        raise NotImplementedError

    def add(self, obj: Any, items: list[Any]) -> None:
        """Add to a set that this unpickler has not made."""
        raise NotImplementedError

    def update(self, obj: Any, keys: list[Any], values: list[Any]) -> None:
        """Set items of a dict that this unpickler has not made."""
        raise NotImplementedError

    # ---- the stack machine ----

    def _pop_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _may_change(self, obj: Any, cls: type) -> bool:
        return type(obj) is cls and id(obj) not in self._foreign

    def _append_all(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if self._may_change(target, list):
            target.extend(items)
        else:
            self.extend(target, items)

    def _set_all(self, items: list[Any]) -> None:
        target, keys, values = self._stack[-1], items[::2], items[1::2]
        if len(keys) != len(values):
            raise UnpicklingError('The pickle is malformed: a key without a value')
        if not self._may_change(target, dict):
            self.update(target, keys, values)
        elif self.budget.is_free(target, keys):
            target.update(zip(keys, values))
        else:
            self.budget.fill(target, keys, lambda start, end: target.update(zip(keys[start:end], values[start:end])))

    def _add_all(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not self._may_change(target, set):
            self.add(target, items)
        elif self.budget.is_free(target, items):
            target.update(items)
        else:
            self.budget.fill(target, items, lambda start, end: target.update(items[start:end]))

    def _pop_args(self) -> tuple[Any, ...]:
        args = self._stack.pop()
        if type(args) is not tuple:
            raise UnpicklingError('The pickle is malformed: arguments that are no tuple')
        return args

    def _push_global(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise UnpicklingError('The pickle is malformed: a name that is no str')
        self._stack.append(self.find(module, name))


# ---- operations: each takes the place behind its code, and returns that of the next code ----


def _refuse(m: Unpickler, data: _Data, pos: int) -> int:
    raise UnpicklingError('The pickle has the code 0x{:02x}, which is not read here'.format(data[pos - 1]))


def _proto(m: Unpickler, data: _Data, pos: int) -> int:
    if data[pos] > 5:
        raise UnpicklingError('The pickle has the protocol {}, which is not known here'.format(data[pos]))
    return pos + 1


def _frame(m: Unpickler, data: _Data, pos: int) -> int:
    return pos + 8  # a hint for those who read from files


def _make_constant(value: object) -> _Op:
    def push(m: Unpickler, data: _Data, pos: int) -> int:
        m._stack.append(value)
        return pos

    return push


def _make_empty(cls: Callable[[], Any]) -> _Op:
    def push(m: Unpickler, data: _Data, pos: int) -> int:
        m._stack.append(cls())
        return pos

    return push


def _int1(m: Unpickler, data: _Data, pos: int) -> int:
    m._stack.append(data[pos])
    return pos + 1


def _int2(m: Unpickler, data: _Data, pos: int) -> int:
    m._stack.append(data[pos] | data[pos + 1] << 8)
    return pos + 2


def _int4(m: Unpickler, data: _Data, pos: int) -> int:
    m._stack.append(int.from_bytes(data[pos : pos + 4], 'little', signed=True))
    return pos + 4


def _float(m: Unpickler, data: _Data, pos: int) -> int:
    m._stack.append(struct.unpack_from('>d', data, pos)[0])
    return pos + 8


def _read_long(data: _Data) -> int:
    return int.from_bytes(data, 'little', signed=True)


def _large_long(m: Unpickler, data: _Data, pos: int) -> int:
    m.budget.has_large_numbers = True
    return _medium_long(m, data, pos)


def _read_str(data: _Data) -> str:
    return str(data, 'utf-8', 'surrogatepass')


def _make_counted(length_size: int, read: Callable[[Any], Any]) -> _Op:
    """Make the operation for a length of so many bytes, and as many bytes behind it."""

    def push(m: Unpickler, data: _Data, pos: int) -> int:
        start = pos + length_size
        end = start + int.from_bytes(data[pos:start], 'little')
        m._stack.append(read(data[start:end]))
        return end

    return push


_medium_long = _make_counted(4, _read_long)


def _short_str(m: Unpickler, data: _Data, pos: int) -> int:  # the same as above, for what there is most of
    end = pos + 1 + data[pos]
    m._stack.append(str(data[pos + 1 : end], 'utf-8', 'surrogatepass'))
    return end


def _next_buffer(m: Unpickler, data: _Data, pos: int) -> int:
    try:
        m._stack.append(next(m._buffers))
    except StopIteration:
        raise UnpicklingError('The pickle refers to a buffer that did not come with it') from None
    return pos


def _readonly_buffer(m: Unpickler, data: _Data, pos: int) -> int:
    if id(m._stack[-1]) not in m._apart:  # others could keep each other's memory, without end
        raise UnpicklingError('The pickle makes something read-only that is no buffer')
    m._stack[-1] = memoryview(m._stack[-1]).toreadonly()
    return pos


def _mark(m: Unpickler, data: _Data, pos: int) -> int:
    m._marks.append(len(m._stack))
    return pos


def _pop(m: Unpickler, data: _Data, pos: int) -> int:
    if m._marks and m._marks[-1] == len(m._stack):
        m._marks.pop()
    else:
        m._stack.pop()
    return pos


def _pop_mark(m: Unpickler, data: _Data, pos: int) -> int:
    m._pop_mark()
    return pos


def _memoize(m: Unpickler, data: _Data, pos: int) -> int:
    m._memo.append(m._stack[-1])
    return pos


def _put(m: Unpickler, place: int) -> None:
    if place == len(m._memo):
        m._memo.append(m._stack[-1])
    elif place < len(m._memo):
        m._memo[place] = m._stack[-1]
    else:
        raise UnpicklingError('The pickle leaves places of its memo out')


def _put1(m: Unpickler, data: _Data, pos: int) -> int:
    _put(m, data[pos])
    return pos + 1


def _put4(m: Unpickler, data: _Data, pos: int) -> int:
    _put(m, int.from_bytes(data[pos : pos + 4], 'little'))
    return pos + 4


def _get1(m: Unpickler, data: _Data, pos: int) -> int:
    m._stack.append(m._memo[data[pos]])
    return pos + 1


def _get4(m: Unpickler, data: _Data, pos: int) -> int:
    m._stack.append(m._memo[int.from_bytes(data[pos : pos + 4], 'little')])
    return pos + 4


def _make_tuple(size: int) -> _Op:
    def push(m: Unpickler, data: _Data, pos: int) -> int:
        stack = m._stack
        if len(stack) < size:
            raise IndexError
        stack[-size:] = [tuple(stack[-size:])]
        return pos

    return push


def _tuple(m: Unpickler, data: _Data, pos: int) -> int:
    m._stack.append(tuple(m._pop_mark()))
    return pos


def _frozenset(m: Unpickler, data: _Data, pos: int) -> int:
    items = m._pop_mark()
    m._stack.append(m.budget.make_set(frozenset, items))
    return pos


def _append(m: Unpickler, data: _Data, pos: int) -> int:
    m._append_all([m._stack.pop()])
    return pos


def _appends(m: Unpickler, data: _Data, pos: int) -> int:
    m._append_all(m._pop_mark())
    return pos


def _setitem(m: Unpickler, data: _Data, pos: int) -> int:
    value, key = m._stack.pop(), m._stack.pop()
    if type(key) is str and m._may_change(m._stack[-1], dict):
        m._stack[-1][key] = value
    else:
        m._set_all([key, value])
    return pos


def _setitems(m: Unpickler, data: _Data, pos: int) -> int:
    m._set_all(m._pop_mark())
    return pos


def _additems(m: Unpickler, data: _Data, pos: int) -> int:
    m._add_all(m._pop_mark())
    return pos


def _global(m: Unpickler, data: _Data, pos: int) -> int:
    names = []
    for _ in range(2):
        end = pos
        while data[end] != 10:
            end += 1
        names.append(str(data[pos:end], 'utf-8'))
        pos = end + 1
    m._push_global(*names)
    return pos


def _stack_global(m: Unpickler, data: _Data, pos: int) -> int:
    name = m._stack.pop()
    m._push_global(m._stack.pop(), name)
    return pos


def _reduce(m: Unpickler, data: _Data, pos: int) -> int:
    args = m._pop_args()
    m._stack[-1] = m.call(m._stack[-1], args)
    return pos


def _newobj(m: Unpickler, data: _Data, pos: int) -> int:
    args = m._pop_args()
    m._stack[-1] = m.make(m._stack[-1], args, {})
    return pos


def _newobj_ex(m: Unpickler, data: _Data, pos: int) -> int:
    kwargs = m._stack.pop()
    m.budget.spend_copy(len(kwargs) if type(kwargs) is dict else 0)
    if type(kwargs) is not dict or not all(type(name) is str for name in kwargs):
        raise UnpicklingError('The pickle is malformed: keyword arguments that are none')
    args = m._pop_args()
    m._stack[-1] = m.make(m._stack[-1], args, kwargs)
    return pos


def _build(m: Unpickler, data: _Data, pos: int) -> int:
    state = m._stack.pop()
    m.set_state(m._stack[-1], state)
    return pos


def _make_ops() -> list[_Op]:
    ops: dict[int, _Op] = {
        0x80: _proto, 0x95: _frame,
        0x4E: _make_constant(None), 0x88: _make_constant(True), 0x89: _make_constant(False),
        0x4A: _int4, 0x4B: _int1, 0x4D: _int2, 0x47: _float,
        0x8A: _make_counted(1, _read_long), 0x8B: _large_long,
        0x43: _make_counted(1, bytes), 0x42: _make_counted(4, bytes), 0x8E: _make_counted(8, bytes),
        0x8C: _short_str, 0x58: _make_counted(4, _read_str), 0x8D: _make_counted(8, _read_str),
        0x96: _make_counted(8, bytearray), 0x97: _next_buffer, 0x98: _readonly_buffer,
        0x28: _mark, 0x30: _pop, 0x31: _pop_mark,
        0x94: _memoize, 0x71: _put1, 0x72: _put4, 0x68: _get1, 0x6A: _get4,
        0x29: _make_constant(()), 0x85: _make_tuple(1), 0x86: _make_tuple(2), 0x87: _make_tuple(3), 0x74: _tuple,
        0x5D: _make_empty(list), 0x61: _append, 0x65: _appends,
        0x7D: _make_empty(dict), 0x73: _setitem, 0x75: _setitems,
        0x8F: _make_empty(set), 0x90: _additems, 0x91: _frozenset,
        0x63: _global, 0x93: _stack_global,
        0x52: _reduce, 0x81: _newobj, 0x92: _newobj_ex, 0x62: _build,
    }  # fmt: skip
    return [ops.get(code, _refuse) for code in range(256)]


_OPS = _make_ops()
