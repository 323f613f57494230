# SPDX-License-Identifier: MIT
"""`acrossd status`: a running daemon answers it, whatever its workers do."""

import concurrent.futures
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import across

from . import remote_tasks as tasks
from .daemon import ACROSSD, LOG, RunningCall
from .test_bad_input import superblock
from .test_daemon import check_failure, run_acrossd
from .waiting import LIMIT, ask_until_new, wait_until

both_modes = pytest.mark.parametrize('isolation', ['process', 'shared'])
both_addresses = pytest.mark.parametrize('kind', ['unix', 'tcp'])


def ask(address):
    """The answer for people."""
    time.sleep(1.1)  # which does not say when it was made
    result = run_acrossd('status', address)
    assert (result.returncode, result.stderr) == (0, '')
    return result.stdout


def ask_json(address):
    """The answer for programs: one that was made after it was asked for, since each is good for a second."""
    return ask_until_new(lambda: ask_once(address))


def ask_once(address):
    result = run_acrossd('status', address, '--json')
    assert (result.returncode, result.stderr) == (0, '')
    return json.loads(result.stdout)


def ask_until(daemon, condition):
    """Ask until the answer is as it should be in the end, and return it."""
    answers = []

    def look():
        answers[:] = [ask_json(daemon.addresses[0])]
        return condition(answers[0])

    wait_until(look, lambda: 'another answer than {:.1000}'.format(str(answers)))
    return answers[0]


def listen_on(kind, tmp_path):
    return ['unix:{}/socket'.format(tmp_path) if kind == 'unix' else 'tcp:127.0.0.1:0']


def worker_of(answer, pid):
    (worker,) = [worker for worker in answer['workers'] if worker['pid'] == pid]
    return worker


# ---- what it shows ----


@both_modes
@both_addresses
def test_the_answer_for_programs(make_daemon, tmp_path, isolation, kind):
    options = ['--max-connections', '7', '--max-connections-per-source', '5', '--worker-memory', '65536G']
    options += ['--max-handshakes', '16', '--max-handshakes-per-source', '9']
    daemon = make_daemon(*options, isolation=isolation, listen=listen_on(kind, tmp_path))
    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(daemon.connect()) for _ in range(2)]
        pids = [conn.call(os.getpid) for conn in conns]
        answer = ask_until(daemon, lambda answer: answer['call_counts']['running'] == 0)
        later = ask_json(daemon.addresses[0])
    version = run_acrossd('--version').stdout.split()[1]
    assert (next(iter(answer)), answer['acrossd'], answer['format']) == ('acrossd', version, 1)
    assert answer['python'] in run_acrossd('--version').stdout
    assert (answer['pid'], answer['isolation'], answer['state']) == (daemon.process.pid, isolation, 'serving')
    assert 0 <= answer['uptime_ms'] <= later['uptime_ms']
    assert answer['addresses'] == daemon.addresses
    assert (answer['connection_counts']['open'], answer['connection_counts']['refused']) == (2, 0)
    assert (answer['connection_counts']['waiting'], answer['connection_counts']['handshaking']) == (0, 0)
    assert answer['connection_counts']['total'] < later['connection_counts']['total']
    limits = answer['limits']
    assert (limits['connections'], limits['connections_per_source']) == (7, 5)
    assert (limits['handshakes'], limits['handshakes_per_source']) == (16, 9)
    assert limits['worker_memory_bytes'] == 65536 << 30
    assert answer['zygote']['pid'] == daemon.find_zygote()
    assert (answer['log_lines_lost'], answer['workers_omitted'], answer['connections_omitted']) == (0, 0, 0)
    assert {connection['worker'] for connection in answer['connections']} == set(pids)
    for pid in pids:
        worker = worker_of(answer, pid)
        assert (worker['state'], worker['calls_running']) == ('serving', 0)
        assert worker['connections'] == pids.count(pid)
        assert 0 <= worker['age_ms'] <= answer['uptime_ms']
        assert worker['age_ms'] <= worker_of(later, pid)['age_ms']
        assert (1 << 16) < worker['memory_bytes'] < (1 << 30)


