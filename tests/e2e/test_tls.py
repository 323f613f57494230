# SPDX-License-Identifier: MIT
"""TLS: which clients are accepted, what each side is told, and how connections end.

Calls over TLS are in the tests for all transports, too.
"""

import base64
import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading

import pytest

import across

from . import deadly_tasks as deadly
from . import remote_tasks as tasks
from .authority import Authority
from .daemon import ACROSSD, LOG, RunningCall, close_broken, environment
from .test_bad_input import HELLO, Raw, apply, header, superblock
from .test_daemon import check_failure, run_acrossd
from .test_limits import ask_status, connect_socket
from .test_reload import reload
from .test_supervision import GONE, read_note, start_call
from .test_systemd import opener
from .waiting import LIMIT, list_fds, memory, wait_until

MEGABYTE = 1 << 20
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason='only root may look into the memory of a process with a key')


@pytest.fixture(scope='session')
def stranger(tmp_path_factory):
    """Another authority, which neither side trusts."""
    return Authority(tmp_path_factory.mktemp('stranger'))


@pytest.fixture
def own_authority(tmp_path):
    """An authority whose files may be changed."""
    return Authority(tmp_path / 'authority')


@pytest.fixture
def secured(make_daemon, authority, isolation):
    """acrossd with TLS, and with both kinds of isolation."""
    return make_daemon(listen=['tls:127.0.0.1:0'], isolation=isolation, authority=authority)


@pytest.fixture
def door(make_secured):
    """acrossd with TLS, for peers that never get a worker."""
    return make_secured()


@pytest.fixture
def make_secured(make_daemon, authority):
    """Starts daemons with TLS and further options; on a unix socket, too."""

    def make(*options, authority=authority, isolation='process', **kwargs):
        listen = kwargs.pop('listen', ['tls:127.0.0.1:0'])
        return make_daemon(*options, listen=listen, isolation=isolation, authority=authority, **kwargs)

    return make


def refused(reason, name=''):
    """The line about it, where the peer's certificate has this name."""
    return LOG + 'connection [0-9]+ from tls:127.0.0.1:[0-9]+{} was refused: {}'.format(name and ' ' + name, reason)


def expect_refused(daemon, reason, name=''):
    daemon.expect(refused(reason, name))


def fail_to_connect(daemon, **files):
    """Return what `with` raises."""
    host, _, port = daemon.addresses[0][4:].rpartition(':')
    conn = across.Connection.from_tls(host, port, **files)
    with pytest.raises((across.DisconnectError, OSError)) as info, conn:
        pass
    assert not conn.is_connected()
    return info.value


def secure_socket(daemon, authority, client='client', **kwargs):
    """A socket over which TLS is spoken with a daemon, and nothing else has been said."""
    sock = connect_socket(daemon.addresses[0])
    return authority.context(client, **kwargs).wrap_socket(sock, server_hostname='127.0.0.1')


def check_works(daemon):
    with daemon.connect() as conn:
        assert conn.call(tasks.add, 1, 2) == 3


# ---- what goes over it ----


def test_calls_callbacks_and_large_values(secured):
    with secured.connect() as conn:
        assert repr(conn).endswith(' {}>'.format(secured.addresses[0]))
        data = os.urandom(20 * MEGABYTE)
        assert conn.call(tasks.echo, data) == data
        assert conn.call(tasks.call_back, across.Local(lambda: data)) == data
        assert len(conn.call(tasks.ping_pong, 5)) == 6


