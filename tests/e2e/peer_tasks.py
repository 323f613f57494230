# SPDX-License-Identifier: MIT
"""What users do in workers that run as them, including what must fail."""

import array
import contextlib
import ctypes
import os
import signal
import socket
import struct
import threading

# Of daemon/process/control.h: the layout of a message's head, and some of its types.
HEAD = 'IIQII'
STARTED, ENDED, DIED = 8, 9, 11
RIGHTS = socket.SOL_SOCKET, socket.SCM_RIGHTS

_started = []


def get_variables(*names):
    return [os.environ.get(name) for name in names]


def get_c_variable(name):
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_char_p
    return os.fsdecode(libc.getenv(name.encode()))


def get_thread_states():
    """/proc/self/task/*/status, of each thread as a dict."""
    found = []
    for task in os.listdir('/proc/self/task'):
        with (
            contextlib.suppress(FileNotFoundError, ProcessLookupError),
            open('/proc/self/task/{}/status'.format(task)) as file,
        ):
            found.append(dict(line.rstrip('\n').split(':', 1) for line in file if ':' in line))
    return found


def read_file(path):
    with open(path, 'rb') as file:
        return file.read(65536)


def leave_behind():
    """Start a process that is nobody's child, in a session of its own, and return its id."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(writer, str(os.getpid()).encode())
            signal.pause()
        os._exit(0)
    with os.fdopen(reader) as file:
        os.close(writer)
        return int(os.read(file.fileno(), 32))


def start_processes(count):
    """Start up to so many processes; return how many the system allowed."""
    for started in range(count):
        try:
            pid = os.posix_spawn('/bin/sleep', ['sleep', '60'], {})
        except BlockingIOError:
            return started
        _started.append(pid)
    return count


def control_sockets():
    """The sockets on which this worker talks to its supervisor."""
    found = []
    for name in os.listdir('/proc/self/fd'):
        try:
            sock = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_SEQPACKET:
            found.append(sock)
        else:
            sock.close()
    assert found
    return found


def say(kind, value=0, connection=0, fds=()):
    for sock in control_sockets():
        with sock:
            attached = [(*RIGHTS, array.array('i', fds))] if fds else []
            sock.sendmsg([struct.pack(HEAD, kind, value, connection, 0, 0)], attached)


def claim_to_be_kept_by(pid):
    """Report that another process is this worker's keeper, which is killed at its end."""
    fd = os.pidfd_open(pid)
    try:
        say(STARTED, os.getpid(), pid, [fd])
    except PermissionError:  # newer kernels do not even send the descriptor
        say(STARTED, os.getpid(), pid)
    os.close(fd)


def claim_end_of(connection):
    """Report that a connection has ended."""
    say(ENDED, connection=connection)


def claim_to_have_died():
    """Report, like a keeper, that the worker has exited in order, and do not exit."""
    say(DIED)
    stop()


def claim_to_die_again_and_again():
    """Report, like a keeper, that the worker was killed, and that a connection has ended, in turns."""
    for _ in range(3):
        say(DIED, signal.SIGKILL)
        claim_end_of(1 << 60)


def send_descriptor():
    """Send a descriptor to the supervisor, which has no use for it."""
    with open('/dev/null', 'rb') as file:
        say(ENDED, connection=1 << 60, fds=[file.fileno()])


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)
    threading.Event().wait()  # the signal may be for another thread, and take a moment


def report_for_ever():
    def report():
        sock = control_sockets()[0]
        while True:
            sock.send(struct.pack(HEAD, ENDED, 0, 1 << 60, 0, 0))

    threading.Thread(target=report, daemon=True).start()


def get_session_keyring(keyctl):
    """The number of the keyring that this process's session has; `keyctl` is the number of that system call."""
    return ctypes.CDLL(None).syscall(keyctl, 0, -3, 0)
