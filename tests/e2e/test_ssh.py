# SPDX-License-Identifier: MIT
"""Connections over ssh, to a real sshd on a loopback port, with keys that live as long as the tests."""

import contextlib
import os
import pwd
import shutil
import subprocess
import sys

import pytest

import across

from . import remote_tasks as tasks
from .daemon import ACROSSD, TESTS, Lines
from .waiting import children, is_alive, unused_port, wait_until

SSHD = shutil.which('sshd', path=os.environ.get('PATH', '') + ':/usr/sbin:/usr/local/sbin')
TOOLS = SSHD and shutil.which('ssh') and shutil.which('ssh-keygen')
pytestmark = [
    pytest.mark.skipif(not TOOLS, reason='there is no sshd, ssh or ssh-keygen here: dev/setup installs them'),
    pytest.mark.xdist_group('ssh'),  # one sshd for all
]

NOWHERE = '/nowhere/at all'
CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
SetEnv PYTHONPATH={tests} PYTHONDONTWRITEBYTECODE=1
"""


def make_key(path, passphrase=''):
    subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', passphrase, '-f', str(path)], check=True)


class Sshd:
    """sshd for the user who runs the tests. `ssh` begins a command that reaches it."""

    host = pwd.getpwuid(os.getuid()).pw_name + '@127.0.0.1'

    def __init__(self, folder, config='', passphrase=''):
        port = unused_port()
        make_key(folder / 'host')
        make_key(folder / 'user', passphrase)
        (folder / 'config').write_text(CONFIG.format(folder=folder, port=port, tests=TESTS) + config)
        (folder / 'known').write_text('[127.0.0.1]:{} {}'.format(port, (folder / 'host.pub').read_text()))
        self.ssh = ['ssh', '-F', 'none', '-p', str(port), '-i', str(folder / 'user'), '-o', 'BatchMode=yes']
        self.ssh += ['-o', 'IdentitiesOnly=yes', '-o', 'UserKnownHostsFile={}'.format(folder / 'known')]
        self.process = subprocess.Popen(
            [SSHD, '-D', '-e', '-f', str(folder / 'config')], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self.lines = Lines(self.process.stderr)
        try:
            self.lines.expect('Server listening on 127.0.0.1 port {}[.]\r?'.format(port))
        except BaseException:
            self.stop()
            raise

    def connect(self, **kwargs):
        return across.Connection.from_ssh(self.host, **{'ssh': self.ssh, **kwargs})

    def stop(self):
        self.process.terminate()
        self.process.wait()


@contextlib.contextmanager
def run_sshd(folder, **kwargs):
    if os.getuid() == 0:
        with contextlib.suppress(FileExistsError):
            os.mkdir('/run/sshd', 0o755)  # root's sshd needs it; it stays, for others may use it by then
    sshd = Sshd(folder, **kwargs)
    try:
        yield sshd
    finally:
        sshd.stop()


@pytest.fixture(scope='module')
def sshd(tmp_path_factory):
    with run_sshd(tmp_path_factory.mktemp('sshd')) as sshd:
        yield sshd


@pytest.fixture(params=['acrossd', 'python'])
def conn(request, sshd):
    """To acrossd over there, and to a bare Python."""
    acrossd = ACROSSD if request.param == 'acrossd' else NOWHERE
    with sshd.connect(acrossd=acrossd, python=sys.executable) as conn:
        yield conn


def test_acrossd_is_used_where_it_is_installed(sshd):
    with sshd.connect(acrossd=ACROSSD, python=NOWHERE) as conn:
        assert conn.execute('import across; across.engine') == 'native'
        assert conn.call(tasks.add, 1, 2) == 3


def test_else_a_bare_python_is_sent_the_package(sshd):
    with sshd.connect(acrossd=NOWHERE, python=sys.executable) as conn:
        assert conn.execute('import across; across.engine, across.__file__[:11]') == ('pure', '<bootstrap>')


def test_calls_and_calls_back(conn):
    there = conn.call(os.getpid)
    assert there != os.getpid()
    data = os.urandom(3 << 20)
    assert conn.call(bytes, data) == data
    values = []
    conn.execute('append(5)', append=across.Local(values.append))
    assert values == [5]


def test_modules_can_be_exported(conn, tmp_path, monkeypatch):
    (tmp_path / 'only_on_this_host.py').write_text('def double(value):\n    return value * 2\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    module = __import__('only_on_this_host')
    conn.export('only_on_this_host')
    assert conn.call(module.double, 21) == 42


def test_what_is_printed_over_there_disturbs_nobody(sshd, capfd):
    for acrossd in (ACROSSD, NOWHERE):
        with sshd.connect(acrossd=acrossd, python=sys.executable) as conn:
            conn.execute('print("printed over there", flush=True)')
            assert conn.call(len, 'abc') == 3
        out, err = capfd.readouterr()
        assert out == '' and 'printed over there\n' in err


def test_nothing_is_left_over_there(conn):
    pid = conn.call(os.getpid)
    conn.close()
    wait_until(lambda: not is_alive(pid), 'the end of the process over there')


def test_cancel_ends_both_sides(sshd):
    before = children()
    for acrossd in (ACROSSD, NOWHERE):
        conn = sshd.connect(acrossd=acrossd, python=sys.executable)
        pid = conn.call(os.getpid)
        conn.cancel()
        conn.close()
        wait_until(lambda: children() == before, 'the end of ssh')
        wait_until(lambda pid=pid: not is_alive(pid), 'the end of the process over there')


def fail(conn):
    """What the `with` statement raises."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        with conn:
            pass
    return caught.value.returncode, str(caught.value)


