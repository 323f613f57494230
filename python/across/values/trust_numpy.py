# SPDX-License-Identifier: MIT
"""numpy's arrays on a connection with Options(trust='data', trusted_types=[numpy.ndarray]).

What their pickles call takes anything, and writes where it is told to. So it is done here, for arrays and scalars of
numbers, truth values, dates, text and bytes; what they are made of is checked before numpy sees it.
"""

from __future__ import annotations

import math
import re
import sys
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .rules import Rules

_CODE = re.compile('b1|[iu][1248]|f(2|4|8|12|16)|c(8|16|24|32)|[SU][0-9]{1,9}|[mM]8')
_ORDERS = ('<', '>', '=', '|')
_UNITS = (b'generic', b'Y', b'M', b'W', b'D', b'h', b'm', b's', b'ms', b'us', b'ns', b'ps', b'fs', b'as')
_MAX_MULTIPLE = 1 << 30  # of a unit of time
_MAX_DIMENSIONS = 32
_MAX_EMPTY = 1000  # items of an array that take no bytes


def is_array_type(obj: Any) -> bool:
    """Whether this is numpy.ndarray."""
    numpy = sys.modules.get('numpy')  # it is loaded if its type is given
    return numpy is not None and obj is numpy.ndarray


def allow_arrays(rules: Rules) -> None:
    """Allow what arrays, their types and their scalars are pickled as, by this version of numpy and by others."""
    import numpy

    rules.allow(numpy.ndarray)
    rules.allow(numpy.dtype, _make_dtype)
    rules.setters[id(numpy.ndarray)] = _set_array
    rules.setters[id(numpy.dtype)] = _set_dtype
    for kind in 'b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 f16 c8 c16 c32 S1 U1 m8 M8'.split():
        try:
            rules.setters[id(type(numpy.dtype(kind)))] = _set_dtype  # each has a class of its own
        except TypeError:
            pass  # this platform lacks it
    for core in ('numpy.core', 'numpy._core'):
        rules.stand_in(core + '.multiarray', '_reconstruct', _start_array)
        rules.stand_in(core + '.multiarray', 'scalar', _make_scalar)
        rules.stand_in(core + '.numeric', '_frombuffer', _make_array)


def _check(is_right: bool) -> None:
    if not is_right:
        raise UnpicklingError('The pickle makes an array, or a part of one, of what is not allowed for it')


def _make_dtype(m: Any, args: tuple[Any, ...]) -> Any:
    import numpy

    _check(len(args) == 3 and type(args[0]) is str and _CODE.fullmatch(args[0]) is not None)
    return numpy.dtype(args[0], False, True)  # a copy, which is given its order of bytes next


def _set_dtype(m: Any, dtype: Any, state: Any) -> None:
    _check(type(state) is tuple and len(state) in (8, 9) and type(state[0]) is int and state[0] in (3, 4))
    _check(type(state[1]) is str and state[1] in _ORDERS and all(item is None for item in state[2:5]))
    sizes = (dtype.itemsize, dtype.alignment) if dtype.kind in 'SU' else (-1, -1)
    _check(all(type(item) is int for item in state[5:8]) and state[5:7] == sizes and state[7] in (0, 8))
    if len(state) == 9:
        _check(dtype.kind in 'mM' and _is_unit(state[8]))
        state = (*state[:8], ({}, state[8][1]))  # versions before 2.5 take no None there
    dtype.__setstate__(state)


def _is_unit(value: Any) -> bool:
    if type(value) is not tuple or len(value) != 2:
        return False
    if type(value[1]) is not tuple or len(value[1]) != 4:  # a proxy would ask the peer for its length
        return False
    metadata = value[0]
    if metadata is not None and (type(metadata) is not dict or metadata):  # numpy 2.5 pickles None where others have {}
        return False
    unit, *numbers = value[1]
    are_right = all(type(number) is int and 0 < number < _MAX_MULTIPLE for number in numbers)
    return type(unit) is bytes and unit in _UNITS and are_right and numbers[1:] == [1, 1]


def _check_dtype(dtype: Any) -> None:
    import numpy

    _check(isinstance(dtype, numpy.dtype) and dtype.kind in 'biufcSUmM' and not dtype.hasobject)


def _count(shape: Any, dtype: Any) -> int:
    """Return how many items an array of this shape has. If they take no bytes, nothing else says how many there are."""
    _check(type(shape) is tuple and len(shape) <= _MAX_DIMENSIONS)
    _check(all(type(size) is int and 0 <= size < 1 << 62 for size in shape))
    count: int = math.prod(shape)
    _check(dtype.itemsize > 0 or count <= _MAX_EMPTY)
    return count


def _is_memory(m: Any, data: Any) -> bool:
    """Whether this is bytes, or came beside the pickle. An array would keep another array, and so on without end."""
    return type(data) in (bytes, bytearray, memoryview) or id(data) in m._apart


def _start_array(m: Any, args: tuple[Any, ...]) -> Any:
    import numpy

    _check(len(args) == 3 and args[0] is numpy.ndarray and type(args[1]) is tuple and len(args[1]) == 1)
    _check(type(args[1][0]) is int and args[1][0] == 0 and type(args[2]) is bytes and args[2] == b'b')
    return numpy.ndarray((0,), 'b')


def _set_array(m: Any, array: Any, state: Any) -> None:
    _check(type(state) is tuple and len(state) == 5 and type(state[0]) is int and state[0] == 1)
    _, shape, dtype, is_fortran, data = state
    _check_dtype(dtype)
    _check(type(is_fortran) is bool and type(data) is bytes and _count(shape, dtype) * dtype.itemsize == len(data))
    array.__setstate__(state)


def _make_array(m: Any, args: tuple[Any, ...]) -> Any:
    import numpy

    _check(len(args) == 4)
    data, dtype, shape, order = args
    _check_dtype(dtype)
    _check(type(order) is str and order in ('C', 'F'))
    count = _count(shape, dtype)
    _check(_is_memory(m, data) and memoryview(data).nbytes == count * dtype.itemsize)
    if count == 0:  # numpy.empty(shape) would take memory for the sizes that are not 0
        return numpy.empty(0, dtype).reshape(shape, order=order)
    return numpy.frombuffer(data, dtype).reshape(shape, order=order)


def _make_scalar(m: Any, args: tuple[Any, ...]) -> Any:
    import numpy

    _check(len(args) == 2)
    dtype, data = args
    _check_dtype(dtype)
    _check(type(data) is bytes and len(data) == dtype.itemsize > 0)
    return numpy.frombuffer(data, dtype)[0]
