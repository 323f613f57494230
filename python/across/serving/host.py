# SPDX-License-Identifier: MIT
"""What processes of acrossd do in Python besides serving calls. Only embed/host.c calls these functions."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import pickle
import sys
import threading
import time
from collections.abc import Iterable

from .. import _connection
from . import files

_started: dict[int, str] = {}  # threads that preloaded modules have started, and which module
REHEARSALS = 20  # calls after which CPython 3.11 and later have specialized the bytecode


def start(modules: Iterable[str], accept_exports: bool = False) -> None:
    """Import the modules that are preloaded for calls. `accept_exports`: peers may export modules to this process."""
    if accept_exports:
        _connection.accept_exports_of_clients()
        importlib.import_module('across.exports.importer')
    for name in modules:
        before = _list_threads()
        importlib.import_module(name)
        _started.update(dict.fromkeys(_list_threads() - before, name))


def _list_threads() -> set[int]:
    """The native ids of all threads but this one."""
    with contextlib.suppress(OSError):
        return set(map(int, os.listdir('/proc/self/task'))) - {threading.get_native_id()}
    return set()


def has_threads() -> bool:
    """Whether modules have left threads in this process, which is about to fork."""
    return bool(_list_threads())


def describe_threads() -> str:
    """Say which modules have left threads that do not end in a fork; nothing when there are none."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    patience = time.monotonic() + 1  # for threads that have ended in Python, but not yet in the kernel
    while _list_threads() - set(names) and time.monotonic() < patience:
        time.sleep(0.01)
    found: dict[str, list[str]] = {}
    for number in sorted(_list_threads()):
        module = _started.get(number, 'a preloaded module')
        found.setdefault(module, []).append(names.get(number, 'a thread of C code'))
    if not found:
        return ''
    listed = '; '.join('{} ({})'.format(module, ', '.join(threads)) for module, threads in found.items())
    return (
        'modules that --preload names have left threads running: {}. Workers are forked without these, and what they '
        'have locked may stay locked there: start threads in os.register_at_fork(after_in_child=...), or in calls'
    ).format(listed)


def prepare_to_fork() -> None:
    """Prepare memory to be shared with workers.

    An interpreter writes to code that runs for the first times: better now than in every worker. And the garbage
    collector need not look again at what is there now.
    """
    for _ in range(REHEARSALS):
        warm_up()
        thread = threading.Thread(target=warm_up)
        thread.start()
        thread.join()
    files.prepare_to_fork()
    gc.collect()
    gc.freeze()


def set_variables(variables: dict[str, str]) -> None:
    """Set variables of the environment."""
    os.environ.update(variables)


def warm_up() -> None:
    """Do what a first call does, so that pages which it writes to, and a fork shares, are copied before."""
    pickle.loads(pickle.dumps((os.getpid, (), {}), 4))


def end() -> None:
    """Do what an interpreter does at exit but finalize: join threads, run atexit functions, flush files."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
    finally:
        atexit._run_exitfuncs()
        for file in (sys.stdout, sys.stderr):
            if file is not None and not file.closed:
                file.flush()
        files.close_all()
