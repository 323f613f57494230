# SPDX-License-Identifier: MIT
"""Every way for a worker to die: what its client and the log are told, and that others do not notice."""

import concurrent.futures
import contextlib
import inspect
import os
import pickle
import random
import re
import signal
import threading

import pytest

import across

from . import deadly_tasks as deadly
from . import remote_tasks as tasks
from .daemon import LOG, RunningCall, bystanders, close_broken, environment
from .test_bad_input import Raw, apply
from .waiting import LIMIT, SLACK, is_alive, wait_until

CORE = '(, and left a core dump)?'
DIED = 'Connection was remotely closed: The worker, process {}, {}'


def signalled(number, name):
    return 'was killed by signal {} [(]{}[)]'.format(number, name)


KILLED = signalled(9, 'Killed')
DEATHS = [
    pytest.param(deadly.segfault, (), signalled(11, 'Segmentation fault') + CORE, id='segfault'),
    pytest.param(deadly.overflow_stack, (), signalled(11, 'Segmentation fault') + CORE, id='stack'),
    pytest.param(os.abort, (), signalled(6, 'Aborted') + CORE, id='abort'),
    pytest.param(os._exit, (3,), 'exited with status 3', id='exit-3'),
    pytest.param(os._exit, (0,), 'exited with status 0', id='exit-0'),
    pytest.param(signal.raise_signal, (signal.SIGKILL,), KILLED, id='kill'),
    pytest.param(signal.raise_signal, (signal.SIGTERM,), signalled(15, 'Terminated'), id='term'),
]


def check_died(error, worker, how):
    """A call's error says which worker has died, and how."""
    assert type(error) is across.DisconnectError
    assert re.fullmatch(DIED.format(worker, how), str(error)), str(error)


def check_new_connections(daemon):
    with daemon.connect() as conn:
        assert daemon.is_worker(conn.call(os.getpid))


# ---- deaths in a call ----


@pytest.mark.parametrize('func, args, how', DEATHS)
def test_a_death_costs_its_own_connection_only(daemon, func, args, how):
    with bystanders(daemon):
        conn = daemon.connect()
        worker = conn.call(os.getpid)
        waiting = RunningCall(conn)
        with pytest.raises(across.DisconnectError) as caught:
            conn.call(func, *args)
        check_died(caught.value, worker, how)
        check_died(waiting.error(), worker, how)
        assert not conn.is_connected()
        close_broken(conn)
        daemon.expect_lost(worker, how)
        check_new_connections(daemon)


@pytest.mark.parametrize('func, args, how', DEATHS)
def test_a_death_of_the_shared_worker_is_told_to_everybody(shared_daemon, func, args, how):
    daemon = shared_daemon
    worker = daemon.worker
    conns = [daemon.connect() for _ in range(3)]
    calls = [RunningCall(conn) for conn in conns]
    conns[0].call(deadly.settle)
    with pytest.raises(across.DisconnectError) as caught:
        conns[0].call(func, *args)
    check_died(caught.value, worker, how)
    for conn, call in zip(conns, calls):
        check_died(call.error(), worker, how)
        close_broken(conn)
    daemon.expect_lost(worker, how, connections=3)
    assert daemon.worker != worker


def test_an_exit_from_a_call_is_no_death(make_daemon, isolation):
    daemon = make_daemon(isolation=isolation)
    with bystanders(daemon), daemon.connect() as conn:
        worker = conn.call(os.getpid)
        for status in (0, 3, 'text'):
            with pytest.raises(SystemExit) as caught:
                conn.call(tasks.raise_system_exit, status)
            assert caught.value.code == status
        assert conn.call(os.getpid) == worker


# ---- memory ----

MEMORY = ('--worker-memory', '256M')
OUT_OF_MEMORY = 'ran out of the memory that --worker-memory allows'
limits_memory = pytest.mark.skipif(SLACK > 1, reason='AddressSanitizer needs more than the limit')


@limits_memory
def test_a_worker_without_memory_costs_its_own_connection_only(make_daemon):
    daemon = make_daemon(*MEMORY)
    with bystanders(daemon):
        conn = daemon.connect()
        worker = conn.call(os.getpid)
        with pytest.raises(across.DisconnectError) as caught:
            conn.call(deadly.take_memory, 1 << 30)
        check_died(caught.value, worker, OUT_OF_MEMORY)
        close_broken(conn)
        daemon.expect_lost(worker, OUT_OF_MEMORY)
        check_new_connections(daemon)


