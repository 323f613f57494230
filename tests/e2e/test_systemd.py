# SPDX-License-Identifier: MIT
"""acrossd below systemd, without it: readiness, watchdog, sockets that are open already, and the journal.

What systemd does is done by hand here, or by its own systemd-socket-activate.
"""

import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

import across

from . import deadly_tasks
from . import remote_tasks as tasks
from .daemon import ACROSSD, LOG, Lines, RunningCall, environment
from .test_daemon import check_failure
from .test_limits import call_once, connect_socket, read_to_end
from .waiting import LIMIT, children, is_alive, name_of, start_of, unused_port, wait_until

both_modes = pytest.mark.parametrize('isolation', ['process', 'shared'])
VARIABLES = [
    'NOTIFY_SOCKET',
    'WATCHDOG_USEC',
    'WATCHDOG_PID',
    'LISTEN_PID',
    'LISTEN_FDS',
    'LISTEN_FDNAMES',
]


# ---- notifications ----


class Manager:
    """The end of the notify protocol that systemd has."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(path.replace('@', '\0', 1))
        self.variables = {'NOTIFY_SOCKET': path}

    def environment(self, **variables):
        return dict(environment(), **self.variables, **variables)

    def receive(self, timeout=LIMIT):
        """The fields of the next message; None when there is none in time."""
        if not select.select([self.sock], [], [], timeout)[0]:
            return None
        text = self.sock.recv(65536).decode()
        return dict(line.split('=', 1) for line in text.strip('\n').split('\n'))

    def expect(self, **fields):
        """Wait for a message with these fields, and return it. Only signs of life may come before it, and a status."""
        while True:
            message = self.receive()
            assert message is not None, 'no message {}'.format(fields)
            if all(message.get(name) == value for name, value in fields.items()):
                return message
            assert set(message) <= {'WATCHDOG', 'STATUS'}, message

    def close(self):
        self.sock.close()


@pytest.fixture(params=['path', 'abstract'])
def any_manager(request, tmp_path):
    name = str(tmp_path / 'notify')
    manager = Manager(name if request.param == 'path' else '@acrossd-test{}'.format(name))
    yield manager
    manager.close()


@pytest.fixture
def manager(tmp_path):
    manager = Manager(str(tmp_path / 'notify'))
    yield manager
    manager.close()


@both_modes
def test_a_life_as_it_is_told(any_manager, make_daemon, isolation):
    daemon = make_daemon('--grace', '1000', isolation=isolation, env=any_manager.environment())
    assert any_manager.receive() == {'READY': '1', 'STATUS': 'Serving'}
    with daemon.connect() as first, daemon.connect() as second:
        assert (first.call(tasks.add, 1, 2), second.call(tasks.add, 1, 2)) == (3, 3)
        any_manager.expect(STATUS='Serving; connections: 2')
    any_manager.expect(STATUS='Serving; connections: 0')
    with daemon.connect() as conn:
        call = RunningCall(conn)
        daemon.send_signal(signal.SIGTERM)
        any_manager.expect(STOPPING='1')
        assert daemon.process.poll() is None
        assert call.release() is True
        daemon.join()
    assert any_manager.receive(0) is None


def test_ready_is_told_when_clients_are_served_and_not_before(tmp_path, manager):
    begun, gate = str(tmp_path / 'begun'), str(tmp_path / 'gate')
    os.mkfifo(begun)
    os.mkfifo(gate)
    (tmp_path / 'slow_start.py').write_text('open({!r}, "w").close()\nopen({!r}).close()\n'.format(begun, gate))
    env = manager.environment(PYTHONPATH=str(tmp_path))
    address = 'unix:{}/socket'.format(tmp_path)
    process = subprocess.Popen(
        [ACROSSD, '--listen', address, '--preload', 'slow_start'],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=env,
    )
    with process:
        try:
            open(begun).close()
            assert manager.receive(0) is None
            assert not select.select([process.stderr], [], [], 0)[0]
            open(gate, 'w').close()
            assert manager.receive() == {'READY': '1', 'STATUS': 'Serving'}
            assert os.read(process.stderr.fileno(), 1000).decode() == 'listening on {}\n'.format(address)
            with across.Connection.from_unix(address[5:]) as conn:
                assert conn.execute('1 + 2') == 3
        finally:
            process.terminate()
        assert process.wait(LIMIT) == 0


@contextlib.contextmanager
def serving_in_a_child(tmp_path, manager, *command):
    """acrossd, started by a command that makes it serve in a child process."""
    listen = 'unix:{}'.format(tmp_path / 'socket')
    with subprocess.Popen(
        [*command, ACROSSD, '--listen', listen],
        stderr=subprocess.PIPE,
        env=manager.environment(),
        start_new_session=True,
    ) as process:
        lines = Lines(process.stderr)
        try:
            lines.expect('listening on .*')
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_a_process_that_serves_in_a_child_names_it(manager, tmp_path):
    """By default systemd takes messages from the main process alone."""
    with serving_in_a_child(tmp_path, manager, 'sh', '-c', 'sleep 1000 & exec "$0" "$@"') as process:
        (child,) = (pid for pid in children(process.pid) if name_of(pid) == 'acrossd')
        assert manager.receive() == {'MAINPID': str(child)}
        assert manager.receive() == {'READY': '1', 'STATUS': 'Serving'}


def test_process_1_names_no_child(manager, tmp_path):
    """Process ids in its namespace mean something else outside."""
    command = ('unshare', '--pid', '--mount-proc', '--fork', '--kill-child')
    if subprocess.run([*command, 'true'], stderr=subprocess.DEVNULL).returncode:
        pytest.skip('needs namespaces')
    with serving_in_a_child(tmp_path, manager, *command):
        assert manager.receive() == {'READY': '1', 'STATUS': 'Serving'}


def monotonic_usec():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


@both_modes
@pytest.mark.parametrize('good', [True, False], ids=['good', 'bad'])
def test_a_reload_is_told_with_its_time(manager, make_daemon, tmp_path, isolation, good):
    config = tmp_path / 'acrossd.conf'
    config.write_text('')
    daemon = make_daemon('--config', str(config), isolation=isolation, env=manager.environment())
    manager.expect(READY='1')
    if not good:
        config.write_text('nonsense\n')
    before = monotonic_usec()
    daemon.process.send_signal(signal.SIGHUP)
    message = manager.expect(RELOADING='1')
    assert before <= int(message['MONOTONIC_USEC']) <= monotonic_usec()
    manager.expect(READY='1')
    if good:
        daemon.expect(LOG + 'reloaded: .*')
        wait_until(lambda: len(daemon.workers()) == 1, 'the end of the old worker')
    else:
        daemon.expect(LOG + 'cannot reload: .*:1: "nonsense" is no setting: .*')
    assert call_once(daemon) == 3
    daemon.stop(check=False)
    manager.expect(STOPPING='1')


@both_modes
def test_the_watchdog_hears_of_the_zygote(manager, make_daemon, isolation):
    """No sign of life while the zygote is stopped; then again when it goes on, or another one takes its place."""
    period = 0.1
    env = manager.environment(WATCHDOG_USEC=str(int(2 * period * 1e6)))
    daemon = make_daemon(isolation=isolation, env=env)
    manager.expect(READY='1')
    for _ in range(3):
        manager.expect(WATCHDOG='1')
    for number in (signal.SIGCONT, signal.SIGKILL):
        zygote = daemon.find_zygote()
        os.kill(zygote, signal.SIGSTOP)
        wait_until(lambda pid=zygote: is_stopped(pid), 'the stop of the zygote')
        assert count_signs_of_life(manager, 5 * period) < 100, 'there is an end of what was on its way'
        assert count_signs_of_life(manager, 5 * period) == 0
        os.kill(zygote, number)
        for _ in range(3):
            manager.expect(WATCHDOG='1')
        assert call_once(daemon) == 3
    daemon.expect(LOG + 'the zygote, process {}, was killed by signal 9 .*'.format(zygote))
    assert daemon.find_zygote() != zygote


def is_stopped(pid):
    with open('/proc/{}/stat'.format(pid)) as file:
        return file.read().rpartition(')')[2].split()[0] == 'T'


def count_signs_of_life(manager, timeout):
    """The number of messages until there is none for a while."""
    count = 0
    while count < 100:
        message = manager.receive(timeout)
        if message is None:
            break
        count += 'WATCHDOG' in message
    return count


@both_modes
def test_the_watchdog_hears_of_a_stop_that_takes_its_time(manager, make_daemon, isolation):
    env = manager.environment(WATCHDOG_USEC='100000')
    daemon = make_daemon('--grace', '1000', isolation=isolation, env=env)
    with daemon.connect() as conn:
        call = RunningCall(conn)
        daemon.send_signal(signal.SIGTERM)
        manager.expect(READY='1')
        manager.expect(STOPPING='1')
        for _ in range(5):
            assert manager.receive() == {'WATCHDOG': '1'}
        assert call.release() is True
    daemon.join()


def test_no_watchdog_without_a_time_for_this_process(manager, make_daemon):
    env = manager.environment(WATCHDOG_USEC='20000', WATCHDOG_PID='1')
    daemon = make_daemon(isolation='process', env=env)
    manager.expect(READY='1')
    assert call_once(daemon) == 3
    assert count_signs_of_life(manager, 0.2) == 0


@both_modes
def test_nothing_that_acrossd_starts_hears_of_the_manager(manager, make_daemon, isolation):
    env = manager.environment(WATCHDOG_USEC='100000')
    daemon = make_daemon(isolation=isolation, env=env)
    with daemon.connect() as conn:
        assert [conn.call(os.getenv, name) for name in VARIABLES] == [None] * len(VARIABLES)
        script = 'env | grep -E "^({})="'.format('|'.join(VARIABLES))
        assert conn.call(tasks.run_command, script) == 1
        notify = str(manager.variables['NOTIFY_SOCKET'])
        pid = conn.call(os.getpid)
    for each in (pid, daemon.find_zygote()):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open('/proc/{}/environ'.format(each)) as file:
            assert notify not in file.read()


def test_a_manager_that_is_gone_is_no_trouble(manager, make_daemon):
    env = manager.environment(WATCHDOG_USEC='10000')
    manager.close()
    daemon = make_daemon(isolation='process', env=env)
    daemon.expect(LOG + 'the service manager cannot be reached: Connection refused')
    for _ in range(10):
        assert call_once(daemon) == 3


def test_a_manager_that_does_not_read_hears_the_newest_in_the_end(manager, make_daemon, tmp_path):
    daemon = make_daemon(isolation='process', env=manager.environment(WATCHDOG_USEC='2000'))
    wait_until(lambda: is_full(manager), 'a full queue')
    daemon.process.send_signal(signal.SIGHUP)
    daemon.expect(LOG + 'reloaded: .*')
    assert call_once(daemon) == 3
    ready = 0
    while ready < 2:
        message = manager.receive()
        assert message is not None
        assert 'RELOADING' not in message, 'that is over'
        ready += 'READY' in message
    daemon.stop(check=False)


def is_full(manager):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        try:
            probe.sendto(b'PROBE=1', manager.variables['NOTIFY_SOCKET'])
        except BlockingIOError:
            return True
    return False


# ---- sockets that are open already ----

OPENER = """
import os, socket, sys
addresses, names, program = sys.argv[1].split(), sys.argv[2], sys.argv[3:]
fds = []
for address in addresses:
    kind, _, rest = address.partition(':')
    if kind == 'unix':
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(rest)
    elif kind == 'datagram':
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind(rest)
    else:
        host, _, port = rest.rpartition(':')
        sock = socket.socket()
        sock.bind((host, int(port)))
    if kind != 'datagram':
        sock.listen()
    fds.append(os.dup2(sock.fileno(), 100 + len(fds)))
