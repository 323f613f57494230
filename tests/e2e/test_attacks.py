# SPDX-License-Identifier: MIT
"""Floods of peers that hang up or are silent: honest clients are still served. attacks.py measures the cost."""

import contextlib
import os
import socket
import ssl

import pytest

from . import attacks
from . import remote_tasks as tasks
from .daemon import LOG
from .test_bad_input import HELLO, superblock
from .test_limits import call_once, connect_socket, expect_refusal, make_room_for_lines
from .test_status import ask_json, ask_once
from .test_supervision import stopped
from .waiting import SLACK, children, wait_until

HUNG_UP = LOG + 'connection [0-9]+ from .* was refused: The peer hung up before it was served'
DISPLACED = LOG + 'connection [0-9]+ from .* was refused: Too many peers are in their handshake.*'
MANY = 200


# ---- who hangs up ----


@pytest.mark.parametrize('words', [superblock(), HELLO], ids=['superblock', 'greeting'])
@pytest.mark.parametrize('listen', [None, ['tcp:127.0.0.1:0']], ids=['unix', 'tcp'])
def test_those_who_hang_up_cost_no_worker(make_daemon, listen, words):
    """All have hung up before the supervisor accepts the first one."""
    daemon = make_daemon(listen=listen)
    worker = daemon.find_idle_workers()
    with stopped(daemon.process.pid):
        for _ in range(MANY):
            with connect_socket(daemon.addresses[0]) as sock:
                sock.sendall(words)
    for _ in range(MANY):
        daemon.expect(HUNG_UP)
    assert daemon.find_idle_workers() == worker  # none was used, and none was added for them
    assert call_once(daemon) == 3


def test_those_who_hang_up_while_they_wait_are_noticed_at_once(make_daemon):
    daemon = make_daemon('--handshake-timeout', 'none', spare=0)
    with stopped(daemon.find_zygote()):
        socks = [connect_socket(daemon.addresses[0]) for _ in range(10)]
        for sock in socks:
            sock.sendall(superblock())
        wait_until(lambda: ask_json(daemon.addresses[0])['connection_counts']['waiting'] == 10, 'ten that wait')
        for sock in socks:
            sock.close()
        for _ in socks:
            daemon.expect(HUNG_UP)
        assert ask_json(daemon.addresses[0])['connection_counts']['waiting'] == 0
    assert call_once(daemon) == 3


def test_who_ends_its_side_after_all_it_had_to_say_is_answered(make_daemon):
    daemon = make_daemon()
    with stopped(daemon.process.pid):
        sock = connect_socket(daemon.addresses[0])
        sock.sendall(HELLO)
        sock.shutdown(socket.SHUT_WR)
    with sock:
        assert sock.recv(16).startswith(superblock()[:4])
    daemon.allow_broken(1)


# ---- who comes in masses ----


def test_a_source_may_have_a_part_of_the_connections(make_daemon, isolation):
    listen = ['tcp:127.0.0.1:0']
    daemon = make_daemon('--max-connections-per-source', '2', listen=listen, isolation=isolation)
    with daemon.connect() as first, daemon.connect() as second:
        assert first.call(tasks.add, 1, 2) == second.call(tasks.add, 1, 2) == 3
        reason = 'The server has as many connections from the same address as it may have: 2'
        expect_refusal(daemon.connect, reason)
        daemon.expect(LOG + 'connection [0-9]+ from .* was refused: ' + reason)
        host, _, port = daemon.addresses[0][4:].rpartition(':')
        with socket.create_connection((host, int(port)), source_address=('127.0.0.2', 0)) as sock:  # another source
            sock.sendall(superblock())
            assert sock.recv(16).startswith(superblock()[:4])
        assert ask_json(daemon.addresses[0])['state'] == 'serving'
    daemon.allow_broken(1)


@pytest.mark.parametrize('kind', ['unix', 'tcp'])
def test_silent_peers_displace_no_tls_handshake(make_daemon, authority, tmp_path, kind):
    """One peer has begun, one is silent yet, while many more connect than there are places."""
    listen = ['tls:127.0.0.1:0', {'unix': 'unix:{}/s'.format(tmp_path), 'tcp': 'tcp:127.0.0.1:0'}[kind]]
    daemon = make_daemon('--max-handshakes', '12', '--handshake-timeout', 'none', listen=listen, authority=authority)
    daemon.allow_lines(DISPLACED)
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(connect_socket(daemon.addresses[0]))
        begun = stack.enter_context(connect_socket(daemon.addresses[0]))
        begun.sendall(attacks.RECORD)
        wait_until(lambda: count_handshakes(daemon) == 2, 'two handshakes')
        for _ in range(MANY):
            stack.enter_context(connect_socket(daemon.addresses[1]))
        for _ in range(MANY - 10):
            daemon.expect(DISPLACED)
        begun.setblocking(False)
        with pytest.raises(BlockingIOError):
            begun.recv(1)  # it has not been evicted
        with authority.context().wrap_socket(silent, server_hostname='localhost') as secured:
            secured.sendall(superblock())
            assert secured.recv(16).startswith(superblock()[:4])
    daemon.allow_broken(20)


def test_half_handshakes_displace_none_that_is_under_way(make_daemon, authority):
    """One whose first message was answered, by many who send the beginning of theirs, all from one address."""
    daemon = make_daemon('--max-handshakes', '12', listen=['tls:127.0.0.1:0'], authority=authority)
    daemon.allow_lines(DISPLACED)
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.context().wrap_bio(received, sent, server_hostname='localhost')
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(connect_socket(daemon.addresses[0]))
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        sock.sendall(sent.read())
        received.write(sock.recv(1 << 16))
        for _ in range(MANY):
            stack.enter_context(connect_socket(daemon.addresses[0])).sendall(attacks.RECORD)
        for _ in range(MANY - 12):
            daemon.expect(DISPLACED)
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                client.do_handshake()
                break
            received.write(sock.recv(1 << 16))
        client.write(superblock())
        sock.sendall(sent.read())
        assert sock.recv(1) != b''  # it is served
    daemon.allow_broken(20)


def count_handshakes(daemon):
    plain = next(address for address in daemon.addresses if not address.startswith('tls'))
    return ask_json(plain)['connection_counts']['handshaking']


def test_the_status_is_told_while_all_places_are_taken(make_daemon):
    daemon = make_daemon('--max-handshakes', '4', '--max-connections', '1', '--handshake-timeout', 'none')
    daemon.allow_lines(DISPLACED)
    with daemon.connect() as conn, contextlib.ExitStack() as stack:
        conn.call(os.getpid)
        for _ in range(20):
            stack.enter_context(connect_socket(daemon.addresses[0]))
            assert ask_once(daemon.addresses[0])['connection_counts']['open'] >= 1


# ---- the rows of attacks.py, in short ----

CALLS = 12


@pytest.mark.more
@pytest.mark.alone
@pytest.mark.skipif(SLACK > 1, reason='AddressSanitizer keeps what is freed')
@pytest.mark.parametrize('attack', attacks.ATTACKS, ids=lambda attack: '-'.join(map(str, attack[:3])))
def test_an_attack_keeps_no_honest_client_out(tmp_path, attack):
    with attacks.daemon_under_attack(str(tmp_path)) as daemon:
        make_room_for_lines(daemon)
        row = attacks.measure(daemon, attack, 3000, attacks.for_calls(CALLS))
        assert row.quiet.failures == row.busy.failures == 0
        assert row.rate > 0 or attack.is_admitted
        assert attacks.resident(daemon.process.pid) < 128 << 20
        assert children(daemon.process.pid)
