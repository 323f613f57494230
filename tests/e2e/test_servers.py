# SPDX-License-Identifier: MIT
"""across.servers: connections served from Python code."""

import contextlib
import os
import pickle
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest

import across
import across.servers as servers

from . import plain_client
from . import remote_tasks as tasks
from .daemon import Lines, RunningCall, close_broken, environment
from .test_plain_peer import finish, run_plain
from .waiting import LIMIT, children, count_fds, is_alive, wait_until

FOLDER = os.path.dirname(__file__)
PACKAGE = os.path.dirname(os.path.dirname(across.__file__))
LOG = r'[-0-9]+ [:0-9]+ [A-Z]+ +[^ ]+ '  # how lines of the log begin
HANDLERS = ['LocalConnectionHandler', 'ProcessConnectionHandler', 'BIOSConnectionHandler']


class Server:
    """A process that runs server.py."""

    def __init__(self, handler, kind, where, *settings):
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(FOLDER, 'server.py'), handler, kind, where, *settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(PACKAGE),
        )
        self.pid = self.process.pid
        self.lines = Lines(self.process.stderr)
        try:
            self.address = self.expect('listening on (.*)').group(1)
        except BaseException:
            self.kill()
            raise

    def expect(self, pattern):
        return self.lines.expect(LOG + pattern)

    def connect(self, options=None):
        kind, _, rest = self.address.partition(':')
        if kind == 'unix':
            return across.Connection.from_unix(rest, options=options)
        host, _, port = rest.rpartition(':')
        return across.Connection.from_tcp(host.strip('[]'), port, options=options)

    def stop(self, number=signal.SIGINT, out=b'returned\n'):
        """End it with a signal; it has to return from its function, and leave no process behind."""
        family = children(self.pid)
        self.process.send_signal(number)
        self.join(out)
        assert not any(map(is_alive, family))

    def join(self, out=b'returned\n'):
        try:
            assert self.process.wait(LIMIT) == 0
            assert self.process.stdout.read() == out
            self.check_lines()
        finally:
            self.kill()

    def check_lines(self):
        """Nothing but what is said about connections that come and go is left on standard error."""
        bad = [line for line in self.lines.rest() if ' INFO ' not in line]
        assert bad == []

    def kill(self):
        for pid in children(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def start(tmp_path):
    """Starts servers, which are stopped in the end."""
    started = []

    def start(handler='LocalConnectionHandler', kind='unix', *settings):
        where = str(tmp_path / str(len(started))) if kind == 'unix' else kind
        started.append(Server(handler, 'unix' if kind == 'unix' else 'tcp', where, *settings))
        return started[-1]

    yield start
    try:
        for server in started:
            if server.process.poll() is None:
                server.stop()
    finally:
        for server in started:
            server.kill()


@pytest.fixture(params=HANDLERS)
def handler(request):
    return request.param


@contextlib.contextmanager
def umask(mask):
    old = os.umask(mask)
    try:
        yield
    finally:
        os.umask(old)


# ---- serving ----


@pytest.mark.parametrize('kind', ['unix', '127.0.0.1', '::1'])
def test_everything_works(start, handler, kind):
    server = start(handler, kind)
    with server.connect() as conn:
        plain_client.check_all(conn)


@pytest.mark.parametrize('kind', ['unix', '127.0.0.1'])
@pytest.mark.parametrize('handler', HANDLERS[:2])
def test_plain_clients_are_served(start, handler, plain_across, kind):
    server = start(handler, kind)
    finish(run_plain(plain_across, 'plain_client.py', server.address), b'ok\n')
    with server.connect(across.Options(protocol_version=(0, 1))) as conn:
        assert conn.call(tasks.add, 1, 2) == 3


def test_local_connections_share_the_process(start):
    server = start('LocalConnectionHandler')
    with server.connect() as first, server.connect() as second:
        assert first.call(os.getpid) == second.call(os.getpid) == server.pid
        first.call(tasks.keep, 5)
        assert second.call(tasks.pop_kept) == 5
    server.stop()


def test_the_default_handler_is_a_local_one(start):
    server = start('none')
    with server.connect() as conn:
        assert conn.call(os.getpid) == server.pid


@pytest.mark.parametrize('handler', HANDLERS[1:])
def test_each_connection_has_a_process(start, handler):
    server = start(handler)
    with server.connect() as first, server.connect() as second:
        pids = [first.call(os.getpid), second.call(os.getpid)]
        assert sorted(pids) == sorted(children(server.pid))
        first.call(tasks.print_text, 'nobody reads this')
    wait_until(lambda: children(server.pid) == [], "the end of the connections' processes")


@pytest.mark.parametrize('handler', HANDLERS[1:])
def test_a_process_that_dies_is_no_other_connections_business(start, handler):
    server = start(handler)
    with server.connect() as other:
        conn = server.connect()
        pid = conn.call(os.getpid)
        with pytest.raises(across.DisconnectError):
            conn.call(os._exit, 3)
        server.expect('process {}, which served a connection, ended with status 3'.format(pid))
        close_broken(conn)
        assert other.call(tasks.add, 1, 2) == 3


@pytest.mark.parametrize('handler', HANDLERS[:2])
def test_options_reach_the_connections(start, handler):
    server = start(handler, 'unix', 'timeout=7.5')
    with server.connect() as conn:
        assert conn.call(tasks.add, 1, 2) == 3
        assert server.expect('.*timeout=7.5.*')


@pytest.mark.parametrize('handler', HANDLERS[:2])
def test_a_client_that_breaks_off(start, handler):
    server = start(handler)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(server.address[5:])
        sock.send(b'not across at all')
        assert b'Invalid magic' not in sock.recv(1 << 16)
    server.expect('.* broke: across.ProtocolError: Invalid magic.*')
    if handler == 'ProcessConnectionHandler':
        server.lines.expect('across: the connection broke: across.ProtocolError: Invalid magic.*')
        server.expect('process [0-9]+, which served a connection, ended with status 1')
    with server.connect() as conn:
        assert conn.call(tasks.add, 1, 2) == 3


def test_a_flood_of_connections_that_break_does_not_fill_the_log(start):
    server = start()
    begin = time.monotonic()
    for _ in range(300):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(server.address[5:])
            sock.sendall(b'GET / HTTP/1.0\r\n\r\n')
            while sock.recv(4096):
                pass
    with server.connect() as conn:
        assert conn.call(os.getpid) == server.pid
    elapsed = time.monotonic() - begin
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(LIMIT) == 0
    errors = [line for line in server.lines.rest() if ' ERROR ' in line]
    assert 100 <= len(errors) <= 101 + elapsed  # and one a second


def test_functions_cross_by_value(start, handler):
    server = start(handler)
    with server.connect(across.Options(pickler='cloudpickle')) as conn:
        assert conn.call(lambda: lambda: 4)() == 4


def test_nothing_is_left_of_connections_that_ended(start, handler):
    server = start(handler)
    with server.connect() as conn:
        conn.call(os.getpid)
    wait_until(lambda: children(server.pid) == [], "the end of the connection's process")
    fds = count_fds(server.pid)
    for _ in range(3):
        conns = [server.connect() for _ in range(4)]
        for conn in conns:
            conn.call(tasks.add, 1, 2)
        for conn in conns:
            conn.close()
    wait_until(lambda: children(server.pid) == [], "the end of the connections' processes")
    wait_until(lambda: count_fds(server.pid) <= fds, lambda: 'closing all but {} descriptors'.format(fds))


# ---- ending ----


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_in_an_orderly_way(start, handler, number):
    server = start(handler)
    with server.connect() as conn:
        conn.call(os.getpid)
        server.stop(number)
        conn.wait()
        with pytest.raises(across.DisconnectError, match=r'^Connection was remotely closed'):
            conn.call(os.getpid)
    assert not os.path.exists(server.address[5:])


def test_running_calls_do_not_keep_it(start, handler):
    server = start(handler)
    with server.connect() as conn:
        call = RunningCall(conn)
        server.stop()
        assert isinstance(call.error(), across.DisconnectError)


def test_silent_clients_do_not_keep_it(start, handler):
    server = start(handler)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(server.address[5:])
        server.expect('accepted a connection from a local process')
        server.stop()


@pytest.mark.parametrize('handler', HANDLERS[1:])
def test_processes_that_do_not_end_are_killed(start, handler):
    server = start(handler, 'unix', 'timeout=2')
    conn = server.connect(across.Options(timeout=None))
    pid = conn.call(os.getpid)
    os.kill(pid, signal.SIGSTOP)
    server.process.send_signal(signal.SIGINT)
    server.expect('killing process {}, which did not end'.format(pid))
    server.join()
    close_broken(conn)


@pytest.mark.parametrize('handler', HANDLERS[1:])
def test_a_second_interrupt_does_not_wait(start, handler):
    server = start(handler)
    conn = server.connect()
    pid = conn.call(os.getpid)
    os.kill(pid, signal.SIGSTOP)
    server.process.send_signal(signal.SIGINT)
    server.expect('the handler is closed; connections: 1')
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(LIMIT) == -signal.SIGINT
    wait_until(lambda: not is_alive(pid), "the end of the connection's process")
    assert not os.path.exists(server.address[5:])
    close_broken(conn)


def test_closing_the_handler_ends_it(start, handler):
    server = start(handler)
    with server.connect() as conn:
        conn.call(os.getpid)
        server.process.stdin.close()
        server.join()


def test_a_server_in_a_thread(tmp_path):
    path = str(tmp_path / 'socket')
    with servers.LocalConnectionHandler() as handler:
        thread = threading.Thread(target=servers.run_unix, args=(path,), kwargs={'handler': handler})
        thread.start()
        wait_until(lambda: os.path.exists(path) and not _connect(path), 'a server that accepts connections')
        with across.Connection.from_unix(path) as conn:
            assert conn.call(os.getpid) == os.getpid()
    thread.join(LIMIT)
    assert not thread.is_alive()
    assert not os.path.exists(path)


def _connect(path):
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(path)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_handlers_of_the_program_are_left_alone(tmp_path, number):
    """One that raises ends the server, too."""
    path = str(tmp_path / 'socket')
    code = (
        'import signal, sys, across.servers\n'
        'class Enough(BaseException): pass\n'
        'def enough(*args): raise Enough\n'
        'signal.signal(int(sys.argv[2]), enough)\n'
        'class Handler(across.servers.LocalConnectionHandler):\n'
        '    def handle_socket(self, sock):\n'
        '        super().handle_socket(sock)\n'
        '        print("served", flush=True)\n'
        'try: across.servers.run_unix(sys.argv[1], handler=Handler())\n'
        'except Enough: print("enough")\n'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', code, path, str(int(number))], stdout=subprocess.PIPE, env=environment(PACKAGE)
    )
    try:
        wait_until(lambda: os.path.exists(path) and not _connect(path), 'a server that accepts connections')
        assert process.stdout.readline() == b'served\n'
        process.send_signal(number)
        assert process.communicate(timeout=LIMIT)[0].endswith(b'enough\n')
        assert process.returncode == 0 and not os.path.exists(path)
    finally:
        process.kill()
        process.communicate()


# ---- handlers ----


@pytest.mark.parametrize('name', HANDLERS)
def test_a_handler_that_was_ended_refuses_sockets(name):
    for method, word in ('close', 'closed'), ('cancel', 'cancelled'):
        handler = getattr(servers, name)()
        getattr(handler, method)()
        ours, theirs = socket.socketpair()
        with ours, theirs, pytest.raises(ValueError, match=r'^Connection handler is {}$'.format(word)):
            handler.handle_socket(ours)
        handler.close()
        handler.close()


def test_sockets_given_to_a_handler(handler):
    with getattr(servers, handler)() as instance:
        ours, theirs = socket.socketpair()
        instance.handle_socket(ours)
        with across.Connection.from_socket(theirs) as conn:
            assert (conn.call(os.getpid) == os.getpid()) == (handler == 'LocalConnectionHandler')


def test_close_ends_connections(handler):
    instance = getattr(servers, handler)()
    ours, theirs = socket.socketpair()
    instance.handle_socket(ours)
    with across.Connection.from_socket(theirs) as conn:
        conn.call(os.getpid)
        instance.close()
        with pytest.raises(across.DisconnectError, match=r'^Connection was remotely closed'):
            conn.call(os.getpid)


def test_cancel_breaks_connections(handler):
    instance = getattr(servers, handler)()
    ours, theirs = socket.socketpair()
    instance.handle_socket(ours)
    conn = across.Connection.from_socket(theirs)
    conn.call(os.getpid)
    instance.cancel()
    conn.wait()
    with pytest.raises(across.DisconnectError):
        conn.call(os.getpid)
    close_broken(conn)
    instance.close()


def test_exported_modules_need_a_process():
    with pytest.raises(ValueError, match=r'^Cannot import modules over multiple connections$'):
        servers.LocalConnectionHandler(options=across.Options(accept_exported_modules=True))


def test_options_that_cannot_be_passed_on_are_refused():
    with pytest.raises((AttributeError, pickle.PicklingError)):
        servers.ProcessConnectionHandler(options=across.Options(pickler=lambda value, protocol: b''))


def test_a_handler_that_fails_is_logged(start):
    server = start('Refusing')
    for _ in range(2):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(server.address[5:])
            assert sock.recv(1) == b''
        server.expect("cannot serve a connection: KeyError: 'nobody'")
    server.stop(out=b'closed\nreturned\n')


# The lowest descriptor that is free is one too many.
LIMIT_DESCRIPTORS = """
import os, resource
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
free = os.dup(0)
os.close(free)
resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
limits
"""


def test_a_server_that_is_out_of_descriptors_goes_on(start):
    server = start('LocalConnectionHandler')
    with server.connect() as conn:
        limits = conn.execute(LIMIT_DESCRIPTORS)
        with socket.socket(socket.AF_UNIX) as waiting:
            waiting.connect(server.address[5:])
            server.expect('cannot accept connections: OSError: .*Too many open files')
            conn.call(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
            server.expect('accepted a connection from a local process')


# ---- sockets ----


def test_a_stale_socket_is_replaced(start, handler, tmp_path):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / '0'))
    server = start(handler)
    with server.connect() as conn:
        assert conn.call(tasks.add, 1, 2) == 3
    server.stop()
    assert not os.path.exists(str(tmp_path / '0'))


