# SPDX-License-Identifier: MIT
"""Other users of the system, for tests that run as root, and what these users can reach."""

import atexit
import functools
import os
import shutil
import socket
import tempfile

from . import daemon as daemons

FIRST = 54321  # no system gives its users such ids
COUNT = 10  # ids for each process that runs tests
MOST = 100  # processes

_reservations = []


def _reserve():
    """The first of COUNT ids that no other process which runs tests has: the kernel counts processes by user."""
    for uid in range(FIRST, FIRST + MOST * COUNT, COUNT):
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.bind('\0acrossd-test-users-{}'.format(uid))
        except OSError:
            sock.close()
            continue
        _reservations.append(sock)  # until this process ends
        return uid
    raise RuntimeError('tests of other processes use all ids')


STRANGER = _reserve()  # a user and a group, with no process and no file, as are the COUNT - 1 behind it


def make_open_folder():
    """A new folder that every user can reach, wherever temporary files are."""
    place = os.path.realpath(tempfile.gettempdir())
    parents = [place]
    while parents[-1] != '/':
        parents.append(os.path.dirname(parents[-1]))
    closed = any(os.stat(parent).st_mode & 0o001 == 0 for parent in parents)
    folder = tempfile.mkdtemp(prefix='acrossd-test-', dir='/tmp' if closed else place)
    os.chmod(folder, 0o755)
    return folder


@functools.lru_cache(None)
def _make_open_copy():
    folder = make_open_folder()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in ('acrossd', 'acrossd-openssl.so'):
        shutil.copy(os.path.join(daemons.BUILD, name), folder)
    shutil.copytree(os.path.join(daemons.BUILD, 'python'), os.path.join(folder, 'python'))
    tests = os.path.join(folder, 'tests', 'e2e')
    shutil.copytree(os.path.join(daemons.TESTS, 'e2e'), tests, ignore=shutil.ignore_patterns('__pycache__'))
    for parent, folders, files in os.walk(folder):
        for name in folders:
            os.chmod(os.path.join(parent, name), 0o755)
        for name in files:
            os.chmod(os.path.join(parent, name), 0o755)
    return folder


def open_acrossd():
    """A copy of acrossd and its package that every user can run, wherever the build is."""
    return os.path.join(_make_open_copy(), 'acrossd')


def open_environment():
    """daemon.environment() for it, with remote functions that every user can read."""
    return dict(daemons.environment(), PYTHONPATH=os.path.join(_make_open_copy(), 'tests'))
