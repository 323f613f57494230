# SPDX-License-Identifier: MIT
"""Which features work between which client and which server: tries all, and writes docs/compatibility.md.

`dev/matrix` runs it, and so does test_matrix.py, which compares with what is written there. Every feature is tried in a
process of its own (matrix_client.py). What does not work has to fail in a way that LIMITS expects, or it `fails`.
"""

import collections
import concurrent.futures
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

import cloudpickle

import across

from .daemon import ACROSSD, TESTS, environment
from .matrix_client import FEATURES, PLAIN, STOP

FOLDER = os.path.dirname(os.path.abspath(__file__))
OURS = os.path.dirname(os.path.dirname(across.__file__))
CLOUDPICKLE = os.path.dirname(os.path.dirname(cloudpickle.__file__))
PAGE = os.path.join(os.path.dirname(TESTS), 'docs', 'compatibility.md')
BEGIN, END = '<!-- dev/matrix writes from here -->\n', '<!-- to here -->\n'
VERSION = 'Python {}.{}'.format(*sys.version_info[:2])
PATIENCE = 90  # seconds for each step; what takes longer hangs
PARALLEL = 6  # pairs at once: they mostly wait

# Names that say which package and engine, and what people call them.
CLIENTS = {'plain': 'plain 0.1', 'native': 'native', 'pure': 'pure'}
SERVERS = {'plain': 'plain 0.1', 'process': 'acrossd, process', 'shared': 'acrossd, shared', 'pure': 'pure'}
ENGINES = {'plain': PLAIN, 'process': 'native', 'shared': 'native', 'pure': 'pure'}  # of servers
ANY = frozenset([*CLIENTS, *SERVERS])

Limit = collections.namedtuple('Limit', 'features clients servers error reason')
_CLOSED = r'AssertionError: Connection was remotely closed'
_BROKEN = r'AssertionError: Connection was aborted due to EOFError: .*'
_SILENT = r'DisconnectError: Connection was aborted due to TimeoutError: .*'
_NO_REASON = 'Plain across knows no reasons.'

# What is not to be expected, how it fails, and why.
LIMITS = [
    Limit({'enter'}, ANY, {'plain'}, r'(TypeError|AttributeError): .*(context manager|__enter__).*',
          'Which methods a proxy forwards is told by the side that has the object. Plain across leaves these out.'),
    Limit({'local'}, {'plain'}, ANY, r"OperationError: .* 'function' has no attribute '__annotations__'",
          'From Python 3.10 on, plain across cannot refer to functions, only to other callables, such as '
          '`functools.partial(function)`.'),
    Limit({'come_home_late'}, {'plain'}, ANY, r'OperationError: Unpickling .* KeyError: .*',
          'Plain across forgets an object when the other side drops it, even if a result that is not read yet has it.'),
    Limit({'export'}, ANY, {'shared'}, r'ValueError: Exporting modules is not allowed',
          'The clients of a shared interpreter share its modules.'),
    Limit({'call_lambda', 'return_lambda'}, {'plain'}, ANY, r"AttributeError: No option named 'pickler'",
          'Plain across has no such option.'),
    Limit({'return_lambda'}, ANY, {'plain'}, r'OperationError: Pickling failed due to .*',
          'Plain across reads functions by value, but does not write them.'),
    Limit({'hold_gil'}, ANY, {'plain', 'pure'}, _SILENT,
          'There, heartbeats come from a thread of Python.'),
    Limit({'worker_dies'}, {'plain'}, ANY, _BROKEN, _NO_REASON),
    Limit({'worker_dies'}, ANY, {'plain'}, _BROKEN, _NO_REASON),
    Limit({'server_stops'}, {'plain'}, ANY, _CLOSED, _NO_REASON),
    Limit({'server_stops'}, ANY, {'plain'}, _CLOSED, _NO_REASON),
    Limit({'worker_dies'}, ANY, {'pure'}, _BROKEN,
          'Servers in Python leave a connection to one process alone: nobody is there to tell when that has died.'),
    Limit({'server_stops'}, ANY, {'pure'}, _CLOSED, 'Servers in Python say goodbye without a reason.'),
]  # fmt: skip


# ---- servers ----


def is_listening(path):
    """Whether somebody listens on this socket; without connecting, which servers would notice."""
    with open('/proc/net/unix') as file:
        return any(line.split()[3] == '00010000' and line.endswith(' ' + path + '\n') for line in file.readlines()[1:])


def make_server(server, plain, path):
    """The command that runs a server, and its environment."""
    script = [sys.executable, os.path.join(FOLDER, 'matrix_server.py'), path]
    if server == 'plain':
        return script, environment(plain)
    if server == 'pure':
        return script, dict(environment(OURS), ACROSS_ENGINE='pure')
    return [ACROSSD, '--isolation', server, '--listen', 'unix:' + path], environment(CLOUDPICKLE)


