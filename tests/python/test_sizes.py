# SPDX-License-Identifier: MIT
"""Messages that are larger than the other side takes fail one operation, and not the connection."""

import gc

import pytest

import across
from across import engines

MANY = 70000  # above the limit of references in one message
REFUSED = 'refers to 70000 objects, and the other side takes 65536 references in one message: send them in parts'


class Thing:
    pass


class Reference:
    """What a Local costs on the wire, without looking at the object."""

    def __reduce__(self):
        if engines.pickling() is None:  # whether an exception can be pickled is tried before
            return int, (0,)
        return int, (engines.register(Thing()),)


def make_many(count):
    return [Reference() for _ in range(count)]


def fail_with_many(count):
    raise ValueError(make_many(count))


def count_things():
    gc.collect()
    return sum(isinstance(obj, Thing) for obj in gc.get_objects())


def test_a_call_with_too_many_references_fails_alone(conn):
    with pytest.raises(across.OperationError, match='The call ' + REFUSED) as info:
        conn.call(len, make_many(MANY))
    assert not isinstance(info.value, across.DisconnectError)
    assert count_things() == 0  # they have left the table
    assert conn.call(len, make_many(65536)) == 65536


def test_a_result_with_too_many_references_fails_alone(conn):
    with pytest.raises(across.OperationError, match='The result ' + REFUSED):
        conn.call(make_many, MANY)
    assert len(conn.call(make_many, 65536)) == 65536


def test_an_exception_with_too_many_references_fails_alone(conn):
    with pytest.raises(across.OperationError, match='The result ' + REFUSED):
        conn.call(fail_with_many, MANY)
    assert conn.call(len, 'ab') == 2


@pytest.mark.parametrize('operation', ['create', 'replicate', 'method'])
def test_other_operations_with_too_many_references_fail_alone(conn, operation):
    remote = conn.create(list)
    with pytest.raises(across.OperationError, match='The call ' + REFUSED):
        if operation == 'create':
            conn.create(list, make_many(MANY))
        elif operation == 'replicate':
            conn.replicate(make_many(MANY))
        else:
            remote.extend(make_many(MANY))
    assert conn.call(len, 'ab') == 2


def test_many_objects_that_are_released_at_once(conn):
    """Nobody claims what these refer to, so that all are released in one go, which takes several messages."""
    for _ in range(3):
        assert conn.call(len, make_many(60000)) == 60000
    conn.call(gc.collect)
    assert conn.call(len, 'ab') == 2
