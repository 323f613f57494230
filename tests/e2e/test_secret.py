# SPDX-License-Identifier: MIT
"""A shared secret for TCP: clients that know it are served, others are told at once why not."""

import contextlib
import hmac
import os
import signal
import socket
import stat
import subprocess
import sys
import threading

import pytest

import across
from across.channels import secret as secrets

from . import remote_tasks as tasks
from .daemon import ACROSSD, LOG, environment
from .test_bad_input import HELLO, Raw, superblock
from .test_daemon import check_failure, run_acrossd
from .test_limits import connect_socket
from .waiting import LIMIT

NEEDED = 'The server demands a shared secret: connect with its secret_file'
ANOTHER = 'The peer has another secret'
MAGIC = bytes.fromhex('5ec2e701')
HELLO_KIND, CHALLENGE, PROOF, ANSWER, REFUSAL = range(1, 6)
CLIENT, SERVER = b'across secret 1 client', b'across secret 1 server'


def write_secret(path, text=None, mode=0o600):
    """As docs/access.md has it: 32 random bytes in base64, and a line end."""
    with open(str(path), 'w') as file:
        file.write(os.urandom(32).hex() + '\n' if text is None else text)
    os.chmod(str(path), mode)
    return str(path)


@pytest.fixture
def secret_file(tmp_path):
    return write_secret(tmp_path / 'secret')


@pytest.fixture
def another_file(tmp_path):
    return write_secret(tmp_path / 'another')


@pytest.fixture
def guarded(make_daemon, secret_file, isolation):
    """acrossd on TCP with a secret."""
    return make_daemon(isolation=isolation, listen=['tcp:127.0.0.1:0'], secret_file=secret_file)


def place_of(daemon):
    host, _, port = daemon.addresses[0][4:].rpartition(':')
    return host, int(port)


def connect(daemon, secret_file=None, options=None):
    return across.Connection.from_tcp(*place_of(daemon), secret_file=secret_file, options=options)


def fail_to_connect(daemon, secret_file=None):
    """Return what `with` raises, and that a second one would not."""
    conn = connect(daemon, secret_file)
    with pytest.raises((across.ProtocolError, across.DisconnectError, OSError, EOFError)) as info, conn:
        pass
    assert not conn.is_connected()
    return info.value


def expect_refused(daemon, reason):
    daemon.expect(LOG + 'connection [0-9]+ from tcp:.* was refused: ' + reason)


# ---- who comes in ----


def test_who_knows_the_secret_comes_in(guarded):
    with guarded.connect() as conn:
        assert conn.call(tasks.add, 1, 2) == 3


def test_several_at_a_time_come_in(guarded):
    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(guarded.connect()) for _ in range(8)]
        assert [conn.call(tasks.add, index, 1) for index, conn in enumerate(conns)] == list(range(1, 9))


def test_another_secret_is_refused_on_both_sides(guarded, another_file):
    error = fail_to_connect(guarded, another_file)
    assert isinstance(error, across.ProtocolError) and str(error) == 'The server has another secret'
    expect_refused(guarded, ANOTHER)


def test_without_a_secret_a_client_learns_that_one_is_needed(guarded):
    error = fail_to_connect(guarded)
    assert isinstance(error, across.DisconnectError) and NEEDED in str(error)
    expect_refused(guarded, NEEDED)


def test_a_plain_client_fails_at_once_with_a_magic_that_the_documentation_names(guarded, plain_across):
    source = 'import across, sys\nwith across.Connection.from_tcp({!r}, {}) as conn: pass'.format(*place_of(guarded))
    result = subprocess.run(
        [sys.executable, '-c', source], env=environment(plain_across), capture_output=True, timeout=LIMIT, text=True
    )
    assert result.returncode == 1 and 'ProtocolError: Invalid magic: 0x5ec2e701' in result.stderr
    expect_refused(guarded, NEEDED)


