# SPDX-License-Identifier: MIT
"""Clients that are processes of their own: they can be interrupted, stopped and killed."""

import contextlib
import os
import subprocess
import sys

import across

from .daemon import environment
from .waiting import LIMIT

CLIENT = """
import os, sys, threading
import across
from e2e import deadly_tasks as deadly
from e2e import remote_tasks as tasks
conn = across.Connection.from_unix(sys.argv[1])
"""


def start_client(daemon, source, *args):
    """Run Python code that has a connection `conn`. Further arguments are in sys.argv[2:]."""
    env = environment(os.path.dirname(os.path.dirname(across.__file__)))
    command = [sys.executable, '-c', CLIENT + source, daemon.addresses[0][5:], *args]
    return subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run_client(daemon, source):
    """Run it to its end, and return the words that it printed."""
    process = start_client(daemon, source)
    out, err = process.communicate(timeout=LIMIT)
    assert err == b'' and process.returncode == 0, 'status {}: {}'.format(process.returncode, err.decode())
    return out.decode().split()


@contextlib.contextmanager
def client(daemon, source, *args):
    """Start one, and end it in the end, whatever state it is in."""
    process = start_client(daemon, source, *args)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
