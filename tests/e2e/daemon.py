# SPDX-License-Identifier: MIT
"""acrossd as tests see it: started, watched, stopped, and checked for what it leaves behind.

Every line on standard error has to be expected by the test. That catches warnings, tracebacks and sanitizers' reports.
"""

import collections
import concurrent.futures
import contextlib
import os
import re
import signal
import subprocess
import threading

from sanitizers import HAS_TSAN, PRELOADED

import across

from . import remote_tasks as tasks
from .waiting import (
    LIMIT,
    Family,
    children,
    count_fds,
    count_sockets,
    count_threads,
    descendants,
    is_alive,
    list_fds,
    name_of,
    parent_of,
    wait_until,
)

BUILD = os.environ.get('AX_BUILD_DIR', '')
ACROSSD = os.path.join(BUILD, 'acrossd')
LOG = r'(?:[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3} )?acrossd: '  # how lines of its log begin
BROKEN = LOG + '(connection [0-9]+ from .* (broke|was refused)|the connection broke): .*'
TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def environment(*paths):
    """The environment of a process that imports from these folders, and the tests' remote functions."""
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([*paths, TESTS]), PYTHONDONTWRITEBYTECODE='1')
    env.pop('PYTHONHOME', None)
    if HAS_TSAN:
        env['LD_PRELOAD'] = PRELOADED
    return env


def close_broken(conn):
    """Close a connection that may have been broken."""
    with contextlib.suppress(EOFError, OSError, subprocess.CalledProcessError):
        conn.close()


def count_watched(pid):
    """The number of processes whose end this process watches."""
    return sum('[pidfd]' in line for line in list_fds(pid))


class RunningCall:
    """A call that runs at the other end when the constructor returns, until it is released or the connection ends."""

    def __init__(self, conn):
        started = threading.Event()
        self._conn = conn
        self._name = 'running {}'.format(id(self))
        executor = concurrent.futures.ThreadPoolExecutor(1)
        self._future = executor.submit(conn.call, tasks.run_until, self._name, across.Local(started.set))
        executor.shutdown(wait=False)
        assert started.wait(LIMIT)

    def release(self):
        self._conn.call(tasks.set_event, self._name)
        return self.result()

    def result(self):
        return self._future.result(LIMIT)

    def error(self):
        """What the call raised; it ends without being released."""
        return self._future.exception(LIMIT)


@contextlib.contextmanager
def bystanders(daemon):
    """Two other connections, one idle and one with a running call, that must not notice what happens meanwhile."""
    with daemon.connect() as idle, daemon.connect() as busy:
        workers = [conn.call(os.getpid) for conn in (idle, busy)]
        call = RunningCall(busy)
        yield
        assert call.release() is True
        assert [conn.call(os.getpid) for conn in (idle, busy)] == workers


class Lines:
    """The lines of a pipe, as they come. Each is to be taken by `expect` or `take`."""

    def __init__(self, file):
        self._file = file
        self._condition = threading.Condition()
        self._lines = []
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        with self._file:
            for line in self._file:
                with self._condition:
                    self._lines.append(line.decode('utf-8', 'replace').rstrip('\n'))
                    self._condition.notify_all()
        with self._condition:
            self._ended = True
            self._condition.notify_all()

    def expect(self, pattern):
        """Wait for a line that matches as a whole, take it, and return the match."""
        with self._condition:
            found = self._condition.wait_for(lambda: self._find(pattern) or self._ended, LIMIT)
            if not isinstance(found, tuple):
                found = self._find(pattern)
            assert found, 'no line {!r} on standard error, but {!r}'.format(pattern, self._lines)
            index, match = found
            del self._lines[index]
            return match

    def _find(self, pattern):
        for index, line in enumerate(self._lines):
            match = re.fullmatch(pattern, line)
            if match:
                return index, match
        return None

    def rest(self):
        """All lines that were not taken, when the pipe has ended."""
        self._thread.join(LIMIT)
        assert not self._thread.is_alive(), 'standard error is still open in some process'
        return self._lines