def test_a_server_without_a_secret_is_no_place_for_one(make_daemon, isolation, secret_file):
    daemon = make_daemon(isolation=isolation, listen=['tcp:127.0.0.1:0'])
    error = fail_to_connect(daemon, secret_file)
    assert isinstance(error, across.ProtocolError)
    assert str(error) == 'The server demands no secret: leave secret_file out, or give it to the server, too'
    expect_refused(daemon, 'The peer has a shared secret, and this server demands none')


def test_unix_sockets_of_the_same_daemon_ask_for_none(make_daemon, tmp_path, isolation, secret_file):
    daemon = make_daemon(
        isolation=isolation, listen=['unix:{}/socket'.format(tmp_path), 'tcp:localhost:0'], secret_file=secret_file
    )
    for address in daemon.addresses:
        with daemon.connect(address=address) as conn:
            assert conn.call(tasks.add, 1, 2) == 3


@pytest.mark.parametrize('setting', ['file', 'environment'])
def test_the_setting_may_stand_elsewhere(make_daemon, tmp_path, setting, secret_file):
    env, options = environment(), []
    if setting == 'file':
        options = ['--config', write_secret(tmp_path / 'conf', 'secret-file = {}\n'.format(secret_file))]
    else:
        env['ACROSSD_SECRET_FILE'] = secret_file
    daemon = make_daemon(*options, listen=['tcp:127.0.0.1:0'], env=env, warm=False)
    with connect(daemon, secret_file) as conn:
        assert conn.call(tasks.add, 1, 2) == 3
    fail_to_connect(daemon)
    expect_refused(daemon, NEEDED)
    daemon.stop(check=False)


# ---- the exchange itself ----


def put(kind, content=bytes(32)):
    return MAGIC + bytes([kind, 0, 0, 0]) + content


def read_secret(path):
    with open(path, 'rb') as file:
        return file.read().rstrip()


def prove(secret, prover, client, server):
    return hmac.new(secret, prover + client + server, 'sha256').digest()


@pytest.fixture
def raw(guarded):
    """A socket that is connected to the daemon."""
    with Raw(connect_socket(guarded.addresses[0])) as peer:
        yield peer


def say_hello(raw):
    client = os.urandom(32)
    raw.send(put(HELLO_KIND, client))
    message = raw.read(40)
    assert message[:8] == put(CHALLENGE)[:8]
    return client, message[8:]


def test_the_exchange_is_as_documented(guarded, raw, secret_file):
    secret = read_secret(secret_file)
    client, server = say_hello(raw)
    raw.send(put(PROOF, prove(secret, CLIENT, client, server)))
    assert raw.read(40) == put(ANSWER, prove(secret, SERVER, client, server))
    raw.greet()
    guarded.allow_broken(1)


def test_each_challenge_is_a_new_one(guarded):
    challenges = set()
    for _ in range(5):
        with Raw(connect_socket(guarded.addresses[0])) as peer:
            challenges.add(say_hello(peer)[1])
        expect_refused(guarded, 'Incomplete proof of the secret')
    assert len(challenges) == 5


def reflect(secret, client, server):
    """What a peer without the secret has: the messages that it was sent."""
    return server


def swap(secret, client, server):
    return prove(secret, CLIENT, server, client)


def play_the_server(secret, client, server):
    return prove(secret, SERVER, client, server)


def replay(secret, client, server):
    return prove(secret, CLIENT, client, bytes(32))


@pytest.mark.parametrize('make_proof', [reflect, swap, play_the_server, replay])
def test_what_is_no_fresh_proof_of_a_client_is_refused(guarded, raw, secret_file, make_proof):
    client, server = say_hello(raw)
    raw.send(put(PROOF, make_proof(read_secret(secret_file), client, server)) + HELLO)
    assert raw.read_to_end() in (put(REFUSAL), b'')  # it may be lost, since there is more than was read
    expect_refused(guarded, ANOTHER)