def test_a_host_with_neither(sshd):
    status, text = fail(sshd.connect(acrossd=NOWHERE, python=NOWHERE))
    assert status == 69 and text.startswith('There is neither {0} nor {0} on {1}; '.format(NOWHERE, sshd.host))


def test_a_host_that_cannot_be_reached(sshd, capfd):
    ssh = [*sshd.ssh, '-o', 'HostKeyAlias=a-stranger', '-o', 'StrictHostKeyChecking=yes']
    status, text = fail(sshd.connect(ssh=ssh))
    assert status == 255 and text.startswith('ssh to {} failed; it says why on standard error: '.format(sshd.host))
    assert text.endswith('Host key verification failed.')
    assert 'Host key verification failed' in capfd.readouterr().err


def test_a_python_that_fails(sshd):
    status, text = fail(sshd.connect(acrossd=NOWHERE, python='false'))
    assert (status, text) == (1, 'What ssh started on {} ended with status 1'.format(sshd.host))


@pytest.mark.parametrize('host', ['', '-oProxyCommand=true', None])
def test_what_is_no_host_is_refused(host):
    with pytest.raises(ValueError, match='not the name of a host'):
        across.Connection.from_ssh(host)


def test_ssh_is_a_list_of_words():
    with pytest.raises(TypeError, match='sequence of words'):
        across.Connection.from_ssh('localhost', ssh='ssh -p 22')


# ---- a shell that prints ----

NOISE = 'ForceCommand printf "Welcome to \\343\\133 %s\\n" "$(hostname)"; {}; exec sh -c "$SSH_ORIGINAL_COMMAND"\n'


@pytest.mark.parametrize('acrossd', [ACROSSD, NOWHERE])
def test_what_the_shell_prints_before_is_shown(tmp_path, capsys, acrossd):
    config = NOISE.format('yes | head -c 20000')
    with run_sshd(tmp_path, config=config) as sshd, sshd.connect(acrossd=acrossd, python=sys.executable) as conn:
        assert conn.call(tasks.add, 1, 2) == 3
    err = capsys.readouterr().err
    assert err.startswith('Welcome to \ufffd[ {}\ny\n'.format(os.uname().nodename)) and err.count('y\n') == 10000


def test_a_shell_that_never_stops_printing(tmp_path, capsys):
    with run_sshd(tmp_path, config=NOISE.format('yes')) as sshd:
        conn = sshd.connect(acrossd=ACROSSD)
        with pytest.raises(across.DisconnectError, match=r'Invalid magic: 0x57656c63; it began with .Welcome to '):
            conn.call(os.getpid)
        with pytest.raises(across.ProtocolError):
            conn.close()
    assert 'Welcome to' in capsys.readouterr().err
