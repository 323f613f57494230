# SPDX-License-Identifier: MIT
"""Proxies, Local, and the tables of objects behind them."""

import contextlib
import copy
import gc
import io
import pickle
import threading
import weakref

import pytest

import across

from . import remote_tasks as tasks
from .test_calls import run_threads
from .waiting import join, wait_until


def no_objects_left(conn):
    wait_until(lambda: conn.call(tasks.count_live) == 0, 'dropping all objects')


# ---- proxies of many kinds ----


def test_a_list_and_a_dict_behave_as_such(conn):
    items = conn.create(list)
    items.append('brie')
    items.append('gouda')
    assert len(items) == 2 and items[1] == 'gouda' and 'brie' in items
    items[0] = 'feta'
    del items[1]
    assert copy.deepcopy(items) == ['feta']
    table = conn.create(dict, a=1)
    table['b'] = 2
    assert table['b'] == 2 and 'c' not in table and sorted(table) == ['a', 'b']
    with pytest.raises(KeyError):
        table['c']
    assert table.pop('a') == 1


def test_a_file_is_written_over_there(conn, tmp_path):
    path = tmp_path / 'species'
    with conn.create(open, str(path), 'w') as file:
        file.write('dinosaurs\n')
        file.write('unicorns\n')
    assert path.read_text() == 'dinosaurs\nunicorns\n'
    with conn.create(open, str(path)) as file:
        assert [*file] == ['dinosaurs\n', 'unicorns\n']


def test_a_generator_runs_step_by_step(conn):
    generator = conn.create(tasks.generate, 4)
    assert next(generator) == 0
    assert iter(generator) is generator
    assert [*generator] == [1, 2, 3]
    with pytest.raises(StopIteration):
        next(generator)


def test_a_function_is_called(conn):
    func = conn.call(tasks.echo, across.Local(tasks.add))
    assert func is tasks.add
    func = conn.execute('import across, operator\nacross.ref(operator.add)')
    assert func(1, 2) == 3


def test_a_context_manager_sees_what_happens(conn):
    manager = conn.create(tasks.Manager)
    with manager as inside:
        assert inside is manager
    with pytest.raises(ValueError, match='within'):
        with manager:
            raise ValueError('within')
    assert manager.get_events() == ['enter', 'exit', 'enter', 'ValueError: within']
    with conn.create(tasks.Manager, swallow=True):
        raise ValueError('swallowed')


def test_a_context_manager_sees_exceptions_that_cannot_be_pickled(conn):
    manager = conn.create(tasks.Manager)
    with pytest.raises(tasks.UnpicklableError):
        with manager:
            raise tasks.UnpicklableError('odd')
    assert len(manager.get_events()) == 2


def test_a_method_that_returns_its_object_returns_the_proxy(conn):
    point = conn.create(tasks.Point, 1)
    assert point.move(2) is point
    assert point.sum() == 3


def test_only_methods_are_forwarded(conn):
    point = conn.create(tasks.Point, 1)
    for name in ('x', '_private', '__reduce_remote__', 'nothing'):
        with pytest.raises(AttributeError):
            getattr(point, name)
    with pytest.raises(TypeError):
        len(point)


def test_a_deep_copy_is_a_local_object(conn):
    point = conn.create(tasks.Point, 1, 2)
    fetched = copy.deepcopy(point)
    assert type(fetched) is tasks.Point and fetched == tasks.Point(1, 2)
    with pytest.raises(across.OperationError):
        copy.deepcopy(conn.create(threading.Lock))


def test_get_proxy_connection(conn):
    assert across.get_proxy_connection(conn.create(list)) is conn
    with pytest.raises(TypeError):
        across.get_proxy_connection([])


# ---- Local, both ways ----


def test_a_local_object_is_changed_by_the_other_side(conn):
    items = []
    conn.call(tasks.append_to, across.Local(items), 'feta')
    assert items == ['feta']
    numbers = [1, 2, 3]
    assert conn.call(tasks.sum_of, across.Reference(numbers)) == 6


def test_a_value_that_comes_home_is_the_same_object(conn):
    value = object()
    assert conn.call(tasks.echo, across.Local(value)) is value
    proxy = conn.create(tasks.Counted)
    assert conn.call(tasks.is_same, proxy, proxy)
    again = proxy.me()
    assert again is proxy
    conn.call(tasks.keep, proxy)
    assert conn.create(tasks.pop_kept).get() is None


def test_many_locals_in_one_message(conn):
    values = [object() for _ in range(500)]
    back = conn.call(tasks.echo, [across.Local(value) for value in values])
    assert all(a is b for a, b in zip(values, back)) and len(back) == 500


def test_a_proxy_of_one_connection_cannot_be_sent_over_another(server):
    with server.connect() as first, server.connect() as second:
        proxy = first.create(list)
        with pytest.raises(across.OperationError, match='Pickling failed'):
            second.call(tasks.echo, proxy)
        with pytest.raises(RuntimeError):
            pickle.dumps(proxy)
        with pytest.raises(RuntimeError):
            pickle.dumps(across.Local([]))
        assert second.call(tasks.add, 1, 2) == 3


def test_a_proxy_or_local_cannot_be_wrapped(conn):
    for value in (conn.create(list), across.Local([])):
        with pytest.raises(TypeError):
            across.Local(value)


def test_a_stream_can_be_written_by_the_other_side(conn):
    stream = io.StringIO()
    conn.call(print, 'over there', file=across.Local(stream))
    assert stream.getvalue() == 'over there\n'


# ---- the tables ----