def test_a_proof_for_one_connection_does_not_open_another(guarded, raw, secret_file):
    client, server = say_hello(raw)
    with Raw(connect_socket(guarded.addresses[0])) as peer:
        say_hello(peer)
        peer.send(put(PROOF, prove(read_secret(secret_file), CLIENT, client, server)))
        assert peer.read_to_end() == put(REFUSAL)
    expect_refused(guarded, ANOTHER)
    raw.send(put(PROOF, prove(read_secret(secret_file), CLIENT, client, server)))
    raw.read(40)
    raw.greet()
    guarded.allow_broken(1)


def test_no_server_proves_anything_to_a_stranger(guarded, raw):
    say_hello(raw)
    raw.send(put(PROOF, os.urandom(32)))
    assert raw.read_to_end() == put(REFUSAL)
    expect_refused(guarded, ANOTHER)


def test_nobody_unproved_costs_a_worker(make_daemon, secret_file):
    daemon = make_daemon(listen=['tcp:127.0.0.1:0'], secret_file=secret_file)
    workers = daemon.workers()
    with contextlib.ExitStack() as stack:
        for index in range(30):
            peer = stack.enter_context(Raw(connect_socket(daemon.addresses[0])))
            if index % 2:
                say_hello(peer)
            else:
                peer.send(put(HELLO_KIND)[: index + 1])
        with daemon.connect() as conn:
            assert conn.call(os.getpid) in workers
    daemon.expect_broken(30)


def test_an_exchange_takes_its_part_of_the_handshake(make_daemon, secret_file):
    daemon = make_daemon('--handshake-timeout', '2', listen=['tcp:127.0.0.1:0'], secret_file=secret_file)
    with Raw(connect_socket(daemon.addresses[0])) as peer:
        say_hello(peer)
        assert peer.read_to_end() == b''
    expect_refused(daemon, 'The handshake was not finished within 2000 ms')


# ---- the client's side ----


class Impostor:
    """Another server on the port, which answers as a function of the test says."""

    def __init__(self, answer):
        self._sock = socket.create_server(('127.0.0.1', 0))
        self.addresses = ['tcp:127.0.0.1:{}'.format(self._sock.getsockname()[1])]
        self.received = b''
        self._thread = threading.Thread(target=self._serve, args=(answer,))
        self._thread.start()

    def _serve(self, answer):
        with self._sock:
            sock, _ = self._sock.accept()
        with Raw(sock) as peer:
            answer(peer)
            self.received = peer.read_to_end()

    def join(self):
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()


def answer_anything(peer):
    peer.read(40)
    peer.send(put(CHALLENGE, os.urandom(32)))
    peer.read(40)
    peer.send(put(ANSWER, os.urandom(32)) + HELLO)


def send_the_proof_back(peer):
    peer.read(40)
    peer.send(put(CHALLENGE, os.urandom(32)))
    peer.send(put(ANSWER, peer.read(40)[8:]))


def challenge_with_its_own_nonce(peer):
    nonce = peer.read(40)[8:]
    peer.send(put(CHALLENGE, nonce))
    peer.send(put(ANSWER, peer.read(40)[8:]))


def say_nothing_and_go(peer):
    peer.read(40)
    peer.end()


def go_after_the_proof(peer):
    peer.read(40)
    peer.send(put(CHALLENGE, os.urandom(32)))
    peer.read(40)
    peer.end()


def speak_http(peer):
    peer.read(40)
    peer.send(b'HTTP/1.1 400 Bad Request\r\n\r\n')


@pytest.mark.parametrize(
    'answer, message',
    [
        (answer_anything, 'The server does not know the secret'),
        (send_the_proof_back, 'The server does not know the secret'),
        (challenge_with_its_own_nonce, 'The server does not know the secret'),
        (say_nothing_and_go, 'The server ended the connection and asked for no secret'),
        (go_after_the_proof, 'The server broke off the exchange that proves a secret'),
        (speak_http, 'The server asked for no secret, but began with 0x48545450'),
    ],
)
def test_a_server_that_does_not_know_the_secret_gets_nothing(secret_file, answer, message):
    impostor = Impostor(answer)
    error = fail_to_connect(impostor, secret_file)
    impostor.join()
    assert isinstance(error, across.ProtocolError) and str(error).startswith(message)
    assert impostor.received == b''


