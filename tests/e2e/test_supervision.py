# SPDX-License-Identifier: MIT
"""Each process of acrossd, and a client, is killed or stopped: which others notice, and what is left behind."""

import concurrent.futures
import contextlib
import os
import signal
import threading

import pytest

import across

from . import deadly_tasks as deadly
from . import remote_tasks as tasks
from .clients import client
from .daemon import LOG, RunningCall, bystanders, close_broken
from .test_status import ask_json
from .waiting import LIMIT, is_alive, is_stopped, wait_until

KILLED = 'was killed by signal 9 [(]Killed[)]'
SHORT = 1.5  # seconds: a timeout that is to be over, but not for bystanders on a busy host
BEARABLE = 2  # seconds: one that is not to be over, on a busy host


def check_new_connections(daemon):
    with daemon.connect() as conn:
        assert daemon.is_worker(conn.call(os.getpid))


def wait_for_end(*pids):
    wait_until(lambda: not any(map(is_alive, pids)), lambda: 'the end of {}'.format(list(filter(is_alive, pids))))


@contextlib.contextmanager
def stopped(*pids):
    """These processes are stopped meanwhile."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda pid=pid: is_stopped(pid), 'the stop of {}'.format(pid))
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


# ---- killed ----


def test_nothing_of_a_killed_worker_is_left(make_daemon, isolation):
    """Neither are processes that it has made daemons; those of other workers are."""
    daemon = make_daemon(isolation=isolation)
    with bystanders(daemon) if isolation == 'process' else contextlib.nullcontext():
        conn = daemon.connect()
        worker = conn.call(os.getpid)
        daemons = [conn.call(deadly.start_daemon) for _ in range(3)]
        assert all(map(is_alive, daemons))
        os.kill(worker, signal.SIGKILL)
        conn.wait()
        close_broken(conn)
        wait_for_end(worker, *daemons)
        daemon.expect_killed(worker)


def test_a_client_whose_worker_died_before_it_began_gets_another_one(make_daemon, isolation):
    daemon = make_daemon(isolation=isolation)
    (worker,) = daemon.find_idle_workers()
    wait_until(lambda: is_ready(daemon, worker), 'a worker that can be given connections')
    with concurrent.futures.ThreadPoolExecutor(3) as executor:
        with stopped(worker):
            conns = [daemon.connect() for _ in range(3)]
            calls = [executor.submit(conn.call, os.getpid) for conn in conns]
            status = [worker] if isolation == 'process' else [worker] * 3
            wait_until(lambda: served_by(daemon, worker) == status, 'handing over to a stopped worker')
            os.kill(worker, signal.SIGKILL)
        found = [call.result(LIMIT) for call in calls]
    assert worker not in found and all(map(daemon.is_worker, found))
    daemon.expect_lost(worker, connections=0)
    for conn in conns:
        conn.close()


def is_ready(daemon, worker):
    found = ask_json(daemon.addresses[0])['workers']
    return [entry['pid'] for entry in found if entry['state'] != 'starting'] == [worker]


def served_by(daemon, worker):
    """The connections that this worker has, as the supervisor sees it."""
    found = ask_json(daemon.addresses[0])['connections']
    return [connection['worker'] for connection in found if connection['worker'] == worker]


def test_processes_that_other_workers_started_go_on(daemon):
    with daemon.connect() as other:
        theirs = other.call(deadly.start_daemon)
        conn = daemon.connect()
        worker, ours = conn.call(os.getpid), conn.call(deadly.start_daemon)
        os.kill(worker, signal.SIGKILL)
        wait_for_end(worker, ours)
        close_broken(conn)
        daemon.expect_killed(worker)
        assert is_alive(theirs)
    wait_for_end(theirs)


def test_nothing_is_left_of_a_worker_whose_connection_has_ended(daemon):
    with daemon.connect() as conn:
        left = [conn.call(os.getpid), conn.call(deadly.start_daemon), conn.call(deadly.start_daemon)]
        left.append(daemon.keeper_of(left[0]))
    wait_for_end(*left)


ENEMIES = {
    'junk': 'wrote junk to its control socket, and was killed',
    'close': 'ended together with its keeper',
    'kill': 'ended together with its keeper',
}


@pytest.mark.parametrize('way', ENEMIES)
def test_nothing_is_left_of_a_worker_that_stops_its_keeper(make_daemon, isolation, tmp_path, way):
    """User code and its worker's keeper may be the same user, so that one can stop or kill the other."""
    gate = str(tmp_path / 'gate')
    os.mkfifo(gate)
    daemon = make_daemon(isolation=isolation)
    with bystanders(daemon) if isolation == 'process' else contextlib.nullcontext():
        conn = daemon.connect()
        worker = conn.call(os.getpid)
        keeper = daemon.keeper_of(worker)
        left = [conn.call(deadly.start_daemon), conn.call(deadly.fork_enemy, gate, way)]
        os.close(os.open(gate, os.O_WRONLY))
        wait_for_end(worker, keeper, *left)
        conn.wait()
        close_broken(conn)
        daemon.expect_lost(worker, '({}|{})'.format(ENEMIES[way], KILLED))
    check_new_connections(daemon)


