# SPDX-License-Identifier: MIT
"""Calls on 64 connections while processes of all kinds are killed at random; ledgers tell what became of each call.

`python -m e2e.chaos MINUTES [SEED]` is what `dev/chaos` runs; test_chaos.py has a short form. What has to hold: every
call ends exactly once, as a result, an exception or a DisconnectError. None is run twice, none has another's result.
One that has a result or an exception has run. No call of a client that lives stays without an end. Afterwards
the daemon serves, and has the processes and descriptors that it had before.
"""

import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

import across

from .chaos_client import CALLBACK, DISCONNECTED, PER_CLIENT, RAISED, RETURNED, WRONG
from .daemon import LOG, Daemon, environment
from .ledger import read
from .waiting import GONE, children, name_of, parent_of

PROCESSES, CONNECTIONS, THREADS = 8, 8, 2  # client processes, connections of each, and threads of each connection
PURE = 4  # one client in this many uses the engine in Python
PATIENCE = 120  # seconds in which a client ends whose calls end
ENDS = {RETURNED: 'results', RAISED: 'exceptions', DISCONNECTED: 'disconnects', WRONG: 'wrong'}
KINDS = ['worker', 'keeper', 'zygote', 'client']
WEIGHTS = {'process': [12, 4, 2, 1], 'shared': [2, 1, 2, 2]}  # a shared worker takes all connections with it
# What the log may say when processes are killed.
LINES = LOG + '(the worker, process [0-9]+, .*; connections lost: [0-9]+|cannot start a worker: .*|the zygote, .*)'

Outcome = collections.namedtuple('Outcome', 'ends unknown callbacks')


class Client:
    """A client process, and what became of it."""

    def __init__(self, daemon, folder, number, seed):
        env = environment(os.path.dirname(os.path.dirname(across.__file__)))
        env.update(AX_LEDGERS=folder, ACROSS_ENGINE='pure' if number % PURE == PURE - 1 else 'native')
        words = [daemon.addresses[0][5:], number, CONNECTIONS, THREADS, seed]
        self.number = number
        self.was_killed = False
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'e2e.chaos_client', *map(str, words)],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def kill(self):
        self.was_killed = True
        self.process.kill()
        self.finish()

    def finish(self):
        """Let it finish its calls and exit; return their number."""
        out, err = self.process.communicate(timeout=PATIENCE)
        assert err == b'', 'client {} said {}'.format(self.number, err.decode())
        if not self.was_killed:
            assert self.process.returncode == 0, 'client {}: {}'.format(self.number, self.process.returncode)
            self.made = json.loads(out)['made']


class Chaos:
    """Clients of a daemon, and a thread that kills processes of both."""

    def __init__(self, daemon, isolation, folder, seed):
        self._daemon = daemon
        self._folder = folder
        self._rnd = random.Random(seed)
        self._kinds = random.Random(seed)  # does not depend on how many there were to choose from
        self._weights = WEIGHTS[isolation]
        self._clients = []
        self.gone = []
        self.kills = collections.Counter()

    def start(self):
        for _ in range(PROCESSES):
            self._start_client()

    def _start_client(self):
        number = len(self._clients) + len(self.gone) + 1
        self._clients.append(Client(self._daemon, self._folder, number, self._rnd.getrandbits(32)))

    def _processes(self, kind):
        if kind == 'worker':
            return self._daemon.workers()
        if kind == 'keeper':
            return list(set(map(parent_of, self._daemon.workers())))
        return [pid for pid in children(self._daemon.process.pid) if name_of(pid) == 'acrossd-zygote']

    def kill_one(self):
        (kind,) = self._kinds.choices(KINDS, self._weights)
        if kind == 'client':
            client = self._clients.pop(self._rnd.randrange(len(self._clients)))
            client.kill()
            self.gone.append(client)
            self._start_client()
            self.kills[kind] += 1
        else:
            with contextlib.suppress(IndexError, *GONE):  # there is none at the moment, or not any more
                os.kill(self._rnd.choice(self._processes(kind)), signal.SIGKILL)
                self.kills[kind] += 1

    def finish(self):
        for client in self._clients:
            client.process.stdin.close()
            client.process.stdin = None
        for client in self._clients:
            client.finish()

    def end(self):
        """Whatever state they are in."""
        for client in self._clients:
            client.process.kill()
            client.process.communicate()

    # ---- what became of the calls ----

    def _read_all(self, prefix):
        for name in os.listdir(self._folder):
            if name.startswith(prefix):
                yield from read(os.path.join(self._folder, name))

    def has_disconnected(self):
        """Whether some call has ended with its connection."""
        return any(how == DISCONNECTED for _, how in self._read_all('ended-'))

    def judge(self):
        """Compare what ran with how it ended."""
        ended, ran, callbacks = Table(), Table(), Table()
        for number, how in self._read_all('ended-'):
            ended.add(number, how)
        for number, _ in self._read_all('ran-'):
            (callbacks if number & CALLBACK else ran).add(number & ~CALLBACK, 1)
        for client in self._clients:
            assert ended.count(client.number) == client.made, 'client {} has calls without an end'.format(client.number)
        ends = collections.Counter()
        for number, how in ended:
            ends[ENDS[how]] += 1
            assert how != WRONG, 'call {} ended wrong'.format(number)
            assert how == DISCONNECTED or number in ran, 'call {} has an end, but never ran'.format(number)
        killed = {client.number for client in self.gone}
        unknown = [number for number, _ in ran if number not in ended]
        assert {number >> PER_CLIENT for number in unknown} <= killed, 'calls that ran have no end'
        assert all(number in ran for number, _ in callbacks), 'a call that has not run called back'
        return Outcome(ends, len(unknown), sum(1 for _ in callbacks))