def test_a_server_that_says_nothing_is_waited_for_as_long_as_the_timeout_says(secret_file):
    released = threading.Event()
    impostor = Impostor(lambda peer: released.wait(LIMIT))
    conn = connect(impostor, secret_file, options=across.Options(timeout=0.2))
    with pytest.raises(TimeoutError), conn:
        pass
    released.set()
    impostor.join()


def test_a_connection_that_proves_its_secret_may_be_cancelled(secret_file):
    asked, released = threading.Event(), threading.Event()

    def wait(peer):
        peer.read(40)
        asked.set()
        released.wait(LIMIT)

    impostor = Impostor(wait)
    conn = connect(impostor, secret_file)  # which does not wait
    assert asked.wait(LIMIT)
    conn.cancel()
    with contextlib.suppress(OSError, EOFError):
        conn.close()
    released.set()
    impostor.join()


# ---- the file ----

BAD_FILES = [
    pytest.param('s' * 32, 0o640, 'is open to others, with mode 640', id='group'),
    pytest.param('s' * 32, 0o604, 'is open to others, with mode 604', id='others'),
    pytest.param('s' * 32, 0o620, 'is open to others, with mode 620', id='writable'),
    pytest.param('', 0o600, 'is too short: a secret has at least 16 bytes', id='empty'),
    pytest.param('fifteen letters\n\n', 0o600, 'is too short: a secret has at least 16 bytes', id='short'),
    pytest.param('s' * 2000, 0o600, 'is too long: a secret has at most 1024 bytes', id='long'),
]


@pytest.mark.parametrize('text, mode, message', BAD_FILES)
def test_a_file_that_is_no_secret_is_refused(tmp_path, text, mode, message):
    path = write_secret(tmp_path / 'file', text, mode)
    listen = ['--listen', 'tcp:127.0.0.1:0', '--secret-file', path]
    check_failure(run_acrossd(*listen), 2, message)
    check_failure(run_acrossd(*listen, '--check-config'), 2, message)
    check_failure(run_acrossd('status', 'tcp:127.0.0.1:1', '--secret-file', path), 2, message)
    with pytest.raises(ValueError, match=message):
        across.Connection.from_tcp('127.0.0.1', 1, secret_file=path)


@pytest.mark.skipif(os.geteuid() != 0, reason='makes a file of root')
def test_a_file_of_root_may_be_shared_with_a_group(tmp_path, monkeypatch):
    path = write_secret(tmp_path / 'file', 's' * 32, 0o640)
    monkeypatch.setattr(os, 'geteuid', lambda: 54321)
    across.Connection.from_tcp('127.0.0.1', 1, secret_file=path).cancel()
    os.chmod(path, 0o644)
    with pytest.raises(ValueError, match='with mode 644: it has to be 640'):
        across.Connection.from_tcp('127.0.0.1', 1, secret_file=path)


def test_what_is_no_file_is_refused(tmp_path):
    fifo = str(tmp_path / 'fifo')
    os.mkfifo(fifo, 0o600)
    for path in (fifo, str(tmp_path), '/dev/null'):
        result = run_acrossd('--listen', 'tcp:127.0.0.1:0', '--secret-file', path)
        check_failure(result, 2, 'is not a regular file')
        with pytest.raises((ValueError, IsADirectoryError)):
            across.Connection.from_tcp('127.0.0.1', 1, secret_file=path)
    result = run_acrossd('--listen', 'tcp:127.0.0.1:0', '--secret-file', str(tmp_path / 'none'))
    check_failure(result, 2, 'No such file or directory')
    with pytest.raises(FileNotFoundError):
        across.Connection.from_tcp('127.0.0.1', 1, secret_file=str(tmp_path / 'none'))


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can give files away')
def test_a_file_of_another_user_is_refused(secret_file):
    os.chown(secret_file, 54321, -1)
    message = 'belongs to user 54321, and must belong to user 0 or root'
    check_failure(run_acrossd('--listen', 'tcp:127.0.0.1:0', '--secret-file', secret_file), 2, message)
    with pytest.raises(ValueError, match=message):
        across.Connection.from_tcp('127.0.0.1', 1, secret_file=secret_file)