def test_dropped_proxies_release_their_objects(conn):
    proxies = conn.call(tasks.make_counted, 3000)
    assert conn.call(tasks.count_live) == 3000
    assert proxies[17].get() == 17
    del proxies[1000:]
    wait_until(lambda: conn.call(tasks.count_live) == 1000, 'dropping 2000 objects')
    del proxies
    no_objects_left(conn)


def test_the_other_sides_proxies_release_objects_here(conn):
    value = tasks.Counted()
    alive = weakref.ref(value)
    conn.call(tasks.keep, across.Local(value))
    del value
    gc.collect()
    assert alive() is not None
    conn.call(tasks.drop_kept)
    wait_until(lambda: alive() is None, 'dropping the object')


def test_the_end_of_a_connection_releases_all_objects(shared_daemon):
    value = tasks.Counted()
    alive = weakref.ref(value)
    with shared_daemon.connect() as watcher:
        with shared_daemon.connect() as conn:
            proxies = conn.call(tasks.make_counted, 10)
            conn.call(tasks.keep, across.Local(value))
            del value
        assert alive() is None
        no_objects_left(watcher)
        watcher.call(tasks.drop_kept)
        with pytest.raises(across.DisconnectError):
            proxies[0].get()


FULL = 1_000_000  # objects that a peer may hold
MANY = 50_000  # fewer than one message may refer to


def test_a_client_with_a_full_table_cannot_send_one_more_object(shared_daemon):
    def has_room():
        with contextlib.suppress(across.OperationError):
            return conn.call(tasks.echo, across.Local(conn)) is conn

    with shared_daemon.connect() as conn, shared_daemon.connect() as other:
        for _ in range(FULL // MANY):
            conn.call(tasks.keep, tasks.ManyLocals(MANY))
        with pytest.raises(across.OperationError, match='holds {} objects already'.format(FULL)):
            conn.call(tasks.echo, across.Local(conn))
        assert conn.call(tasks.add, 1, 2) == 3
        assert other.call(tasks.echo, across.Local(conn)) is conn
        conn.call(tasks.drop_kept)
        wait_until(has_room, 'dropping objects')


def test_a_worker_with_a_full_table_cannot_send_one_more_object(shared_daemon):
    def has_room():
        with contextlib.suppress(across.OperationError):
            return len(conn.create(list)) == 0

    with shared_daemon.connect() as conn, shared_daemon.connect() as other:
        held = [conn.call(tasks.ManyLocals, MANY) for _ in range(FULL // MANY)]
        for function, args in ((tasks.make_counted, (1,)), (tasks.ManyLocals, (1,))):
            with pytest.raises(across.OperationError, match='holds {} objects already'.format(FULL)):
                conn.call(function, *args)
        with pytest.raises(across.OperationError, match='holds {} objects already'.format(FULL)):
            conn.create(list)
        assert conn.call(tasks.add, 1, 2) == 3
        assert len(other.create(list)) == 0
        del held[-1]
        wait_until(has_room, 'dropping objects')


def test_failed_calls_leave_no_object_behind(conn):
    def refs():
        values = [tasks.Counted() for _ in range(10)]
        found = [weakref.ref(value) for value in values]
        return [across.Local(value) for value in values], found

    for call in (
        lambda locals_: conn.call(tasks.echo, [locals_, tasks.Unpicklable()]),
        lambda locals_: conn.call(tasks.echo, [locals_, tasks.Unloadable()]),
        lambda locals_: conn.call(tasks.echo, [tasks.Unloadable(), locals_]),
    ):
        locals_, alive = refs()
        with pytest.raises(across.OperationError):
            call(locals_)
        del locals_
        wait_until(lambda alive=alive: all(ref() is None for ref in alive), 'dropping the objects of a failed call')
    with pytest.raises(across.OperationError):
        conn.call(tasks.make_counted_and_unloadable)
    with pytest.raises(across.OperationError):
        conn.call(tasks.make_counted_and_unpicklable)
    no_objects_left(conn)


def test_proxies_dropped_in_other_threads_and_by_the_collector_during_calls(conn):
    done = threading.Event()

    def collect():
        while not done.is_set():
            gc.collect(0)

    def run(number):
        for _ in range(60):
            proxies = conn.call(tasks.make_counted, 10)
            cycle = [proxies[:5]]
            cycle.append(cycle)
            assert proxies[9].get() == 9
            dropper = threading.Thread(target=proxies.clear)
            del cycle
            dropper.start()
            join([dropper])

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        run_threads(6, run)
    finally:
        done.set()
        join([collector])
    gc.collect()
    no_objects_left(conn)


def test_proxies_collected_in_the_other_process_during_calls(conn):
    values = [tasks.Counted() for _ in range(200)]

    def run(number):
        for value in values:
            conn.call(tasks.make_cycle_with, across.Local(value))

    run_threads(5, run)
    alive = [weakref.ref(value) for value in values]
    values.clear()
    conn.call(tasks.drop_kept)
    wait_until(lambda: all(ref() is None for ref in alive), 'dropping all objects')


def test_echoes_of_locals_from_threads_never_lose_the_object(conn):
    """Each echo is followed by a DEL_OBJS for the object that the result refers to."""

    def run(number):
        for _ in range(400):
            value = object()
            assert conn.call(tasks.echo, across.Local(value)) is value

    run_threads(8, run)


def test_proxies_sent_and_dropped_at_once_arrive(conn):
    def run(number):
        for turn in range(150):
            assert conn.call(tasks.Counted.get, conn.create(tasks.Counted, turn)) == turn

    run_threads(6, run)
    no_objects_left(conn)