def test_forked_processes_do_not_get_the_control_socket(make_daemon, isolation):
    with make_daemon(isolation=isolation).connect() as conn:
        assert conn.call(deadly.find_control_socket) is not None
        assert conn.call(deadly.in_child, deadly.find_control_socket) == 'None'
        assert conn.call(deadly.in_program) == ''


def test_a_killed_keeper_takes_its_worker_along(make_daemon, isolation):
    daemon = make_daemon(isolation=isolation)
    with bystanders(daemon) if isolation == 'process' else contextlib.nullcontext():
        conn = daemon.connect()
        call = RunningCall(conn)
        worker, left = conn.call(os.getpid), conn.call(deadly.start_daemon)
        keeper = daemon.keeper_of(worker)
        os.kill(keeper, signal.SIGKILL)
        assert type(call.error()) is across.DisconnectError
        close_broken(conn)
        wait_for_end(keeper, worker, left)
        daemon.expect_lost(worker, 'ended together with its keeper')
        check_new_connections(daemon)


def test_a_killed_zygote_is_replaced(make_daemon, isolation):
    daemon = make_daemon(isolation=isolation)
    with bystanders(daemon), daemon.connect() as conn:
        worker, started = conn.call(os.getpid), conn.call(deadly.start_daemon)
        for _ in range(3):
            zygote = daemon.find_zygote()
            os.kill(zygote, signal.SIGKILL)
            daemon.expect(LOG + 'the zygote, process {}, {}'.format(zygote, KILLED))
            wait_for_end(zygote)
            for _ in range(2):
                check_new_connections(daemon)
        assert daemon.find_zygote() != zygote
        assert conn.call(os.getpid) == worker and is_alive(started)
        os.kill(started, signal.SIGKILL)
        wait_for_end(started)
    daemon.find_idle_workers()
    daemon.allow_lines(LOG + 'cannot start a worker: ended together with its keeper')  # one that was just being forked


def test_a_worker_that_outlives_its_zygote_is_watched_as_before(daemon):
    conn = daemon.connect()
    worker, left = conn.call(os.getpid), conn.call(deadly.start_daemon)
    zygote = daemon.find_zygote()
    os.kill(zygote, signal.SIGKILL)
    daemon.expect(LOG + 'the zygote, process {}, {}'.format(zygote, KILLED))
    wait_for_end(zygote)
    os.kill(worker, signal.SIGKILL)
    conn.wait()
    close_broken(conn)
    wait_for_end(worker, left)
    daemon.expect_killed(worker)
    check_new_connections(daemon)