def test_large_values_both_ways_at_once(secured):
    data = os.urandom(10 * MEGABYTE)
    with secured.connect() as conn:
        results = []
        threads = [threading.Thread(target=lambda: results.append(conn.call(tasks.echo, data))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [data] * 4


def test_many_connections(secured):
    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(secured.connect()) for _ in range(20)]
        assert [conn.call(tasks.add, number, 1) for number, conn in enumerate(conns)] == list(range(1, 21))


def test_on_the_engine_in_python(secured, authority):
    source = (
        'import sys, across\n'
        'host, port, folder = sys.argv[1:]\n'
        'with across.Connection.from_tls(host, port, cafile=folder + "/ca.pem", certfile=folder + "/client.pem",\n'
        '                                keyfile=folder + "/client.key") as conn:\n'
        '    print(conn.call(len, bytes(3000000)))\n'
        '    print(conn.call(sorted, [3, 1, 2], key=across.Local(lambda number: -number)))\n'
    )
    host, _, port = secured.addresses[0][4:].rpartition(':')
    result = subprocess.run(
        [sys.executable, '-c', source, host, port, authority.folder],
        env=dict(environment(os.path.dirname(os.path.dirname(across.__file__))), ACROSS_ENGINE='pure'),
        capture_output=True, timeout=LIMIT, text=True,
    )  # fmt: skip
    assert (result.stderr, result.stdout) == ('', '3000000\n[3, 2, 1]\n')


def test_every_address_of_a_name_is_tried(secured, authority):
    port = secured.addresses[0].rpartition(':')[2]
    with across.Connection.from_tls('localhost', port, **authority.files()) as conn:  # ::1 comes first, and is refused
        assert conn.call(tasks.add, 1, 2) == 3


def test_a_context_of_ones_own(secured, authority):
    host, _, port = secured.addresses[0][4:].rpartition(':')
    context = authority.context()
    with across.Connection.from_tls(host, port, ssl_context=context) as conn:
        assert conn.call(tasks.add, 1, 2) == 3
    with pytest.raises(TypeError, match='either an ssl_context or files'):
        across.Connection.from_tls(host, port, ssl_context=context, cafile=authority.path('ca.pem'))


# ---- who comes in ----


@pytest.mark.parametrize(
    ('files', 'alert', 'reason'),
    [
        ({}, 'certificate required', 'TLS failed: peer did not return a certificate'),
        ({'client': 'stranger'}, 'unknown ca', 'The certificate was rejected: .*'),
        ({'client': 'late'}, 'certificate expired', 'The certificate was rejected: certificate has expired'),
        ({'client': 'server'}, 'unsupported certificate', 'The certificate was rejected: uns.* purpose'),
    ],
)
def test_only_clients_that_the_authority_vouches_for_come_in(door, authority, stranger, files, alert, reason):
    if files.get('client') == 'late':
        authority.issue('late', days=0)
    if files.get('client') == 'stranger':
        files = dict(stranger.files(), cafile=authority.path('ca.pem'))
    elif files:
        files = authority.files(files['client'])
    else:
        files = {'cafile': authority.path('ca.pem')}
    error = fail_to_connect(door, **files)
    assert isinstance(error, ssl.SSLError)
    assert re.fullmatch('The server refused this certificate, or there is none: {}'.format(alert), str(error))
    expect_refused(door, reason)
    check_works(door)


def test_a_client_looks_at_the_server(door, authority, stranger):
    error = fail_to_connect(door, **dict(authority.files(), cafile=stranger.path('ca.pem')))
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert str(error).endswith('({})'.format(door.addresses[0]))
    expect_refused(door, 'TLS failed: tlsv1 alert unknown ca')
    check_works(door)


def test_a_client_looks_at_the_servers_name(make_secured, own_authority):
    own_authority.renew_server('example.org', '127.0.0.2')
    daemon = make_secured(authority=own_authority, warm=False)
    error = fail_to_connect(daemon, **own_authority.files())
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert 'IP address mismatch' in error.verify_message
    expect_refused(daemon, 'TLS failed: .*alert bad certificate')


@pytest.mark.parametrize('isolation', ['process', 'shared'])
def test_names_can_be_restricted(make_secured, authority, isolation):
    authority.issue('alice', 'Bob.Example.org', 'carol@example.org', 'spiffe://example.org/dave', 'eve')
    names = ['client', 'bob.example.ORG', 'carol@example.org', 'spiffe://example.org/dave']
    options = [word for name in names for word in ('--tls-allow-name', name)]
    daemon = make_secured('--verbose', *options, isolation=isolation)
    daemon.allow_lines(LOG + '.*')
    for client in ('client', 'Bob.Example.org', 'carol@example.org', 'spiffe:__example.org_dave'):
        with authority.connect(daemon.addresses[0], client) as conn:
            assert conn.call(tasks.add, 1, 2) == 3
        daemon.expect(LOG + 'connection [0-9]+ from tls:[0-9.:]+ {} is served'.format(client.replace('_', '/')))
    for client in ('alice', 'eve'):
        with pytest.raises(across.DisconnectError, match='None of the names in the certificate may connect'):
            with authority.connect(daemon.addresses[0], client):
                pass
        expect_refused(daemon, 'None of the names in the certificate may connect', client)


def test_users_are_no_matter_of_certificates(authority):
    result = run_acrossd('--listen', 'tls:127.0.0.1:0', '--allow-uid', '0', *authority.options())
    check_failure(result, 2, '--allow-uid and --allow-gid are for unix sockets, and tls:127.0.0.1:0 does not identify')


def test_other_hosts_may_connect_without_insecure(make_secured):
    daemon = make_secured(listen=['tls:0.0.0.0:0', 'tls:127.0.0.1:0'], warm=False)
    with daemon.connect(address=daemon.addresses[1]) as conn:
        assert conn.call(tasks.add, 1, 2) == 3


def test_the_status_names_peers(make_secured, authority, tmp_path):
    listen = ['tls:127.0.0.1:0', 'unix:{}/plain'.format(tmp_path)]
    daemon = make_secured(listen=listen)
    with daemon.connect() as conn:
        conn.call(os.getpid)
        status = ask_status(daemon.addresses[1])
        (row,) = status['connections']
        assert re.fullmatch('tls:127.0.0.1:[0-9]+ client', row['peer'])
        assert daemon.addresses[0] in status['addresses']
    result = run_acrossd('status', daemon.addresses[0])
    assert (result.returncode, result.stdout) == (2, '')
    assert 'status does not speak TLS' in result.stderr


# ---- what is no TLS, or not enough of it ----


@pytest.mark.parametrize(
    ('data', 'reason'),
    [
        (HELLO, 'TLS failed: .*'),
        (b'GET / HTTP/1.1\r\nHost: x\r\n\r\n', 'TLS failed: http request'),
        (bytes(range(256)) * 64, 'TLS failed: .*'),
        (b'\x16\x03\x01\xff\xff' + b'x' * 70000, 'TLS failed: .*'),
        (b'\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00', 'TLS failed: .*'),
    ],
    ids=['across', 'http', 'garbage', 'long', 'short'],
)
def test_other_bytes_are_refused(door, data, reason):
    workers = door.find_idle_workers()
    with contextlib.suppress(ConnectionError), connect_socket(door.addresses[0]) as sock:
        sock.sendall(data)
        while sock.recv(65536):
            pass
    expect_refused(door, reason)
    assert door.find_idle_workers() == workers
    check_works(door)


def test_a_client_without_tls_is_told_what_to_do(door):
    host, _, port = door.addresses[0][4:].rpartition(':')
    with pytest.raises((across.DisconnectError, OSError, EOFError)) as info:
        with across.Connection.from_tcp(host, port):
            pass
    expect_refused(door, 'TLS failed: .*')
    if 'reset' not in str(info.value):  # then nothing of what TLS said last has come
        assert 'Connection.from_tls()' in str(info.value)


def test_a_client_with_tls_is_told_that_there_is_none(make_daemon, authority):
    daemon = make_daemon(listen=['tcp:127.0.0.1:0'])
    error = fail_to_connect(daemon, **authority.files())
    assert str(error).endswith('; does this server speak TLS? Connection.from_tcp() connects without')
    daemon.expect(LOG + 'connection [0-9]+ from .* was refused: Invalid magic: 0x160301..; the peer speaks TLS, .*')


def test_older_versions_are_refused(door, authority):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        secure_socket(door, authority, newest=ssl.TLSVersion.TLSv1_2)
    expect_refused(door, 'TLS failed: unsupported protocol')


def test_who_leaves_without_a_word_is_not_worth_a_line(door):
    connect_socket(door.addresses[0]).close()
    check_works(door)


def test_who_leaves_in_between_is_told_of(door):
    with connect_socket(door.addresses[0]) as sock:
        sock.sendall(b'\x16\x03\x01')
    expect_refused(door, 'TLS failed: unexpected eof while reading')


def test_what_is_said_over_tls_is_looked_at_as_elsewhere(door, authority):
    with contextlib.closing(secure_socket(door, authority)) as sock:
        sock.sendall(b'GET / HTTP/1.1\r\n')
        assert sock.recv(1) == b''
    expect_refused(door, 'Invalid magic: 0x47455420', 'client')
    check_works(door)


@pytest.mark.parametrize('how_far', ['silent', 'begun', 'secured'])
def test_a_handshake_has_its_time(make_secured, authority, how_far):
    daemon = make_secured('--handshake-timeout', '3')
    if how_far == 'secured':
        sock = secure_socket(daemon, authority)
        sock.sendall(superblock()[:5])
    else:
        sock = connect_socket(daemon.addresses[0])
        sock.sendall(b'' if how_far == 'silent' else b'\x16\x03\x01\x02\x00\x01')
    with contextlib.closing(sock):
        with contextlib.suppress(ConnectionError):
            assert sock.recv(1) == b''
    expect_refused(daemon, 'The handshake was not finished within 3000 ms', 'client' if how_far == 'secured' else '')


def test_many_half_open_handshakes_keep_nobody_out(make_secured):
    daemon = make_secured('--max-handshakes', '20', '--handshake-timeout', 'none')
    daemon.allow_lines(refused('Too many peers are in their handshake'))
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(connect_socket(daemon.addresses[0])).sendall(b'\x16\x03\x01\x02\x00\x01')
        check_works(daemon)
        for _ in range(80):
            expect_refused(daemon, 'Too many peers are in their handshake')
    daemon.allow_lines(refused('T.*'))


# ---- bytes that somebody does not take ----


def count_queued(daemon, direction):
    """Bytes on the daemon's TCP connections that the client has not taken (`sent`), or the daemon has not."""
    port = '{:04X}'.format(int(daemon.addresses[0].rpartition(':')[2]))
    with open('/proc/net/tcp') as file:
        rows = [line.split() for line in file.readlines()[1:]]
    queues = [row[4].split(':') for row in rows if row[1].endswith(':' + port) and row[3] == '01']
    return sum(int(queue[('sent', 'received').index(direction)], 16) for queue in queues)


def fill(sock):
    """Send until the other side takes no more."""
    sock.setblocking(False)
    with contextlib.suppress(ssl.SSLWantWriteError, BlockingIOError):
        while True:
            sock.send(bytes(65536))


def serve_raw(daemon, authority):
    """A socket with a connection that is served, and the process id of its worker."""
    sock = secure_socket(daemon, authority)
    Raw(sock).greet()
    (row,) = ask_status(daemon.addresses[1])['connections']
    return sock, row['worker']


@pytest.fixture
def watched(make_secured, tmp_path):
    """acrossd with TLS, and a unix socket to ask for the status."""
    listen = ['tls:127.0.0.1:0', 'unix:{}/plain'.format(tmp_path)]
    return make_secured('--grace', '0.2', '--timeout', 'none', listen=listen)


def test_a_peer_that_does_not_read_takes_little_memory(watched, authority):
    sock, _ = serve_raw(watched, authority)
    before = memory(watched.process.pid)
    with contextlib.closing(sock):
        sock.sendall(apply(1, tasks.make_bytes, 40 * MEGABYTE))
        wait_until(lambda: count_queued(watched, 'sent') > 0, 'the result')
        with watched.connect() as conn:  # others do not notice
            assert conn.call(tasks.length, bytes(5 * MEGABYTE)) == 5 * MEGABYTE
        assert memory(watched.process.pid) < before + 25 * MEGABYTE  # a sanitizer keeps what was freed
    watched.expect_broken()


def test_a_worker_that_does_not_read_takes_little_memory(watched, authority):
    sock, worker = serve_raw(watched, authority)
    before = memory(watched.process.pid)
    with contextlib.closing(sock):
        os.kill(worker, signal.SIGSTOP)
        sock.sendall(header(50 * MEGABYTE))
        fill(sock)
        with watched.connect() as conn:
            assert conn.call(tasks.length, bytes(5 * MEGABYTE)) == 5 * MEGABYTE
        assert memory(watched.process.pid) < before + 25 * MEGABYTE
        os.kill(worker, signal.SIGCONT)
    watched.expect_broken()


def test_a_client_is_gone_for_a_worker_that_does_not_read(watched, authority):
    sock, worker = serve_raw(watched, authority)
    os.kill(worker, signal.SIGSTOP)
    sock.sendall(header(50 * MEGABYTE))
    fill(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))  # what is left is thrown away
    sock.close()
    watched.expect(LOG + 'worker {} did not end in time, and is killed'.format(worker))
    watched.expect_lost(worker, 'was killed')
    watched.find_idle_workers()