class Table:
    """A byte for each call, by its number. Each may be set once: nothing runs twice, and nothing ends twice."""

    def __init__(self):
        self._clients = collections.defaultdict(bytearray)

    def add(self, number, word):
        calls, index = self._clients[number >> PER_CLIENT], number & (1 << PER_CLIENT) - 1
        if index >= len(calls):
            calls.extend(bytes(index + 1 - len(calls)))
        assert calls[index] == 0, 'call {} is noted as {} and {}'.format(number, calls[index], word)
        calls[index] = word

    def __contains__(self, number):
        calls, index = self._clients.get(number >> PER_CLIENT, b''), number & (1 << PER_CLIENT) - 1
        return index < len(calls) and calls[index] != 0

    def count(self, client):
        calls = self._clients[client]
        return len(calls) - calls.count(0)

    def __iter__(self):
        for client, calls in self._clients.items():
            for index, word in enumerate(calls):
                if word:
                    yield client << PER_CLIENT | index, word


def run(isolation, seed, folder, goes_on, pause):
    """Kill while goes_on(chaos) says so, every `pause` seconds on average. Returns it, and what became of calls."""
    path = os.path.join(folder, 'socket')
    env = dict(environment(), AX_LEDGERS=folder)
    with Daemon('--listen', 'unix:' + path, isolation=isolation, spare=4, env=env) as daemon:
        chaos = Chaos(daemon, isolation, folder, seed)
        rnd = random.Random(seed)
        try:
            chaos.start()
            while goes_on(chaos):
                time.sleep(rnd.expovariate(1 / pause))
                chaos.kill_one()
            chaos.finish()
        finally:
            chaos.end()
        daemon.find_zygote()
        daemon.find_idle_workers()
        daemon.forget_worker()
        daemon.allow_lines(LINES)
        daemon.allow_broken(sys.maxsize)
        with daemon.connect() as conn:
            assert daemon.is_worker(conn.call(os.getpid))
    return chaos, chaos.judge()


def report(isolation, seconds, chaos, outcome):
    calls = sum(outcome.ends.values()) + outcome.unknown
    ends = ', '.join('{} {:,}'.format(word, outcome.ends[word]) for word in ENDS.values())
    kills = ', '.join('{} {:,}'.format(kind, chaos.kills[kind]) for kind in KINDS)
    print('{}: {:,} calls in {:.0f} s, {:,.0f} a second'.format(isolation, calls, seconds, calls / seconds))
    print('  ended: {}; ran for clients that were killed: {:,}'.format(ends, outcome.unknown))
    print('  callbacks: {:,}'.format(outcome.callbacks))
    print('  killed: {}'.format(kills), flush=True)


def main():
    minutes = float(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().getrandbits(32)
    print('seed: {}'.format(seed), flush=True)
    for isolation in ('process', 'shared'):
        with tempfile.TemporaryDirectory() as folder:
            begin = time.monotonic()
            end = begin + minutes * 30
            chaos, outcome = run(isolation, seed, folder, lambda chaos, end=end: time.monotonic() < end, pause=0.2)
            report(isolation, time.monotonic() - begin, chaos, outcome)
    print('chaos: every call ended once, none ran twice, none had the result of another')


if __name__ == '__main__':
    main()