@limits_memory
def test_a_memory_error_of_the_shared_worker_is_its_calls(make_daemon):
    daemon = make_daemon(*MEMORY, isolation='shared')
    with bystanders(daemon), daemon.connect() as conn:
        with pytest.raises(MemoryError):
            conn.call(deadly.take_memory, 1 << 30)
        assert conn.call(tasks.add, 1, 2) == 3


@limits_memory
def test_a_memory_error_that_a_call_handles_is_no_matter(make_daemon, isolation):
    daemon = make_daemon(*MEMORY, isolation=isolation)
    with daemon.connect() as conn:
        worker = conn.call(os.getpid)
        assert conn.call(deadly.try_to_take_memory, 1 << 30) == 'not so much'
        assert conn.call(deadly.try_to_take_memory, 1 << 20) == 1 << 20
        assert conn.call(os.getpid) == worker


# ---- deaths at other times ----


def test_a_death_when_idle_ends_the_connection_at_once(make_daemon, isolation):
    daemon = make_daemon(isolation=isolation)
    conn = daemon.connect()
    worker = conn.call(os.getpid)
    wait_until(lambda: conn.call(tasks.add, 1, 2) == 3, 'a result')
    os.kill(worker, signal.SIGKILL)
    conn.wait()
    assert not conn.is_connected()
    with pytest.raises(across.DisconnectError, match=r'^Connection was .*'):
        conn.call(os.getpid)
    close_broken(conn)
    daemon.expect_killed(worker)
    check_new_connections(daemon)


def test_a_death_while_the_client_is_called_back(make_daemon, isolation):
    """The function that was called back goes on, in the thread of the call, which fails when it has returned."""
    daemon = make_daemon(isolation=isolation)
    conn = daemon.connect()
    worker = conn.call(os.getpid)
    started, killed, done = threading.Event(), threading.Event(), threading.Event()

    def back():
        started.set()
        killed.wait(LIMIT)
        done.set()

    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        call = executor.submit(conn.call, tasks.call_back, across.Local(back))
        assert started.wait(LIMIT)
        with pytest.raises(across.DisconnectError):
            conn.call(os.kill, worker, signal.SIGKILL)
        assert not done.is_set()
        killed.set()
        check_died(call.exception(LIMIT), worker, KILLED)
        assert done.is_set()
    close_broken(conn)
    daemon.expect_killed(worker)


def test_a_death_after_a_call_back(make_daemon, isolation):
    daemon = make_daemon(isolation=isolation)
    conn = daemon.connect()
    worker = conn.call(os.getpid)
    called = []
    with pytest.raises(across.DisconnectError) as caught:
        conn.call(deadly.call_then_die, across.Local(lambda: called.append(1)), signal.SIGKILL)
    check_died(caught.value, worker, KILLED)
    assert called == [1]
    close_broken(conn)
    daemon.expect_killed(worker)


def test_a_death_in_the_middle_of_a_message_adds_nothing_to_it(make_daemon, isolation):
    """What comes after a part of a message would be taken for the rest of it: so the stream just ends."""
    size = 64 << 20
    daemon = make_daemon(isolation=isolation)
    with bystanders(daemon) if isolation == 'process' else contextlib.nullcontext(), Raw.to(daemon) as raw:
        raw.greet()
        raw.send(apply(1, os.getpid))
        worker = pickle.loads(raw.read_message()[1])
        raw.send(apply(2, tasks.make_bytes, size))
        raw.read(1 << 20)
        os.kill(worker, signal.SIGKILL)
        rest = raw.read_to_end()
        assert len(rest) < size and not rest.strip(b'\0')
        daemon.expect_killed(worker)


def test_a_client_learns_of_a_death_in_the_middle_of_a_message(make_daemon, isolation):
    daemon = make_daemon(isolation=isolation)
    conn = daemon.connect()
    worker = conn.call(os.getpid)
    killing = threading.Timer(0, os.kill, (worker, signal.SIGKILL))
    with pytest.raises(across.DisconnectError):
        killing.start()
        while True:
            assert len(conn.call(tasks.make_bytes, 1 << 24)) == 1 << 24
    killing.join()
    close_broken(conn)
    daemon.expect_killed(worker)


# ---- deaths before there is a connection ----


def kill_spare(daemon, worker):
    """Kill a worker without a connection. It may not have been ready yet."""
    os.kill(worker, signal.SIGKILL)
    ready = 'the worker, process {}, {}; connections lost: 0'.format(worker, KILLED)
    daemon.expect(LOG + '({}|cannot start a worker: {})'.format(ready, KILLED))


