# SPDX-License-Identifier: MIT
"""Errors that say what to do."""

import errno
import os
import shlex
import socket
import subprocess
import sys
import threading

import pytest

import across
from across import _advice


def get_lock():
    return threading.Lock()


def echo(value):
    return value


class Missing:
    """Looks for what is not there when it is unpickled."""

    def __init__(self, module, name):
        self.found = module, name

    def __reduce__(self):
        return _find, self.found


def _find(module, name):
    __import__(module)
    return getattr(sys.modules[module], name)


def answer(data):
    """Return a connection whose other side says this in place of a superblock."""
    ours, theirs = socket.socketpair()
    conn = across.Connection.from_socket(ours)
    theirs.sendall(data)
    theirs.shutdown(socket.SHUT_WR)
    return conn, theirs


@pytest.mark.parametrize(
    ('said', 'text'),
    [
        (b'HTTP/1.1 400 Bad Request\r\n\r\n', 'Invalid magic: 0x48545450; .HTTP/1.1 400 Bad.* looks like HTTP'),
        (b'SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n', 'Invalid magic: 0x5353482d; it looks like SSH; .*from_ssh'),
        (b'\x15\x03\x01\x00\x02\x02\x46', 'Incomplete superblock; it looks like TLS; .*from_tls'),
        (b'Welcome to this host\n', "Invalid magic: 0x57656c63; it began with 'Welcome to this"),
        (b'hm\n', r"Incomplete superblock; it began with 'hm\\n'"),
        (b'', 'Incomplete superblock; the other side ended the connection before it said anything'),
        (bytes(16), 'Invalid magic: 0x0$'),
    ],
)
def test_a_stranger_is_described(said, text):
    conn, theirs = answer(said)
    with theirs, pytest.raises(across.DisconnectError, match='Connection was aborted due to .*' + text):
        conn.call(os.getpid)
    with pytest.raises((across.ProtocolError, EOFError), match=text):
        conn.close()


def test_one_that_connects_here_is_described_as_well():
    assert _advice.advise('Invalid magic: 0x16030100', b'\x16\x03\x01\x00', False).endswith('does not speak TLS')
    assert 'HTTP' in _advice.advise('Invalid magic: 0x47455420', b'GET / HTTP/1.1\r\n', False)


def test_an_end_without_goodbye():
    mine, yours = socket.socketpair()
    conn, other = across.Connection.from_socket(mine), across.Connection.from_socket(yours)
    with conn:
        assert conn.call(echo, 5) == 5
        yours.shutdown(socket.SHUT_RDWR)
        conn.wait()
        with pytest.raises(
            across.DisconnectError, match='Incomplete frame size; the connection ended without a goodbye'
        ):
            conn.call(os.getpid)
        with pytest.raises((EOFError, OSError)):
            conn.close()
    other.wait()
    with pytest.raises((EOFError, OSError)):
        other.close()


def test_what_cannot_be_pickled(conn):
    text = r'Pickling failed due to TypeError: cannot pickle .*; pass it as Local\(.*create\(.*cloudpickle'
    for call in (lambda: conn.call(get_lock), lambda: conn.call(echo, threading.Lock())):
        with pytest.raises(across.OperationError, match=text):
            call()
    with pytest.raises(across.OperationError, match=r'Pickling failed due to .*lambda.*cloudpickle'):
        conn.call(lambda: 1)


@pytest.mark.parametrize(
    ('error', 'text'),
    [
        (ModuleNotFoundError("No module named 'labonly.deep'", name='labonly.deep'), r"conn.export\('labonly'\)"),
        (AttributeError("Can't get attribute 'f' on <module '__main__' (built-in)>"), r"conn.export\('__main__'\)"),
        (AttributeError("module '__main__' has no attribute 'f'"), r"conn.export\('__main__'\)"),
        (AttributeError("Can't get attribute 'f' on <module 'lab.x' from '/lab/x.py'>"), r"conn.export\('lab'\)"),
        (ValueError('5'), 'Unpickling failed due to ValueError: 5$'),
    ],
)
def test_what_cannot_be_unpickled(error, text):
    found = _advice.describe_failure('Unpickling', error)
    assert found.startswith('Unpickling failed due to {}: '.format(type(error).__name__))
    with pytest.raises(across.OperationError, match=text):
        raise across.OperationError(found)


def test_a_missing_module_is_named_by_the_call(conn):
    with pytest.raises(across.OperationError, match=r"No module named 'labonly'; .*conn.export\('labonly'\)"):
        conn.call(echo, Missing('labonly', 'f'))


def test_nobody_listens(tmp_path):
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        port = sock.getsockname()[1]
    for make in (
        lambda: across.Connection.from_unix(tmp_path / 'nothing'),
        lambda: across.Connection.from_tcp('127.0.0.1', port),
    ):
        with pytest.raises(OSError, match='is acrossd running there'):
            with make():
                pass


@pytest.mark.parametrize(
    ('address', 'text'),
    [
        ('unix:/x', r"No such file or directory \(unix:unix:/x\); from_unix\(\) takes the path '/x'"),
        ('tcp:localhost:5', r'from_tcp\(\) takes host and port'),
    ],
)
def test_an_address_in_the_place_of_a_path(address, text):
    with pytest.raises(OSError, match=text):
        with across.Connection.from_unix(address):
            pass


def test_an_address_in_the_place_of_a_host():
    with pytest.raises(OSError, match='the host and the port are two arguments'):
        with across.Connection.from_tcp('tcp:localhost:5', 5):
            pass


def test_errors_keep_their_type_and_number(tmp_path):
    conn = across.Connection.from_unix(tmp_path / 'nothing')
    with pytest.raises(FileNotFoundError) as caught:
        conn.close()
    assert caught.value.errno == errno.ENOENT


def test_commands_and_scripts():
    with pytest.raises(TypeError, match=r'from_shell\(\)'):
        across.Connection.from_command('acrossd --stdio')
    with pytest.raises(TypeError, match=r'from_command\(\)'):
        across.Connection.from_shell(['acrossd', '--stdio'])
    with pytest.raises(FileNotFoundError):
        across.Connection.from_command(['/no/such/program'])
    with pytest.raises(PermissionError):
        across.Connection.from_command(['/etc/passwd'])


@pytest.mark.parametrize('make', ['from_command', 'from_shell', 'from_process'])
def test_what_a_program_prints_first_is_shown(capsys, make):
    code = 'print("hello", flush=True); ' + across.get_bios()
    if make == 'from_shell':
        conn = across.Connection.from_shell('exec {} -c {}'.format(sys.executable, shlex.quote(code)))
    elif make == 'from_command':
        conn = across.Connection.from_command([sys.executable, '-c', code])
    else:
        conn = across.Connection.from_process(
            subprocess.Popen([sys.executable, '-c', code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
    with conn:
        assert conn.call(len, 'abc') == 3
    assert capsys.readouterr().err == 'hello\n'


def test_what_a_program_prints_that_speaks_no_protocol(capsys):
    conn = across.Connection.from_shell('echo usage: nothing')
    with pytest.raises(across.DisconnectError, match="Incomplete superblock; it began with 'usage: nothing"):
        conn.call(os.getpid)
    with pytest.raises(EOFError):
        conn.close()
    assert capsys.readouterr().err == 'usage: nothing\n'


def test_arguments_of_the_program_are_what_was_given():
    conn = across.Connection.from_command([sys.executable, '-c', 'raise SystemExit(3)'])
    with pytest.raises(Exception, match='returned non-zero exit status 3') as caught:
        conn.close()
    assert caught.value.cmd == [sys.executable, '-c', 'raise SystemExit(3)']