def test_a_secret_that_would_guard_nothing_is_refused(tmp_path, secret_file):
    result = run_acrossd('--listen', 'unix:{}/s'.format(tmp_path), '--secret-file', secret_file)
    check_failure(result, 2, '--secret-file guards TCP addresses, and there is none')


def test_a_file_with_settings_may_name_a_secret_and_serve_stdio(secret_file):
    with across.Connection.from_command([ACROSSD, '--stdio', '--secret-file', secret_file]) as conn:
        assert conn.call(os.getpid)


CHANGED = LOG + 'the secret has changed: new connections over TCP need the new one'


def test_a_reload_reads_it_again(guarded, secret_file, another_file):
    with guarded.connect() as before:
        os.replace(another_file, secret_file)
        assert stat.S_IMODE(os.stat(secret_file).st_mode) == 0o600
        guarded.send_signal(signal.SIGHUP)
        guarded.expect(CHANGED)
        guarded.expect(LOG + 'reloaded: new connections get new workers')
        with guarded.connect() as after:
            assert (before.call(tasks.add, 1, 2), after.call(tasks.add, 3, 4)) == (3, 7)
    guarded.stop(check=False)


def test_a_reload_of_a_bad_file_changes_nothing(guarded, secret_file, another_file):
    os.rename(secret_file, secret_file + '.old')
    write_secret(secret_file, 'short')
    guarded.send_signal(signal.SIGHUP)
    guarded.expect(LOG + 'the secret file .* is too short.*: the secret stays the one that was read before')
    guarded.expect(LOG + 'cannot reload: the secret file .* is too short.*')
    fail_to_connect(guarded, another_file)
    expect_refused(guarded, ANOTHER)
    with connect(guarded, secret_file + '.old') as conn:
        assert conn.call(tasks.add, 1, 2) == 3


def test_an_exchange_that_a_reload_overtakes_needs_the_new_secret(guarded, raw, secret_file, another_file):
    old = read_secret(secret_file)
    client, server = say_hello(raw)
    os.replace(another_file, secret_file)
    guarded.send_signal(signal.SIGHUP)
    guarded.expect(CHANGED)
    guarded.expect(LOG + 'reloaded: new connections get new workers')
    raw.send(put(PROOF, prove(old, CLIENT, client, server)))
    assert raw.read_to_end() == put(REFUSAL)
    expect_refused(guarded, ANOTHER)
    guarded.stop(check=False)


def test_a_reload_may_bring_a_secret_and_take_it_away(make_daemon, tmp_path, isolation, secret_file):
    path = write_secret(tmp_path / 'conf', '')
    daemon = make_daemon('--config', path, isolation=isolation, listen=['tcp:127.0.0.1:0'])
    for text in ('secret-file = {}\n'.format(secret_file), ''):
        write_secret(path, text)
        daemon.send_signal(signal.SIGHUP)
        if text:
            daemon.expect(CHANGED)
        daemon.expect(LOG + 'reloaded: new connections get new workers')
        with connect(daemon, secret_file if text else None) as conn:
            assert conn.call(tasks.add, 1, 2) == 3
        fail_to_connect(daemon, None if text else secret_file)
        daemon.expect_broken()
    daemon.stop(check=False)


FAILURES = {
    'mistake': ('no-such-setting = 1\n', 'cannot reload: .*there is no setting no-such-setting.*'),
    'interpreter': ('venv = /nonexistent\n', 'cannot reload: .*is no virtual environment.*'),
    'module': ('preload = no_such_module\n', 'the reload failed: new connections get workers as before'),
}