for index, fd in enumerate(fds):
    os.dup2(fd, 3 + index, inheritable=True)
os.closerange(3 + len(fds), 200)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=names)
os.execv(program[0], program)
"""


def opener(addresses, names):
    """A command that opens sockets and then becomes acrossd."""
    return [sys.executable, '-c', OPENER, ' '.join(addresses), names, ACROSSD]


@both_modes
def test_sockets_with_names_are_served(make_daemon, tmp_path, isolation):
    path = str(tmp_path / 'first')
    command = opener(['unix:' + path, 'tcp:127.0.0.1:0'], 'one:two')
    daemon = make_daemon(isolation=isolation, listen=[], command=command, warm=False)
    first = daemon.expect('listening on (unix:.*)').group(1)
    second = daemon.expect('listening on (tcp:127[.]0[.]0[.]1:[1-9][0-9]*)').group(1)
    assert first == 'unix:' + path
    for address in (first, second):
        with daemon.connect(address=address) as conn:
            assert conn.call(tasks.add, 1, 2) == 3
            assert [conn.call(os.getenv, name) for name in VARIABLES] == [None] * len(VARIABLES)
            found = conn.call(deadly_tasks.list_own_fds).values()
            assert len([name for name in found if name.startswith('socket:')]) <= 3
    daemon.stop(check=False)
    assert os.path.exists(path), 'the file is not ours to remove'


def test_sockets_of_both_kinds_are_served(make_daemon, tmp_path):
    theirs, ours = ('unix:{}/{}'.format(tmp_path, name) for name in ('theirs', 'ours'))
    daemon = make_daemon(isolation='process', listen=[ours], command=opener([theirs], 'x'), warm=False)
    other = daemon.expect('listening on (.*)').group(1)
    assert {daemon.addresses[0], other} == {theirs, ours}
    for address in (theirs, ours):
        with daemon.connect(address=address) as conn:
            assert conn.call(tasks.add, 1, 2) == 3
    daemon.stop(check=False)
    assert os.listdir(str(tmp_path)) == ['theirs']


@pytest.mark.parametrize(
    ('addresses', 'names', 'pattern'),
    [
        (['unix:{}/a', 'unix:{}/b'], 'one', 'LISTEN_FDNAMES=one has 1 names for 2 descriptors'),
        (['datagram:{}/a'], 'one', 'the inherited descriptor 3 is no stream socket'),
        (['unix:{}/a', 'tcp:0.0.0.0:0'], 'one:two', 'can be reached from other hosts.*--insecure'),
    ],
)
def test_sockets_that_cannot_be_served_are_refused(tmp_path, addresses, names, pattern):
    addresses = [address.format(tmp_path) for address in addresses]
    result = subprocess.run(
        opener(addresses, names), stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT, text=True
    )
    check_failure(result, 2, pattern)


def test_sockets_of_another_process_are_not_taken(tmp_path):
    env = dict(environment(), LISTEN_PID='1', LISTEN_FDS='1')
    result = subprocess.run([ACROSSD], stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=LIMIT, text=True)
    check_failure(result, 2, 'nowhere to listen')


# ---- systemd-socket-activate ----

needs_activation = pytest.mark.skipif(
    shutil.which('systemd-socket-activate') is None, reason='systemd-socket-activate is not installed'
)


class Activation:
    """systemd-socket-activate, and what becomes of it."""

    def __init__(self, *options, address, command):
        listen = address[5:] if address.startswith('unix:') else address[4:]
        env = environment()
        passed = ['--setenv={}'.format(name) for name in env if name not in VARIABLES]
        self.address = address
        self.process = subprocess.Popen(
            ['systemd-socket-activate', *options, *passed, '--listen', listen, ACROSSD, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=env,
            start_new_session=True,
        )
        self.lines = Lines(self.process.stderr)

    def __enter__(self):
        try:
            self.lines.expect('Listening on .* as 3[.]')
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.lines.rest()

    def connect(self):
        if self.address.startswith('unix:'):
            return across.Connection.from_unix(self.address[5:])
        host, _, port = self.address[4:].rpartition(':')
        return across.Connection.from_tcp(host, port)


def address_for(kind, tmp_path):
    if kind == 'unix':
        return 'unix:{}/socket'.format(tmp_path)
    return 'tcp:127.0.0.1:{}'.format(unused_port())


@needs_activation
@both_modes
@pytest.mark.parametrize('kind', ['unix', 'tcp'])
def test_the_first_connection_starts_the_daemon(tmp_path, isolation, kind):
    address = address_for(kind, tmp_path)
    with Activation(address=address, command=['--isolation', isolation]) as activation:
        with activation.connect() as first, activation.connect() as second:
            pids = [first.call(os.getpid), second.call(os.getpid)]
            assert (pids[0] == pids[1]) == (isolation == 'shared')
            activation.lines.expect('listening on ' + re.escape(address))
            started = {pid: start_of(pid) for pid in pids}
        activation.process.terminate()
        assert activation.process.wait(LIMIT) == 0
        for pid, start in started.items():
            wait_until(lambda pid=pid, start=start: start_of(pid) != start, 'the end of a worker')
        assert not [line for line in activation.lines.rest() if 'acrossd: ' in line]


@needs_activation
@pytest.mark.parametrize('kind', ['unix', 'tcp'])
def test_each_connection_may_start_a_process(tmp_path, kind):
    options = ['--accept', '--inetd']
    with Activation(*options, address=address_for(kind, tmp_path), command=['--stdio']) as activation:
        with activation.connect() as first, activation.connect() as second:
            pids = [first.call(os.getpid), second.call(os.getpid)]
            assert pids[0] != pids[1]
            assert first.call(tasks.read_stdin) == ('', b'')
            first.call(tasks.print_text, 'seen on standard error')
            activation.lines.expect('seen on standard error')
        for pid in pids:
            wait_until(lambda pid=pid: not is_alive(pid), 'the end of a process')
        assert activation.process.poll() is None
        with activation.connect() as third:
            assert third.call(tasks.add, 1, 2) == 3


@pytest.mark.parametrize('kind', ['unix', 'tcp'])
def test_a_socket_may_be_standard_input_and_output(kind):
    """As with StandardInput=socket."""
    if kind == 'unix':
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(('127.0.0.1', 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs = listener.accept()[0]
    with theirs:
        process = subprocess.Popen(
            [ACROSSD, '--stdio'], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=environment()
        )
    with process:
        with across.Connection.from_socket(ours) as conn:
            assert conn.call(tasks.add, 1, 2) == 3
            assert conn.call(tasks.read_stdin) == ('', b'')
            conn.call(tasks.print_text, 'hello')
        assert process.wait(LIMIT) == 0
        assert process.stderr.read() == b'hello\n'


# ---- the journal ----


@contextlib.contextmanager
def log_stream(kind):
    """Two ends: one to read, and one for a log."""
    if kind == 'socket':
        reader, writer = socket.socketpair()
    else:
        ours, theirs = os.pipe()
        reader, writer = os.fdopen(ours, 'rb', buffering=0), os.fdopen(theirs, 'wb', buffering=0)
    with reader, writer:
        yield reader, writer


def read_lines_until(reader, pattern):
    """Read lines until one matches, and return all."""
    text = b''
    while not (text.endswith(b'\n') and re.fullmatch(pattern, text.decode().splitlines()[-1])):
        assert select.select([reader], [], [], LIMIT)[0], 'no line {!r}, but {!r}'.format(pattern, text)
        part = os.read(reader.fileno(), 1)
        assert part, 'no line {!r}, but {!r}'.format(pattern, text)
        text += part
    return text.decode().splitlines()


def journal_of(file, shift=0):
    status = os.fstat(file.fileno())
    return '{}:{}'.format(status.st_dev, status.st_ino + shift)


@contextlib.contextmanager
def started(address, *options, stderr, **variables):
    process = subprocess.Popen(
        [ACROSSD, '--listen', address, *options],
        stdin=subprocess.DEVNULL,
        stderr=stderr,
        env=dict(environment(), **variables),
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@both_modes
@pytest.mark.parametrize('kind', ['socket', 'pipe'])
def test_lines_for_the_journal_have_priorities(tmp_path, isolation, kind):
    address = 'unix:{}/socket'.format(tmp_path)
    with log_stream(kind) as (reader, writer):
        options = ['--isolation', isolation, '--verbose']
        with started(address, *options, stderr=writer, JOURNAL_STREAM=journal_of(writer)) as process:
            writer.close()
            read_lines_until(reader, '<6>listening on ' + re.escape(address))
            with connect_socket(address) as sock:
                sock.send(b'GET / HTTP/1.1\r\n')
                read_to_end(sock)
            pattern = '<4>acrossd: connection 1 from .* was refused: Invalid magic: 0x47455420'
            read_lines_until(reader, pattern)
            with across.Connection.from_unix(address[5:]) as conn:
                assert conn.call(tasks.add, 1, 2) == 3
            lines = read_lines_until(reader, '<7>acrossd: connection 2 from .* ended')
            assert all(line.startswith('<7>acrossd: connection 2 from ') for line in lines)
            process.send_signal(signal.SIGHUP)
            read_lines_until(reader, '<6>acrossd: reloaded: .*')
            process.terminate()
            assert process.wait(LIMIT) == 0


def test_a_failure_is_an_error_in_the_journal(tmp_path):
    with log_stream('pipe') as (reader, writer):
        options = ['--preload', 'nonexistent_module']
        journal = journal_of(writer)
        with started('unix:{}/socket'.format(tmp_path), *options, stderr=writer, JOURNAL_STREAM=journal) as process:
            writer.close()
            lines = read_lines_until(reader, '<3>acrossd: .*')
            assert any('nonexistent_module' in line for line in lines)
            assert process.wait(LIMIT) == 1


@pytest.mark.parametrize('kind', ['socket', 'pipe'])
def test_lines_for_anything_else_have_times(tmp_path, kind):
    """Also when JOURNAL_STREAM is there, but speaks of another file."""
    address = 'unix:{}/socket'.format(tmp_path)
    with log_stream(kind) as (reader, writer):
        with started(address, stderr=writer, JOURNAL_STREAM=journal_of(writer, shift=1)) as process:
            read_lines_until(reader, 'listening on ' + re.escape(address))
            with connect_socket(address) as sock:
                sock.send(b'GET / HTTP/1.1\r\n')
                read_to_end(sock)
            time_of_day = '[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{3}'
            (line,) = read_lines_until(reader, time_of_day + ' acrossd: connection 1 from .*')
            assert 'Invalid magic' in line
            process.terminate()
            assert process.wait(LIMIT) == 0


@both_modes
def test_a_journal_that_does_not_read_does_not_stop_the_daemon(tmp_path, isolation):
    address = 'unix:{}/socket'.format(tmp_path)
    with log_stream('socket') as (reader, writer):
        writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        options = ['--isolation', isolation]
        with started(address, *options, stderr=writer, JOURNAL_STREAM=journal_of(writer)) as process:
            read_lines_until(reader, '<6>listening on ' + re.escape(address))
            refusal = '<4>acrossd: connection [0-9]+ from .* was refused: .*'

            def provoke(count):
                for _ in range(count):
                    with connect_socket(address) as sock:
                        sock.send(b'GET / HTTP/1.1\r\n')
                        read_to_end(sock)

            provoke(100)
            with across.Connection.from_unix(address[5:]) as conn:
                assert conn.call(tasks.add, 1, 2) == 3
            count = 0
            while select.select([reader], [], [], 0)[0]:
                read_lines_until(reader, refusal)
                count += 1
            assert 0 < count < 100
            provoke(1)
            lost, _ = read_lines_until(reader, refusal)
            assert lost == '<4>acrossd: {} lines of the log were lost'.format(100 - count)
            process.terminate()
            assert process.wait(LIMIT) == 0
