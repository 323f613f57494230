# SPDX-License-Identifier: MIT
"""What holds for all tests that are written in Python."""

import pathlib
import shutil
import signal
import sys
import tempfile

import pytest

import across

ROOM = 60  # bytes of the path of a unix socket that tests use for names in their folder; there are 108 in all

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background passes on as ignored


@pytest.fixture
def tmp_path():
    """A new folder, as pytest makes one, but with a path that leaves room for the names of sockets."""
    short = len(tempfile.gettempdir()) + len('/ax-12345678') + ROOM <= 108
    path = pathlib.Path(tempfile.mkdtemp(prefix='ax-', dir=None if short else '/tmp'))
    yield path
    forget_modules_in(path)
    shutil.rmtree(path, ignore_errors=True)


def forget_modules_in(folder):
    """Another test imports modules of the same names, and from another folder."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, '__file__', None)).startswith('{}/'.format(folder)):
            del sys.modules[name]


def pytest_report_header():
    return 'across: the {} engine, from {}'.format(across.engine, across.__path__[0])
