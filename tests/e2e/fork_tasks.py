# SPDX-License-Identifier: MIT
"""Functions that fork the process that runs them.

Imports nothing of the tests, as remote_tasks.
"""

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings

import across

from . import remote_tasks as tasks

# From 3.12 on, Python warns of every fork in a process that has several threads.
warnings.filterwarnings('ignore', 'This process .* is multi-threaded, use of fork', DeprecationWarning)

PATIENCE = 60  # seconds after which a child counts as hanging


def wait_for_child(pid):
    """Its exit status, negative for a signal; or 'hangs', and then it is killed."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return 'hangs'


class ChildError(Exception):
    pass


def leave(how):
    """Leave the function in the child."""
    if how == 'raise':
        raise ChildError('in the child')
    if how == 'exit':
        sys.exit(7)
    return 'from the child'


def fork_and_leave(how='return', fork=os.fork):
    """What became of a child that leaves the call."""
    pid = fork()
    if pid == 0:
        return leave(how)
    return 'parent', wait_for_child(pid)


def forkpty_and_leave():
    pid, fd = os.forkpty()
    if pid == 0:
        return leave('return')
    try:
        return 'parent', wait_for_child(pid)
    finally:
        os.close(fd)


def note_exits(path):
    """From now on, each process that runs atexit functions says so in this file."""

    def note():
        with open(path, 'a') as file:
            file.write('{}\n'.format(os.getpid()))

    atexit.register(note)


class ForksWhenLoaded:
    """Both processes go on, where the unpickling ends."""

    def __reduce__(self):
        return fork_and_leave, ()


def echo_and_note(value, path):
    with open(path, 'a') as file:
        file.write('{}\n'.format(os.getpid()))
    return value


class ForksWhenPickled:
    def __reduce__(self):
        return tuple, (fork_and_leave(),)


class ForksWhenDropped:
    statuses = []  # noqa: RUF012

    def __del__(self):
        result = fork_and_leave()
        self.statuses.append(result)


def make_forking_result():
    return ForksWhenPickled()


def take_statuses():
    """What became of the children of ForksWhenDropped."""
    statuses = list(ForksWhenDropped.statuses)
    ForksWhenDropped.statuses.clear()
    return statuses


def make_dropped():
    return ForksWhenDropped()


def use_connection_in_child():
    """What calls and proxies say in a child."""
    conn = across.get_connection()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        found = [str(conn.is_connected())]
        for func in (lambda: conn.call(os.getpid), conn.close, lambda: across.get_connection().execute('1')):
            try:
                found.append(repr(func()))
            except Exception as error:
                found.append('{}: {}'.format(type(error).__name__, error))
        os.write(writer, '\n'.join(found).encode())
        os._exit(0)
    os.close(writer)
    status = wait_for_child(pid)
    with open(reader) as file:
        return status, file.read().split('\n')


def open_connection_in_child(command):
    """Whether a child can open a connection of its own, and what it calls over it."""
    pid = os.fork()
    if pid == 0:
        with across.Connection.from_command(command) as conn:
            length = conn.call(len, 'abc')
        os._exit(length)
    return wait_for_child(pid)


def run_processes(count):
    """Exit statuses of Processes that are forked, and what a Pool of them finds."""
    fork = multiprocessing.get_context('fork')
    processes = [fork.Process(target=sys.exit, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    with fork.Pool(2) as pool:
        return [process.exitcode for process in processes], pool.map(abs, range(-count, 0))


def run_with_preexec():
    return subprocess.run(['true'], preexec_fn=os.setsid).returncode


def terminate_process():
    """How a forked process ends when it is asked to."""
    process = multiprocessing.get_context('fork').Process(target=time.sleep, args=(1000,))
    process.start()
    process.terminate()
    process.join(PATIENCE)
    return process.exitcode


def fork_then_run_until(name, func):
    """A call that has had a child, and goes on until it is released."""
    pid = os.fork()
    if pid == 0:
        return None
    status = wait_for_child(pid)
    tasks.run_until(name, func)
    return 'parent', status
