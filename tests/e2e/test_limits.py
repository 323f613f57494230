# SPDX-License-Identifier: MIT
"""Limits of acrossd: time, places, descriptors and processes. And its log."""

import collections
import contextlib
import fcntl
import json
import os
import pwd
import re
import resource
import select
import shutil
import signal
import socket
import stat
import statistics
import subprocess
import sys
import time

import pytest

import across

from . import remote_tasks as tasks
from .daemon import ACROSSD, LOG, close_broken, environment
from .test_bad_input import HELLO, message, superblock
from .test_daemon import check_failure, run_acrossd
from .users import STRANGER, make_open_folder, open_acrossd
from .waiting import LIMIT, ask_until_new, count_sockets, wait_until

PATIENCE = 60  # seconds: for what is much work, and not for one event
F_SETPIPE_SZ = 1031  # Python 3.9 does not name it
FULL = 'The server has as many connections as it may have: {}'
LATE = 'No worker was ready in the time that a handshake may take'

both_modes = pytest.mark.parametrize('isolation', ['process', 'shared'])
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason='only root may become somebody else')


def ask_status(address):
    """What `acrossd status` says, in any state of the workers. It is no older than the question."""
    return ask_until_new(lambda: ask_status_once(address))


def ask_status_once(address):
    result = subprocess.run(
        [ACROSSD, 'status', address, '--json'], capture_output=True, timeout=LIMIT, check=True, text=True
    )
    return json.loads(result.stdout)


def connect_socket(address, timeout=LIMIT):
    """A socket that is connected, and has said nothing."""
    if address.startswith('unix:'):
        sock = socket.socket(socket.AF_UNIX)
        target = address[5:].replace('@', '\0', 1) if address.startswith('unix:@') else address[5:]
    else:
        host, _, port = address[4:].rpartition(':')
        sock = socket.socket(socket.AF_INET)
        target = (host, int(port))
    sock.settimeout(timeout)
    try:
        sock.connect(target)
    except BaseException:
        sock.close()
        raise
    return sock


def read_to_end(sock):
    """What comes until the other side closes. Bytes of ours that it has not read make that a reset."""
    data = b''
    with contextlib.suppress(ConnectionResetError):
        while True:
            part = sock.recv(65536)
            if not part:
                break
            data += part
    return data


def cpu_ticks(pid):
    """The CPU time of a process, user and system, in ticks of the clock."""
    with open('/proc/{}/stat'.format(pid)) as file:
        fields = file.read().rpartition(')')[2].split()
    return int(fields[11]) + int(fields[12])


def cpu_share_while(pid, waits):
    """Which part of one processor a process uses while waits() waits, in vain."""
    before, started = cpu_ticks(pid), time.monotonic()
    waits()
    used = (cpu_ticks(pid) - before) / os.sysconf('SC_CLK_TCK')
    return used / (time.monotonic() - started)


def call_once(daemon):
    with daemon.connect() as conn:
        return conn.call(tasks.add, 1, 2)


def expect_refusal(connect, reason):
    """The error of a client whose connection is refused names the reason."""
    conn = connect()
    with pytest.raises(across.DisconnectError, match=reason):
        conn.call(os.getpid)
    close_broken(conn)


def make_room_for_lines(daemon):
    """The log's pipe takes thousands of lines, so none is lost while the test is busy with something else."""
    fcntl.fcntl(daemon.process.stderr, F_SETPIPE_SZ, 1 << 20)


@contextlib.contextmanager
def raised_file_limit():
    """This process may have as many open files as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def open_folder():
    """A folder that every user can reach, unlike tmp_path."""
    folder = make_open_folder()
    yield folder
    shutil.rmtree(folder)


@contextlib.contextmanager
def as_user(uid, gid, groups=()):
    """For a moment this process is somebody else, as far as the kernel tells the other side of a socket."""
    before = os.getegid(), os.getgroups()
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(before[0])
        os.setgroups(before[1])


def connect_as(daemon, uid, gid, groups=()):
    with as_user(uid, gid, groups):
        sock = connect_socket(daemon.addresses[0])
    sock.settimeout(None)
    return across.Connection.from_socket(sock)


# ---- handshakes ----

DRIBBLER = """
import socket, sys, time
sockets = []
for _ in range(1000):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(sys.argv[1])
    sockets.append(sock)