# ---- how connections end ----


@pytest.mark.parametrize('way', ['close', 'cancel'])
def test_a_running_call_learns_that_its_client_has_gone(secured, tmp_path, way):
    note = tmp_path / 'note'
    conn, thread = start_call(secured, deadly.see_client_go, str(note))
    getattr(conn, way)()
    close_broken(conn)
    thread.join(LIMIT)
    assert read_note(note).startswith(GONE)


def test_the_client_of_a_killed_worker_is_told_why(secured):
    with secured.connect() as conn:
        pid = conn.call(os.getpid)
        with pytest.raises(across.DisconnectError, match='process {}, was killed by signal 9'.format(pid)):
            conn.call(os.kill, pid, signal.SIGKILL)
    secured.expect_killed(pid)


def test_a_client_that_sends_much_hears_that_its_worker_was_killed(make_secured):
    daemon = make_secured()
    conn = daemon.connect()
    pid = conn.call(os.getpid)
    os.kill(pid, signal.SIGSTOP)
    errors = []
    thread = threading.Thread(target=lambda: errors.append(get_error(conn.call, len, bytes(50 * MEGABYTE))))
    thread.start()
    wait_until(lambda: count_queued(daemon, 'received') > 0, 'the argument on its way')
    os.kill(pid, signal.SIGKILL)
    thread.join(LIMIT)
    assert [type(error) for error in errors] == [across.DisconnectError]
    close_broken(conn)
    daemon.expect_killed(pid)


