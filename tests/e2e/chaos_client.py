# SPDX-License-Identifier: MIT
"""One client process of the chaos: `chaos_client.py SOCKET NUMBER CONNECTIONS THREADS SEED`, until standard input ends.

Each call has a number that no other call of any client has, and the ledger `ended-NUMBER` says how it ended. A client
that is not killed prints in the end how many calls it has made: all of them have to be there.
"""

import collections
import contextlib
import faulthandler
import gc
import itertools
import json
import os
import random
import sys
import threading
import zlib

import across
from e2e import chaos_tasks as tasks
from e2e.daemon import close_broken
from e2e.ledger import Ledger
from e2e.waiting import count_fds, list_fds, wait_until

RETURNED, RAISED, DISCONNECTED, WRONG = range(1, 5)  # how a call ended
CALLBACK = 1 << 63  # in the number of what a call calls back
PER_CLIENT = 32  # bits of a number: which call of its client
LARGE = 1 << 20  # bytes
PATIENCE = 60  # seconds that the calls may take which run in the end: a new zygote may be needed for them
DATA = random.Random(0).getrandbits(8 * (LARGE + 4096)).to_bytes(LARGE + 4096, 'little')


class Slot:
    """A connection that is made anew when it has ended; several threads use it."""

    def __init__(self, path):
        self._path = path
        self._lock = threading.Lock()
        self._conn = None

    def get(self):
        with self._lock:
            if self._conn is None:
                self._conn = across.Connection.from_unix(self._path)
            return self._conn

    def drop(self, conn):
        with self._lock:
            if self._conn is conn:
                self._conn = None
        close_broken(conn)

    def close(self):
        if self._conn is not None:
            self.drop(self._conn)


class Client:
    def __init__(self, number):
        folder = os.environ['AX_LEDGERS']
        self._ended = Ledger('{}/ended-{}'.format(folder, number))
        self._numbers = itertools.count(number << PER_CLIENT)
        self.ends = collections.Counter()
        self.made = 0
        self._lock = threading.Lock()
        self.stopping = threading.Event()

    # -- one call

    def do(self, call, check):
        """Make a call with a number of its own: call(number). check(number, result) says whether that is its result."""
        with self._lock:
            number = next(self._numbers)
            self.made += 1
        how = WRONG
        try:
            result = call(number)
            how = RETURNED if check(number, result) else WRONG
            return result
        except tasks.Failure as error:
            how = RAISED if error.args == (number,) else WRONG
            raise
        except across.DisconnectError:
            how = DISCONNECTED
            raise
        finally:
            self._ended.note(number, how)
            with self._lock:
                self.ends[how] += 1
            if how == WRONG:
                print('call {} ended wrong'.format(number), file=sys.stderr)

    def give(self, conn, rnd, size):
        begin = rnd.randrange(4096)
        data = DATA[begin : begin + size]
        self.do(
            lambda number: conn.call(tasks.give_back, number, data),
            lambda number, result: result == (number, zlib.crc32(data), data),
        )

    def give_little(self, conn, rnd):
        self.give(conn, rnd, rnd.randrange(200))

    def give_much(self, conn, rnd):
        self.give(conn, rnd, LARGE)

    def fail(self, conn, rnd):
        with contextlib.suppress(tasks.Failure):
            self.do(lambda number: conn.call(tasks.fail, number), lambda number, result: False)

    def linger(self, conn, rnd):
        seconds = rnd.random() * 0.1
        self.do(
            lambda number: conn.call(tasks.linger, number, seconds),
            lambda number, result: result == number,
        )

    def call_back(self, conn, rnd):
        called = []
        depth = rnd.randrange(3)

        def back(number):
            tasks.note(CALLBACK | number)
            called.append(number)
            if depth:
                self.give(conn, rnd, depth)
            return -number

        self.do(
            lambda number: conn.call(tasks.call_back, number, across.Local(back)),
            lambda number, result: result == (number, -number) and called == [number],
        )

    def use_a_thing(self, conn, rnd):
        made = []

        def make(number):
            made.append(number)
            return conn.create(tasks.Thing, number)

        thing = self.do(make, lambda number, result: isinstance(result, across.Proxy))
        for _ in range(rnd.randrange(3)):
            self.do(thing.get, lambda number, result: result == (number, made[0]))

    # -- all of them

    def run(self, slot, seed):
        rnd = random.Random(seed)
        uses = [self.give_little, self.give_much, self.fail, self.linger, self.call_back, self.use_a_thing]
        while not self.stopping.is_set():
            conn = slot.get()
            try:
                for use in rnd.choices(uses, [60, 1, 12, 2, 15, 10], k=20):
                    use(conn, rnd)
                what = rnd.random()
                if what < 0.01:
                    conn.cancel()
                elif what < 0.02:
                    slot.drop(conn)
            except across.DisconnectError:
                slot.drop(conn)


def run_all(client, path, connections, threads, seed):
    slots = [Slot(path) for _ in range(connections)]
    runners = [
        threading.Thread(target=client.run, args=(slot, (seed << 16) + index * threads + thread), daemon=True)
        for index, slot in enumerate(slots)
        for thread in range(threads)
    ]
    for runner in runners:
        runner.start()
    sys.stdin.read()
    client.stopping.set()
    for runner in runners:
        runner.join(PATIENCE)
        if runner.is_alive():
            faulthandler.dump_traceback(all_threads=True)
            os._exit(3)
    for slot in slots:
        slot.close()


def main():
    path = sys.argv[1]
    number, connections, threads, seed = map(int, sys.argv[2:])
    client = Client(number)
    tasks.open_ledger()
    warm = Slot(path)
    with contextlib.suppress(across.DisconnectError):
        client.give_little(warm.get(), random.Random(0))
    warm.close()
    gc.collect()
    fds = count_fds()
    run_all(client, path, connections, threads, seed)
    gc.collect()
    wait_until(lambda: client.made == sum(client.ends.values()), 'the end of all calls')
    wait_until(lambda: count_fds() <= fds, lambda: 'return to {} descriptors from {}'.format(fds, list_fds()))
    print(json.dumps({'made': client.made}))


if __name__ == '__main__':
    main()
