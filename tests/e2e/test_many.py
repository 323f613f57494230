# SPDX-License-Identifier: MIT
"""Many connections at once, and clients that fork: costs, and which process owns a connection."""

import contextlib
import gc
import os
import signal

import pytest

from .clients import client, run_client
from .test_limits import raised_file_limit
from .waiting import SLACK, count_fds, count_threads, is_alive, wait_until

# ---- thousands of connections ----

COUNT = 1000
MOST_BYTES = 8000  # at the server, for each connection that is idle
FEW = 32  # threads, however many connections there are: those that served calls stay for some seconds


def own_memory(*pids):
    """Bytes: what these processes have for themselves, and their share of the rest."""
    total = 0
    for pid in pids:
        with open('/proc/{}/smaps_rollup'.format(pid)) as file:
            total += sum(int(line.split()[1]) << 10 for line in file if line.startswith('Pss:'))
    return total


@contextlib.contextmanager
def many_connections(daemon, count):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(daemon.connect()) for _ in range(count)]


def test_a_thousand_connections_take_a_handful_of_threads_and_kilobytes(make_daemon):
    with raised_file_limit() as files:
        if files < 4 * COUNT:
            pytest.skip('not enough open files for {} connections'.format(COUNT))
        daemon = make_daemon(isolation='shared')
        gc.collect()
        threads, memory = count_threads(), own_memory(daemon.process.pid, daemon.worker)
        with many_connections(daemon, COUNT) as conns:
            assert all(conn.call(os.getpid) == daemon.worker for conn in conns)
            assert count_threads() <= threads + FEW
            assert count_threads(daemon.worker) <= FEW
            wait_until(lambda: count_fds(daemon.worker) <= COUNT + FEW, 'one descriptor for each')
            assert own_memory(daemon.process.pid, daemon.worker) - memory < COUNT * MOST_BYTES * SLACK


# ---- clients that fork ----

FORK = """
import gc, multiprocessing, warnings
warnings.filterwarnings('ignore', 'This process .* is multi-threaded, use of fork', DeprecationWarning)
fork = multiprocessing.get_context('fork')

def run_child(func, *args):
    child = fork.Process(target=func, args=args)
    child.start()
    child.join(30)
    return child.exitcode

def error_of(func, *args):
    try:
        return func(*args)
    except Exception as error:
        return '{}: {}'.format(type(error).__name__, error)

SENTENCE = 'DisconnectError: The connection belongs to the process that this one was forked from'
"""


def test_a_copy_in_a_forked_child_is_dead_and_says_so(daemon):
    words = run_client(
        daemon,
        FORK
        + """
point = conn.create(tasks.Point, 1, 2)

def child():
    for func, *args in [(conn.call, os.getpid), (conn.create, list), (point.sum,), (conn.execute, '1'), (conn.wait,)]:
        found = error_of(func, *args)
        assert found == SENTENCE, found
    assert not conn.is_connected()
    conn.cancel()
    conn.close()

code = run_child(child)
print(code, point.sum(), conn.is_connected())
conn.close()
""",
    )
    assert words == ['0', '3', 'True']


def test_what_a_forked_child_drops_stays_with_its_parent(daemon):
    """A proxy that the garbage collector finds in a child releases nothing."""
    words = run_client(
        daemon,
        FORK
        + """
proxies = conn.call(tasks.make_counted, 10)

def child():
    proxies.clear()
    gc.collect()

code = run_child(child)
print(code, conn.call(tasks.count_live), sum(proxy.get() for proxy in proxies))
conn.close()
""",
    )
    assert words == ['0', '10', '45']


def test_a_pool_of_forked_children_with_connections_of_their_own(daemon):
    words = run_client(
        daemon,
        FORK
        + """
def work(number):
    with across.Connection.from_unix(sys.argv[1]) as own:
        return own.call(tasks.add, number, own.call(len, 'abc'))

with fork.Pool(3) as pool:
    found = pool.map(work, range(12))
    pool.close()
    pool.join()
print(found == [number + 3 for number in range(12)], conn.call(tasks.add, 1, 2))
conn.close()
""",
    )
    assert words == ['True', '3']


def test_forks_in_the_middle_of_calls_disturb_nobody(shared_daemon):
    """Whatever locks other threads held at that moment: children live, and so do the calls of those threads."""
    words = run_client(
        shared_daemon,
        FORK
        + """
done = threading.Event()
errors = []

def churn(number):
    try:
        while not done.is_set():
            assert conn.call(tasks.echo, number) == number
            assert conn.call(tasks.call_back, across.Local(lambda: number)) == number
            proxy = conn.create(tasks.Counted, number)
            assert proxy.get() == number
    except BaseException as error:
        errors.append(error)

def child():
    assert error_of(conn.call, os.getpid).startswith('DisconnectError')
    gc.collect()
    with across.Connection.from_unix(sys.argv[1]) as own:
        assert own.call(tasks.add, 1, 2) == 3

threads = [threading.Thread(target=churn, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
codes = [run_child(child) for _ in range(20)]
done.set()
for thread in threads:
    thread.join()
print(set(codes), errors, conn.call(tasks.add, 1, 2))
conn.close()
""",
    )
    assert words == ['{0}', '[]', '3']


OUTLIVED = """
conn.call(tasks.add, 1, 2)
pid = os.fork()
if pid == 0:
    signal.pause()
print(pid, flush=True)
signal.pause()
"""


def test_a_connection_ends_with_its_process_whatever_children_go_on(daemon):
    """They have no copies of its descriptors."""
    with client(daemon, FORK + 'import signal' + OUTLIVED) as process:
        child = int(process.stdout.readline())
        try:
            process.kill()
            process.wait()
            daemon.expect_broken()
            assert is_alive(child)
        finally:
            os.kill(child, signal.SIGKILL)