AT_FORK = """
import os
def after():
    try:
        action = open({!r}).read()
    except FileNotFoundError:
        return
    exec(action)
os.register_at_fork(after_in_child=after)
"""


@pytest.fixture
def at_fork(tmp_path):
    """A preloaded module that runs what is in a file in each new worker: the options for it, and the file."""
    path = tmp_path / 'action'
    (tmp_path / 'hook.py').write_text(AT_FORK.format(str(path)))
    return {'env': environment(str(tmp_path))}, path


@pytest.mark.parametrize(
    'action, how',
    [('os.kill(os.getpid(), 9)', KILLED), ('os._exit(3)', 'exited with status 3')],
    ids=['kill', 'exit'],
)
def test_workers_that_die_at_once_make_connections_wait(make_daemon, isolation, at_fork, action, how):
    """Attempts go on, ever more slowly; and when one works, all who waited are served."""
    kwargs, path = at_fork
    daemon = make_daemon('--preload', 'hook', isolation=isolation, **kwargs)
    (worker,) = daemon.find_idle_workers()
    path.write_text(action)
    kill_spare(daemon, worker)
    daemon.expect(LOG + 'cannot start a worker: {}'.format(how))
    with concurrent.futures.ThreadPoolExecutor(3) as executor:
        calls = [executor.submit(call_once, daemon) for _ in range(3)]
        daemon.expect(LOG + 'cannot start a worker: {}'.format(how))
        assert not any(call.done() for call in calls)
        path.unlink()
        assert [call.result(LIMIT) for call in calls] == [3] * 3
    daemon.forget_worker()
    daemon.allow_lines(LOG + 'cannot start a worker: .*')


def test_who_waits_too_long_for_a_worker_is_told(make_daemon, at_fork):
    kwargs, path = at_fork
    daemon = make_daemon('--preload', 'hook', '--handshake-timeout', '3', **kwargs)
    (worker,) = daemon.find_idle_workers()
    path.write_text('os._exit(3)')
    kill_spare(daemon, worker)
    conn = daemon.connect()
    with pytest.raises(across.DisconnectError, match='No worker was ready in the time that a handshake may take'):
        conn.call(os.getpid)
    close_broken(conn)
    daemon.expect(LOG + 'connection [0-9]+ from .* was refused: No worker was ready in the time .*')
    path.unlink()
    wait_until(lambda: len(daemon.workers()) == 1, 'a worker')
    daemon.allow_lines(LOG + 'cannot start a worker: .*')


def test_a_worker_that_hangs_before_it_is_ready_is_replaced(make_daemon, tmp_path, at_fork):
    kwargs, path = at_fork
    hangs, gate = tmp_path / 'hangs', tmp_path / 'gate'
    os.mkfifo(gate)
    daemon = make_daemon('--preload', 'hook', **kwargs)
    with daemon.connect() as conn:
        (spare,) = set(daemon.find_workers(2)) - {conn.call(os.getpid)}
        path.write_text('open({!r}, "w").close(); open({!r})'.format(str(hangs), str(gate)))
        kill_spare(daemon, spare)
        wait_until(hangs.exists, 'a worker that hangs')
        path.unlink()
        daemon.expect(LOG + 'cannot start a worker: it did not answer in time')
        check_new_connections(daemon)
        assert conn.call(tasks.add, 1, 2) == 3


def test_a_hook_that_raises_is_told_and_does_no_harm(make_daemon, tmp_path):
    (tmp_path / 'hook.py').write_text(
        'import os\ndef after():\n    raise ValueError("of no matter")\nos.register_at_fork(after_in_child=after)\n'
    )
    daemon = make_daemon('--preload', 'hook', env=environment(str(tmp_path)))
    check_new_connections(daemon)
    for _ in range(3):  # the warm-up's worker, that one, and at least one spare one
        daemon.expect('ValueError: of no matter')
    daemon.allow_lines('Exception ignored in.*|ValueError: of no matter|Traceback .*|  .*')


HOOKS = """
import os
path = {!r}
def note(when):
    with open(path, 'a') as file:
        file.write('{{}} {{}}\\n'.format(when, os.getpid()))
os.register_at_fork(
    before=lambda: note('before'),
    after_in_parent=lambda: note('parent'),
    after_in_child=lambda: note('child'),
)
"""


