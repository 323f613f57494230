# SPDX-License-Identifier: MIT
"""One run of a scenario, with or without a failure, and the verdict on it."""

import collections
import contextlib
import gc
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

from e2e import daemon as daemons
from e2e.waiting import children

import across

from . import symbols
from .ledger import Ledger
from .scenarios import ERRORS, Refused

LIMIT = 60  # seconds for each step: what is slow on purpose takes five, and what hangs takes all of them
PAUSE = 0.005  # between looks at something that has no other way to tell
TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# What may stand on standard error: lines of the log, and tracebacks of Python, with what was injected or came of it.
EXPECTED = [
    daemons.LOG + '.*',
    'listening on .*',
    '',
    'Traceback .*',
    '  .*',
    'The above exception was .*',
    'During handling .*',
    '([A-Za-z_]+[.])*[A-Za-z]+Error(: .*)?',
]

# Functions whose memory is kept for the next time: a record for each thread that there was at once, which differs.
CACHES = ['take_record']


class Hung(Exception):
    """A step took longer than it may."""


class Bad(Exception):
    """What must not happen has."""


class Verdict:
    """What came of a run: one of OUTCOMES, and why."""

    OUTCOMES = ('success', 'error', 'not reached', 'crashed', 'leaked', 'hung', 'wrong')
    GOOD = OUTCOMES[:3]

    def __init__(self, outcome, why=''):
        assert outcome in self.OUTCOMES
        self.outcome = outcome
        self.why = why

    @property
    def is_good(self):
        return self.outcome in self.GOOD


def count_blocks(ledger):
    """The blocks that were left, and an example of a site, by role and by the line that allocated them."""
    count, example = collections.Counter(), {}
    for site in ledger.sites():
        if site.live:
            place = site.role, site.frames[0]
            count[place] += site.live
            example[place] = site
    return count, example


def libuv_leaks(point):
    """libuv 1.44 keeps what it has opened for a loop when another descriptor cannot be had."""
    return point.site.function.kind == 'descriptor' and point.site.frames[0][0] == 'libuv'


class Leftovers:
    """What processes had when they exited in order, in runs without a failure: the most that is no leak."""

    def __init__(self):
        self._blocks = collections.Counter()
        self._files = {}

    def learn(self, ledger):
        self._blocks |= count_blocks(ledger)[0]  # the maximum
        for role, (_, files) in ledger.files().items():
            self._files[role] = max(self._files.get(role, 0), files)

    def find_leak(self, ledger, roles, point):
        """What there is more of than without the failure, or ''."""
        count, example = count_blocks(ledger)
        found = [
            '{} more blocks of {}'.format(blocks, symbols.describe(example[place]))
            for place, blocks in (count - self._blocks).items()
            if place[0] in roles and not set(CACHES) & set(symbols.name_functions(example[place]))
        ]
        for role, (_, files) in ledger.files().items():
            if role in roles and files > self._files.get(role, files) and not libuv_leaks(point):
                found.append('the {} had {} descriptors, and not {}'.format(role, files, self._files[role]))
        return '; '.join(found)


def find_problem(shim):
    """Why this build cannot be tortured; or None. What CPython calls has to be told from what our code calls."""
    if not os.path.exists(shim):
        return 'there is no {}: build the tests'.format(shim)
    libraries = subprocess.check_output(['ldd', daemons.ACROSSD]).decode()
    if 'libasan' in libraries or 'libtsan' in libraries:
        return 'a sanitizer has put functions of its own in the place of those that are to fail'
    for name in ('libpython', 'libuv'):
        if name not in libraries:
            return 'acrossd has to use {} as a shared library'.format(name)
    with open(daemons.ACROSSD, 'rb') as file:
        if b'.gcda' in file.read():
            return 'what counts coverage is part of acrossd, and would fail, too'
    return None


def preload(shim):
    """The environment that has the shim loaded, before a sanitizer's runtime if there is one."""
    libraries = [shim, *os.environ.get('LD_PRELOAD', '').split()]
    options = [*os.environ.get('ASAN_OPTIONS', '').split(), 'verify_asan_link_order=0']
    return {'LD_PRELOAD': ' '.join(libraries), 'ASAN_OPTIONS': ':'.join(options)}