def get_error(func, *args):
    with pytest.raises(across.DisconnectError) as info:
        func(*args)
    return info.value


def test_a_connection_of_a_killed_supervisor_is_over(make_secured):
    daemon = make_secured()
    conn = daemon.connect()
    conn.call(os.getpid)
    call = RunningCall(conn)
    daemon.send_signal(signal.SIGKILL)
    assert isinstance(call.error(), across.DisconnectError)
    close_broken(conn)
    daemon.join(-signal.SIGKILL)


def test_a_stop_lets_calls_end(secured):
    with secured.connect() as conn:
        call = RunningCall(conn)
        secured.send_signal(signal.SIGTERM)
        wait_until(lambda: has_stopped_listening(secured), 'the stop')
        assert call.release() is True
        secured.join()


def has_stopped_listening(daemon):
    try:
        connect_socket(daemon.addresses[0]).close()
    except ConnectionError:
        return True
    return False


def test_a_stop_does_not_wait_for_peers_that_do_not_read(watched, authority):
    sock, _ = serve_raw(watched, authority)
    with contextlib.closing(sock):
        sock.sendall(apply(1, tasks.make_bytes, 40 * MEGABYTE))
        wait_until(lambda: count_queued(watched, 'sent') > 0, 'the result')
        watched.allow_lines(LOG + '.*')
        watched.send_signal(signal.SIGTERM)
        watched.join()


