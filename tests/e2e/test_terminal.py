# SPDX-License-Identifier: MIT
"""Clients at a terminal: Ctrl-C is meant for them, and not for the programs that their connections go through."""

import contextlib
import fcntl
import json
import os
import select
import shlex
import subprocess
import sys
import termios
import time

import pytest

import across

from .daemon import ACROSSD, environment
from .test_ssh import NOWHERE, TOOLS, run_sshd
from .waiting import LIMIT

CLIENT = """
import across, json, os, sys, threading
way, args, kwargs = json.loads(sys.argv[1])
with getattr(across.Connection, way)(*args, **kwargs) as conn:
    there = conn.call(os.getpid)
    event = conn.create(threading.Event)
    try:
        conn.create(print, 'running', file=across.Local(sys.stdout), flush=True)
        event.wait(600)
    except KeyboardInterrupt:
        print('interrupted', flush=True)
    event.set()
    assert conn.call(os.getpid) == there
    print('us' + 'able', flush=True)
print('en' + 'ded', flush=True)
"""


class Terminal:
    """A pseudo-terminal that a client runs at."""

    def __init__(self, way, *args, **kwargs):
        self._master, slave = os.openpty()
        self._said = b''
        env = environment(os.path.dirname(os.path.dirname(across.__file__)))
        env.pop('SSH_ASKPASS', None)
        self.process = subprocess.Popen(
            [sys.executable, '-c', CLIENT, json.dumps([way, args, kwargs])],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=env,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def expect(self, text):
        deadline = time.monotonic() + LIMIT
        while text not in self._said:
            ready = select.select([self._master], [], [], max(0, deadline - time.monotonic()))[0]
            assert ready, 'no {!r} in {!r}'.format(text, self._said)
            with contextlib.suppress(OSError):  # the client has ended
                data = os.read(self._master, 4096)
                self._said += data
                continue
            raise AssertionError('no {!r} in {!r}'.format(text, self._said))

    def type(self, data):
        os.write(self._master, data)

    def finish(self):
        self.expect(b'ended')
        assert self.process.wait(LIMIT) == 0

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@contextlib.contextmanager
def client(way, *args, **kwargs):
    terminal = Terminal(way, *args, **kwargs)
    try:
        yield terminal
    finally:
        terminal.close()


def check_interrupt(terminal):
    terminal.expect(b'running')
    terminal.type(b'\x03')
    terminal.expect(b'interrupted')
    terminal.expect(b'usable')
    terminal.finish()


WAYS = {
    'command': ('from_command', [ACROSSD, '--stdio']),
    'shell': ('from_shell', '{} --stdio'.format(shlex.quote(ACROSSD))),
    'shell that stays': ('from_shell', '{} --stdio; true'.format(shlex.quote(ACROSSD))),
    'python': ('from_command', [sys.executable, '-c', across.get_bios()]),
    'module': ('from_command', [sys.executable, '-m', 'across', '--stdio', '--wait']),
}


@pytest.mark.parametrize('way', WAYS)
def test_an_interrupted_call_leaves_the_connection_usable(way):
    with client(*WAYS[way]) as terminal:
        check_interrupt(terminal)


@pytest.mark.skipif(not TOOLS, reason='there is no sshd, ssh or ssh-keygen here: dev/setup installs them')
@pytest.mark.parametrize('acrossd', [ACROSSD, NOWHERE])
def test_so_does_one_over_ssh(tmp_path, acrossd):
    with (
        run_sshd(tmp_path) as sshd,
        client('from_ssh', sshd.host, ssh=sshd.ssh, acrossd=acrossd, python=sys.executable) as terminal,
    ):
        check_interrupt(terminal)


@pytest.mark.skipif(not TOOLS, reason='there is no sshd, ssh or ssh-keygen here: dev/setup installs them')
def test_ssh_asks_for_a_secret_at_the_terminal(tmp_path):
    with run_sshd(tmp_path, passphrase='open sesame') as sshd:
        ssh = [word.replace('BatchMode=yes', 'BatchMode=no') for word in sshd.ssh]
        with client('from_ssh', sshd.host, ssh=ssh, acrossd=ACROSSD) as terminal:
            terminal.expect(b'Enter passphrase for key')
            terminal.type(b'open sesame\n')
            check_interrupt(terminal)