def kill_supervisor(daemon):
    daemon.send_signal(signal.SIGKILL)
    daemon.join(-signal.SIGKILL)


@pytest.mark.parametrize('before', ['nothing', 'zygote killed'])
def test_nothing_is_left_of_a_killed_supervisor(make_daemon, isolation, before):
    """Whichever other process was killed before. Its socket is left, and the next acrossd replaces it."""
    daemon = make_daemon(isolation=isolation)
    conns = [daemon.connect() for _ in range(2)]
    calls = [RunningCall(conn) for conn in conns]
    left = [conn.call(deadly.start_daemon) for conn in conns]
    workers = [conn.call(os.getpid) for conn in conns]
    with stopped(daemon.process.pid) if before != 'nothing' else contextlib.nullcontext():
        if before == 'zygote killed':
            os.kill(daemon.find_zygote(), signal.SIGKILL)
        kill_supervisor(daemon)
    for call in calls:
        assert type(call.error()) is across.DisconnectError
    for conn in conns:
        close_broken(conn)
    wait_for_end(*workers, *left)
    again = make_daemon(listen=[daemon.addresses[0]], isolation=isolation)
    check_new_connections(again)


@pytest.mark.parametrize('stop', ['worker', 'keeper', 'zygote', 'daemon', 'all'])
def test_nothing_is_left_of_a_killed_supervisor_whose_processes_are_stopped(make_daemon, isolation, stop):
    daemon = make_daemon(isolation=isolation)
    conn = daemon.connect()
    worker, started = conn.call(os.getpid), conn.call(deadly.start_daemon)
    found = {'worker': worker, 'keeper': daemon.keeper_of(worker), 'zygote': daemon.find_zygote(), 'daemon': started}
    pids = list(found.values()) if stop == 'all' else [found[stop]]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda pid=pid: is_stopped(pid), 'the stop of {}'.format(pid))
    kill_supervisor(daemon)
    wait_for_end(*found.values())
    close_broken(conn)


# ---- stopped ----


def test_a_stopped_worker_is_noticed_by_its_client_alone(make_daemon):
    """When the client has gone, the worker has its grace period, and some seconds to end by itself."""
    daemon = make_daemon('--grace', '0.01')
    with bystanders(daemon):
        conn = daemon.connect(options=across.Options(timeout=SHORT))
        worker, started = conn.call(os.getpid), conn.call(deadly.start_daemon)
        with stopped(worker):
            with pytest.raises(across.DisconnectError, match='aborted due to TimeoutError'):
                conn.call(os.getpid)
            close_broken(conn)
            check_new_connections(daemon)
            daemon.expect(LOG + 'worker {} did not end in time, and is killed'.format(worker))
            wait_for_end(worker, started)
        daemon.expect_lost(worker, 'was killed')


def test_a_stopped_zygote_is_replaced(daemon):
    """Connections wait meanwhile, but those that a spare worker takes."""
    zygote = daemon.find_zygote()
    daemon.find_idle_workers()
    with bystanders(daemon), stopped(zygote):
        with concurrent.futures.ThreadPoolExecutor(2) as executor:
            calls = [executor.submit(check_new_connections, daemon) for _ in range(2)]
            daemon.expect(LOG + 'the zygote, process {}, does not answer, and is killed'.format(zygote))
            for call in calls:
                call.result(LIMIT)
    daemon.expect(LOG + 'the zygote, process {}, {}'.format(zygote, KILLED))
    daemon.allow_lines(LOG + 'cannot start a worker: it did not answer in time')
    assert daemon.find_zygote() != zygote


def test_connections_go_on_while_the_supervisor_is_stopped(make_daemon, isolation):
    daemon = make_daemon(isolation=isolation)
    options = across.Options(timeout=BEARABLE)
    with daemon.connect(options=options) as conn, concurrent.futures.ThreadPoolExecutor(1) as executor:
        with stopped(daemon.process.pid):
            waiting = executor.submit(check_new_connections, daemon)
            assert conn.call(deadly.hold_gil, 2 * BEARABLE) == 'slept'
            assert conn.call(tasks.call_back, across.Local(lambda: 'back')) == 'back'
            assert not waiting.done()
        waiting.result(LIMIT)
        assert conn.call(tasks.add, 1, 2) == 3


