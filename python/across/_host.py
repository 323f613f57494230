# SPDX-License-Identifier: MIT
"""What a process of acrossd does in Python besides its calls. embed/host.c calls these functions; nobody else does."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import pickle
import sys
import threading
from collections.abc import Iterable

from . import _connection, _files

REHEARSALS = 20  # calls until CPython 3.11 and later have adapted code to what it does


def start(modules: Iterable[str], accept_exports: bool = False) -> None:
    """Import what calls shall find ready. `accept_exports`: peers may export modules to this process."""
    if accept_exports:
        _connection.accept_exports_of_clients()
        importlib.import_module('across._importer')
    for name in modules:
        importlib.import_module(name)


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
    _files.prepare_to_fork()
    gc.collect()
    gc.freeze()


def reseed() -> None:
    """After a fork: Python's own random generators see to it by themselves, numpy's global one does not."""
    if 'numpy.random' in sys.modules:
        sys.modules['numpy.random'].seed()


def set_variables(variables: dict[str, str]) -> None:
    """Set variables of the environment."""
    os.environ.update(variables)


def warm_up() -> None:
    """Touch what the first call will: a fork shares memory until it is written to, and copies it then."""
    pickle.loads(pickle.dumps((os.getpid, (), {}), 4))


def end() -> None:
    """End Python as far as a program can tell."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
    finally:
        atexit._run_exitfuncs()
        for file in (sys.stdout, sys.stderr):
            if file is not None and not file.closed:
                file.flush()
        _files.close_all()
