# SPDX-License-Identifier: MIT
"""`python -m across`."""

import os
import signal
import socket
import subprocess
import sys

import pytest

import across

from . import plain_client
from . import remote_tasks as tasks
from .daemon import Lines, environment
from .test_plain_peer import finish, run_plain
from .test_servers import LOG, PACKAGE
from .waiting import LIMIT, children

COMMAND = [sys.executable, '-m', 'across']


def start(*args, **kwargs):
    kwargs.setdefault('stdin', subprocess.DEVNULL)
    return subprocess.Popen(
        [*COMMAND, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(PACKAGE), **kwargs
    )


def run(*args):
    """Run it to its end: status, output and errors."""
    process = start(*args)
    try:
        out, err = process.communicate(timeout=4 * LIMIT)
    finally:
        process.kill()
    return process.returncode, out.decode(), err.decode()


def to(daemon):
    """The options that lead to a server's address."""
    kind, _, where = daemon.addresses[0].partition(':')
    return '--' + kind, where


# ---- the command line ----


def test_version():
    assert run('--version') == (0, across.__version__ + '\n', '')


@pytest.mark.parametrize(
    'args, reason',
    [
        ([], 'one of the arguments --tcp --unix --stdio is required'),
        (['--stdio'], 'one of the arguments --execute --wait --server is required'),
        (['--stdio', '--server'], '--server cannot listen on standard input and output'),
        (['--unix', 'path', '--server', '--wait'], 'not allowed with argument'),
        (['--unix', 'path', '--server', '--execute', '1'], 'not allowed with argument'),
        (['--unix', 'path', '--stdio', '--wait'], 'not allowed with argument'),
        (['--tcp', 'host', '--wait'], "invalid value: 'host'"),
        (['--tcp', ':80', '--wait'], "invalid value: ':80'"),
        (['--tcp', 'host:port', '--wait'], "invalid value: 'host:port'"),
        (['--tcp', 'host:-1', '--wait'], "invalid value: 'host:-1'"),
        (['--tcp', 'host:65536', '--wait'], "invalid value: 'host:65536'"),
        (['--tcp', '::1:80', '--wait'], "invalid value: '::1:80'"),
        (['--tcp', '[::1:80', '--wait'], "invalid value: '[::1:80'"),
        (['--tcp', '[bad]:20', '--wait'], "invalid value: '[bad]:20'"),
        (['--tcp', '[127.0.0.1]:20', '--wait'], "invalid value: '[127.0.0.1]:20'"),
        (['--tcp', '[::1%]:20', '--wait'], "invalid value: '[::1%]:20'"),
        (['--tcp', '[]:20', '--wait'], "invalid value: '[]:20'"),
        (['--tcp', '[[::1]]:20', '--wait'], "invalid value: '[[::1]]:20'"),
        (['--tcp', 'ba[d:20', '--wait'], "invalid value: 'ba[d:20'"),
        (['--tcp', 'bad:-20', '--wait'], "invalid value: 'bad:-20'"),
        (['--tcp', 'a host:20', '--wait'], "invalid value: 'a host:20'"),
        (['--tcp', 'host: 20', '--wait'], "invalid value: 'host: 20'"),
        (['--tcp', 'host:', '--wait'], "invalid value: 'host:'"),
    ],
)
def test_wrong_arguments(args, reason):
    status, out, err = run(*args)
    assert (status, out) == (2, '')
    assert err.startswith('usage: python -m across ') and reason in err


# ---- --execute ----


def test_waiting_ends_well_when_the_other_side_closes_at_once():
    for _ in range(10):  # the GOODBYE may come with the GREETING, or behind it
        process = start('--stdio', '--wait', stdin=subprocess.PIPE)
        err = process.stderr
        across.Connection.from_pipes(process.stdout, process.stdin).close()
        with err:
            assert (process.wait(LIMIT), err.read()) == (0, b'')


@pytest.mark.parametrize('listen', ['unix', 'tcp:127.0.0.1:0', 'tcp:[::1]:0'])
def test_execute_prints_the_value(make_daemon, listen):
    daemon = make_daemon(listen=None if listen == 'unix' else [listen])
    assert run(*to(daemon), '--execute', 'x = 6; x * 7') == (0, '42\n', '')
    assert run(*to(daemon), '--execute', 'None') == (0, '', '')
    assert run(*to(daemon), '--execute', 'x = 1') == (0, '', '')


def test_execute_shows_exceptions_with_their_traceback(daemon):
    status, out, err = run(*to(daemon), '--execute', 'import os; os.stat("/no/such/file")')
    assert (status, out) == (1, '')
    assert 'os.stat("/no/such/file")' in err and 'process {}'.format(daemon.process.pid) not in err
    assert err.splitlines()[-1] == "FileNotFoundError: [Errno 2] No such file or directory: '/no/such/file'"


def test_execute_says_when_the_connection_breaks(daemon):
    status, out, err = run(*to(daemon), '--execute', 'import os; os._exit(3)')
    assert (status, out) == (1, '')
    assert err.startswith('across: the connection broke: across.DisconnectError: Connection was ')
    daemon.expect('.*the worker, process .* exited with status 3.*')


def test_execute_at_a_plain_server(plain_across, tmp_path):
    """It is tried with version 0.2 first, of which the plain server complains when it ends."""
    path = str(tmp_path / 'plain')
    server = run_plain(plain_across, 'plain_server.py', 'unix', path)
    try:
        assert server.stdout.readline().decode() == 'unix:{}\n'.format(path)
        assert run('--unix', path, '--execute', 'import across; across.__version__') == (0, '0.1.0\n', '')
        server.send_signal(signal.SIGINT)
        assert 'Local across 0.1.0 is not compatible with remote 0.2.0' in server.communicate(timeout=LIMIT)[1].decode()
    finally:
        server.kill()
        server.communicate()


def test_execute_over_stdio():
    """Standard output is the connection, so the value goes to standard error."""
    process = start('--stdio', '--execute', '6 * 7', stdin=subprocess.PIPE)
    with across.Connection.from_process(process) as conn:
        conn.wait()
    assert process.stderr.read() == b'42\n'
    process.stderr.close()


def test_nobody_to_connect_to(tmp_path):
    path = str(tmp_path / 'nobody')
    for args in ('--wait',), ('--execute', '1'):
        status, out, err = run('--unix', path, *args)
        assert (status, out) == (1, '')
        assert err.startswith('across: cannot connect: FileNotFoundError') and path in err and err.count('\n') == 1


def test_verbosity(daemon):
    status, out, err = run(*to(daemon), '-v', '--execute', '1')
    assert (status, out) == (0, '1\n') and ' INFO ' in err and ' DEBUG ' not in err
    assert run(*to(daemon), '-vvv', '--execute', '1')[:2] == (0, '1\n')


# ---- --wait ----


@pytest.fixture
def accept(tmp_path):
    """Starts the program as a client of this process: gives it, and the connection."""
    started = []

    def accept(*args):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / 'listener'))
            listener.listen()
            started.append(start('--unix', str(tmp_path / 'listener'), *args))
            listener.settimeout(LIMIT)
            sock = listener.accept()[0]
        sock.settimeout(None)
        return started[-1], sock

    yield accept
    for process in started:
        process.kill()
        process.communicate()


