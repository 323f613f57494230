# SPDX-License-Identifier: MIT
"""Nothing is unpickled before a peer is admitted.

A canary is a pickle that makes a folder when it is loaded. It is sent at every place before admission, in every shape
that a later place would take: to both kinds of isolation, to each listener that admits not everybody, and to clients of
both engines. No folder may be there when the connection has ended, nor when all processes have. Controls show that it
is made once a peer is admitted.
"""

import contextlib
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys

import pytest

import across

from . import authority
from .daemon import LOG, RunningCall, environment
from .test_bad_input import (
    APPLY,
    EXCEPTION,
    GOODBYE,
    GREETING,
    HELLO,
    IDLE,
    RESULT,
    SUCCESS,
    Raw,
    frame,
    message,
    superblock,
)
from .test_limits import connect_socket
from .test_secret import (  # noqa: F401 - a fixture is used by its name
    ANSWER,
    CHALLENGE,
    HELLO_KIND,
    PROOF,
    REFUSAL,
    put,
    say_hello,
    secret_file,
    write_secret,
)
from .waiting import LIMIT, wait_until

BARE = 0xE54E6D01
STATUS_REQUEST = bytes.fromhex('5bb58a44 00 01 00000000000000000000')
ALL = 0xFFFFFFFF  # every feature that there ever may be
LATER_TYPES = range(6, 16)  # of messages that the extension has, or may have


class _Trap:
    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return os.mkdir, (self._path,)


class Canary:
    """The pickle, and messages that hold it."""

    def __init__(self, path):
        self.path = path
        self.pickle = pickle.dumps(_Trap(path), 4)
        self.call = message([APPLY, 0, 0], self.pickle)
        self.result = message([RESULT, 0, SUCCESS, 0], self.pickle)
        self.error = message([RESULT, 0, EXCEPTION, 0], self.pickle)

    def has_fired(self):
        return os.path.exists(self.path)


@pytest.fixture
def fired(tmp_path):
    """A canary that is to fire."""
    return Canary(str(tmp_path / 'fired'))


@pytest.fixture
def canary(tmp_path):
    """A canary that is not. What the test starts is to be set up after it: it looks when that has ended."""
    canary = Canary(str(tmp_path / 'canary'))
    yield canary
    assert not canary.has_fired()


@pytest.fixture
def target(canary, make_daemon, isolation):
    """acrossd on a unix socket."""
    return make_daemon(isolation=isolation)


@pytest.fixture
def guarded(canary, make_daemon, secret_file, isolation):  # noqa: F811
    """acrossd on TCP with a secret."""
    return make_daemon(isolation=isolation, listen=['tcp:127.0.0.1:0'], secret_file=secret_file)


def attack(daemon, *pieces):
    """Send all that, whatever is answered, and return when the daemon is done with it."""
    with Raw(connect_socket(daemon.addresses[0])) as peer:
        with contextlib.suppress(OSError):  # it may be refused before it has said everything
            for piece in pieces:
                peer.send(piece)
            peer.end()
        peer.read_to_end()


def attack_from(positions, daemon, canary):
    """Attack from each of these positions, which are functions of the canary, by name."""
    for name, make in positions.items():
        attack(daemon, *make(canary))
        assert not canary.has_fired(), name
    daemon.allow_broken(len(positions))


# ---- that it works at all ----


def test_it_fires_when_its_peer_is_admitted(make_daemon, isolation, fired):
    daemon = make_daemon(isolation=isolation)
    with Raw(connect_socket(daemon.addresses[0])) as peer:
        peer.greet()
        assert not fired.has_fired()
        peer.send(fired.call)
        wait_until(fired.has_fired, 'firing')
        peer.send(message([GOODBYE]))
        peer.read_to_end()


def test_it_fires_for_who_knows_the_secret(make_daemon, isolation, secret_file, fired):  # noqa: F811
    daemon = make_daemon(isolation=isolation, listen=['tcp:127.0.0.1:0'], secret_file=secret_file)
    with daemon.connect() as conn, pytest.raises(TypeError):  # None is no function
        conn.call(_Trap(fired.path))
    assert fired.has_fired()


