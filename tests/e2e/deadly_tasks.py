# SPDX-License-Identifier: MIT
"""Functions that end, block or leave behind the process that runs them, and that look at it from inside.

Imports nothing of the tests, as remote_tasks.
"""

import contextlib
import ctypes
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import warnings

import across

# ---- ends ----


def segfault():
    ctypes.string_at(0)


def overflow_stack():
    """A C function that calls itself until no stack is left: glibc's compiler of regular expressions."""
    depth = 1_000_000
    ctypes.CDLL(None).regcomp(ctypes.create_string_buffer(256), b'(' * depth + b')' * depth, 1)


def take_memory(size):
    return len(bytearray(size))


def try_to_take_memory(size):
    """Handles the error."""
    try:
        return take_memory(size)
    except MemoryError:
        return 'not so much'


def call_then_die(func, number):
    """Calls back; then there is no answer."""
    func()
    os.kill(os.getpid(), number)


# ---- blocks ----


def hold_gil(seconds):
    """Sleep in C without releasing the GIL: no Python code runs meanwhile in this process."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))
    return 'slept'


def hold_gil_for_ever(path):
    """Creates the file; afterwards no Python code runs in this process any more."""
    ctypes.PyDLL(None).system(b"touch '%s'; exec sleep 1000" % path.encode())


# ---- leaves behind ----


def start_daemon():
    """Start a process as daemons do, with two forks and sessions of its own, and return its id."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)  # of forks, from Python 3.12 on
        child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            with open('/proc/self/comm', 'w') as file:
                file.write('a-daemon')
            os.write(writer, b'%d' % os.getpid())
            while True:
                signal.pause()
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with open(reader) as file:
        return int(os.read(file.fileno(), 20))


def find_control_socket():
    """The descriptor by which this worker talks with its supervisor."""
    for fd in map(int, os.listdir('/proc/self/fd')):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                with socket.socket(fileno=os.dup(fd)) as found:
                    if found.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_SEQPACKET:
                        return fd
    return None


def fork_enemy(gate, way):
    """Fork a process that stops its worker and its keeper when a FIFO is opened, and then wants to live on. Its id."""
    parents = [os.getppid(), os.getpid()]
    control = os.dup(find_control_socket())
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        enemy = os.fork()
    if enemy:
        return enemy
    os.setsid()
    os.close(os.open(gate, os.O_RDONLY))
    for pid in parents:
        os.kill(pid, signal.SIGSTOP)
    if way == 'junk':
        os.write(control, b'junk')
    elif way == 'close':
        socket.socket(fileno=control).shutdown(socket.SHUT_RDWR)
    else:
        os.kill(parents[0], signal.SIGKILL)
    while True:
        signal.pause()


def note(path, text):
    """Make a file appear with its whole text."""
    with open(path + '.new', 'w') as file:
        file.write(text)
    os.rename(path + '.new', path)


def see_client_go(path, func):
    """Wait until the client has gone, and record how a call notices it."""
    conn = across.get_connection()
    with contextlib.suppress(across.DisconnectError):  # it may go before it has answered
        func()
    while conn.is_connected():
        time.sleep(0.001)
    try:
        found = repr(conn.call(os.getpid))
    except across.DisconnectError as error:
        found = 'DisconnectError: {}'.format(error)
    note(path, 'connected: {}; {}'.format(conn.is_connected(), found))


def see_client_go_and_stay(path, func):
    see_client_go(path, func)
    threading.Event().wait()


def see_client_go_then_pass(path, gate, func):
    """Goes on after the client has gone, until a FIFO is opened, and notes that, too."""
    see_client_go(path, func)
    os.close(os.open(gate, os.O_RDONLY))
    note(path, 'finished')


# ---- looks ----


def settle():
    """Return when all other threads of this process wait: what they sent is noted as sent."""
    others = set(os.listdir('/proc/self/task')) - {str(threading.get_native_id())}
    while any(_runs(thread) for thread in others):
        time.sleep(0.001)


def _runs(thread):
    try:
        with open('/proc/self/task/{}/stat'.format(thread)) as file:
            return file.read().rpartition(')')[2].split()[0] != 'S'
    except (FileNotFoundError, ProcessLookupError):
        return False


def read_own(name):
    """A file about this process in /proc."""
    with open('/proc/self/{}'.format(name)) as file:
        return file.read()


def list_own_fds():
    """What the descriptors of this process are."""
    found = {}
    for fd in os.listdir('/proc/self/fd'):
        try:
            found[int(fd)] = os.readlink('/proc/self/fd/{}'.format(fd))
        except FileNotFoundError:  # of the listing itself
            pass
    return found


def list_fds_of_child():
    """What a program that was started without closing anything finds open; but for what it lists them with."""
    code = 'import os; print(*[fd for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd)])'
    output = subprocess.check_output(['python3', '-I', '-c', code], close_fds=False, stdin=subprocess.DEVNULL)
    return sorted(output.decode().split())


def count_listening_sockets():
    count = 0
    for fd, text in list_own_fds().items():
        if text.startswith('socket:'):
            with socket.socket(fileno=os.dup(fd)) as sock:
                count += sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    return count


_barrier = threading.Barrier(20)


def find_blocked_signals():
    """In this call's thread and in a program that it starts, while 20 calls are here at once."""
    _barrier.wait(60)
    with open('/proc/thread-self/status') as file:
        here = re.search('^SigBlk:.*$', file.read(), re.MULTILINE).group()
    there = subprocess.check_output(['grep', '^SigBlk:', '/proc/self/status'], stdin=subprocess.DEVNULL)
    return here, there.decode().rstrip('\n')


def has_module(name):
    return name in sys.modules


def get_global(module, name):
    return getattr(sys.modules[module], name)


def make_random_numbers():
    """One value of each generator that a process may have inherited."""
    import random
    import ssl
    import uuid

    found = {
        'random': random.random(),
        'instance of uuid1': uuid.uuid1(),
        'uuid4': uuid.uuid4(),
        'ssl': ssl.RAND_bytes(16),
        'urandom': os.urandom(16),
    }
    if 'numpy' in sys.modules:
        found['numpy'] = sys.modules['numpy'].random.random()
    return found


# ---- children ----


def in_child(func):
    """What a function returns in a forked child, as text."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.write(writer, repr(func()).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as file:
        found = file.read()
    os.waitpid(child, 0)
    return found


def in_program():
    """The sockets and anonymous files that a program inherits beside its standard streams, as text."""
    script = (
        'for fd in /proc/self/fd/*; do [ "${fd##*/}" -gt 2 ] && readlink "$fd"; done | grep -E "^(socket|anon_inode)"'
    )
    return subprocess.run(['sh', '-c', script], stdout=subprocess.PIPE, close_fds=False).stdout.decode()