def test_a_handshake_can_be_cancelled():
    with socket.create_server(('127.0.0.1', 0)) as silent:
        conn = across.Connection.from_tls(*silent.getsockname())
        peer = silent.accept()[0]
        conn.cancel()
        with peer:
            close_broken(conn)


def test_a_handshake_times_out_on_the_client():
    with socket.create_server(('127.0.0.1', 0)) as silent:
        conn = across.Connection.from_tls(*silent.getsockname(), options=across.Options(timeout=0.1))
        with pytest.raises(TimeoutError, match='tls:'):
            conn.close()


# ---- certificates that change ----


def get_served_certificate(daemon, authority):
    with contextlib.closing(secure_socket(daemon, authority)) as sock:
        return sock.getpeercert(True)


def test_certificates_are_read_again(make_secured, own_authority, stranger):
    daemon = make_secured(authority=own_authority)
    before = get_served_certificate(daemon, own_authority)
    with daemon.connect() as old:
        own_authority.renew_server('127.0.0.1')
        reload(daemon)
        assert get_served_certificate(daemon, own_authority) != before
        shutil.copy(stranger.path('ca.pem'), own_authority.path('ca.pem'))
        reload(daemon)
        with pytest.raises((across.DisconnectError, OSError)), daemon.connect():
            pass  # the client does not know the server any more, nor would that know the client
        expect_refused(daemon, '.*')
        assert old.call(tasks.add, 1, 2) == 3