class Daemon:
    """A listening acrossd. As a context manager it is stopped, and has to have kept everything clean.

    With the isolation `process`, each connection takes a worker of its own, and `spare` workers wait for the next ones.
    With `shared`, `worker` is the process id of its only worker.
    """

    def __init__(
        self,
        *options,
        isolation='process',
        spare=1,
        command=(ACROSSD,),
        env=None,
        cwd=None,
        warm=True,
        secret_file=None,
        authority=None,
    ):
        listens = sum(option.startswith('--listen') for option in options)
        if isolation == 'process':
            options = ['--spare-workers', str(spare), *options]
        options = ['--isolation', isolation, *options]
        if secret_file is not None:
            options += ['--secret-file', secret_file]
        if authority is not None:
            options = [*authority.options(), '--max-connections', '1000', *options]  # with room for relays
        self.authority = authority  # whose certificates connections over TLS show
        self.secret_file = secret_file  # which connections over TCP prove that they know
        self._is_shared = isolation == 'shared'
        self._idle_workers = 1 if self._is_shared else spare
        self.process = subprocess.Popen(
            [*command, *options],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment() if env is None else env,
            cwd=cwd,
            start_new_session=True,
        )
        self._family = Family(self.process.pid)
        self.lines = Lines(self.process.stderr)
        self.expect = self.lines.expect
        self.addresses = []
        self._may_break = 0
        self._allowed = None
        self._is_over = False  # the test has ended it itself
        try:
            self._begin(listens, warm)
        except BaseException:
            self.kill()
            raise

    def _begin(self, listens, warm):
        """Wait until it serves, and look at what there is then."""
        self.addresses = [self.expect('listening on (.*)').group(1) for _ in range(listens)]
        workers = self.find_idle_workers()
        self.worker = workers[0] if self._is_shared else None
        self._children = self.count_children()
        sockets = {pid: count_sockets(pid) for pid in (self.process.pid, self.worker) if pid}
        if warm:  # the engine's loop opens descriptors of its own with the first connection
            with self.connect() as conn:
                conn.call(os.getpid)
            self._wait_for_end_of_connections(sockets)
        # A worker runs before the supervisor, which then opens a descriptor for it, has heard that it does.
        watched = 1 + self._idle_workers
        wait_until(lambda: count_watched(self.process.pid) == watched, 'watching {} processes'.format(watched))
        self._before = {pid: (sockets[pid], count_fds(pid) - count_sockets(pid)) for pid in sockets}
        self._threads = count_threads(self.process.pid)

    def expect_broken(self, count=1):
        """Take the warnings about so many connections that their clients broke."""
        for _ in range(count):
            self.expect(BROKEN)

    def allow_broken(self, most):
        """Take up to so many of those warnings at the end: clients may break before they were noticed."""
        self._may_break = most

    def allow_lines(self, pattern):
        """Allow any number of matching lines at the end."""
        self._allowed = pattern

    def expect_cancelled(self, count=1):
        """Clients cancelled this many connections after a goodbye, which logs no warning."""

    def expect_lost(self, pid, how='was killed by signal 9 [(]Killed[)]', connections=1):
        """Take the line about a worker's death. A shared worker has to be replaced."""
        self.expect(LOG + 'the worker, process {}, {}; connections lost: {}'.format(pid, how, connections))
        if self.worker == pid:
            self.forget_worker()

    def forget_worker(self):
        """The shared worker, if there is one, may have been replaced."""
        if self.worker:
            self._before.pop(self.worker, None)
            wait_until(self._find_shared_worker, 'the worker that serves connections now')

    def _find_shared_worker(self):
        """Whether there is one: the one that was found first may be about to die, or be dead."""
        self.worker = self.find_worker()
        try:
            with self.connect() as conn:
                return conn.call(os.getpid) == self.worker
        except across.DisconnectError:
            return False

    expect_killed = expect_lost

    def workers(self):
        """The running workers: children of keepers, which are the zygote's children or were adopted when it died."""
        parents = [self.process.pid, *children(self.process.pid)]
        keepers = [pid for parent in parents for pid in children(parent) if name_of(pid) == 'acrossd-keeper']
        return [pid for keeper in keepers for pid in children(keeper) if name_of(pid) == 'acrossd-worker']

    def find_worker(self):
        """Wait until exactly one worker runs, maybe a new one."""
        (worker,) = self.find_workers(1)
        return worker

    def find_workers(self, count):
        """Wait until exactly this many workers run."""
        found = []

        def look():
            found[:] = filter(is_alive, self.workers())
            return len(found) == count

        wait_until(look, lambda: '{} workers among {}'.format(count, self.count_children()))
        return found

    def find_idle_workers(self):
        """Wait until only those workers run that also run when nobody is connected."""
        return self.find_workers(self._idle_workers)

    def is_worker(self, pid):
        """Whether this process is one that runs the calls of a connection."""
        return pid in self.workers()

    def find_zygote(self):
        """Wait until exactly one zygote runs, maybe a new one."""
        found = []

        def look():
            found[:] = [pid for pid in children(self.process.pid) if name_of(pid) == 'acrossd-zygote' and is_alive(pid)]
            return len(found) == 1

        wait_until(look, lambda: 'one zygote among {}'.format(self.count_children()))
        return found[0]

    def keeper_of(self, worker):
        """The process that watches this worker."""
        return parent_of(worker)

    def count_children(self):
        """How many processes of each name are below the supervisor, with all that user code has started."""
        return collections.Counter(map(name_of, descendants(self.process.pid)))

    def connect(self, options=None, address=None):
        address = address or self.addresses[0]
        if address.startswith('unix:'):
            return across.Connection.from_unix(address[5:], options=options)
        if address.startswith('tls:'):
            return self.authority.connect(address, options=options)
        host, _, port = address[4:].rpartition(':')
        return across.Connection.from_tcp(host.strip('[]'), port, secret_file=self.secret_file, options=options)

    def check_quiet(self):
        """When the test's connections have closed, descriptors, processes and the daemon's threads are as before."""
        self._wait_for_end_of_connections({pid: sockets for pid, (sockets, _) in self._before.items()})
        for pid, (_, others) in self._before.items():
            wait_until(
                lambda pid=pid, most=others: count_fds(pid) - count_sockets(pid) <= most,
                lambda pid=pid, most=others: 'closing all but {} others of {}'.format(most, list_fds(pid)),
            )
        if self.worker:
            assert self.find_worker() == self.worker
            wait_until(lambda: children(self.worker) == [], "the end of the worker's children")
        wait_until(
            lambda: count_threads(self.process.pid) <= self._threads, 'the end of threads for work beside the loop'
        )

    def _wait_for_end_of_connections(self, before):
        """Their sockets are closed, and their workers gone, where each had its own."""
        for pid, sockets in before.items():
            wait_until(
                lambda pid=pid, most=sockets: count_sockets(pid) <= most,
                lambda pid=pid, most=sockets: 'closing all but {} sockets of {}'.format(most, list_fds(pid)),
            )
        wait_until(
            lambda: self.count_children() == self._children,
            lambda: 'going back from {} to {}'.format(self.count_children(), self._children),
        )

    def stop(self, status=0, check=True):
        """Stop it in an orderly way. A call that still runs shows as a warning on standard error."""
        try:
            self._check_running()
            if check:
                self.check_quiet()
            self.send_signal(signal.SIGTERM)
            self.join(status)
        finally:
            self.kill()

    def send_signal(self, number):
        """Send a signal that may end it. What belongs to it now has to be gone when it is joined."""
        self._family.look()
        self.process.send_signal(number)

    def _check_running(self):
        if self.process.poll() is not None:
            status, lines = self.process.returncode, self.lines.rest()
            raise AssertionError('acrossd ended by itself with status {} and said {!r}'.format(status, lines))

    def join(self, status=0):
        """Wait for its end; then nothing may be left of it."""
        self._is_over = True
        self._family.look()
        ended = self.process.wait(LIMIT)
        assert ended == status, 'status {}, not {}; it said {!r}'.format(ended, status, self.lines.rest())
        wait_until(lambda: not self._family.alive(), lambda: 'the end of {}'.format(self._family.alive()))
        lines = [line for line in self.lines.rest() if not self._allowed or not re.fullmatch(self._allowed, line)]
        if HAS_TSAN:  # its runtime has a thread
            lines = [line for line in lines if 'have left threads running: a preloaded module (a thread' not in line]
        broken = [line for line in lines if re.fullmatch(BROKEN, line)]
        assert lines == broken and len(lines) <= self._may_break, 'it said {!r}'.format(lines)

    def kill(self):
        """End it and everything that it started, whatever state it is in."""
        self._is_over = True
        self._family.look()
        self.process.kill()
        self.process.wait()
        for pid in self._family.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def finish(self):
        """At the end of a test: stop it, unless the test has ended it itself."""
        if not self._is_over:
            self.stop()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            self.kill()
        else:
            self.finish()