# ---- before and instead of the superblock, and before the greeting ----

POSITIONS = {
    'nothing-else': lambda canary: [canary.pickle],
    'a-frame-of-its-own': lambda canary: [frame(canary.pickle)],
    'call-first': lambda canary: [canary.call],
    'before-the-superblock': lambda canary: [canary.pickle, HELLO, canary.call],
    'call-before-the-superblock': lambda canary: [canary.call, HELLO, canary.call],
    'in-the-superblock': lambda canary: [superblock()[:7], canary.pickle],
    'half-a-superblock': lambda canary: [superblock()[:8], canary.call],
    'wrong-magic': lambda canary: [superblock(0x12345678), message([GREETING, 0]), canary.call],
    'wrong-version': lambda canary: [superblock(version=(0, 3, 0)), message([GREETING, 0]), canary.call],
    'call-before-greeting': lambda canary: [superblock(), canary.call],
    'call-in-one-piece': lambda canary: [superblock() + canary.call],
    'result-before-greeting': lambda canary: [superblock(), canary.result],
    'error-before-greeting': lambda canary: [superblock(), canary.error],
    'call-of-0.1-before-greeting': lambda canary: [superblock(version=(0, 1, 0)), canary.call],
    'as-greeting': lambda canary: [superblock(), frame(canary.pickle), canary.call],
    'as-head-of-several': lambda canary: [superblock(), message(canary.pickle, canary.pickle)],
    'goodbye-before-greeting': lambda canary: [superblock(), message([GOODBYE], canary.pickle), canary.call],
    'idle-before-greeting': lambda canary: [superblock(), message([IDLE], canary.pickle), canary.call],
    'bare-call': lambda canary: [superblock(BARE), canary.call],
    'bare-superblock-then-call': lambda canary: [superblock(BARE), superblock(), canary.call],
    'bare-of-the-future': lambda canary: [superblock(BARE, (9, 9, 9)), superblock(), HELLO, canary.call],
}


def say_first(kind, count):
    """A position: a message of this type, from a peer with all features, in place of its greeting."""
    hello = superblock(extension=255, features=ALL)
    return lambda canary: [hello, message([kind, 0, 0, 0], *[canary.pickle] * count)]


EXTENSION = {'{}-{}'.format(kind, count): say_first(kind, count) for kind in LATER_TYPES for count in (1, 3)}


@pytest.mark.parametrize('positions', [POSITIONS, EXTENSION], ids=['known', 'extension'])
def test_it_does_not_fire_before_the_greeting(canary, target, positions):
    attack_from(positions, target, canary)


def test_a_greeting_holds_no_pickle(canary, target):
    """Buffers behind it mean nothing, and neither does what its head ends with."""
    attack(target, superblock(), message([GREETING, 0], canary.pickle, canary.pickle))
    attack(target, superblock(), message(bytes([GREETING, 0]) + canary.pickle))
    target.allow_broken(2)


def test_who_asks_for_the_status_is_not_admitted(canary, target):
    for rest in ([canary.call], [HELLO, canary.call]):
        attack(target, STATUS_REQUEST, *rest)
    target.allow_broken(2)


# ---- a secret ----


def cut(canary):
    """As much of it as a nonce or a proof has room for."""
    return canary.pickle[:32].ljust(32, b'.')


SECRET_POSITIONS = {
    'without-proof': lambda canary: [HELLO, canary.call],
    'instead-of-hello': lambda canary: [canary.pickle, bytes(64), HELLO, canary.call],
    'as-nonce': lambda canary: [put(HELLO_KIND, cut(canary)), HELLO, canary.call],
    'instead-of-proof': lambda canary: [put(HELLO_KIND), canary.call, HELLO, canary.call],
    'as-proof': lambda canary: [put(HELLO_KIND), put(PROOF, cut(canary)), HELLO, canary.call],
    'with-a-challenge': lambda canary: [put(HELLO_KIND), put(CHALLENGE), HELLO, canary.call],
    'hello-again': lambda canary: [put(HELLO_KIND), put(HELLO_KIND), HELLO, canary.call],
}