def end_of(process):
    out, err = process.communicate(timeout=LIMIT)
    return process.returncode, out, err.decode()


def test_wait_serves_until_the_other_side_closes(accept):
    process, sock = accept('--wait')
    with across.Connection.from_socket(sock) as conn:
        assert conn.call(os.getpid) == process.pid
        plain_client.check_all(conn)
    assert end_of(process) == (0, b'', '')


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_wait_ends_with_a_signal(accept, number):
    process, sock = accept('--wait')
    with across.Connection.from_socket(sock) as conn:
        conn.call(tasks.add, 1, 2)
        process.send_signal(number)
        conn.wait()
        with pytest.raises(across.DisconnectError, match=r'^Connection was remotely closed'):
            conn.call(tasks.add, 1, 2)
    assert end_of(process) == (0, b'', '')


def test_wait_says_when_the_connection_breaks(accept):
    process, sock = accept('--wait')
    conn = across.Connection.from_socket(sock.dup())
    conn.call(tasks.add, 1, 2)
    sock.shutdown(socket.SHUT_RDWR)
    sock.close()
    status, out, err = end_of(process)
    assert (status, out) == (1, b'')
    assert err.startswith('across: the connection broke: EOFError')
    with pytest.raises(EOFError):
        conn.close()


@pytest.mark.parametrize('version', [(0, 1), (0, 2)])
def test_wait_over_stdio(version):
    process = start('--stdio', '--wait', stdin=subprocess.PIPE)
    with across.Connection.from_process(process, options=across.Options(protocol_version=version)) as conn:
        plain_client.check_all(conn)
        conn.call(tasks.print_text, 'goes to standard error')
    assert process.stderr.read() == b'goes to standard error\n'
    process.stderr.close()