class Stdio:
    """`acrossd --stdio`, one process for each connection, with the interface of Daemon."""

    def __init__(self, *options):
        self._options = options
        self._started = []
        self._broken = range(1)

    def connect(self, options=None):
        self._started.append(StdioProcess(self._options))
        return across.Connection.from_process(self._started[-1].process, options=options)

    @property
    def process(self):
        """The process that was started last."""
        return self._started[-1].process

    def is_worker(self, pid):
        """Whether this process runs the calls of the connection that was made last."""
        return pid in children(self.process.pid)

    def expect(self, pattern):
        """Wait for a line of the process that was started last, and take it."""
        return self._started[-1].lines.expect(pattern)

    def expect_broken(self, count=1):
        """This many processes fail: the connection broke, or its client killed them."""
        self._broken = range(count, count + 1)

    def allow_broken(self, most):
        """So many processes may."""
        self._broken = range(most + 1)

    def expect_cancelled(self, count=1):
        """The client kills a process whose connection it cancels, if that did not end at once."""
        self.allow_broken(count)

    def expect_killed(self, pid):
        """The process was killed by the test."""
        self.expect_broken(1)

    def stop(self):
        """The connections have ended: so have their processes, and said why when they did not end well."""
        try:
            broken = [process.has_broken() for process in self._started]
            assert sum(broken) in self._broken, '{} of {} connections broke'.format(sum(broken), len(broken))
        finally:
            for process in self._started:
                process.kill()


class StdioProcess:
    """One `acrossd --stdio`."""

    def __init__(self, options):
        self.process = subprocess.Popen(
            [ACROSSD, '--stdio', *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        self.lines = Lines(self.process.stderr)

    def has_broken(self):
        """Whether it failed. If so, it has to have logged why, unless it could not."""
        status, lines = self.process.wait(LIMIT), self.lines.rest()
        reasons = [line for line in lines if re.fullmatch(BROKEN, line)]
        expected = {0: [0], 1: [1], -signal.SIGKILL: [0, 1]}.get(status, [])
        assert lines == reasons and len(lines) in expected, 'status {}; it said {!r}'.format(status, lines)
        return status != 0

    def kill(self):
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()