@pytest.mark.parametrize('name', ['server.pem', 'server.key', 'ca.pem'])
def test_a_broken_file_changes_nothing(make_secured, own_authority, name):
    daemon = make_secured(authority=own_authority)
    with open(own_authority.path(name), 'w') as file:
        file.write('nonsense')
    reload(daemon)
    daemon.expect(LOG + 'cannot reload: .*: TLS goes on with the certificates that it has')
    if name != 'ca.pem':  # which the client needs
        check_works(daemon)


def test_names_are_read_again(make_secured, own_authority, tmp_path):
    config = tmp_path / 'config'
    config.write_text('tls-allow-name = nobody\n')
    daemon = make_secured('--config', str(config), authority=own_authority, warm=False)
    with pytest.raises(across.DisconnectError), daemon.connect():
        pass
    expect_refused(daemon, 'None of the names in the certificate may connect', 'client')
    config.write_text('tls-allow-name = client\n')
    reload(daemon)
    check_works(daemon)


# ---- the key ----


def find_in_memory(pid, needles):
    """Which of these byte strings a process has in memory that it can write to."""
    found = set()
    with open('/proc/{}/maps'.format(pid)) as maps, open('/proc/{}/mem'.format(pid), 'rb', 0) as mem:
        for line in maps:
            place, mode = line.split()[:2]
            start, end = (int(number, 16) for number in place.split('-'))
            if not mode.startswith('rw') or end - start > 1 << 30:
                continue
            with contextlib.suppress(OSError):
                mem.seek(start)
                data = mem.read(end - start)
                found |= {name for name, needle in needles.items() if needle in data}
    return found


def read_key(authority):
    """The key as it is in the file, and as OpenSSL has it in memory."""
    with open(authority.path('server.key')) as file:
        text = file.read()
    der = base64.b64decode(''.join(text.split('\n')[1:-2]))
    position = der.index(b'\x02\x01\x01\x04\x20') + 5  # version 1, and 32 bytes
    number = der[position : position + 32]
    return {'text': text.split('\n')[1].encode(), 'der': number, 'number': number[::-1]}


def test_a_worker_never_has_the_key(secured, authority):
    with secured.connect() as conn:
        worker = conn.call(os.getpid)
        zygote = secured.find_zygote()
        needles = read_key(authority)
        if os.geteuid() == 0:
            assert 'number' in find_in_memory(secured.process.pid, needles)  # or this test would find nothing anywhere
        for pid in (worker, secured.keeper_of(worker), zygote):
            assert find_in_memory(pid, needles) == set()
            with open('/proc/{}/maps'.format(pid)) as maps:
                assert 'acrossd-openssl' not in maps.read()
            assert not any(authority.folder in line for line in list_fds(pid))


@needs_root
def test_other_processes_of_its_user_cannot_look_into_the_one_with_the_key(make_secured):
    """The kernel gives what /proc tells of such a process to root, whoever it runs as: here, as another group."""
    group = 54321
    daemon = make_secured(command=['setpriv', '--regid={}'.format(group), '--clear-groups', ACROSSD])
    with daemon.connect() as conn:
        worker = conn.call(os.getpid)
        assert [os.stat('/proc/{}/mem'.format(pid)).st_gid for pid in (daemon.process.pid, worker)] == [0, group]


# ---- settings ----


def options_with(authority, **files):
    paths = {'cert': 'server.pem', 'key': 'server.key', 'client-ca': 'ca.pem', **files}
    words = [word for name, path in paths.items() for word in ('--tls-' + name, authority.path(path))]
    return ['--listen', 'tls:127.0.0.1:0', *words]


