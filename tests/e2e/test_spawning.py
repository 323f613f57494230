# SPDX-License-Identifier: MIT
"""Processes that a call starts with `spawn` and `forkserver`: they find modules that the client has exported."""

import importlib
import subprocess
import sys

import pytest
from sanitizers import PRELOADED

from . import daemon as daemons
from .daemon import environment
from .test_servers import PACKAGE, Server
from .waiting import LIMIT

pytestmark = pytest.mark.skipif(bool(PRELOADED), reason="a sanitizer's runtime is not for other programs")

MODULE = """
# coding: latin-1
import concurrent.futures
import multiprocessing
from {0}.part import NAME

def work(number):
    return number * 2, NAME

def run_pool(method):
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map_async(work, [1, 2]).get(60)

def run_executor(method):
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        return list(executor.map(work, [1, 2], timeout=60))

def run_process(method):
    process = multiprocessing.get_context(method).Process(target=work, args=(1,))
    process.start()
    process.join(60)
    return process.exitcode
"""
FOUND = [(2, 'päckage'), (4, 'päckage')]
MAIN = """
import multiprocessing, sys
import across

def work(number):
    return number * 3

def run(method):
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map_async(work, [1, 2]).get(60)

if __name__ == '__main__':
    with across.Connection.from_unix(sys.argv[1]) as conn:
        conn.export('__main__')
        print(*conn.call(run, sys.argv[2]))
"""


@pytest.fixture(params=['spawn', 'forkserver'])
def method(request):
    return request.param


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A package of this process, which no other one finds."""
    name = 'exported_' + str(abs(hash(str(tmp_path))))
    folder = tmp_path / 'modules' / name
    folder.mkdir(parents=True)
    (folder / '__init__.py').write_text(MODULE.format(name))
    (folder / 'part.py').write_bytes('# coding: latin-1\nNAME = "päckage"\n'.encode('latin-1'))
    monkeypatch.syspath_prepend(str(folder.parent))
    yield importlib.import_module(name)
    for loaded in [loaded for loaded in sys.modules if loaded.partition('.')[0] == name]:
        del sys.modules[loaded]


def check(conn, module, method):
    conn.export(module.__name__)
    assert conn.call(module.run_pool, method) == FOUND
    assert conn.call(module.run_executor, method) == FOUND
    assert conn.call(module.run_process, method) == 0


def test_pools_find_exported_modules(daemon, module, method):
    with daemon.connect() as conn:
        check(conn, module, method)


def test_pools_find_exported_modules_over_stdio(module, method):
    stdio = daemons.Stdio()
    with stdio.connect() as conn:
        check(conn, module, method)
    stdio.stop()


def test_pools_find_exported_modules_when_multiprocessing_was_there_before(make_daemon, module, method):
    with make_daemon('--preload', 'multiprocessing.spawn').connect() as conn:
        check(conn, module, method)


@pytest.mark.parametrize('handler', ['ProcessConnectionHandler', 'BIOSConnectionHandler'])
def test_pools_find_exported_modules_in_a_server_in_python(tmp_path, module, method, handler):
    server = Server(handler, 'unix', str(tmp_path / 'socket'), 'accept_exported_modules=1')
    try:
        with server.connect() as conn:
            check(conn, module, method)
        server.stop()
    finally:
        server.kill()


def test_pools_find_an_exported_main_module(daemon, tmp_path, method):
    (tmp_path / 'program.py').write_text(MAIN)
    command = [sys.executable, str(tmp_path / 'program.py'), daemon.addresses[0][5:], method]
    done = subprocess.run(command, capture_output=True, env=environment(PACKAGE), timeout=4 * LIMIT)
    assert done.stderr == b'' and done.stdout == b'3 6\n'


def test_modules_that_nobody_has_exported_are_no_matter(daemon, method):
    with daemon.connect() as conn:
        assert conn.execute(SNIPPET.format(method)) == [1, 2]


SNIPPET = """
import multiprocessing
with multiprocessing.get_context('{}').Pool(1) as pool:
    found = pool.map_async(abs, [-1, -2]).get(60)
found
"""
