# SPDX-License-Identifier: MIT
"""What hostile peers cost honest clients, and the daemon: latency, failures and memory while an attack goes on.

`python -m e2e.attacks [--seconds S] [--rate N] [WORD...]` is what `dev/attacks` runs: those attacks whose names have
one of the words. test_attacks.py has a short form. An honest client connects, makes one call and closes the
connection, again and again: first without an attack (quiet), then while it goes on. Attackers are processes of their
own. Those that are not admitted make as many connections a second as they were told to, and hold on to the newest of
them.
"""

import argparse
import collections
import contextlib
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import across

from . import remote_tasks as tasks
from .authority import Authority
from .daemon import Daemon, environment
from .test_bad_input import APPLY, HELLO, apply, frame, header, superblock
from .waiting import LIMIT

HELD = 2000  # connections that an attacker keeps open
BURST = 0.005  # seconds: how often an attacker catches up with its rate
RECORD = bytes.fromhex('1603010200010001fc0303')  # how TLS begins, up to the random number
HALF = {'unix': superblock()[:9], 'tcp': superblock()[:9], 'tls': RECORD}
ABORT = struct.pack('ii', 1, 0)  # SO_LINGER: ports are free at once
OBJECTS = 200_000

Attack = collections.namedtuple('Attack', 'name attacked honest is_admitted')
Figures = collections.namedtuple('Figures', 'seconds failures')
Row = collections.namedtuple('Row', 'attack rate quiet busy memory')

STRANGERS = [
    Attack(name, attacked, honest, False)
    for name in ('silent', 'half', 'hang-up')
    for attacked in ('unix', 'tcp', 'tls')
    for honest in (['tls'] if attacked == 'tls' or name == 'hang-up' else ['tls', attacked])
] + [Attack('greet-and-hang-up', kind, kind, False) for kind in ('unix', 'tcp')]
GUESTS = [
    Attack(name, 'unix', 'unix', True)
    for name in ('delete', 'objects', 'never-read', 'write-slowly', 'occupy-and-hang-up')
]
ATTACKS = STRANGERS + GUESTS


# ---- attackers: processes that say how many connections or operations there were, when standard input ends ----


def open_socket(address):
    """Begin to connect. Returns None if the queue at the other end is full."""
    kind, _, rest = address.partition(':')
    family = socket.AF_UNIX if kind == 'unix' else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    if family == socket.AF_INET:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        host, _, port = rest.rpartition(':')
        rest = (host, int(port))
    try:
        sock.connect(rest)
    except BlockingIOError:
        if family == socket.AF_UNIX:  # its queue is full
            sock.close()
            return None
    except OSError:
        sock.close()
        return None
    return sock


def flood(name, address, rate, is_over):
    """Make connections at this rate, as far as the machine allows. Returns their number."""
    first = {'half': HALF[address.partition(':')[0]], 'greet-and-hang-up': HELLO}.get(name, b'')
    held = collections.deque()
    begin = time.monotonic()
    count = 0
    while not is_over():
        due = int((time.monotonic() - begin) * rate)
        while count < due:
            sock = open_socket(address)
            if sock is None:
                break
            count += 1
            if first:
                with contextlib.suppress(OSError):
                    sock.send(first)
            if name.endswith('hang-up'):
                sock.close()
                continue
            held.append(sock)
            if len(held) > HELD:
                held.popleft().close()
        time.sleep(BURST)
    return count


def delete(conn, is_over):
    count = 0
    while not is_over():
        for _ in range(100):
            conn.create(tasks.Counted, count)  # and drops it
            count += 1
    return count


def keep_objects(conn, is_over):
    kept = []
    while not is_over():
        kept += [conn.create(tasks.Counted, 0) for _ in range(100)] if len(kept) < OBJECTS else []
        conn.call(len, '')
    return len(kept)


def read_nothing(address, is_over):
    """Ask for large results, and read none of them."""
    count = 0
    data = apply(1, tasks.make_bytes, 1 << 20)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(address[5:])
        sock.sendall(HELLO)
        sock.setblocking(False)
        while not is_over():
            with contextlib.suppress(BlockingIOError):
                sock.send(data)
                count += 1
            time.sleep(0.001)
    return count


def write_slowly(address, is_over):
    """Send large messages on many connections, one byte at a time."""
    start = HELLO + frame(bytes([APPLY, 1, 0]), True) + header(1 << 29)
    socks = []
    count = 0
    for _ in range(50):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(address[5:])
        sock.sendall(start)
        socks.append(sock)
    while not is_over():
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.send(b'x')
                count += 1
        time.sleep(0.01)
    return count


def occupy(address, is_over):
    """Occupy a worker each time, and hang up as soon as it answers."""
    count = 0
    while not is_over():
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(address[5:])
            sock.sendall(HELLO)
            sock.settimeout(LIMIT)
            with contextlib.suppress(OSError):
                sock.recv(1)
        count += 1
    return count


def run_attacker(name, address, rate):
    def is_over():
        return bool(select.select([sys.stdin], [], [], 0)[0])

    print('begun', flush=True)
    if name in ('delete', 'objects'):
        with across.Connection.from_unix(address[5:]) as conn:
            count = (delete if name == 'delete' else keep_objects)(conn, is_over)
    elif name in ('never-read', 'write-slowly', 'occupy-and-hang-up'):
        count = {'never-read': read_nothing, 'write-slowly': write_slowly}.get(name, occupy)(address, is_over)
    else:
        count = flood(name, address, rate, is_over)
    print(count, flush=True)


