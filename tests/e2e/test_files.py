# SPDX-License-Identifier: MIT
"""Files that calls leave open are written and closed when their worker ends in order."""

import gzip
import os
import zipfile

import pytest

from . import daemon as daemons
from . import file_tasks as files
from .waiting import wait_until


@pytest.fixture(params=['process', 'shared', 'stdio'])
def ending(request, make_daemon):
    """A server, and a function that returns when a worker has ended whose connection was closed."""
    if request.param == 'stdio':
        server = daemons.Stdio()
        yield server, server.stop
    else:
        server = make_daemon(isolation=request.param)
        yield server, lambda: server.stop(check=False)  # which would find the open files


def read(path):
    return path.read_text() if path.exists() else ''


def test_files_that_globals_hold_are_written_and_closed(ending, tmp_path):
    server, stop = ending
    with server.connect() as conn:
        temporary = conn.call(files.leave_open, str(tmp_path))
        assert os.path.exists(temporary)
        assert not read(tmp_path / 'text')
    stop()
    assert [read(tmp_path / name) for name in ('text', 'bytes', 'random')] == [files.TEXT] * 3
    assert gzip.open(str(tmp_path / 'gzip'), 'rt').read() == files.TEXT
    assert zipfile.ZipFile(str(tmp_path / 'zip')).read('name') == files.TEXT.encode()
    assert not os.path.exists(temporary)


def test_a_pipe_that_nobody_reads_keeps_neither_files_nor_the_end(ending, tmp_path):
    server, stop = ending
    with server.connect() as conn:
        conn.call(files.leave_pipe_open, str(tmp_path))
        worker = conn.call(os.getpid)
    stop()
    assert not os.path.exists('/proc/{}'.format(worker))
    assert read(tmp_path / 'text') == files.TEXT


def test_a_file_that_cannot_be_written_is_told_and_the_others_are_written(ending, tmp_path):
    server, stop = ending
    with server.connect() as conn:
        conn.call(files.leave_full_open, str(tmp_path))
        if isinstance(server, daemons.Daemon):
            server.allow_lines('Exception ignored while closing .*/dev/full.*No space left on device.*')
    if isinstance(server, daemons.Stdio):
        server.expect('Exception ignored while closing .*/dev/full.*No space left on device.*')
    stop()
    assert read(tmp_path / 'text') == files.TEXT


PRELOADED = """
file = open({!r}, 'w')
file.write('once\\n')
"""


def test_a_file_that_a_preloaded_module_has_opened_has_all_that_was_written(make_daemon, tmp_path):
    (tmp_path / 'opens.py').write_text(PRELOADED.format(str(tmp_path / 'text')))
    daemon = make_daemon('--preload', 'opens', env=daemons.environment(str(tmp_path)))
    with daemon.connect() as conn:
        assert read(tmp_path / 'text') == 'once\n'
        conn.execute('import opens; opens.file.write("more\\n")')
    wait_until(lambda: read(tmp_path / 'text') == 'once\nmore\n', 'writing')
    daemon.stop()
    assert read(tmp_path / 'text') == 'once\nmore\n'