def test_hooks_before_a_fork_run_once_and_those_after_it_in_each_worker(make_daemon, tmp_path):
    """No Python runs in the zygote between two forks, and none in a keeper."""
    path = tmp_path / 'notes'
    (tmp_path / 'hook.py').write_text(HOOKS.format(str(path)))
    daemon = make_daemon('--preload', 'hook', env=environment(str(tmp_path)))
    workers = set()
    for _ in range(3):
        with daemon.connect() as conn:
            workers.add(conn.call(os.getpid))
    notes = [tuple(line.split()) for line in path.read_text().splitlines()]
    befores = [pid for when, pid in notes if when == 'before']
    children = [int(pid) for when, pid in notes if when == 'child']
    assert len(befores) == 1 and notes[0] == ('before', befores[0])
    assert workers <= set(children) and len(children) == len(set(children))
    assert 'parent' not in dict(notes)


LARGE_PAGE = 2 * 1024 * 1024


def is_in_a_whole_large_page(obj):
    """Whether all addresses of the large page in which this object lies are of one mapping."""
    begin = id(obj) // LARGE_PAGE * LARGE_PAGE
    with open('/proc/self/maps') as file:
        maps = [[int(number, 16) for number in line.split()[0].split('-')] for line in file]
    return any(first <= begin and begin + LARGE_PAGE <= end for first, end in maps)


@pytest.mark.skipif('PYTHONMALLOC' in os.environ, reason='Python does not use arenas then')
def test_objects_that_all_workers_share_lie_in_large_pages(daemon):
    """As many as the zygote has filled by its end: its first objects do."""
    with daemon.connect() as conn:
        source = 'import enum, os, sys\nLARGE_PAGE = {}\n{}\n[{}(obj) for obj in (os, os.__dict__, sys.path, enum)]'
        function = is_in_a_whole_large_page
        lies = conn.execute(source.format(LARGE_PAGE, inspect.getsource(function), function.__name__))
    assert lies == [True] * 4


# ---- spare workers ----


def call_once(daemon):
    with daemon.connect() as conn:
        return conn.call(tasks.add, 1, 2)


@pytest.mark.parametrize('spare', [0, 1, 3])
def test_so_many_spare_workers_wait(make_daemon, spare):
    daemon = make_daemon(spare=spare)
    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(daemon.connect()) for _ in range(3)]
        used = {conn.call(os.getpid) for conn in conns}
        assert len(used) == 3
        assert used < set(daemon.find_workers(3 + spare)) or spare == 0
    daemon.find_workers(spare)


def test_a_spare_worker_that_was_killed_is_replaced(make_daemon):
    daemon = make_daemon(spare=3)
    before = daemon.find_idle_workers()
    kill_spare(daemon, before[1])
    wait_until(lambda: not is_alive(before[1]), 'its end')
    assert set(before) - set(daemon.find_idle_workers()) == {before[1]}
    assert call_once(daemon) == 3


# ---- deaths at random ----

CONNECTIONS = 300


def test_workers_are_killed_at_random_under_load(make_daemon, isolation):
    """Every call gets its result or a DisconnectError, and nothing hangs."""
    daemon = make_daemon(spare=3, isolation=isolation) if isolation == 'process' else make_daemon(isolation='shared')
    rnd = random.Random(7)
    served, stop, killed = threading.Semaphore(0), threading.Event(), []

    def use(number):
        conn = daemon.connect()
        try:
            for turn in range(10):
                assert conn.call(tasks.add, number, turn) == number + turn
                assert conn.call(tasks.call_back, across.Local(lambda: number)) == number
                assert len(conn.call(tasks.make_bytes, 100000)) == 100000
            return 'done'
        except across.DisconnectError:
            return 'broken'
        finally:
            close_broken(conn)
            served.release()

    def kill():
        while not stop.is_set():
            for _ in range(rnd.randrange(1, 8)):
                served.acquire()
            workers = daemon.workers()
            if workers and not stop.is_set():
                killed.append(rnd.choice(workers))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(killed[-1], signal.SIGKILL)

    killing = threading.Thread(target=kill)
    with concurrent.futures.ThreadPoolExecutor(8) as executor:
        killing.start()
        uses = [executor.submit(use, number) for number in range(CONNECTIONS)]
        results = [call.result(60) for call in uses]
        stop.set()
        served.release(8)
        killing.join()
    assert results.count('done') + results.count('broken') == CONNECTIONS
    assert results.count('done') > 0 and results.count('broken') > 0 and len(killed) > 20
    daemon.forget_worker()
    daemon.allow_lines(
        LOG + '(the worker, process [0-9]+, {}; connections lost: [0-9]+|cannot start a worker: .*)'.format(KILLED)
    )
    assert call_once(daemon) == 3
