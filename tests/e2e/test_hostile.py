# SPDX-License-Identifier: MIT
"""What the world does to connections: clocks that are set, processes that are stopped, peers that ask for too much."""

import os
import pickle
import time

import pytest

import across

from .clients import client
from .daemon import RunningCall
from .test_bad_input import GOODBYE, GREETING, HELLO, Raw, apply, message
from .test_limits import ask_status
from .test_supervision import SHORT, stopped
from .waiting import LIMIT, descendants, wait_until

LONG = across.Options(timeout=60)


def count_connections(daemon):
    return ask_status(daemon.addresses[0])['connection_counts']


# ---- stopped, and going on ----


def let_pass(timeouts):
    """Nothing tells that so much time has passed but the time."""
    time.sleep(timeouts * SHORT)


@pytest.mark.parametrize('stop', ['daemon', 'worker'])
def test_a_daemon_that_was_stopped_does_not_blame_its_clients(make_daemon, isolation, stop):
    """What they have sent meanwhile waits for it: it reads that before it looks at the clock."""
    daemon = make_daemon('--timeout', str(SHORT), isolation=isolation)
    conns = [daemon.connect(LONG) for _ in range(8)]
    workers = [conn.call(os.getpid) for conn in conns]
    everybody = [daemon.process.pid, *descendants(daemon.process.pid)]
    calls = [RunningCall(conn) for conn in conns[:4]]
    with stopped(*(everybody if stop == 'daemon' else set(workers))):
        let_pass(3)
    assert all(call.release() for call in calls)
    assert [conn.call(os.getpid) for conn in conns] == workers
    for conn in conns:
        conn.close()


def test_a_daemon_that_was_stopped_does_not_refuse_who_spoke_in_time(make_daemon, isolation):
    """The time for the handshake is over when it goes on, but all of the handshake is there to be read."""
    daemon = make_daemon('--handshake-timeout', str(SHORT), isolation=isolation)
    with Raw.to(daemon) as raw:
        raw.send(HELLO[:7])
        wait_until(lambda: count_connections(daemon)['handshaking'] == 1, 'the handshake')
        with stopped(daemon.process.pid, *descendants(daemon.process.pid)):
            raw.send(HELLO[7:] + apply(1, os.getpid))
            let_pass(3)
        raw.read(16)
        assert raw.read_message()[0][0] == GREETING
        assert daemon.is_worker(pickle.loads(raw.read_message()[1]))
        raw.send(message([GOODBYE]))
        raw.read_to_end()


WAITING = """
options = across.Options(timeout=float(sys.argv[2]))
conns = [across.Connection.from_unix(sys.argv[1], options=options) for _ in range(8)]
threads = [threading.Thread(target=conn.call, args=(tasks.wait_for, 'go on')) for conn in conns[:4]]
for thread in threads:
    thread.start()
for conn in conns:
    conn.call(tasks.add, 1, 2)
print('ready', flush=True)
sys.stdin.readline()
print(*(conn.call(tasks.add, 1, 2) for conn in conns))
for conn in conns:
    conn.call(tasks.set_event, 'go on')
for thread in threads:
    thread.join()
for conn in [*conns, ]:
    conn.close()
"""


def test_a_client_that_was_stopped_does_not_blame_its_server(make_daemon, isolation):
    daemon = make_daemon(isolation=isolation)
    with client(daemon, WAITING, str(SHORT)) as process:
        assert process.stdout.readline() == b'ready\n'
        with stopped(process.pid):
            let_pass(3)
        out, err = process.communicate(b'\n', timeout=LIMIT)
        assert (out.split(), err, process.returncode) == ([b'3'] * 8, b'', 0)
