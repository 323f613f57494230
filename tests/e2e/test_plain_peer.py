# SPDX-License-Identifier: MIT
"""The plain package across 0.1.0 as the other end: its clients use acrossd, and this package's clients its servers."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

import across

from . import daemon as daemons
from . import plain_client
from .daemon import environment
from .waiting import LIMIT

FOLDER = os.path.dirname(__file__)
OPTIONS = {'protocol_version': (0, 1)}


def run_plain(plain_across, script, *args):
    """Start a script of this folder in a process that has the plain package, and no other."""
    return subprocess.Popen(
        [sys.executable, os.path.join(FOLDER, script), *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(plain_across),
    )


def finish(process, stdout):
    """Wait for the end of a process that has to succeed."""
    try:
        out, err = process.communicate(timeout=4 * LIMIT)
    finally:
        process.kill()
        process.wait()
    assert err.decode() == ''
    assert (process.returncode, out) == (0, stdout)


@contextlib.contextmanager
def plain_server(plain_across, *args):
    """A plain server; gives its address."""
    process = run_plain(plain_across, 'plain_server.py', *args)
    try:
        yield process.stdout.readline().decode().rstrip('\n')
        process.send_signal(signal.SIGINT)
    except BaseException:
        process.kill()
        print(process.communicate()[1].decode())
        raise
    finish(process, b'')


def test_the_plain_package_is_what_it_says(plain_across):
    code = 'import across; print(across.__version__, across.__file__)'
    output = subprocess.check_output([sys.executable, '-c', code], env=environment(plain_across))
    found = output.decode().split(maxsplit=1)
    assert found[0] == '0.1.0'
    assert os.path.samefile(found[1].strip(), os.path.join(plain_across, 'across', '__init__.py'))
    assert not os.path.samefile(found[1].strip(), across.__file__)


# ---- a plain client ----


@pytest.mark.parametrize(
    ('isolation', 'listen'), [('process', None), ('shared', None), ('process', ['tcp:127.0.0.1:0'])]
)
def test_a_plain_client_uses_acrossd(make_daemon, plain_across, isolation, listen):
    daemon = make_daemon(isolation=isolation, listen=listen)
    finish(run_plain(plain_across, 'plain_client.py', daemon.addresses[0]), b'ok\n')


def test_a_plain_client_uses_acrossd_that_it_started(plain_across):
    finish(run_plain(plain_across, 'plain_client.py', 'stdio:' + daemons.ACROSSD), b'ok\n')


def test_plain_clients_and_new_ones_share_a_daemon(make_daemon, isolation, plain_across):
    daemon = make_daemon(isolation=isolation)
    with daemon.connect() as conn:
        pid = conn.call(os.getpid)
        finish(run_plain(plain_across, 'plain_client.py', daemon.addresses[0]), b'ok\n')
        assert conn.call(os.getpid) == pid


# ---- a plain server ----


def test_a_plain_server_on_a_unix_socket(plain_across, tmp_path):
    with plain_server(plain_across, 'unix', str(tmp_path / 'plain')) as address:
        with across.Connection.from_unix(address[5:], options=across.Options(**OPTIONS)) as conn:
            plain_client.check_all(conn)


def test_a_plain_server_on_tcp(plain_across):
    with plain_server(plain_across, 'tcp') as address:
        _, host, port = address.split(':')
        with across.Connection.from_tcp(host, int(port), options=across.Options(**OPTIONS)) as conn:
            plain_client.check_all(conn)


def test_a_plain_server_on_stdio(plain_across, monkeypatch, capfd):
    monkeypatch.setenv('PYTHONPATH', environment(plain_across)['PYTHONPATH'])
    command = [sys.executable, os.path.join(FOLDER, 'plain_server.py'), 'stdio']
    with across.Connection.from_command(command, options=across.Options(**OPTIONS)) as conn:
        plain_client.check_all(conn)
    assert capfd.readouterr() == ('', '')
