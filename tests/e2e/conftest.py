# SPDX-License-Identifier: MIT
"""Fixtures of the end-to-end tests."""

import contextlib
import gc
import os
import socket
import sys

import pytest
from sanitizers import HAS_TSAN

import across

from . import daemon as daemons
from .authority import Authority
from .waiting import children, count_fds, list_fds, wait_until

if HAS_TSAN:  # no shell runs with ThreadSanitizer's runtime; environment() gives it to Python processes again
    del os.environ['LD_PRELOAD']

SERVERS = ['unix', 'shared', 'tcp', 'tls', 'stdio']


# What goes over TLS is what goes over TCP: these show how bytes get there, and how connections end.
TLS_FILES = ['test_calls.py', 'test_closing.py']


def is_needed(item):
    params = getattr(item, 'callspec', None)
    return params is None or params.params.get('server') != 'tls' or item.path.name in TLS_FILES


def pytest_collection_modifyitems(items):
    items[:] = filter(is_needed, items)
    if not daemons.BUILD:
        for item in items:
            if str(item.path.parent) == os.path.dirname(__file__):
                item.add_marker(pytest.mark.skip(reason='AX_BUILD_DIR does not name a build of acrossd'))


@pytest.fixture(scope='session', autouse=True)
def engine_is_running():
    """What the engine keeps open for the life of the process is no leak: one connection makes it."""
    if daemons.BUILD:
        with across.Connection.from_command([daemons.ACROSSD, '--stdio']) as conn:
            conn.call(os.getpid)


@pytest.fixture(scope='session', autouse=True)
def localhost_has_addresses():
    """As usual, also for clients in this process on a new system that has no /etc/hosts yet. acrossd needs none."""
    look_up = socket.getaddrinfo
    try:
        look_up('localhost', 80)
    except socket.gaierror:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                socket, 'getaddrinfo', lambda host, *args, **kwargs: look_up_localhost(look_up, host, *args, **kwargs)
            )
            yield
    else:
        yield


def look_up_localhost(look_up, host, *args, **kwargs):
    hosts = ['::1', '127.0.0.1'] if host == 'localhost' else [host]
    return [found for name in hosts for found in look_up(name, *args, **kwargs)]


@pytest.fixture(autouse=True)
def nothing_left_here(engine_is_running):
    """After each test, this process has the descriptors and children that it had before."""
    gc.collect()
    count, fds, processes = count_fds(), list_fds(), children()
    yield
    gc.collect()
    wait_until(lambda: count_fds() <= count, lambda: 'return from {} to {}'.format(list_fds(), fds))
    wait_until(lambda: children() == processes, 'the end of child processes')


@pytest.fixture(scope='session')
def authority(tmp_path_factory):
    """An authority with a certificate for the client `client`."""
    return Authority(tmp_path_factory.mktemp('authority'))


@pytest.fixture(autouse=True)
def no_sanitizer_report():
    """After each test, no process has written a report to the folder that sanitizers were told to write them to."""
    yield
    folder = os.environ.get('AX_SANITIZER_REPORTS')
    reports = [os.path.join(folder, name) for name in sorted(os.listdir(folder))] if folder else []
    texts = []
    for report in reports:
        with contextlib.suppress(FileNotFoundError):  # read by a test that runs beside this one
            with open(report, errors='replace') as file:
                texts.append(file.read())
            os.unlink(report)
    assert not texts, '\n'.join(texts)


@pytest.fixture
def venv_options(request):
    """The options that let acrossd import what the tests' environment has, for tests marked with `in_venv`."""
    if request.node.get_closest_marker('in_venv') is None or sys.prefix == sys.base_prefix:
        return []
    return ['--venv', sys.prefix]


@pytest.fixture
def make_daemon(tmp_path, venv_options):
    """Starts daemons that are stopped and checked at the end."""
    started = []

    def make(*options, listen=None, **kwargs):
        if listen is None:
            listen = ['unix:{}/{}'.format(tmp_path, len(started))]
        options = [*(word for address in listen for word in ('--listen', address)), *venv_options, *options]
        started.append(daemons.Daemon(*options, **kwargs))
        return started[-1]

    yield make
    try:
        for daemon in started:
            daemon.finish()
    finally:
        for daemon in started:
            daemon.kill()


@pytest.fixture
def daemon(make_daemon):
    """acrossd on a unix socket, with a worker for each connection."""
    return make_daemon()


@pytest.fixture
def shared_daemon(make_daemon):
    """acrossd on a unix socket, with one worker for all connections."""
    return make_daemon(isolation='shared')


@pytest.fixture(params=['process', 'shared'])
def isolation(request):
    """Both ways to run calls."""
    return request.param


@pytest.fixture(params=SERVERS)
def server(request, venv_options):
    """acrossd on every transport, and with both kinds of isolation: a Daemon, or a Stdio."""
    if request.param == 'stdio':
        stdio = daemons.Stdio(*venv_options)
        yield stdio
        stdio.stop()
        return
    listen = {'tcp': ['tcp:127.0.0.1:0'], 'tls': ['tls:127.0.0.1:0']}.get(request.param)
    authority = request.getfixturevalue('authority') if request.param == 'tls' else None
    isolation = 'shared' if request.param == 'shared' else 'process'
    yield request.getfixturevalue('make_daemon')(listen=listen, isolation=isolation, authority=authority)


@pytest.fixture
def conn(server):
    """A connection to acrossd over every transport, and with both kinds of isolation."""
    with server.connect() as conn:
        yield conn


@pytest.fixture
def unix_conn(daemon):
    """A connection to acrossd over a unix socket, where the transport makes no difference."""
    with daemon.connect() as conn:
        yield conn


@pytest.fixture(scope='session')
def plain_across():
    """The folder that holds the plain package across 0.1.0."""
    folder = os.environ.get('AX_PLAIN_ACROSS')
    if not folder:
        pytest.skip('AX_PLAIN_ACROSS does not name the folder of the plain package across')
    return folder
