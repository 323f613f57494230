# SPDX-License-Identifier: MIT
"""Hosts that have nothing but Python: they are sent the package, with the engine in Python, and become peers."""

import compileall
import contextlib
import copy
import os
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import threading
import traceback

import pytest

import across

from . import remote_tasks as tasks
from .daemon import LOG, close_broken, environment
from .pythons import VERSIONS, find_python
from .test_bad_input import MAGIC, Raw, check_failed, connect_raw, superblock
from .waiting import LIMIT

MAGIC_BOOTSTRAP = 0xE54E6D01
ISOLATED = [sys.executable, '-I', '-c']  # neither this package nor the tests are on its path


@pytest.fixture
def bare():
    """A connection to a Python that has no package across."""
    with across.Connection.from_command([*ISOLATED, across.get_bios()]) as conn:
        yield conn


def receive_answer(raw):
    """What a bare Python reads: a superblock, and the source; then the superblock of the connection that follows."""
    first = raw.read(16)
    (length,) = struct.unpack('>I', raw.read(4))
    source = raw.read(length)
    return first, source, raw.read(16)


# ---- peers that were bare ----


@pytest.mark.parametrize('version', VERSIONS)
def test_every_python_becomes_a_peer(version):
    python = find_python(version)
    if python is None:
        pytest.skip('there is no Python {} here'.format(version))
    with across.Connection.from_command([python, '-I', '-c', across.get_bios()]) as conn:
        assert conn.call(os.getpid) != os.getpid()
        assert conn.execute('import sys; "%d.%d" % sys.version_info[:2]') == version
        assert conn.execute('import across; across.engine') == 'pure'
        data = os.urandom(3 << 20)
        assert conn.call(bytes, data) == data


def test_calls_go_both_ways(bare):
    values = []
    bare.execute('add(7)', add=across.Local(values.append))
    assert values == [7]
    items = bare.create(list)
    items.append('brie')
    assert copy.deepcopy(items) == ['brie'] and bare.call(len, items) == 1


def test_modules_can_be_exported_to_it(bare):
    with pytest.raises(across.OperationError, match="No module named 'e2e'"):
        bare.call(tasks.add, 1, 2)
    bare.export('e2e')
    assert bare.call(tasks.add, 1, 2) == 3
    assert bare.call(tasks.has_connection)


def test_tracebacks_have_lines_of_source(bare):
    bare.export('e2e')
    with pytest.raises(ValueError) as caught:
        bare.call(tasks.raise_value_error, 'over there')
    text = ''.join(traceback.format_exception(caught.type, caught.value, caught.tb))
    assert 'raise ValueError' in text and str(bare.call(os.getpid)) in text


def test_the_packages_own_files_have_lines_of_source(bare):
    found = bare.execute('import across, inspect, linecache\ninspect.getsource(across.Connection.wait)')
    assert 'def wait(self)' in found


def test_what_it_prints_goes_to_standard_error(capfd):
    with across.Connection.from_command([*ISOLATED, across.get_bios()]) as bare:
        bare.execute('print("printed over there", flush=True)')
        assert bare.call(len, 'abc') == 3
    assert capfd.readouterr() == ('', 'printed over there\n')


def test_it_ends_with_its_connection():
    process = subprocess.Popen(
        [*ISOLATED, across.get_bios()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process.stderr:
        with across.Connection.from_process(process) as conn:
            pid = conn.call(os.getpid)
        assert (process.pid, process.returncode, process.stderr.read()) == (pid, 0, b'')


def test_it_says_why_its_connection_broke():
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen([*ISOLATED, across.get_bios()], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE)
    with Raw(ours) as raw:
        assert raw.read(16) == superblock(MAGIC_BOOTSTRAP, (0, 1, 0))
        source = across.exports.bootstrap.get_source()
        raw.send(superblock() + struct.pack('>I', len(source)) + source + superblock(version=(0, 7, 0)))
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert err == b'across: the connection broke: across.ProtocolError: Local across 0.2.0 is not compatible with ' \
        b'remote 0.7.0\n'  # fmt: skip


def test_it_says_when_nobody_answers():
    process = subprocess.run([*ISOLATED, across.get_bios()], stdin=subprocess.DEVNULL, capture_output=True)
    assert process.returncode == 1
    assert process.stdout == superblock(MAGIC_BOOTSTRAP, (0, 1, 0))


@pytest.mark.parametrize('minor', [1, 2])
def test_over_a_socket(minor):
    """What asks need not be ours: it may hand over a socket, and read no more than it is told."""
    code = """if True:
        import socket, sys
        sock = socket.socket(fileno=int(sys.argv[1]))
        sock.sendall(bytes.fromhex('e54e6d01000100') + bytes(9))
        def receive(size):
            data = b''
            while len(data) < size:
                data += sock.recv(size - len(data))
            return data
        ACROSS = 'socket', sock
        exec(receive(int.from_bytes(receive(20)[16:], 'big')))
        print('returned')
    """
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [*ISOLATED, code, str(theirs.fileno())], pass_fds=[theirs.fileno()], stdout=subprocess.PIPE
        )
    with across.Connection.from_socket(ours, options=across.Options(protocol_version=(0, minor))) as conn:
        assert conn.call(os.getpid) == process.pid
    assert process.communicate(timeout=LIMIT)[0] == b'returned\n' and process.returncode == 0


def test_a_peer_that_was_bare_has_bare_peers(bare):
    bare.export('e2e')
    found = bare.execute(
        """if True:
        import across, sys
        with across.Connection.from_command([sys.executable, '-I', '-c', across.get_bios()]) as conn:
            found = conn.execute('import across, os; across.engine, os.getppid()')
        found
        """.replace('\n        ', '\n').replace('if True:\n', '')
    )
    assert found == ('pure', bare.call(os.getpid))


@pytest.mark.parametrize('quote', ['"{}"'.format, shlex.quote])
def test_the_source_survives_a_shell(quote):
    script = 'exec {} -I -c {}'.format(shlex.quote(sys.executable), quote(across.get_bios()))
    with across.Connection.from_shell(script) as conn:
        assert conn.call(len, 'abc') == 3
    assert '\n' not in across.get_bios() and across.get_bios().isascii()


def test_many_at_once():
    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(across.Connection.from_command([*ISOLATED, across.get_bios()])) for _ in range(4)]
        assert len({conn.call(os.getpid) for conn in conns}) == 4