print('ready', flush=True)
for byte in bytes.fromhex('e35b9e780002000000000000000000'):
    for sock in sockets:
        sock.send(bytes([byte]))
        time.sleep(0.001)
sys.stdin.read()
"""


@contextlib.contextmanager
def dribbling(daemon):
    """A thousand peers that send a byte of their superblock now and then, and never all of it."""
    process = subprocess.Popen(
        [sys.executable, '-c', DRIBBLER, daemon.addresses[0][5:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() == b'ready\n'
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


def time_first_result(daemon, times=15):
    """Seconds from connecting to the first result: the median."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        assert call_once(daemon) == 3
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


@pytest.mark.alone
@both_modes
def test_a_thousand_dribbling_handshakes_do_not_slow_an_honest_client(make_daemon, isolation):
    with raised_file_limit() as files:
        if files < 4 * 1100:
            pytest.skip('not enough open files for a thousand handshakes')
        settings = ['--handshake-timeout', 'none', '--max-handshakes', '1100', '--max-handshakes-per-source', '1100']
        daemon = make_daemon(*settings, isolation=isolation)
        quiet = time_first_result(daemon)
        make_room_for_lines(daemon)
        with dribbling(daemon):
            wait_until(
                lambda: ask_status(daemon.addresses[0])['connection_counts']['handshaking'] == 1000, 'all handshakes'
            )
            busy = time_first_result(daemon)
            assert ask_status(daemon.addresses[0])['connection_counts']['handshaking'] == 1000
    daemon.allow_broken(1000)
    assert busy < 5 * quiet


def dribble(sock, data, pace=0.05):
    """Sends byte after byte. Returns how many were sent when the other side closed."""
    for index, byte in enumerate(data):
        if select.select([sock], [], [], pace)[0] and not peek(sock):
            return index
        try:
            sock.send(bytes([byte]))
        except (BrokenPipeError, ConnectionResetError):
            return index
    return len(data)


def peek(sock):
    """Reads what is there. False at the end."""
    try:
        return bool(sock.recv(65536))
    except ConnectionResetError:
        return False


@both_modes
def test_the_handshake_timeout_is_for_all_of_it(make_daemon, isolation):
    """Each byte comes in time, but all together take too long."""
    daemon = make_daemon('--handshake-timeout', '2', isolation=isolation)
    with connect_socket(daemon.addresses[0]) as sock:
        assert 0 < dribble(sock, superblock(), pace=0.2) < 16
    daemon.expect(LOG + 'connection [0-9]+ from .* was refused: The handshake was not finished within 2000 ms')
    assert call_once(daemon) == 3


@both_modes
def test_the_handshake_timeout_goes_on_behind_the_superblock(make_daemon, isolation):
    """The worker gets what is left of the time, not all of it once more."""
    daemon = make_daemon('--handshake-timeout', '4', isolation=isolation)
    with connect_socket(daemon.addresses[0]) as sock:
        assert dribble(sock, superblock()[:-1], pace=0.1) == 15  # at least a second and a half
        sock.send(superblock()[-1:])
        assert dribble(sock, message([0] + [0] * 200)) < 200
    match = daemon.expect(LOG + 'connection [0-9]+ from .* broke: The handshake was not finished within ([0-9]+) ms')
    assert 0 < int(match.group(1)) <= 2500
    assert call_once(daemon) == 3


@both_modes
def test_a_peer_without_greeting_is_told_why_it_has_to_go(make_daemon, isolation):
    daemon = make_daemon('--handshake-timeout', '2', isolation=isolation)
    with connect_socket(daemon.addresses[0]) as sock:
        sock.send(superblock(extension=1, features=1))
        assert b'The handshake was not finished within ' in read_to_end(sock)
    daemon.expect_broken()
    assert call_once(daemon) == 3


@both_modes
def test_of_too_many_handshakes_the_oldest_goes(make_daemon, isolation):
    daemon = make_daemon('--max-handshakes', '3', isolation=isolation)
    with contextlib.ExitStack() as stack:
        first, second, third, _ = [stack.enter_context(connect_socket(daemon.addresses[0])) for _ in range(4)]
        expect_displaced(daemon, first)
        assert call_once(daemon) == 3
        expect_displaced(daemon, second)
        assert select.select([third], [], [], 0)[0] == []