class Attacker:
    """A process that attacks from the beginning of `with` to its end."""

    def __init__(self, attack, address, rate):
        self._command = [sys.executable, '-m', 'e2e.attacks', '--attacker', attack.name, address, str(rate)]
        self.rate = 0.0  # connections or operations a second

    def __enter__(self):
        pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE}
        self._process = subprocess.Popen(self._command, env=environment(os.path.dirname(across.__path__[0])), **pipes)
        assert self._process.stdout.readline() == b'begun\n'
        self._begin = time.monotonic()
        return self

    def __exit__(self, *exc_info):
        seconds = time.monotonic() - self._begin
        out, _ = self._process.communicate(timeout=LIMIT)
        self.rate = int(out or 0) / seconds


# ---- the honest client ----


def connect(daemon, kind):
    """A connection to the address of this kind."""
    address = next(address for address in daemon.addresses if address.startswith(kind))
    if kind == 'tls':
        return daemon.authority.connect(address)
    if kind == 'unix':
        return across.Connection.from_unix(address[5:])
    host, _, port = address[4:].rpartition(':')
    return across.Connection.from_tcp(host, port, secret_file=daemon.secret_file)


def be_honest(daemon, kind, is_over):
    """Connect, call and close, until is_over(count)."""
    seconds = []
    failures = 0
    while not is_over(len(seconds) + failures):
        begin = time.perf_counter()
        try:
            with connect(daemon, kind) as conn:
                assert conn.call(len, 'abc') == 3
            seconds.append(time.perf_counter() - begin)
        except (OSError, EOFError, across.ProtocolError) as error:
            failures += 1
            print('{}: {!r}'.format(kind, error), file=sys.stderr)
    return Figures(sorted(seconds), failures)


def percentile(seconds, part):
    return seconds[min(len(seconds) - 1, int(len(seconds) * part))] if seconds else float('nan')


def resident(pid):
    with open('/proc/{}/statm'.format(pid)) as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGESIZE')


class Peak:
    """The peak memory of a process during `with`."""

    def __init__(self, pid):
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.bytes = resident(pid)

    def _watch(self):
        while not self._stop.wait(0.05):
            self.bytes = max(self.bytes, resident(self._pid))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._stop.set()
        self._thread.join()


# ---- measuring ----


@contextlib.contextmanager
def daemon_under_attack(folder, isolation='process', options=()):
    """acrossd on a socket of each kind, over TCP with a secret."""
    secret = os.path.join(folder, 'secret')
    with open(os.open(secret, os.O_CREAT | os.O_WRONLY, 0o600), 'w') as file:
        file.write('correct horse battery staple, and what follows it\n')
    listens = ['unix:{}/attacked'.format(folder), 'tcp:127.0.0.1:0', 'tls:127.0.0.1:0']
    options = [*options, *(word for listen in listens for word in ('--listen', listen))]
    settings = {'secret_file': secret, 'authority': Authority(os.path.join(folder, 'authority')), 'warm': False}
    os.makedirs(os.path.join(folder, 'authority'), exist_ok=True)
    daemon = Daemon(*options, isolation=isolation, **settings)
    try:
        yield daemon
    finally:
        daemon.kill()


def measure(daemon, attack, rate, is_over):
    """The row of an attack; `is_over(count)` tells when there were enough honest calls, with and without."""
    address = next(address for address in daemon.addresses if address.startswith(attack.attacked))
    quiet = be_honest(daemon, attack.honest, is_over())
    with Peak(daemon.process.pid) as peak, Attacker(attack, address, rate) as attacker:
        busy = be_honest(daemon, attack.honest, is_over())
    return Row(attack, attacker.rate, quiet, busy, peak.bytes)


def for_seconds(seconds):
    def start():
        end = time.monotonic() + seconds
        return lambda count: time.monotonic() > end and count >= 20

    return start


def for_calls(calls):
    return lambda: lambda count: count >= calls


TITLES = 'attack | honest client | a second | p50, quiet | p99, quiet | p50 | p99 | failures | MB'


def report(row):
    figures = [percentile(side.seconds, part) * 1000 for side in (row.quiet, row.busy) for part in (0.5, 0.99)]
    words = [row.attack.attacked, row.attack.name, row.attack.honest, row.rate, *figures]
    words += [row.busy.failures, len(row.busy.seconds) + row.busy.failures, row.memory / 1e6]
    text = '| {} {} | {} | {:,.0f} | {:.1f} | {:.1f} | {:.1f} | {:.1f} | {} of {} | {:.1f} |'
    print(text.format(*words), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--attacker', nargs=3, help=argparse.SUPPRESS)
    parser.add_argument('--seconds', type=float, default=10.0)
    parser.add_argument('--rate', type=float, default=10_000.0)
    parser.add_argument('words', nargs='*')
    args = parser.parse_args()
    if args.attacker:
        return run_attacker(args.attacker[0], args.attacker[1], float(args.attacker[2]))
    print('| {} |\n{}|'.format(TITLES, '|---' * (TITLES.count('|') + 1)), flush=True)
    for attack in ATTACKS:
        name = '{} {} {}'.format(attack.attacked, attack.name, attack.honest)
        if args.words and not any(word in name for word in args.words):
            continue
        with tempfile.TemporaryDirectory() as folder, daemon_under_attack(folder) as daemon:
            report(measure(daemon, attack, args.rate, for_seconds(args.seconds)))


if __name__ == '__main__':
    main()