@both_modes
@both_addresses
def test_the_answer_for_people(make_daemon, tmp_path, isolation, kind):
    daemon = make_daemon(isolation=isolation, listen=listen_on(kind, tmp_path))
    with daemon.connect() as conn:
        pid = conn.call(os.getpid)
        ask_until(daemon, lambda answer: answer['call_counts']['running'] == 0)
        lines = ask(daemon.addresses[0]).splitlines()
    version = re.escape(run_acrossd('--version').stdout.split()[1])
    first = 'acrossd {}, Python [0-9.]+, process {}, serving, up .+'.format(version, daemon.process.pid)
    assert re.fullmatch(first, lines[0])
    assert re.fullmatch('isolation +' + isolation, lines[1])
    assert re.fullmatch('addresses +' + re.escape(daemon.addresses[0]), lines[2])
    assert any(re.fullmatch('connections +1 open .*', line) for line in lines)
    assert any(re.fullmatch('zygote +process {}, .*'.format(daemon.find_zygote()), line) for line in lines)
    assert any(re.fullmatch(' *{} +serving +.* +1 +0 +[0-9]+'.format(pid), line) for line in lines)
    assert any(re.fullmatch(' *[0-9]+ +served +.* {} +{}:.*'.format(pid, kind), line) for line in lines)


@both_modes
def test_peers_are_named(make_daemon, tmp_path, isolation):
    path = str(tmp_path / 'socket')
    daemon = make_daemon(isolation=isolation, listen=['unix:' + path, 'tcp:127.0.0.1:0'])
    sock = socket.create_connection(('127.0.0.1', int(daemon.addresses[1].rpartition(':')[2])))
    port = sock.getsockname()[1]
    with daemon.connect() as over_unix, across.Connection.from_socket(sock) as over_tcp:
        workers = [over_unix.call(os.getpid), over_tcp.call(os.getpid)]
        found = [(each['peer'], each['worker']) for each in ask_json(daemon.addresses[0])['connections']]
    peers = ['unix:{} pid {} uid {}'.format(path, os.getpid(), os.geteuid()), 'tcp:127.0.0.1:{}'.format(port)]
    assert sorted(found) == sorted(zip(peers, workers))


@both_modes
def test_a_peer_that_is_in_its_handshake(make_daemon, isolation):
    daemon = make_daemon(isolation=isolation)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(daemon.addresses[0][5:])
        sock.send(superblock()[:5])
        answer = ask_until(daemon, lambda answer: answer['connection_counts']['handshaking'] == 1)
        ((state, worker),) = [(each['state'], each['worker']) for each in answer['connections']]
        assert (state, worker) == ('handshake', None)
    daemon.expect_broken()