@both_modes
def test_one_whose_word_is_there_already_does_not_have_to_go(make_daemon, isolation):
    """The supervisor wakes up to new peers first, and to what the older ones have said meanwhile."""
    daemon = make_daemon('--max-handshakes', '3', isolation=isolation)
    before = count_sockets(daemon.process.pid)
    with contextlib.ExitStack() as stack:
        older = [stack.enter_context(connect_socket(daemon.addresses[0])) for _ in range(3)]
        wait_until(lambda: count_sockets(daemon.process.pid) == before + 3, 'three handshakes')
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            newer = [stack.enter_context(connect_socket(daemon.addresses[0])) for _ in range(3)]
            for sock in older:
                sock.sendall(HELLO)
        finally:
            daemon.process.send_signal(signal.SIGCONT)
        for sock in newer:
            sock.sendall(HELLO)
        for sock in [*older, *newer]:
            assert sock.recv(4) == superblock()[:4]
    daemon.allow_broken(6)


def expect_displaced(daemon, sock):
    assert read_to_end(sock) == b''
    daemon.expect(LOG + 'connection [0-9]+ from .* was refused: Too many peers are in their handshake')


# ---- connections ----


@both_modes
def test_too_many_connections_are_refused_with_the_reason(make_daemon, isolation):
    daemon = make_daemon('--max-connections', '2', isolation=isolation)
    address = daemon.addresses[0]
    with daemon.connect() as first:
        with daemon.connect() as second:
            assert (first.call(tasks.add, 1, 2), second.call(tasks.add, 1, 2)) == (3, 3)
            expect_refusal(daemon.connect, FULL.format(2))
            with pytest.raises(across.DisconnectError, match=FULL.format(2)), daemon.connect():
                pass
            daemon.expect_broken(2)
            counts = ask_status(address)['connection_counts']
            assert (counts['open'], counts['refused']) == (2, 2)
        wait_until(lambda: ask_status(address)['connection_counts']['open'] == 1, 'a free place')
        assert call_once(daemon) == 3
        assert first.call(tasks.add, 3, 4) == 7


STORM = """
import collections, os, sys, threading
import across
address, count = sys.argv[1], int(sys.argv[2])
outcomes = collections.Counter()
lock = threading.Lock()
barrier = threading.Barrier(count)

def run():
    barrier.wait()
    try:
        conn = across.Connection.from_unix(address)
    except OSError as error:
        outcome = 'not connected: {}'.format(error)
    else:
        try:
            outcome = 'served' if conn.call(os.getpid) else 'nonsense'
            conn.close()
        except across.DisconnectError as error:
            outcome = str(error)
            conn.cancel()
    with lock:
        outcomes[outcome] += 1

threads = [threading.Thread(target=run) for _ in range(count)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for outcome, number in outcomes.items():
    print(number, outcome)
"""


def storm(address, processes=4, threads=125):
    """Connect this many clients at once. Returns the outcomes, and how many of each."""
    running = [
        subprocess.Popen(
            [sys.executable, '-c', STORM, address[5:], str(threads)],
            stdout=subprocess.PIPE,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
            text=True,
        )
        for _ in range(processes)
    ]
    outcomes = collections.Counter()
    try:
        for process in running:
            for line in process.communicate(timeout=PATIENCE)[0].splitlines():
                number, _, outcome = line.partition(' ')
                outcomes[outcome] += int(number)
            assert process.returncode == 0
    finally:
        for process in running:
            process.kill()
            process.communicate()
    return outcomes


@pytest.mark.alone
@both_modes
def test_five_hundred_clients_at_once_are_served(make_daemon, isolation):
    daemon = make_daemon('--handshake-timeout', str(PATIENCE), isolation=isolation)
    assert storm(daemon.addresses[0]) == {'served': 500}
    assert call_once(daemon) == 3