CALLING = 'conn.call(deadly.see_client_go, sys.argv[2], across.Local(lambda: print("calls", flush=True)))'


def test_a_stopped_client_is_noticed(make_daemon, isolation, tmp_path):
    daemon = make_daemon('--timeout', str(SHORT), isolation=isolation)
    note = tmp_path / 'note'
    with bystanders(daemon), client(daemon, CALLING, str(note)) as process:
        assert process.stdout.readline() == b'calls\n'
        with stopped(process.pid):
            daemon.expect(
                LOG
                + 'connection [0-9]+ from .* pid {} uid [0-9]+ broke: Nothing was received for .*'.format(process.pid)
            )
            wait_until(note.exists, 'the note')


@pytest.mark.parametrize('transport', ['unix', 'tcp'])
def test_a_stopped_worker_of_a_stopping_daemon_takes_a_second_signal(make_daemon, isolation, transport):
    daemon = make_daemon(
        '--grace', '1000', isolation=isolation, listen=['tcp:127.0.0.1:0'] if transport == 'tcp' else None
    )
    conn = daemon.connect()
    worker, started = conn.call(os.getpid), conn.call(deadly.start_daemon)
    with stopped(worker):
        daemon.send_signal(signal.SIGTERM)
        wait_until(lambda: not daemon.count_children()['acrossd-zygote'], 'the end of the zygote')
        daemon.send_signal(signal.SIGTERM)
        daemon.expect(LOG + 'the worker, process {}, was killed; connections lost: 1'.format(worker))
        daemon.join(0)
    wait_for_end(worker, started)
    close_broken(conn)


# ---- clients that go ----

GONE = 'connected: False; DisconnectError: Connection '


def read_note(path):
    wait_until(path.exists, 'the note')
    return path.read_text()


def start_call(daemon, func, *args):
    """A connection with a call that runs, and will see its end."""
    started = threading.Event()
    conn = daemon.connect()
    thread = threading.Thread(target=call_and_forget, args=(conn, func, *args, across.Local(started.set)))
    thread.start()
    assert started.wait(LIMIT)
    return conn, thread


def call_and_forget(conn, *args):
    with contextlib.suppress(across.DisconnectError):
        conn.call(*args)


@pytest.mark.parametrize('way', ['close', 'cancel'])
def test_a_running_call_learns_that_its_client_has_gone(make_daemon, isolation, tmp_path, way):
    daemon = make_daemon(isolation=isolation)
    note = tmp_path / 'note'
    with bystanders(daemon):
        conn, thread = start_call(daemon, deadly.see_client_go, str(note))
        getattr(conn, way)()
        close_broken(conn)
        thread.join(LIMIT)
        assert read_note(note).startswith(GONE)


@pytest.mark.parametrize('way', ['close', 'kill', 'stop'])
def test_calls_of_clients_that_have_gone_end_with_the_grace_period(make_daemon, tmp_path, way):
    """And the worker, with all that it has started. Others do not notice."""
    daemon = make_daemon('--grace', '0.2', '--timeout', str(SHORT))
    note = tmp_path / 'note'
    source = """
print(conn.call(os.getpid), conn.call(deadly.start_daemon), flush=True)
tell = across.Local(lambda: print('calls', flush=True))
threading.Thread(target=conn.call, args=(deadly.see_client_go_and_stay, sys.argv[2], tell), daemon=True).start()
sys.stdin.readline()
conn.close()
"""
    with bystanders(daemon), client(daemon, source, str(note)) as process:
        left = [int(word) for word in process.stdout.readline().split()]
        assert process.stdout.readline() == b'calls\n' and all(map(is_alive, left))
        if way == 'close':
            process.stdin.write(b'\n')
            process.stdin.flush()
        else:
            process.send_signal(signal.SIGKILL if way == 'kill' else signal.SIGSTOP)
            daemon.expect_broken()
        assert read_note(note).startswith(GONE)
        wait_for_end(*left)
        daemon.expect(LOG + r'calls that still ran after 0\.200 seconds of grace, and were ended: 1')
        process.send_signal(signal.SIGCONT)