def test_a_socket_in_use_is_not_replaced(start):
    server = start()
    with pytest.raises(OSError, match='The socket is in use'):
        servers.run_unix(server.address[5:])
    with server.connect() as conn:
        assert conn.call(os.getpid) == server.pid
    wait_until(lambda: server.lines.expect(LOG + '.* broke: EOFError.*'), 'the end of the probe')


def test_a_file_is_not_replaced(tmp_path):
    file = tmp_path / 'file'
    file.write_text('precious')
    with pytest.raises(FileExistsError):
        servers.run_unix(file)
    assert file.read_text() == 'precious'


@pytest.mark.parametrize('mask', [0, 0o022, 0o277], ids=oct)
def test_the_socket_belongs_to_its_user_whatever_the_umask(start, mask):
    with umask(mask):
        server = start()
    assert stat.S_IMODE(os.stat(server.address[5:]).st_mode) == 0o600
    with server.connect() as conn:
        assert conn.call(os.getpid) == server.pid


@pytest.mark.parametrize('mode', [0o666, 0o660, 0o600], ids=oct)
def test_the_socket_gets_the_mode_that_was_asked_for(tmp_path, mode):
    path = str(tmp_path / 'socket')
    seen = []
    old_umask = os.umask(0o077)
    old_listen = socket.socket.listen
    try:
        # Before listen(), which is when the first can connect.
        socket.socket.listen = lambda sock, *args: seen.append(stat.S_IMODE(os.stat(path).st_mode)) or 1 / 0
        with pytest.raises(ZeroDivisionError):
            servers.run_unix(path, mode=mode)
    finally:
        socket.socket.listen = old_listen
        os.umask(old_umask)
    assert seen == [mode]