@pytest.mark.alone
@both_modes
def test_five_hundred_clients_for_twenty_places_are_served_or_told(make_daemon, isolation):
    daemon = make_daemon('--max-connections', '20', '--handshake-timeout', str(PATIENCE), isolation=isolation)
    make_room_for_lines(daemon)
    outcomes = storm(daemon.addresses[0])
    refusal = 'Connection was remotely closed: ' + FULL.format(20)
    assert sum(outcomes.values()) == 500
    assert set(outcomes) <= {'served', refusal}
    assert outcomes['served'] >= 20
    daemon.expect_broken(outcomes[refusal])
    wait_until(lambda: ask_status(daemon.addresses[0])['connection_counts']['open'] == 0, 'the end of the storm')
    assert call_once(daemon) == 3


@pytest.mark.alone
@both_modes
def test_two_thousand_clients_that_vanish_at_once_leave_nothing(make_daemon, isolation):
    daemon = make_daemon(isolation=isolation)
    make_room_for_lines(daemon)
    with daemon.connect() as conn:
        for index in range(2000):
            words = [b'', b'', b'', superblock()[:7], b'', b'', b'', superblock(), b'', HELLO]
            with connect_socket(daemon.addresses[0]) as sock:
                sock.sendall(words[index % len(words)])
        assert conn.call(tasks.add, 1, 2) == 3
        daemon.allow_broken(2000)
        wait_until(lambda: ask_status(daemon.addresses[0])['connection_counts']['open'] == 1, 'the end of all others')
        assert ask_status(daemon.addresses[0])['connection_counts']['total'] >= 2000
    assert call_once(daemon) == 3


# ---- who may connect ----


@both_modes
@pytest.mark.parametrize('by_name', [False, True], ids=['number', 'name'])
def test_one_who_is_allowed_may_connect(make_daemon, isolation, by_name):
    uid = os.geteuid()
    daemon = make_daemon('--allow-uid', pwd.getpwuid(uid).pw_name if by_name else str(uid), isolation=isolation)
    assert call_once(daemon) == 3


@needs_root
@both_modes
def test_users_who_are_not_allowed_are_refused_with_the_reason(make_daemon, isolation, open_folder):
    daemon = make_daemon(
        '--socket-mode',
        '666',
        '--allow-uid',
        '0',
        '--allow-uid',
        'nobody',
        isolation=isolation,
        listen=['unix:{}/socket'.format(open_folder)],
    )
    nobody = pwd.getpwnam('nobody')
    with connect_as(daemon, nobody.pw_uid, nobody.pw_gid) as conn:
        assert conn.call(tasks.add, 1, 2) == 3
    expect_refusal(lambda: connect_as(daemon, STRANGER, nobody.pw_gid), 'User {} may not connect'.format(STRANGER))
    daemon.expect(LOG + 'connection [0-9]+ from .* was refused: User {} may not connect'.format(STRANGER))
    assert call_once(daemon) == 3


@needs_root
@both_modes
def test_members_of_a_group_that_is_allowed_may_connect(make_daemon, isolation, open_folder):
    daemon = make_daemon(
        '--socket-mode',
        '666',
        '--allow-uid',
        'root',
        '--allow-gid',
        '4711',
        isolation=isolation,
        listen=['unix:{}/socket'.format(open_folder)],
    )
    for gid, groups in ((4711, ()), (1, (4711,)), (1, (*range(5000, 5100), 4711))):
        with connect_as(daemon, STRANGER, gid, groups) as conn:
            assert conn.call(tasks.add, 1, 2) == 3
    expect_refusal(lambda: connect_as(daemon, STRANGER, 1, (2,)), 'User {} may not connect'.format(STRANGER))
    daemon.expect_broken()
    assert call_once(daemon) == 3


@pytest.mark.parametrize('option', ['--allow-uid', '--allow-gid', '--socket-group'])
def test_a_name_that_the_system_does_not_have_is_a_failure(tmp_path, option):
    kind = 'user' if option == '--allow-uid' else 'group'
    result = run_acrossd('--listen', 'unix:{}/socket'.format(tmp_path), option, 'no-such-name')
    check_failure(result, 2, 'this system has no {} "no-such-name"'.format(kind))
    assert os.listdir(str(tmp_path)) == []


