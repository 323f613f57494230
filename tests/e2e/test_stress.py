# SPDX-License-Identifier: MIT
"""Many threads, calls, callbacks, proxies and connections at the same time: every result is the one that was asked for.

What is left behind in the daemon is checked when it stops, and here by counting the objects that live.
"""

import concurrent.futures
import hashlib
import random
import threading

import pytest

import across

from . import remote_tasks as tasks
from .waiting import wait_until

THREADS = 6
TURNS = 300


def call_with_values(conn, rnd, number):
    assert conn.call(tasks.echo, (number, str(number))) == (number, str(number))
    data = rnd.getrandbits(8 * 40000).to_bytes(40000, 'little')[: rnd.randrange(40000)]
    assert hashlib.sha256(conn.call(tasks.echo, data)).digest() == hashlib.sha256(data).digest()


def call_back(conn, rnd, number):
    assert conn.call(tasks.call_back, across.Local(lambda value: (value, number)), -number) == (-number, number)


def call_in_circles(conn, rnd, number):
    depth = rnd.randrange(6)
    assert len(conn.call(tasks.ping_pong, depth)) == depth + 1


def call_and_raise(conn, rnd, number):
    with pytest.raises(ValueError, match='^number {}$'.format(number)):
        conn.call(tasks.raise_value_error, 'number {}'.format(number))


def use_remote_objects(conn, rnd, number):
    items = conn.create(list)
    for value in range(4):
        items.append(number + value)
    assert [items[index] for index in range(len(items))] == [number + value for value in range(4)]
    proxies = conn.call(tasks.make_counted, 5)
    assert [proxy.get() for proxy in proxies] == list(range(5))
    assert proxies[3].me().get() == 3


def lend_own_objects(conn, rnd, number):
    mine = [number]
    assert conn.call(tasks.echo, across.Local(mine)) is mine
    assert conn.call(tasks.sum_of, across.ref([number, 1, 2])) == number + 3


USES = [call_with_values, call_back, call_in_circles, call_and_raise, use_remote_objects, lend_own_objects]


def use_in_random_order(conn, seed):
    rnd = random.Random(seed)
    for turn in range(TURNS):
        rnd.choice(USES)(conn, rnd, seed * TURNS + turn)


def run_together(functions):
    """Run them all at once, and raise what any of them raised."""
    barrier = threading.Barrier(len(functions))

    def run(function):
        barrier.wait(30)
        function()

    with concurrent.futures.ThreadPoolExecutor(len(functions)) as executor:
        for future in [executor.submit(run, function) for function in functions]:
            future.result(60)


def check_nothing_lives(server):
    with server.connect() as conn:
        wait_until(lambda: conn.call(tasks.count_live) == 0, 'the release of all objects')


def test_threads_share_a_connection(server):
    with server.connect() as conn:
        run_together([lambda seed=seed: use_in_random_order(conn, seed) for seed in range(THREADS)])
        wait_until(lambda: conn.call(tasks.count_live) == 0, 'the release of all objects')


def test_threads_with_connections_of_their_own(make_daemon, isolation):
    daemon = make_daemon(isolation=isolation)

    def use(seed):
        with daemon.connect() as conn:
            use_in_random_order(conn, seed)

    run_together([lambda seed=seed: use(seed) for seed in range(THREADS)])
    check_nothing_lives(daemon)


@pytest.mark.more
def test_connections_come_and_go_while_others_work(make_daemon, isolation):
    daemon = make_daemon(isolation=isolation)
    turns = TURNS if isolation == 'shared' else TURNS // 5  # a worker for each takes some milliseconds

    def come_and_go(seed):
        rnd = random.Random(seed)
        for number in range(turns):
            with daemon.connect() as conn:
                rnd.choice(USES)(conn, rnd, number)

    def come_and_break(seed):
        for number in range(turns):
            conn = daemon.connect()
            assert conn.call(tasks.add, seed, number) == seed + number
            kept = conn.call(tasks.make_counted, 2)
            conn.cancel()
            conn.close()
            assert len(kept) == 2 and not conn.is_connected()

    with daemon.connect() as shared:
        run_together(
            [lambda seed=seed: use_in_random_order(shared, seed) for seed in range(3)]
            + [lambda seed=seed: come_and_go(seed) for seed in range(3, 6)]
            + [lambda: come_and_break(6)]
        )
    check_nothing_lives(daemon)
    daemon.expect_cancelled(turns)