def test_what_has_no_room_in_the_answer_is_counted(make_daemon):
    many = 4200
    limits = [
        '--max-handshakes',
        str(many + 1),
        '--max-handshakes-per-source',
        str(many + 1),
        '--max-connections',
        '10',
    ]
    daemon = make_daemon(*limits, isolation='shared')
    if ask_json(daemon.addresses[0])['limits']['handshakes'] <= many:
        pytest.skip('not enough open files for so many handshakes')
    script = 'ulimit -n {}; exec "$0" -c "$1" "$2" {}'.format(many + 100, many)
    source = (
        'import socket, sys\n'
        'socks = [socket.socket(socket.AF_UNIX) for _ in range(int(sys.argv[2]))]\n'
        'for sock in socks: sock.connect(sys.argv[1])\n'
        'print("done", flush=True)\n'
        'sys.stdin.read()\n'
    )
    command = ['sh', '-c', script, sys.executable, source, daemon.addresses[0][5:]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as crowd:
        assert crowd.stdout.readline() == b'done\n'
        answer = ask_until(daemon, lambda answer: answer['connection_counts']['open'] == many)
        assert len(answer['connections']) + answer['connections_omitted'] == many
        assert answer['connections_omitted'] > 0
        crowd.stdin.close()
    ask_until(daemon, lambda answer: answer['connection_counts']['open'] == 0)


# ---- calls ----


@both_modes
def test_calls_are_counted(make_daemon, isolation):
    daemon = make_daemon(isolation=isolation)
    before = ask_until(daemon, lambda answer: answer['connection_counts']['open'] == 0)['call_counts']
    with daemon.connect() as conn:
        pid = conn.call(os.getpid)
        for _ in range(4):
            conn.call(tasks.add, 1, 2)
        with pytest.raises(ValueError):
            conn.call(tasks.raise_value_error, 'counts, too')
        calls = [RunningCall(conn) for _ in range(3)]
        answer = ask_until(daemon, lambda answer: answer['call_counts']['done'] == before['done'] + 6)
        assert answer['call_counts']['running'] == worker_of(answer, pid)['calls_running'] == 3
        if isolation == 'process':
            assert worker_of(answer, pid)['calls_done'] == 6
        assert [call.release() for call in calls] == [True] * 3  # by a call each
        answer = ask_until(daemon, lambda answer: answer['call_counts']['running'] == 0)
        assert answer['call_counts']['done'] == before['done'] + 12
    answer = ask_until(daemon, lambda answer: answer['connection_counts']['open'] == 0)
    answer = ask_until(daemon, lambda answer: all(worker['connections'] == 0 for worker in answer['workers']))
    assert answer['call_counts'] == {'running': 0, 'done': before['done'] + 12}


def test_calls_of_workers_that_died_are_counted(make_daemon):
    daemon = make_daemon(isolation='process')
    before = ask_until(daemon, lambda answer: answer['connection_counts']['open'] == 0)['call_counts']['done']
    conn = daemon.connect()
    conn.call(tasks.add, 1, 2)
    pid = conn.call(os.getpid)
    call = RunningCall(conn)
    # A call is counted when it has been answered, which may be a moment later.
    ask_until(daemon, lambda answer: answer['call_counts'] == {'running': 1, 'done': before + 2})
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(across.DisconnectError):
        call.result()
    with contextlib.suppress(EOFError, OSError):
        conn.close()
    daemon.expect(LOG + '.* process {}, was killed by signal 9 .*'.format(pid))
    answer = ask_until(daemon, lambda answer: pid not in [worker['pid'] for worker in answer['workers']])
    assert answer['call_counts'] == {'running': 0, 'done': before + 2}


# ---- while nothing else works ----

HOLD_THE_GIL = """
import ctypes, os
fd = os.open(path, os.O_RDWR)
read = ctypes.PyDLL(None).read
byte = ctypes.create_string_buffer(1)
started()
read(fd, byte, 1)
os.close(fd)
byte.raw
"""


@both_modes
def test_the_answer_comes_while_all_workers_hold_the_gil(make_daemon, tmp_path, isolation):
    """Each is in a C function that never lets go of the GIL, until somebody writes to the pipe that it reads."""
    daemon = make_daemon(isolation=isolation)
    paths = [str(tmp_path / 'first'), str(tmp_path / 'second')][: 1 if isolation == 'shared' else 2]
    with contextlib.ExitStack() as stack:
        stuck = []
        for path in paths:
            os.mkfifo(path)
            conn = stack.enter_context(daemon.connect())
            stuck.append((StuckCall(conn, path), path))
        answer = ask_json(daemon.addresses[0])
        assert answer['call_counts']['running'] == len(paths)
        assert len([worker for worker in answer['workers'] if worker['calls_running'] == 1]) == len(paths)
        assert ' serving, up ' in ask(daemon.addresses[0])
        for call, path in stuck:
            with open(path, 'wb', buffering=0) as file:
                file.write(b'x')
            assert call.result() == b'x'
        ask_until(daemon, lambda answer: answer['call_counts']['running'] == 0)


class StuckCall:
    """A call that has begun to hold the GIL, or does so at any moment."""

    def __init__(self, conn, path):
        started = threading.Event()
        executor = concurrent.futures.ThreadPoolExecutor(1)
        self._future = executor.submit(conn.execute, HOLD_THE_GIL, path=path, started=across.Local(started.set))
        executor.shutdown(wait=False)
        assert started.wait(LIMIT)

    def result(self):
        return self._future.result(LIMIT)


@both_modes
@pytest.mark.parametrize('whom', ['workers', 'zygote'])
def test_the_answer_comes_while_processes_are_stopped(make_daemon, isolation, whom):
    daemon = make_daemon(isolation=isolation)
    with daemon.connect() as conn:
        pid = conn.call(os.getpid)
        ask_until(daemon, lambda answer: len(answer['workers']) == len(daemon.workers()))
        stopped = daemon.workers() if whom == 'workers' else [daemon.find_zygote()]
        for each in stopped:
            os.kill(each, signal.SIGSTOP)
        try:
            wait_until(lambda: all(state_of(each) in 'TXZ' for each in stopped), 'a stop')
            answer = ask_json(daemon.addresses[0])
        finally:
            for each in stopped:
                with contextlib.suppress(ProcessLookupError):  # a spare one may not have been needed any more
                    os.kill(each, signal.SIGCONT)
        assert worker_of(answer, pid)['connections'] == 1
        assert worker_of(answer, pid)['memory_bytes'] > 0
        assert conn.call(tasks.add, 1, 2) == 3


def state_of(pid):
    """As in /proc: T is stopped, X gone."""
    try:
        with open('/proc/{}/stat'.format(pid)) as file:
            return file.read().rpartition(')')[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return 'X'


# ---- without an answer ----


def test_nobody_listens(tmp_path):
    path = str(tmp_path / 'socket')
    check_failure(run_acrossd('status', 'unix:' + path), 1, 'nobody listens on unix:' + re.escape(path))
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    check_failure(run_acrossd('status', 'unix:' + path), 1, 'nobody listens on unix:' + re.escape(path))
    with socket.socket() as unused:
        unused.bind(('127.0.0.1', 0))
        address = 'tcp:127.0.0.1:{}'.format(unused.getsockname()[1])
        check_failure(run_acrossd('status', address, '--json'), 1, 'nobody listens on ' + address)


def test_a_daemon_that_was_stopped_is_not_waited_for(make_daemon):
    daemon = make_daemon(isolation='process')
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        result = run_acrossd('status', daemon.addresses[0], '--timeout', '0.1')
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    check_failure(result, 1, '{} did not answer within 0.1 s'.format(re.escape(daemon.addresses[0])))


@both_modes
def test_a_user_who_may_not_connect_gets_no_answer(make_daemon, isolation):
    others = os.geteuid() + 1
    daemon = make_daemon('--allow-uid', str(others), isolation=isolation, warm=False)
    for options in ((), ('--json',)):
        check_failure(run_acrossd('status', daemon.addresses[0], *options), 1, 'does not allow this user to connect')
        daemon.expect(LOG + 'connection [0-9]+ from .* was refused: User {} may not connect'.format(os.geteuid()))
    daemon.stop(check=False)  # no connection has ever been served, so its descriptors are not those of other tests


def test_an_answer_that_cannot_be_printed_is_a_failure(make_daemon):
    daemon = make_daemon(isolation='process')
    with open('/dev/full', 'w') as full:
        result = subprocess.run(
            [ACROSSD, 'status', daemon.addresses[0]], stdout=full, stderr=subprocess.PIPE, timeout=LIMIT, text=True
        )
    assert result.returncode == 1
    assert re.fullmatch(LOG + 'cannot write to standard output: .*\n', result.stderr)