@both_modes
def test_the_mode_of_a_socket_and_its_own_group(make_daemon, isolation):
    daemon = make_daemon('--socket-mode', '640', '--socket-group', str(os.getegid()), isolation=isolation)
    status = os.stat(daemon.addresses[0][5:])
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o640, os.getegid())


@needs_root
def test_the_group_of_a_socket_may_connect_and_nobody_else(make_daemon, open_folder):
    daemon = make_daemon(
        '--socket-mode',
        '660',
        '--socket-group',
        '4711',
        isolation='process',
        listen=['unix:{}/socket'.format(open_folder)],
    )
    assert os.stat(daemon.addresses[0][5:]).st_gid == 4711
    with connect_as(daemon, STRANGER, 4711) as conn:
        assert conn.call(tasks.add, 1, 2) == 3
    with pytest.raises(PermissionError):
        connect_as(daemon, STRANGER, 1)


# ---- descriptors ----


def few_files(count):
    return ['sh', '-c', 'ulimit -n {} && exec "$0" "$@"'.format(count), ACROSSD]


@both_modes
def test_a_thousand_silent_peers_and_64_descriptors(make_daemon, isolation):
    with raised_file_limit():
        daemon = make_daemon(isolation=isolation, command=few_files(64))
        make_room_for_lines(daemon)
        daemon.expect(LOG + 'connections are limited to [0-9]+, since this process may have only 64 open files')
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(connect_socket(daemon.addresses[0])) for _ in range(1000)]
            most = ask_status(daemon.addresses[0])['limits']['handshakes']
            assert most <= 32
            most -= most // 8  # which are kept for other users
            daemon.expect_broken(1000 - most)
            left = socks[-most + 1 :]  # the status took a place
            share = cpu_share_while(daemon.process.pid, lambda: select.select(left, [], [], 1))
            assert share < 0.2
            assert call_once(daemon) == 3
            daemon.allow_broken(2)  # displaced by that call and the status
    assert call_once(daemon) == 3


@pytest.mark.alone
@both_modes
def test_a_storm_and_64_descriptors(make_daemon, isolation):
    daemon = make_daemon(isolation=isolation, command=few_files(64))
    make_room_for_lines(daemon)
    daemon.expect(LOG + 'connections are limited to [0-9]+, since this process may have only 64 open files')
    most = ask_status(daemon.addresses[0])['limits']['connections']
    outcomes = storm(daemon.addresses[0])
    full = outcomes.pop('Connection was remotely closed: ' + FULL.format(most), 0)
    served = outcomes.pop('served')
    # Handshakes have few descriptors, too. A silent peer that is evicted is not told the reason, but the log has it.
    assert all(outcome.startswith('Connection was aborted due to ') for outcome in outcomes), outcomes
    assert served + full + sum(outcomes.values()) == 500
    assert served >= most
    for _ in range(full):
        daemon.expect(LOG + 'connection [0-9]+ from .* was refused: ' + FULL.format(most))
    for _ in range(sum(outcomes.values())):
        daemon.expect(LOG + 'connection [0-9]+ from .* was refused: Too many peers are in their handshake')
    wait_until(lambda: ask_status(daemon.addresses[0])['connection_counts']['open'] == 0, 'the end of the storm')
    assert call_once(daemon) == 3


@both_modes
def test_without_descriptors_peers_wait_and_nothing_spins(make_daemon, isolation):
    """The limit falls below what is open while the daemon runs."""
    daemon = make_daemon(isolation=isolation)
    pid = daemon.process.pid
    with daemon.connect() as conn:
        assert conn.call(tasks.add, 1, 2) == 3
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(connect_socket(daemon.addresses[0])) for _ in range(10)]
            daemon.expect(LOG + 'new connections have to wait: Too many open files')
            for sock in socks:
                sock.sendall(HELLO)
            share = cpu_share_while(pid, lambda: select.select(socks, [], [], 1))
            assert share < 0.2
            assert select.select(socks, [], [], 0)[0] == []
            assert conn.call(tasks.add, 3, 4) == 7
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            for sock in socks:
                assert sock.recv(4) == superblock()[:4]
        daemon.allow_broken(10)
    assert call_once(daemon) == 3


# ---- processes ----