def test_calls_that_end_within_the_grace_period_end_well(make_daemon, tmp_path):
    daemon = make_daemon('--grace', '1000')
    note, gate = tmp_path / 'note', tmp_path / 'gate'
    os.mkfifo(gate)
    with bystanders(daemon):
        conn, thread = start_call(daemon, deadly.see_client_go_then_pass, str(note), str(gate))
        conn.close()
        thread.join(LIMIT)
        assert read_note(note).startswith(GONE)
        with open(gate, 'wb'):
            wait_until(lambda: note.read_text() == 'finished', 'the end of the call')


def test_calls_in_the_shared_worker_go_on_without_their_client(make_daemon, tmp_path):
    daemon = make_daemon('--grace', '0.01', isolation='shared')
    note, gate = tmp_path / 'note', tmp_path / 'gate'
    os.mkfifo(gate)
    with bystanders(daemon):
        conn, thread = start_call(daemon, deadly.see_client_go_then_pass, str(note), str(gate))
        conn.close()
        thread.join(LIMIT)
        assert read_note(note).startswith(GONE)
        check_new_connections(daemon)
        with open(gate, 'wb'):
            wait_until(lambda: note.read_text() == 'finished', 'the end of the call')


def test_a_call_that_never_lets_go_of_python_is_ended_nevertheless(make_daemon, tmp_path):
    daemon = make_daemon('--grace', '0.01')
    path = tmp_path / 'held'
    with bystanders(daemon):
        conn = daemon.connect()
        worker = conn.call(os.getpid)
        thread = threading.Thread(target=call_and_forget, args=(conn, deadly.hold_gil_for_ever, str(path)))
        thread.start()
        wait_until(path.exists, 'the call')
        conn.cancel()
        close_broken(conn)
        thread.join(LIMIT)
        daemon.expect(LOG + 'calls that still ran after 0.[0-9]* seconds of grace, and were ended: 1')
        wait_for_end(worker)


# ---- heartbeats ----


def test_a_call_that_holds_the_gil_for_long_returns(make_daemon, isolation):
    """Both sides' timeouts are shorter. Signs of life need no Python."""
    daemon = make_daemon('--timeout', str(BEARABLE), isolation=isolation)
    options = across.Options(timeout=BEARABLE)
    with daemon.connect(options=options) as conn, daemon.connect(options=options) as other:
        with bystanders(daemon), concurrent.futures.ThreadPoolExecutor(1) as executor:
            worker = other.call(os.getpid)
            holding = executor.submit(conn.call, deadly.hold_gil, 3 * BEARABLE)
            if isolation == 'process':
                while not concurrent.futures.wait([holding], 0.01).done:
                    assert other.call(tasks.add, 1, 2) == 3
            assert holding.result(LIMIT) == 'slept'
            assert other.call(os.getpid) == worker and conn.is_connected()


@pytest.mark.skipif(across.engine == 'pure', reason='heartbeats of the pure engine come from a thread of Python')
def test_a_client_that_holds_its_own_gil_for_long_stays_connected(make_daemon, isolation):
    daemon = make_daemon('--timeout', str(BEARABLE), isolation=isolation)
    with daemon.connect() as conn:
        assert conn.call(tasks.call_back, across.Local(lambda: deadly.hold_gil(3 * BEARABLE))) == 'slept'
        assert conn.call(tasks.add, 1, 2) == 3