@pytest.mark.parametrize('mode', [0o4600, -1, 0o1000])
def test_a_mode_of_more_than_permissions_is_refused(tmp_path, mode):
    with pytest.raises(ValueError, match='mode must be'):
        servers.run_unix(str(tmp_path / 'socket'), mode=mode)
    assert os.listdir(tmp_path) == []


def test_the_socket_of_another_server_is_not_removed(start):
    server = start()
    path = server.address[5:]
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        server.stop()
        assert stat.S_ISSOCK(os.stat(path).st_mode)


@pytest.mark.parametrize('kind', ['\0', '@', b'@'])
def test_abstract_names_are_no_files(kind):
    base = 'across-test-{}'.format(os.getpid())
    name, address = kind + (base.encode() if isinstance(kind, bytes) else base), '\0' + base
    with servers.LocalConnectionHandler() as handler:
        thread = threading.Thread(target=servers.run_unix, args=(name,), kwargs={'handler': handler})
        thread.start()
        wait_until(lambda: not _connect(address), 'a server that accepts connections')
        with across.Connection.from_unix(name) as conn:
            assert conn.call(tasks.add, 1, 2) == 3
        assert not os.path.exists(name if kind != '\0' else 'none')
    thread.join(LIMIT)
    assert not thread.is_alive()


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can be somebody else')
def test_abstract_names_are_for_the_own_user(caplog):
    name = '@across-test-{}'.format(os.getpid())
    code = (
        'import os, socket, sys; os.setuid(4321); sock = socket.socket(socket.AF_UNIX); '
        'sock.connect(sys.argv[1].replace("@", chr(0))); print(sock.recv(1))'
    )
    with servers.LocalConnectionHandler() as handler:
        thread = threading.Thread(target=servers.run_unix, args=(name,), kwargs={'handler': handler})
        thread.start()
        wait_until(lambda: not _connect(name.replace('@', '\0')), 'a server that accepts connections')
        assert subprocess.check_output([sys.executable, '-c', code, name]) == b"b''\n"
    thread.join(LIMIT)
    assert 'user 4321 may not connect' in caplog.text


# ---- bare Pythons ----


def test_a_client_brings_its_package(start, tmp_path, monkeypatch):
    (tmp_path / 'only_here.py').write_text('def answer():\n    return 42\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, 'only_here', raising=False)  # which another test has left, without its file
    import only_here

    server = start('BIOSConnectionHandler')
    with server.connect() as conn:
        assert conn.execute('import across; across.__version__, across.engine') == (across.__version__, 'pure')
        conn.export('only_here')
        assert conn.call(only_here.answer) == 42


def test_a_plain_client_brings_its_package(start, plain_across):
    server = start('BIOSConnectionHandler')
    code = (
        'import os, sys, across\n'
        'with across.Connection.from_unix(sys.argv[1]) as conn:\n'
        '    print(conn.call(os.getpid) != int(sys.argv[2]), conn.execute("import across; across.__version__"))'
    )
    output = subprocess.check_output(
        [sys.executable, '-c', code, server.address[5:], str(server.pid)], env=environment(plain_across)
    )
    assert output == b'True 0.1.0\n'