@pytest.mark.parametrize('positions', [SECRET_POSITIONS, POSITIONS], ids=['exchange', 'others'])
def test_it_does_not_fire_without_proof(canary, guarded, positions):
    attack_from(positions, guarded, canary)


def test_it_does_not_fire_after_a_refused_proof(canary, guarded):
    with Raw(connect_socket(guarded.addresses[0])) as peer:
        say_hello(peer)
        peer.send(put(PROOF))
        assert peer.read(40) == put(REFUSAL)
        with contextlib.suppress(ConnectionError):
            peer.send(HELLO + canary.call)
        peer.read_to_end()
    guarded.allow_broken(1)


# ---- those who may not come in ----


def test_it_does_not_fire_for_a_user_who_may_not_connect(canary, make_daemon, isolation):
    daemon = make_daemon('--allow-uid', str(os.geteuid() + 1), isolation=isolation, warm=False)
    attack(daemon, HELLO, canary.call)
    daemon.expect(LOG + 'connection 1 from .* was refused: User {} may not connect'.format(os.geteuid()))
    daemon.stop(check=False)


def test_it_does_not_fire_beyond_the_limit(canary, make_daemon, isolation):
    daemon = make_daemon('--max-connections', '1', isolation=isolation)
    with daemon.connect() as conn:
        attack(daemon, HELLO, canary.call)
        daemon.expect(LOG + 'connection .* was refused: The server has as many connections as it may have: 1')
        assert conn.call(os.getpid)


def test_it_does_not_fire_when_a_handshake_is_displaced(canary, make_daemon, isolation):
    daemon = make_daemon('--max-handshakes', '1', isolation=isolation)
    with Raw(connect_socket(daemon.addresses[0])) as peer:
        peer.send(superblock()[:15])
        with connect_socket(daemon.addresses[0]):
            daemon.expect(LOG + 'connection .* was refused: Too many peers are in their handshake')
            with contextlib.suppress(ConnectionError):
                peer.send(superblock()[15:] + message([GREETING, 0]) + canary.call)
            peer.read_to_end()


def test_it_does_not_fire_when_the_time_is_over(canary, make_daemon, isolation):
    daemon = make_daemon('--handshake-timeout', '2', isolation=isolation)
    for first, rest in [(superblock()[:9], superblock()[9:]), (superblock(), b'')]:
        with Raw(connect_socket(daemon.addresses[0])) as peer:
            peer.send(first)
            peer.read_to_end()
            with contextlib.suppress(ConnectionError):
                peer.send(rest + message([GREETING, 0]) + canary.call)
        daemon.expect(LOG + 'connection [0-9]+ from .*: The handshake was not finished within [0-9]+ ms')


def test_it_does_not_fire_while_the_daemon_stops(canary, make_daemon, isolation):
    """In the handshake, with the supervisor or with a worker, when the stop begins; a running call holds it up."""
    daemon = make_daemon('--grace', '20', isolation=isolation)
    with daemon.connect() as conn, contextlib.ExitStack() as stack:
        call = RunningCall(conn)
        peers = [stack.enter_context(Raw(connect_socket(daemon.addresses[0]))) for _ in range(4)]
        for peer, said in zip(peers, [b'', superblock()[:15], superblock(), superblock() + message([GREETING, 0])[:9]]):
            peer.send(said)
        peers[2].read(16)
        peers[3].read(16)  # both are with a worker
        daemon.send_signal(signal.SIGTERM)
        wait_until(lambda: not os.path.exists(daemon.addresses[0][5:]), 'the stop')
        for peer, rest in zip(peers, [HELLO, superblock()[15:], b'', b'']):
            with contextlib.suppress(ConnectionError):
                peer.send(rest + canary.call)
        assert call.release() is True
        for peer in peers:
            peer.read_to_end()
    daemon.allow_broken(4)
    daemon.allow_lines(LOG + 'the worker, process [0-9]+, exited with status 0; connections lost: [0-9]+')
    daemon.join()


needs_openssl = pytest.mark.skipif(shutil.which('openssl') is None, reason='no openssl, which makes certificates')