def processes_of(uid):
    """How many tasks the kernel counts for a user."""
    count = 0
    for name in os.listdir('/proc'):
        with contextlib.suppress(OSError):
            if name.isdigit() and os.stat('/proc/' + name).st_uid == uid:
                count += len(os.listdir('/proc/{}/task'.format(name)))
    return count


def limit_processes(daemon, soft):
    """Limits the processes that the user may have, as far as the daemon's zygote is concerned."""
    user = {'user': daemon.user, 'group': daemon.user, 'extra_groups': []} if os.geteuid() == 0 else {}
    pid = daemon.find_zygote()
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    text = 'unlimited' if hard == resource.RLIM_INFINITY else str(hard)
    limit = '--nproc={}:{}'.format(text if soft is None else soft, text)
    subprocess.run(['prlimit', '--pid', str(pid), limit], check=True, **user)


def powerless_command():
    """How another user than root starts acrossd."""
    if os.geteuid() != 0:
        return [ACROSSD]
    if shutil.which('setpriv') is None:
        pytest.skip('no setpriv, which starts a process as somebody else')
    capabilities = '+dac_read_search'  # the interpreter may be where only root can read
    command = ['setpriv', '--reuid', str(STRANGER), '--regid', str(STRANGER), '--clear-groups']
    return [*command, '--inh-caps', capabilities, '--ambient-caps', capabilities, open_acrossd()]


@pytest.fixture
def make_powerless_daemon(make_daemon, open_folder):
    """Starts daemons for which limits of processes count: for root they do not."""

    def make(*options, isolation):
        command = powerless_command()
        if os.geteuid() == 0:
            os.chown(open_folder, STRANGER, STRANGER)
        listen = ['unix:{}/socket'.format(open_folder)]
        daemon = make_daemon(*options, isolation=isolation, command=command, listen=listen)
        daemon.user = os.stat('/proc/{}'.format(daemon.process.pid)).st_uid
        return daemon

    return make


@pytest.mark.parametrize('more', [0, 1], ids=['no-keeper', 'no-worker'])
def test_without_processes_clients_are_refused_in_time(make_powerless_daemon, more):
    """The zygote cannot fork: neither a keeper, nor, where there is room for one more process, its worker."""
    daemon = make_powerless_daemon('--handshake-timeout', '3', isolation='process')
    wait_until(lambda: len(daemon.workers()) == 1, 'a spare worker')
    limit_processes(daemon, 1)
    with daemon.connect() as conn:  # takes the spare worker
        assert conn.call(tasks.add, 1, 2) == 3
        daemon.expect(LOG + 'cannot start a worker: Resource temporarily unavailable')
        if more:
            limit_processes(daemon, processes_of(daemon.user) + more)
        expect_refusal(daemon.connect, LATE)
        daemon.expect(LOG + 'connection [0-9]+ from .* was refused: ' + LATE)
        assert conn.call(tasks.add, 3, 4) == 7
        assert cpu_share_while(daemon.process.pid, lambda: expect_refusal(daemon.connect, LATE)) < 0.2
        daemon.expect_broken()
        limit_processes(daemon, None)
        wait_until(lambda: len(daemon.workers()) == 2, 'another spare worker')
        assert call_once(daemon) == 3
    daemon.allow_lines(LOG + 'cannot start a worker: Resource temporarily unavailable')


def test_without_processes_a_shared_worker_is_replaced_later(make_powerless_daemon):
    daemon = make_powerless_daemon('--handshake-timeout', '3', isolation='shared')
    limit_processes(daemon, 1)
    os.kill(daemon.worker, 9)
    daemon.expect(LOG + '.* process {}, was killed by signal 9 .*'.format(daemon.worker))
    daemon.expect(LOG + 'cannot start a worker: Resource temporarily unavailable')
    expect_refusal(daemon.connect, LATE)
    daemon.expect(LOG + 'connection [0-9]+ from .* was refused: ' + LATE)
    limit_processes(daemon, None)
    wait_until(lambda: len(daemon.workers()) == 1, 'a new worker')
    assert call_once(daemon) == 3
    daemon.allow_lines(LOG + 'cannot start a worker: Resource temporarily unavailable')
    daemon.stop(check=False)