def pids_with(text):
    """The processes that have this in their environment."""
    found = []
    for name in os.listdir('/proc'):
        if name.isdigit():
            with contextlib.suppress(OSError), open('/proc/{}/environ'.format(name), 'rb') as file:
                if text in file.read():
                    found.append(int(name))
    return found


class Run:
    """One run."""

    def __init__(self, scenario, shim, folder, point=None, patience=0):
        self.scenario = scenario
        self.acrossd = daemons.ACROSSD
        self.folder = folder
        self.path = os.path.join(folder, 'socket')
        self.secret = None  # the file of the one that is asked for on TCP
        self.ledger = Ledger(os.path.join(folder, 'ledger'), point)
        self.lines = []
        self.process = None
        self.started = False  # and stopped in order
        env = daemons.environment(os.path.join(daemons.BUILD, 'python'))
        self._torn = dict(env, **preload(shim), AX_TORTURE_LEDGER=self.ledger.path)
        self._torn['AX_TORTURE'] = self.ledger.path  # by which all of its processes are found
        self._plain = dict(env, AX_TORTURE=self.ledger.path)
        self._reader = None
        self._patience = patience

    # ---- for the scenarios ----

    def connect(self):
        self._await_socket()
        return across.Connection.from_unix(self.path)

    def connect_tcp(self, secret_file):
        host, port = self._find_address('tcp')
        return across.Connection.from_tcp(host, port, secret_file=secret_file)

    def connect_tls(self, files):
        host, port = self._find_address('tls')
        return across.Connection.from_tls(host, port, **files)

    def _find_address(self, kind):
        """Host and port of a listener. The line that tells them may be what got lost."""
        self._await_socket()
        command = [self.acrossd, 'status', '--json', 'unix:' + self.path]
        addresses = json.loads(self._run(command, self._plain, 0))['addresses']
        return next(address[4:] for address in addresses if address.startswith(kind + ':')).rsplit(':', 1)

    def connect_stdio(self):
        command = [self.acrossd, '--stdio']
        process = subprocess.Popen(
            command, env=self._torn, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._read(process)
        return across.Connection.from_process(process)

    def run_client(self, arguments, expected=0):
        """Run client.py; in a scenario of the client it is what suffers."""
        env = self._torn if getattr(self.scenario, 'in_client', False) else self._plain
        command = [sys.executable, os.path.join(TESTS, 'torture', 'client.py'), *arguments]
        self._await_socket()
        self._run(command, env, expected)

    def check_output(self, command):
        return self._run(command, self._torn, 0)

    def _run(self, command, env, expected):
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            out, err = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise Hung(' '.join(map(str, command))) from None
        self.lines += err.decode('utf-8', 'replace').splitlines()
        if process.returncode == expected:
            return out.decode()
        if process.returncode in (1, 2):
            raise Refused(err.decode('utf-8', 'replace'))
        raise Bad('status {}: {}'.format(process.returncode, err.decode('utf-8', 'replace')[-2000:]))

    def write(self, name, text):
        """A file that is not open to others; returns its path."""
        path = os.path.join(self.folder, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), 'w') as file:
            file.write(text)
        return path

    def signal(self, number):
        self.process.send_signal(number)

    def children(self):
        return set(children(self.process.pid))

    def log_has(self, text):
        return any(text in line for line in self.lines)

    def wait_for(self, condition):
        deadline = time.monotonic() + LIMIT
        while not condition():
            if self.process is not None and self.process.poll() is not None:
                return
            if time.monotonic() > deadline:
                raise Hung('a condition of the scenario')
            time.sleep(PAUSE)

    # ---- the run itself ----

    def _read(self, process):
        def read():
            with process.stderr:
                for line in process.stderr:
                    self.lines.append(line.decode('utf-8', 'replace').rstrip('\n'))

        self._reader = threading.Thread(target=read, daemon=True)
        self._reader.start()

    def _await_socket(self):
        """Until there is somebody to connect to. The line that says so may be what got lost."""
        self.wait_for(lambda: os.path.exists(self.path) and self._listens())
        if self.process.poll() is not None:
            raise ConnectionRefusedError('acrossd has ended')

    def _listens(self):
        with open('/proc/net/unix') as file:
            # The flag of a socket that accepts connections.
            return any(line.rstrip().endswith(' ' + self.path) and line.split()[3] == '00010000' for line in file)

    def _start(self):
        if self.scenario.options is None:
            return
        self.secret = self.write('secret', 'not known to anybody else\n')
        options = [option.format(folder=self.folder) for option in self.scenario.options]
        command = [self.acrossd, '--listen', 'unix:' + self.path, '--spare-workers', '1', *options]
        env = self._plain if getattr(self.scenario, 'in_client', False) else self._torn
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._read(self.process)

    def _play(self):
        """In a thread, so that it can be given up. Returns the error, or None."""
        result = []

        def play():
            try:
                self.scenario.play(self)
                result.append(None)
            except BaseException as error:
                result.append(error)

        self._in_time(play, 'the scenario')
        return result[0]

    def _in_time(self, func, what):
        thread = threading.Thread(target=func, daemon=True)
        thread.start()
        thread.join(LIMIT)
        if thread.is_alive():
            self._kill()
            thread.join(LIMIT)
            raise Hung(what)

    def _kill(self):
        for pid in pids_with(self.ledger.path.encode()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _be_served(self):
        """A second client, after the failure, has to be served."""
        result = []

        def play():
            try:
                with self.connect() as conn:
                    result.append(conn.call(pow, 2, 3))
                    time.sleep(self._patience)
                    conn.call(gc.collect)  # of earlier connections nothing is left in a worker that goes on, but leaks
            except BaseException as error:
                result.append(error)

        was_fired = self.ledger.fired
        self._in_time(play, 'the second client')
        if result == [8] or self.process.poll() is not None:
            return
        if was_fired or not isinstance(result[-1], ERRORS):
            raise Bad('the second client got {!r}'.format(result[-1]))
        self._be_served()

    def _stop(self):
        """Returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            raise Hung('the end of acrossd') from None

    def _await_end(self):
        deadline = time.monotonic() + LIMIT
        while pids_with(self.ledger.path.encode()):
            if time.monotonic() > deadline:
                raise Bad('processes are left')
            time.sleep(PAUSE)
        if self._reader is not None:
            self._reader.join(LIMIT)
        if os.path.exists(self.path):
            raise Bad('the socket is left')

    def _go(self):
        self._start()
        error = self._play()
        if error is not None and not isinstance(error, (*ERRORS, Refused)):
            raise error
        if self.process is None:
            return error
        if self.process.poll() is None:
            self._be_served()
        if self.process.poll() is not None:
            self._check_start()
            return error
        self.started = True
        status = self._stop()
        if status != 0:
            raise Bad('acrossd stopped with status {}'.format(status))
        return error

    def _check_start(self):
        """It has ended by itself, which it may only at its start, saying why."""
        status = self.process.wait()
        self._reader.join(LIMIT)
        if status not in (1, 2) or self.log_has('listening on') or not self.log_has('acrossd: '):
            raise Bad('acrossd ended with status {}'.format(status))

    def go(self):
        """The verdict."""
        verdict = None
        try:
            error = self._go()
            self._await_end()
            verdict = Verdict('error', repr(error)) if error is not None else Verdict('success')
        except Hung as error:
            verdict = Verdict('hung', str(error))
        except BaseException as error:
            verdict = Verdict('wrong', repr(error))
        finally:
            self._kill()
            if self.process is not None:
                self.process.kill()
                self.process.wait()
        if self.ledger.crash:
            return Verdict('crashed', 'signal {} in the {}'.format(*self.ledger.crash))
        unexpected = [line for line in self.lines if not any(re.fullmatch(known, line) for known in EXPECTED)]
        if verdict.is_good and unexpected:
            return Verdict('wrong', 'it said {!r}'.format(unexpected))
        return verdict


def run(scenario, shim, point=None, leftovers=None, patience=0):
    """
    Returns the verdict, and the run. `patience`: seconds that other threads get to finish what they do, before it is
    looked for leaks.
    """
    with tempfile.TemporaryDirectory(prefix='ax-') as folder:
        one = Run(scenario, shim, folder, point, patience)
        verdict = one.go()
        if leftovers is not None and verdict.is_good and (one.started or one.process is None):
            leak = leftovers.find_leak(one.ledger, scenario.lasting, point)
            if leak:
                verdict = Verdict('leaked', leak)
        if point is not None and verdict.is_good and not one.ledger.fired:
            verdict = Verdict('not reached')
        return verdict, one