@needs_openssl
def test_it_does_not_fire_where_tls_is_spoken(canary, make_daemon, tmp_path, isolation):
    authority.make(str(tmp_path))
    files = {'--tls-cert': 'server.pem', '--tls-key': 'server.key', '--tls-client-ca': 'ca.pem'}
    options = [word for name, file in files.items() for word in (name, str(tmp_path / file))]
    daemon = make_daemon(*options, isolation=isolation, listen=['tls:127.0.0.1:0'], warm=False)
    attack_from(dict(POSITIONS, hello=lambda canary: [HELLO, canary.call]), daemon, canary)
    daemon.allow_lines(LOG + 'connections are limited to .*')
    daemon.stop(check=False)


# ---- clients ----

CLIENT = """
import os, sys, across
port, count, secret_file = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] or None
assert across.engine == os.environ['ACROSS_ENGINE']
for _ in range(count):
    try:
        with across.Connection.from_tcp('127.0.0.1', port, secret_file=secret_file) as conn:
            conn.wait()
    except Exception as error:
        print(type(error).__name__)
    else:
        print('admitted')
"""


def talk_to_client(listener, pieces, admit):
    """Say that to the next client, after a proper greeting if it is to be admitted, until it has gone."""
    sock, _ = listener.accept()
    with Raw(sock) as peer, contextlib.suppress(OSError):
        if admit:
            peer.greet()
        for piece in pieces:
            peer.send(piece)
        if not admit:
            peer.end()
        peer.read_to_end()


@pytest.fixture(params=['native', 'pure'])
def attack_client(request, tmp_path):
    """Has a client of each engine connect to a server that attacks it from positions; returns how it fared."""

    def attack(positions, canary, admit=False, secret=False):
        env = environment(os.path.dirname(os.path.dirname(across.__file__)))
        env['ACROSS_ENGINE'] = request.param
        with socket.create_server(('127.0.0.1', 0)) as listener:
            listener.settimeout(LIMIT)
            port, path = listener.getsockname()[1], write_secret(tmp_path / 'clients') if secret else ''
            command = [sys.executable, '-c', CLIENT, str(port), str(len(positions)), path]
            client = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
            try:
                for name, make in positions.items():
                    talk_to_client(listener, make(canary), admit)
                    assert admit or not canary.has_fired(), name
                outcomes = client.communicate(timeout=LIMIT)[0].split()
            finally:
                client.kill()
                client.communicate()
        assert len(outcomes) == len(positions)
        return set(outcomes)

    return attack


def test_it_fires_in_a_client_when_its_server_is_admitted(fired, attack_client):
    def call_and_end(canary):
        yield canary.call
        wait_until(canary.has_fired, 'the call')  # which would not begin any more after a goodbye
        yield message([GOODBYE])

    assert attack_client({'call': call_and_end}, fired, admit=True) == {'admitted'}


def test_it_does_not_fire_in_a_client_before_the_greeting(canary, attack_client):
    assert attack_client(POSITIONS, canary) <= {'ProtocolError', 'EOFError', 'ConnectionResetError', 'BrokenPipeError'}


def test_no_message_of_the_extension_fires_in_a_client_before_the_greeting(canary, attack_client):
    assert attack_client(EXTENSION, canary) == {'ProtocolError'}


SERVER_POSITIONS = {
    'no-challenge': lambda canary: [HELLO, canary.call],
    'pickle': lambda canary: [canary.pickle, HELLO, canary.call],
    'as-nonce': lambda canary: [put(CHALLENGE, cut(canary)), HELLO, canary.call],
    'as-answer': lambda canary: [put(CHALLENGE), put(ANSWER, cut(canary)), HELLO, canary.call],
    'after-refusal': lambda canary: [put(CHALLENGE), put(REFUSAL), HELLO, canary.call],
    'answer-first': lambda canary: [put(ANSWER), HELLO, canary.call],
}


def test_it_does_not_fire_in_a_client_whose_server_does_not_know_the_secret(canary, attack_client):
    assert attack_client(SERVER_POSITIONS, canary, secret=True) == {'ProtocolError'}