@pytest.mark.parametrize(
    ('files', 'pattern'),
    [
        ({'cert': 'none.pem'}, 'cannot open --tls-cert .*none.pem: No such file'),
        ({'key': 'none.pem'}, 'cannot open --tls-key .*none.pem: No such file'),
        ({'client-ca': '.'}, '--tls-client-ca .* is not a regular file'),
        ({'key': 'client.key'}, 'the key in the file of --tls-key does not belong to the certificate'),
        ({'cert': 'server.key'}, 'the file of --tls-cert holds no certificate'),
        ({'key': 'private.pem'}, 'the file of --tls-key holds no private key'),
        ({'key': 'locked.key'}, 'needs a passphrase'),
        ({'client-ca': 'empty.pem'}, 'the file of --tls-client-ca holds no certificate'),
        ({'key': 'open.key'}, 'open.key is open to others, with mode 644: chmod 600 '),
        ({'key': 'group.key'}, 'group.key is open to others, with mode 640: chmod 600 '),
    ],
)
def test_files_that_will_not_do_are_refused(own_authority, files, pattern):
    make = {
        'private.pem': lambda path: shutil.copy(own_authority.path('ca.pem'), path),
        'empty.pem': lambda path: open(path, 'w').close(),
        'open.key': lambda path: shutil.copy(own_authority.path('server.key'), path),
        'group.key': lambda path: shutil.copy(own_authority.path('server.key'), path),
        'locked.key': lambda path: subprocess.run(
            ['openssl', 'pkey', '-in', own_authority.path('server.key'), '-aes128', '-passout', 'pass:x', '-out', path],
            check=True,
        ),
    }
    modes = {'open.key': 0o644, 'group.key': 0o640}
    for name in files.values():
        if name in make:
            make[name](own_authority.path(name))
            os.chmod(own_authority.path(name), modes.get(name, 0o600))
    options = options_with(own_authority, **files)
    check_failure(run_acrossd(*options), 2, pattern)
    check_failure(run_acrossd('--check-config', *options), 2, pattern)


def test_settings_from_a_file_and_the_environment(make_daemon, authority, tmp_path):
    config = tmp_path / 'config'
    config.write_text('tls-cert = {}\n'.format(authority.path('server.pem')))
    variables = {'ACROSSD_TLS_KEY': authority.path('server.key'), 'ACROSSD_TLS_ALLOW_NAME': 'alice client'}
    daemon = make_daemon(
        *('--config', str(config), '--tls-client-ca', authority.path('ca.pem')),
        listen=['tls:127.0.0.1:0'],
        env=dict(environment(), **variables),
        warm=False,
    )
    with authority.connect(daemon.addresses[0]) as conn:
        assert conn.call(tasks.add, 1, 2) == 3


def test_a_socket_of_the_service_manager_speaks_tls_by_its_name(make_daemon, authority):
    command = opener(['tcp:0.0.0.0:0', 'tcp:127.0.0.1:0'], 'tls:other')
    daemon = make_daemon(listen=[], command=command, authority=authority, warm=False)
    port = daemon.expect('listening on tls:0[.]0[.]0[.]0:([1-9][0-9]*)').group(1)
    plain = daemon.expect('listening on (tcp:127[.]0[.]0[.]1:[1-9][0-9]*)').group(1)
    for address in ('tls:127.0.0.1:' + port, plain):
        with daemon.connect(address=address) as conn:
            assert conn.call(tasks.add, 1, 2) == 3


def test_such_a_socket_needs_a_certificate():
    result = subprocess.run(
        opener(['tcp:127.0.0.1:0'], 'tls'), stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT, text=True
    )
    check_failure(result, 2, 'the inherited socket 3 is named tls, which needs --tls-cert')


def test_files_of_a_client_that_will_not_do(own_authority, tmp_path):
    files = own_authority.files()
    locked = str(tmp_path / 'locked')
    subprocess.run(
        ['openssl', 'pkey', '-in', files['keyfile'], '-aes128', '-passout', 'pass:x', '-out', locked], check=True
    )
    for change, error, pattern in [
        ({'cafile': 'none.pem'}, FileNotFoundError, 'none.pem'),
        ({'certfile': 'none.pem'}, FileNotFoundError, 'none.pem'),
        ({'keyfile': 'none.pem'}, FileNotFoundError, 'none.pem'),
        ({'cafile': files['keyfile']}, ssl.SSLError, re.escape(files['keyfile'])),
        ({'keyfile': own_authority.path('ca.key')}, ssl.SSLError, 'ca.key'),
        ({'keyfile': locked}, ValueError, 'locked with a passphrase'),
        ({'certfile': None}, ValueError, 'a keyfile belongs to a certfile'),
    ]:
        with pytest.raises(error, match=pattern):
            across.Connection.from_tls('127.0.0.1', 1, **dict(files, **change))