@pytest.mark.parametrize('failure', FAILURES)
def test_a_new_secret_counts_although_the_reload_fails(make_daemon, tmp_path, secret_file, another_file, failure):
    text, line = FAILURES[failure]
    path = write_secret(tmp_path / 'conf', 'secret-file = {}\n'.format(secret_file))
    daemon = make_daemon('--config', path, listen=['tcp:127.0.0.1:0'], warm=False)
    os.rename(secret_file, secret_file + '.old')
    os.rename(another_file, secret_file)
    write_secret(path, 'secret-file = {}\n{}'.format(secret_file, text))
    daemon.send_signal(signal.SIGHUP)
    daemon.expect(CHANGED)
    daemon.expect(LOG + line)
    if failure == 'module':
        daemon.allow_lines('  .*|Traceback .*|ModuleNotFoundError: .*|' + LOG + '.*for the reason above')
    with connect(daemon, secret_file) as conn:
        assert conn.call(tasks.add, 1, 2) == 3
    fail_to_connect(daemon, secret_file + '.old')
    daemon.expect_broken()
    daemon.stop(check=False)


def test_a_new_secret_counts_while_a_reload_is_slow(make_daemon, tmp_path, secret_file, another_file):
    """The file of a broken configuration is the one that was read last, although that reload was not done."""
    gate = tmp_path / 'gate'
    os.mkfifo(gate)
    (tmp_path / 'slow.py').write_text('open({!r}).close()\n'.format(str(gate)))
    path = write_secret(tmp_path / 'conf', 'secret-file = {}\n'.format(secret_file))
    daemon = make_daemon('--config', path, listen=['tcp:127.0.0.1:0'], warm=False, env=environment(str(tmp_path)))
    write_secret(path, 'secret-file = {}\npreload = slow\n'.format(another_file))
    daemon.send_signal(signal.SIGHUP)
    daemon.expect(CHANGED)
    for _ in range(2):
        with connect(daemon, another_file) as conn:
            assert conn.call(tasks.add, 1, 2) == 3
        fail_to_connect(daemon, secret_file)
        daemon.expect_broken()
        write_secret(path, 'no-such-setting = 1\n')
        daemon.send_signal(signal.SIGHUP)
        daemon.expect(LOG + 'cannot reload: .*there is no setting no-such-setting.*')
    os.close(os.open(gate, os.O_WRONLY))
    daemon.expect(LOG + 'reloaded: new connections get new workers')
    with connect(daemon, another_file) as conn:
        assert conn.call(tasks.add, 1, 2) == 3
    daemon.stop(check=False)


# ---- the status ----


def ask(*args):
    return subprocess.run([ACROSSD, 'status', *args], capture_output=True, timeout=LIMIT, text=True)


def test_the_status_is_for_those_who_know_the_secret(guarded, secret_file, another_file):
    address = guarded.addresses[0]
    assert ask(address, '--secret-file', secret_file).stdout.startswith('acrossd ')
    result = ask(address)
    assert result.returncode == 1 and 'demands a shared secret: write --secret-file FILE' in result.stderr
    expect_refused(guarded, NEEDED)
    result = ask(address, '--secret-file', another_file)
    assert result.returncode == 1 and 'has another secret' in result.stderr
    expect_refused(guarded, ANOTHER)


def test_the_status_of_a_server_without_a_secret(make_daemon, tmp_path, secret_file):
    daemon = make_daemon(listen=['tcp:127.0.0.1:0'])
    result = ask(daemon.addresses[0], '--secret-file', secret_file)
    assert result.returncode == 1 and 'asks for no secret: leave --secret-file out' in result.stderr
    expect_refused(daemon, 'The peer has a shared secret, and this server demands none')
    result = ask('unix:{}'.format(tmp_path), '--secret-file', secret_file)
    assert result.returncode == 2 and 'asks for none' in result.stderr


# ---- the superblock's place ----


def test_a_bare_python_is_refused(guarded):
    with Raw(connect_socket(guarded.addresses[0])) as peer:
        peer.send(superblock(0xE54E6D01))
        assert peer.read_to_end() == put(REFUSAL)
    expect_refused(guarded, NEEDED)