def test_a_package_without_source_has_nothing_to_send(tmp_path):
    folder = tmp_path / 'across'
    shutil.copytree(os.path.dirname(across.__file__), folder, ignore=shutil.ignore_patterns('__pycache__', '*.so'))
    assert compileall.compile_dir(folder, quiet=1, legacy=True)
    for file in folder.rglob('*.py'):
        file.unlink()
    code = """if True:
        import across, socket
        one, other = (across.Connection.from_socket(end) for end in socket.socketpair())
        print(one.call(len, 'abc'), across.__file__, across.exports.bootstrap.get_source())
    """
    found = subprocess.check_output([sys.executable, '-c', code], env=environment(str(tmp_path)))
    assert found.decode() == '3 {} None\n'.format(folder / '__init__.pyc')


# ---- with the plain package ----


def test_a_bare_python_that_the_plain_package_prepared(plain_across):
    code = 'import across; print(across.get_bios())'
    bios = subprocess.check_output([sys.executable, '-c', code], env=environment(plain_across)).decode()
    for version in ((0, 1), (0, 2)):
        options = across.Options(protocol_version=version)
        with across.Connection.from_command([*ISOLATED, bios], options=options) as conn:
            assert conn.execute('import across; across.engine') == 'pure'
            conn.export('e2e')
            assert conn.call(tasks.add, 1, 2) == 3


def test_a_bare_python_of_ours_is_served_by_the_plain_package(plain_across):
    code = """if True:
        import across, os, sys
        with across.Connection.from_command([sys.executable, '-I', '-c', sys.argv[1]]) as conn:
            assert conn.call(os.getpid) != os.getpid()
            assert conn.call(eval, "__import__('across').__version__") == '0.1.0'
        print('ok')
    """
    command = [sys.executable, '-c', code, across.get_bios()]
    done = subprocess.run(command, env=environment(plain_across), capture_output=True, timeout=4 * LIMIT)
    assert (done.stdout, done.stderr) == (b'ok\n', b'')


# ---- on the wire ----


@pytest.mark.parametrize('minor', [1, 2])
def test_what_is_sent(minor):
    ours, theirs = socket.socketpair()
    conn = across.Connection.from_socket(ours, options=across.Options(protocol_version=(0, minor)))
    with Raw(theirs) as raw:
        raw.send(superblock(MAGIC_BOOTSTRAP, (0, 1, 0)))
        first, source, second = receive_answer(raw)
        assert first == second and first[:7] == struct.pack('>IBBB', MAGIC, 0, minor, 0)
        assert source.endswith(b'\n') and source.count(b'\n') == 1 and source.isascii()
        raw.send(superblock(version=(0, minor, 0)))
        assert raw.read_message()[0][0] == 0
    close_broken(conn)


def test_a_newer_package_is_needed():
    with connect_raw(greet=False) as (conn, raw):
        raw.send(superblock(MAGIC_BOOTSTRAP, (0, 3, 0)))
        check_failed(conn, across.ProtocolError, 'At least across 0.3.0 is needed to bootstrap connection')


def test_nobody_is_bootstrapped_twice():
    with connect_raw(greet=False) as (conn, raw):
        raw.send(superblock(MAGIC_BOOTSTRAP, (0, 1, 0)))
        receive_answer(raw)
        raw.send(superblock(MAGIC_BOOTSTRAP, (0, 1, 0)))
        check_failed(conn, across.ProtocolError, 'The peer asks to be bootstrapped a second time')


def test_acrossd_refuses_a_bare_python(make_daemon, isolation):
    daemon = make_daemon(isolation=isolation)
    with Raw.to(daemon) as raw:
        raw.send(superblock(MAGIC_BOOTSTRAP, (0, 1, 0)))
        assert raw.read_to_end() == b''
    reason = 'The peer asks to be bootstrapped, which is not allowed here'
    daemon.expect(LOG + 'connection [0-9]+ from .* (broke|was refused): ' + reason)


def test_cancelled_while_it_is_bootstrapped():
    """The source is larger than what a pipe holds, so the peer has not taken all of it."""
    ours, theirs = socket.socketpair()
    with Raw(theirs) as raw:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        conn = across.Connection.from_socket(ours)
        raw.send(superblock(MAGIC_BOOTSTRAP, (0, 1, 0)))
        raw.read(20)
        waiting = threading.Thread(target=conn.wait)
        waiting.start()
        conn.cancel()
        waiting.join(LIMIT)
        assert not waiting.is_alive()
        close_broken(conn)