# ---- the log ----


class Server:
    """An acrossd whose standard error the test reads itself."""

    def __init__(self, path, isolation, stderr):
        self.addresses = ['unix:{}'.format(path)]
        self.process = subprocess.Popen(
            [ACROSSD, '--isolation', isolation, '--listen', self.addresses[0]],
            stdin=subprocess.DEVNULL,
            stderr=stderr,
            env=environment(),
        )
        try:
            wait_until(self._listens, 'listening')
            self.connect().close()  # it waits until there is a worker
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def _listens(self):
        assert self.process.poll() is None
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            connect_socket(self.addresses[0]).close()
            return True

    def connect(self):
        return across.Connection.from_unix(self.addresses[0][5:])

    def lost(self):
        return ask_status(self.addresses[0])['log_lines_lost']

    def provoke(self, count):
        """Make the daemon write so many lines to its log. When this returns, each of them is written or lost."""
        before = self._refused()
        for _ in range(count):
            with connect_socket(self.addresses[0]) as sock:
                sock.send(b'GET / HTTP/1.1\r\n')
                read_to_end(sock)
        self._wait_for_refusals(before + count)

    def _refused(self):
        return ask_status(self.addresses[0])['connection_counts']['refused']

    def _wait_for_refusals(self, count):
        """A refusal is counted after its line; the client may notice that it was refused before either."""
        wait_until(lambda: self._refused() >= count, '{} refusals'.format(count))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            self.process.kill()
        self.process.terminate()
        status = self.process.wait(LIMIT)
        assert kind is not None or status == 0


@both_modes
def test_a_full_disk_does_not_stop_the_daemon(tmp_path, isolation):
    with open('/dev/full', 'w') as full, Server(tmp_path / 'socket', isolation, full) as server:
        with server.connect() as conn:
            before = server.lost()
            server.provoke(20)
            assert conn.call(tasks.add, 1, 2) == 3
            assert server.lost() >= before + 20
        assert call_once(server) == 3


@both_modes
def test_a_log_that_nobody_has_any_more_does_not_stop_the_daemon(tmp_path, isolation):
    ours, theirs = os.pipe()
    with os.fdopen(ours) as reader, os.fdopen(theirs, 'w') as writer:
        with Server(tmp_path / 'socket', isolation, writer) as server, server.connect() as conn:
            reader.close()
            writer.close()
            before = server.lost()
            server.provoke(20)
            assert conn.call(tasks.add, 1, 2) == 3
            assert server.lost() >= before + 20
            assert call_once(server) == 3


@both_modes
def test_a_log_that_nobody_reads_does_not_stop_the_daemon(tmp_path, isolation):
    ours, theirs = os.pipe()
    with os.fdopen(ours, 'rb', buffering=0) as reader, os.fdopen(theirs, 'wb', buffering=0) as writer:
        fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
        with Server(tmp_path / 'socket', isolation, writer) as server, server.connect() as conn:
            server.provoke(100)
            lost = server.lost()
            assert 0 < lost < 100
            assert conn.call(tasks.add, 1, 2) == 3
            assert call_once(server) == 3
            text = b''
            while select.select([reader], [], [], 0)[0]:
                text += os.read(reader.fileno(), 65536)
            server.provoke(1)
            first, second = wait_for_lines(reader, 2)
            # When the pipe was nearly full, there may have been room for a note, and none for the longer line after it.
            assert count_lost(text.decode()) + count_lost(first) == lost and count_lost(first) > 0
            assert second.endswith('was refused: Invalid magic: 0x47455420')
            assert server.lost() == lost
            server.provoke(1)
            (line,) = wait_for_lines(reader, 1)
            assert line.endswith('was refused: Invalid magic: 0x47455420')


def count_lost(text):
    """How many lines were lost, as the log itself says."""
    return sum(map(int, re.findall('acrossd: ([0-9]+) lines of the log were lost\n?', text)))


def wait_for_lines(reader, count):
    text = b''
    while text.count(b'\n') < count:
        assert select.select([reader], [], [], LIMIT)[0], 'no line'
        text += os.read(reader.fileno(), 65536)
    return text.decode().strip('\n').splitlines()