def test_a_plain_client_starts_it(plain_across, tmp_path):
    script = tmp_path / 'across'
    line = 'PYTHONPATH={}:$PYTHONPATH exec {} -m across --wait "$@"'.format(PACKAGE, sys.executable)
    script.write_text('#!/bin/sh\n{}\n'.format(line))
    script.chmod(0o700)
    finish(run_plain(plain_across, 'plain_client.py', 'stdio:{}'.format(script)), b'ok\n')


# ---- --server ----


class Server:
    """A process that serves."""

    def __init__(self, *args):
        self.process = start(*args, '--server', '-v')
        self.lines = Lines(self.process.stderr)
        self.addresses = [self.lines.expect(LOG + 'listening on (.*)').group(1)]

    def connect(self, options=None):
        if self.addresses[0].startswith('unix:'):
            return across.Connection.from_unix(self.addresses[0][5:], options=options)
        return across.Connection.from_tcp('127.0.0.1', self.addresses[0].rpartition(':')[2], options=options)

    def stop(self, number=signal.SIGINT):
        try:
            self.process.send_signal(number)
            assert self.process.wait(LIMIT) == 0
            assert self.process.stdout.read() == b''
            assert [line for line in self.lines.rest() if ' INFO ' not in line] == []
        finally:
            self.process.kill()
            self.process.communicate()


@pytest.fixture(params=['unix', 'tcp'])
def server(request, tmp_path):
    where = ['--unix', str(tmp_path / 'server')] if request.param == 'unix' else ['--tcp', '127.0.0.1:0']
    server = Server(*where)
    yield server
    if server.process.poll() is None:
        server.stop()


def test_a_server_has_a_process_for_each_connection(server):
    with server.connect() as first, server.connect() as second:
        pids = [first.call(os.getpid), second.call(os.getpid)]
        assert sorted(pids) == sorted(children(server.process.pid))
        plain_client.check_all(first)


def test_execute_says_in_a_line_that_a_server_without_last_words_died(server):
    status, out, err = run(*to(server), '--execute', 'import os; os._exit(3)')
    assert (status, out) == (1, '')
    assert err.startswith('across: the connection broke: across.DisconnectError: ') and err.count('\n') == 1
    server.lines.expect(LOG + 'process .*, which served a connection, ended with status 3')


def test_a_server_serves_plain_clients(server, plain_across):
    finish(run_plain(plain_across, 'plain_client.py', server.addresses[0]), b'ok\n')


def test_a_server_accepts_exported_modules(server, tmp_path, monkeypatch):
    (tmp_path / 'only_here.py').write_text('def answer():\n    return 42\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, 'only_here', raising=False)  # which another test has left, without its file
    import only_here

    with server.connect() as conn:
        conn.export('only_here')
        assert conn.call(only_here.answer) == 42


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_server_ends_with_a_signal(server, number):
    with server.connect() as conn:
        conn.call(tasks.add, 1, 2)
        server.stop(number)
        conn.wait()
    assert not os.path.exists(server.addresses[0][5:])


def test_a_server_without_an_address(server):
    if server.addresses[0].startswith('unix:'):
        args, reason = ['--unix', server.addresses[0][5:]], 'The socket is in use'
    else:
        args, reason = ['--tcp', server.addresses[0][4:]], 'Address already in use'
    status, out, err = run(*args, '--server')
    assert (status, out) == (1, '')
    assert err.startswith('across: cannot serve: OSError: ') and reason in err
    if args[0] == '--unix':  # it checked whether somebody listens there
        server.lines.expect('across: the connection broke: EOFError.*')
        server.lines.expect(LOG + '.* broke: EOFError.*')
        server.lines.expect(LOG + 'process .* ended with status 1')