class Server:
    """A server that was started, with its log."""

    def __init__(self, server, plain, folder):
        self.path = os.path.join(folder, 'socket')
        self._log = os.path.join(folder, 'log')
        self._is_stopping = False
        command, env = make_server(server, plain, self.path)
        with open(self._log, 'w') as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True
            )

    def wait_until_ready(self):
        deadline = time.monotonic() + PATIENCE
        while not is_listening(self.path):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._fail('did not start')
            time.sleep(0.01)

    def stop(self):
        """Begin to stop it in an orderly way; a second signal would kill it."""
        if not self._is_stopping:
            self._is_stopping = True
            self._process.send_signal(signal.SIGINT)

    def join(self):
        if self._process.wait(PATIENCE) != 0:
            self._fail('ended with status {}'.format(self._process.returncode))

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _fail(self, what):
        with open(self._log) as log:
            raise RuntimeError('{} {}, and said {!r}'.format(self._process.args, what, log.read()))


@contextlib.contextmanager
def running_server(server, plain):
    """A server while it runs. It has to start, and to stop in an orderly way."""
    with tempfile.TemporaryDirectory() as folder:
        running = Server(server, plain, folder)
        try:
            running.wait_until_ready()
            yield running
            running.stop()
            running.join()
        finally:
            running.kill()


# ---- clients ----


def try_feature(name, client, server, plain, running):
    """Try a feature. Returns None, or the error."""
    env = environment(plain if client == 'plain' else OURS)
    if client != 'plain':
        env['ACROSS_ENGINE'] = client
    command = [sys.executable, os.path.join(FOLDER, 'matrix_client.py'), name, client, ENGINES[server], running.path]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, text=True
    ) as process:
        timer = threading.Timer(PATIENCE, process.kill)
        timer.start()
        try:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if line == STOP + '\n':
                    running.stop()
        finally:
            timer.cancel()
    try:
        return json.loads(lines[-1])
    except (IndexError, ValueError):
        return 'no answer, but {!r}'.format(''.join(lines))


def judge(name, client, server, error):
    """What to write: 'yes', the reason of an expected limit, or how it fails."""
    if error is None:
        return 'yes'
    for limit in LIMITS:
        if name in limit.features and client in limit.clients and server in limit.servers:
            if re.fullmatch(limit.error, error, re.DOTALL):
                return limit.reason
    return 'fails: ' + error


def try_pair(client, server, plain):
    """Try all features between a client and a server. Returns what to write for each."""
    with running_server(server, plain) as running:
        errors = {name: try_feature(name, client, server, plain, running) for name in FEATURES}
    return {name: judge(name, client, server, error) for name, error in errors.items()}


def try_all(plain):
    """Try everything. Returns what to write by client, server and feature."""
    pairs = [(client, server) for client in CLIENTS for server in SERVERS]
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as executor:
        return dict(zip(pairs, executor.map(lambda pair: try_pair(*pair, plain), pairs)))


# ---- the page ----


def count_working(outcomes):
    return list(outcomes.values()).count('yes')


def make_table(head, rows):
    """A table in Markdown."""
    lines = [head, ['---'] * len(head), *rows]
    return ''.join('| {} |\n'.format(' | '.join(line)) for line in lines)


def render(results):
    """The part of the page that is written."""
    notes = []

    def mark(outcome):
        if outcome == 'yes' or outcome.startswith('fails: '):
            return outcome.partition(':')[0]
        if outcome not in notes:
            notes.append(outcome)
        return 'no ({})'.format(notes.index(outcome) + 1)

    text = '\n{}. So many features of {} work:\n\n'.format(VERSION, len(FEATURES))
    text += make_table(
        ['client \\ server', *SERVERS.values()],
        [
            [title, *(str(count_working(results[client, server])) for server in SERVERS)]
            for client, title in CLIENTS.items()
        ],
    )
    for client, client_title in CLIENTS.items():
        text += '\n## Client: {}\n\n'.format(client_title)
        text += make_table(
            ['feature \\ server', *SERVERS.values()],
            [
                [title, *(mark(results[client, server][name]) for server in SERVERS)]
                for name, (title, _, _) in FEATURES.items()
            ],
        )
    text += '\n## Why not\n\n'
    text += ''.join('{}. {}\n'.format(number, note) for number, note in enumerate(notes, 1))
    return text + '\n'


def read_page():
    """The page in three parts: the middle one is what is written here."""
    with open(PAGE) as file:
        before, begin, rest = file.read().partition(BEGIN)
    written, end, after = rest.partition(END)
    assert begin and end, 'no markers in {}'.format(PAGE)
    return before, written, after


def list_failures(results):
    return [
        '{} with {}, {}: {}'.format(CLIENTS[client], SERVERS[server], name, outcome)
        for (client, server), outcomes in results.items()
        for name, outcome in outcomes.items()
        if outcome.startswith('fails: ')
    ]


def main():
    before, written, after = read_page()
    results = try_all(os.environ['AX_PLAIN_ACROSS'])
    text = render(results)
    with open(PAGE, 'w') as file:
        file.write(before + BEGIN + text + END + after)
    print(text + ('docs/compatibility.md is as it was' if text == written else 'docs/compatibility.md was changed'))
    failures = list_failures(results)
    for line in failures:
        print(line, file=sys.stderr)
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