# ---- servers in Python ----


@pytest.fixture
def python_server(secret_file):
    """The port of a server in Python that demands the secret, in a process of its own."""
    command = [sys.executable, '-m', 'across', '-v', '--tcp', '127.0.0.1:0', '--server', '--secret-file', secret_file]
    env = environment(os.path.dirname(os.path.dirname(across.__file__)))
    process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        port = int(next(line for line in process.stderr if 'listening on tcp:' in line).rpartition(':')[2])
        yield port
        process.terminate()
        assert process.wait(LIMIT) == 0
    finally:
        process.kill()
        process.communicate()


def test_a_server_in_python_demands_the_secret(python_server, secret_file, another_file, plain_across):
    def connect_to(path=None):
        return across.Connection.from_tcp('127.0.0.1', python_server, secret_file=path)

    with connect_to(secret_file) as conn:
        assert conn.call(tasks.add, 1, 2) == 3
    with pytest.raises(across.ProtocolError, match='The server has another secret'), connect_to(another_file):
        pass
    with pytest.raises(across.DisconnectError, match=NEEDED), connect_to():
        pass
    with Raw(connect_socket('tcp:127.0.0.1:{}'.format(python_server))) as peer:
        peer.send(superblock())
        assert peer.read_to_end() == put(REFUSAL)


def test_peers_that_prove_nothing_do_not_keep_others_out_of_a_server_in_python(python_server, secret_file):
    with contextlib.ExitStack() as stack:
        for _ in range(70):
            stack.enter_context(connect_socket('tcp:127.0.0.1:{}'.format(python_server)))
        with across.Connection.from_tcp('127.0.0.1', python_server, secret_file=secret_file) as conn:
            assert conn.call(tasks.add, 1, 2) == 3


def test_silent_peers_do_not_displace_one_that_proves(python_server, secret_file):
    """During its exchange, more peers connect than there are places."""
    address = 'tcp:127.0.0.1:{}'.format(python_server)
    with contextlib.ExitStack() as stack, Raw(connect_socket(address)) as peer:
        received = 0

        def receive():
            nonlocal received
            received += 1
            answer = peer.read(40)
            if received == 1:  # the challenge: so the server has noticed that it has begun
                silent = [stack.enter_context(connect_socket(address)) for _ in range(80)]
                for sock in silent[:10]:
                    assert sock.recv(1) == b''  # they have been displaced
            return answer

        secrets.prove_to_server(secrets.read_secret(secret_file), peer.send, receive)
        assert received == 2


def run_across(port, *options):
    command = [sys.executable, '-m', 'across', '--tcp', '127.0.0.1:{}'.format(port), *options, '--execute', '6 * 7']
    env = environment(os.path.dirname(os.path.dirname(across.__file__)))
    return subprocess.run(command, env=env, capture_output=True, timeout=LIMIT, text=True)


def test_the_command_line_takes_a_secret(guarded, secret_file, another_file):
    port = place_of(guarded)[1]
    assert run_across(port, '--secret-file', secret_file).stdout == '42\n'
    result = run_across(port, '--secret-file', another_file)
    assert (result.returncode, result.stdout) == (1, '') and 'The server has another secret' in result.stderr
    expect_refused(guarded, ANOTHER)


def test_a_plain_server_learns_nothing_but_that_somebody_has_a_secret(plain_across, secret_file):
    process = subprocess.Popen(
        [sys.executable, os.path.join(os.path.dirname(__file__), 'plain_server.py'), 'tcp'],
        env=environment(plain_across),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        port = int(process.stdout.readline().rpartition(b':')[2])
        conn = across.Connection.from_tcp('127.0.0.1', port, secret_file=secret_file)
        message = 'The server (demands|ended the connection and asked for) no secret'
        with pytest.raises(across.ProtocolError, match=message), conn:
            pass
    finally:
        process.kill()
        process.communicate()
