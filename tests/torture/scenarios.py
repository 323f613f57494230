# SPDX-License-Identifier: MIT
"""What is done while one call fails.

A scenario's play() returns when all went well, raises what a client of acrossd may see when something did not, and
raises AssertionError when what it got was wrong.
"""

import atexit
import concurrent.futures
import functools
import os
import shutil
import signal
import subprocess
import tempfile

from e2e import remote_tasks as tasks
from e2e.authority import Authority

import across

SIZE = 8 * 1024 * 1024
# What a client may see. The last one is for acrossd --stdio, when it exits with a status.
ERRORS = (
    across.OperationError,
    across.DisconnectError,
    across.ProtocolError,
    EOFError,
    OSError,
    MemoryError,
    subprocess.CalledProcessError,
)


class Refused(Exception):
    """A program said that it could not do what was asked, and exited with a status for that."""


class Scenario:
    """A daemon, started with these options, and what its clients do."""

    name = ''
    options = ()  # in which {folder} stands for the folder of the run; None: no daemon
    lasting = ('supervisor',)  # the processes whose memory and descriptors are not to grow

    def play(self, run):
        """The whole of it. `run` is what judge.Run says."""
        raise NotImplementedError


class Call(Scenario):
    name = 'call'

    def play(self, run):
        with run.connect() as conn:
            assert conn.call(pow, 2, 10) == 1024


class Callback(Scenario):
    name = 'callback'

    def play(self, run):
        seen = []
        with run.connect() as conn:
            assert conn.call(tasks.call_back, across.Local(seen.append), 5) is None
        assert seen == [5]


class Objects(Scenario):
    name = 'objects'

    def play(self, run):
        with run.connect() as conn:
            items = conn.create(list, [1, 2])
            items.append(3)
            assert list(items.copy()) == [1, 2, 3]
            del items
            assert conn.call(pow, 2, 10) == 1024


class Payload(Scenario):
    name = 'payload'

    def play(self, run):
        data = os.urandom(1024) * (SIZE // 1024)
        with run.connect() as conn:
            assert conn.call(tasks.echo, data) == data


class Killed(Scenario):
    """The client dies in the middle of a call."""

    name = 'killed client'

    def play(self, run):
        run.run_client(['killed', run.path], expected=-signal.SIGKILL)


class Status(Scenario):
    """The command as well as the daemon, which listens on TCP, too."""

    name = 'status'
    options = ('--listen', 'tcp:127.0.0.1:0')

    def play(self, run):
        with run.connect() as conn:
            assert conn.call(pow, 2, 10) == 1024
            for option in ([], ['--json']):
                text = run.check_output([run.acrossd, 'status', 'unix:' + run.path, *option])
                assert text.startswith('{' if option else 'acrossd')


class Secret(Scenario):
    """A client on TCP proves that it knows a secret."""

    name = 'secret'
    options = ('--listen', 'tcp:127.0.0.1:0', '--secret-file', '{folder}/secret')

    def play(self, run):
        with run.connect_tcp(run.secret) as conn:
            assert conn.call(pow, 2, 10) == 1024


class Stranger(Scenario):
    """A client on TCP does not know the secret: whatever fails, it is not served."""

    name = 'stranger'
    options = Secret.options

    def play(self, run):
        try:
            with run.connect_tcp(run.write('other', 'guessed by somebody else\n')) as conn:
                conn.call(pow, 2, 10)
        except ERRORS:
            return
        raise AssertionError('it was served')


@functools.lru_cache(None)
def make_authority(name):
    """One of each name for all runs: keys take their time."""
    folder = tempfile.mkdtemp(prefix='ax-')
    atexit.register(shutil.rmtree, folder)
    return Authority(folder)


class Tls(Scenario):
    """A client on TLS has a certificate."""

    name = 'tls'

    @property
    def options(self):
        return ('--listen', 'tls:127.0.0.1:0', *make_authority('own').options())

    def play(self, run):
        with run.connect_tls(make_authority('own').files()) as conn:
            assert conn.call(pow, 2, 10) == 1024


class TlsStranger(Tls):
    """The certificate is one of another authority: whatever fails, the client is not served."""

    name = 'tls stranger'

    def play(self, run):
        files = dict(make_authority('other').files(), cafile=make_authority('own').path('ca.pem'))
        try:
            with run.connect_tls(files) as conn:
                conn.call(pow, 2, 10)
        except ERRORS:
            return
        raise AssertionError('it was served')


class Reload(Scenario):
    name = 'reload'

    def play(self, run):
        with run.connect() as conn:
            before = run.children()
            run.signal(signal.SIGHUP)
            run.wait_for(lambda: run.children() != before or run.log_has('reload'))
            assert conn.call(pow, 2, 10) == 1024
        with run.connect() as conn:
            assert conn.call(pow, 2, 10) == 1024


class Shared(Scenario):
    """Two clients at a time, in one worker."""

    name = 'shared'
    options = ('--isolation', 'shared')
    lasting = ('supervisor', 'worker')

    def play(self, run):
        with concurrent.futures.ThreadPoolExecutor(2) as executor:
            futures = [executor.submit(self._be_client, run) for _ in range(2)]
        for future in futures:
            future.result()

    @staticmethod
    def _be_client(run):
        with run.connect() as conn:
            items = conn.create(list)
            for number in range(3):
                items.append(number)
            assert list(items.copy()) == [0, 1, 2]


class Stdio(Scenario):
    """A process of its own for one connection, over pipes."""

    name = 'stdio'
    options = None
    lasting = ()

    def play(self, run):
        with run.connect_stdio() as conn:
            assert conn.call(pow, 2, 10) == 1024


class Client(Scenario):
    """The client's process, with the extension module: acrossd itself is left alone."""

    name = 'client'
    options = ()
    lasting = ('client',)
    in_client = True

    def play(self, run):
        run.run_client(['all', run.path])


ALL = [
    Call(),
    Callback(),
    Objects(),
    Payload(),
    Killed(),
    Status(),
    Secret(),
    Stranger(),
    Tls(),
    TlsStranger(),
    Reload(),
    Shared(),
    Stdio(),
    Client(),
]
