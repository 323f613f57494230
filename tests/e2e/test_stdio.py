# SPDX-License-Identifier: MIT
"""`acrossd --stdio`: user code may use the standard streams, and its output goes to standard error."""

import contextlib
import os
import subprocess
import sys
import threading

import pytest

import across

from . import daemon as daemons
from . import deadly_tasks as deadly
from . import remote_tasks as tasks
from .waiting import LIMIT, Family, freeze, join, wait_until

NOISE = b'\0\xff' * 1000 + b'\n'


@pytest.fixture
def stdio():
    stdio = daemons.Stdio()
    yield stdio
    stdio.stop()


@pytest.fixture
def conn(stdio):
    """A connection that still has to work when the test is over."""
    with stdio.connect() as conn:
        yield conn
        assert conn.call(tasks.add, 1, 2) == 3


def test_printed_text_arrives_on_standard_error(conn, stdio):
    conn.call(tasks.print_text, 'printed with ümlaut')
    stdio.expect('printed with ümlaut')
    conn.execute('import sys; sys.stderr.write("to standard error\\n")')
    stdio.expect('to standard error')


def test_text_that_was_not_flushed_arrives_at_the_end(stdio):
    with stdio.connect() as conn:
        conn.call(tasks.write_stdout_without_flush, 'late text\n')
    stdio.expect('late text')


@pytest.mark.parametrize('fd', [1, 2])
def test_bytes_written_to_a_standard_descriptor_arrive_on_standard_error(conn, stdio, fd):
    assert conn.call(tasks.write_fd, fd, b'raw bytes\n') == len(b'raw bytes\n')
    stdio.expect('raw bytes')


def test_output_of_children_arrives_on_standard_error(conn, stdio):
    assert conn.call(tasks.run_command, 'echo from a child; echo as error >&2; (echo from a grandchild)') == 0
    for line in ('from a child', 'as error', 'from a grandchild'):
        stdio.expect(line)


def test_large_output_does_not_mix_with_messages(conn, stdio):
    line = 'x' * 999
    for _ in range(20):
        conn.call(tasks.print_text, line)
        assert conn.call(tasks.echo, line) == line
    assert conn.call(tasks.run_command, 'i=0; while [ $i -lt 20 ]; do echo {}; i=$((i+1)); done'.format(line)) == 0
    for _ in range(40):
        stdio.expect(line)


def test_standard_input_is_empty(conn):
    assert conn.call(tasks.read_stdin) == ('', b'')
    value = os.urandom(100000)
    assert conn.call(tasks.echo, value) == value


def test_children_do_not_read_messages(conn):
    assert conn.call(tasks.run_command, 'test -z "$(cat)"') == 0
    value = os.urandom(100000)
    assert conn.call(tasks.echo, value) == value


def test_closed_standard_streams_harm_nothing(conn):
    conn.execute('import os, sys; sys.stdin.close(); os.close(1)')
    assert conn.call(tasks.echo, 'still here') == 'still here'


def test_only_messages_are_on_standard_output():
    """Seen from outside: with noise by user code, each byte on standard output belongs to the protocol."""
    process = subprocess.Popen(
        [daemons.ACROSSD, '--stdio'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=daemons.environment(),
    )
    with across.Connection.from_pipes(process.stdout, process.stdin) as conn:
        assert conn.call(tasks.write_fd, 1, NOISE) == len(NOISE)
        assert conn.call(tasks.run_command, "printf 'noise\\n'") == 0
        assert conn.call(tasks.echo, NOISE) == NOISE
    with process.stderr:
        assert process.stderr.read() == NOISE + b'noise\n'
    assert process.wait(LIMIT) == 0


@pytest.mark.parametrize('stream', ['stdin', 'stdout'])
def test_a_file_or_device_is_no_connection(stream):
    """It says so, and fails, instead of waiting for a client."""
    streams = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, stream: subprocess.DEVNULL}
    process = subprocess.Popen([daemons.ACROSSD, '--stdio'], stderr=subprocess.PIPE, **streams)
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode not in (0, None) and process.returncode > 0
    assert err and b'Traceback' not in err


# ---- its end, while a call does not let go of Python ----

# The thread of a call that was answered counts until it has the GIL once more, which another call may hold for ever.
OVER = daemons.LOG + 'calls that still ran after 0[.][0-9]* seconds of grace, and were ended: [12]'
CLIENT = """
import os, sys, threading
import across
from e2e import deadly_tasks as deadly
conn = across.Connection.from_command(sys.argv[2:])
conn.call(deadly.start_daemon)
threading.Thread(target=conn.call, args=(deadly.hold_gil_for_ever, sys.argv[1]), daemon=True).start()
sys.stdin.read()
"""


def hold(conn, path):
    """A thread with a call that never ends, and never lets another thread of its process run Python code."""

    def call():
        with contextlib.suppress(across.DisconnectError):
            conn.call(deadly.hold_gil_for_ever, str(path))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    wait_until(path.exists, 'the call')
    return thread


@pytest.mark.parametrize('grace', ['0', '0.2'])
def test_an_orderly_close_ends_it_although_a_call_does_not_let_go_of_python(tmp_path, grace):
    stdio = daemons.Stdio('--grace', grace)
    conn = stdio.connect()
    conn.call(deadly.start_daemon)
    thread = hold(conn, tmp_path / 'held')
    family = Family(stdio.process.pid)
    family.look()
    conn.close()  # waits for the process, and is no error
    join([thread])
    wait_until(lambda: not family.alive(), 'the end of all processes')
    stdio.expect(OVER)
    stdio.stop()


def test_it_ends_when_its_client_dies_although_a_call_does_not_let_go_of_python(tmp_path):
    path = tmp_path / 'held'
    command = [sys.executable, '-c', CLIENT, str(path), daemons.ACROSSD, '--stdio', '--grace', '0.1']
    env = daemons.environment(os.path.dirname(os.path.dirname(across.__file__)))
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    with client.stdin, client.stderr:
        wait_until(path.exists, 'the call')
        family = Family(client.pid)
        family.look()
        assert sorted(family.alive().values())[:2] == ['a-daemon', 'acrossd']
        client.kill()
        client.wait()
        wait_until(lambda: not family.alive(), lambda: 'the end of {}'.format(family.alive()))
        said = client.stderr.read().decode().splitlines()
    assert said[-1] == 'acrossd: the connection broke: The client has gone'


def test_a_worker_that_can_do_nothing_for_its_end_is_killed():
    process = subprocess.Popen(
        [daemons.ACROSSD, '--stdio', '--grace', '0'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=daemons.environment(),
    )
    conn = across.Connection.from_pipes(process.stdout, process.stdin)
    worker = conn.call(os.getpid)
    freeze(worker)
    conn.cancel()
    daemons.close_broken(conn)
    with process.stderr:
        said = process.stderr.read().decode()
    assert process.wait(LIMIT) == 1
    assert said == (
        'acrossd: worker {} did not end in time, and is killed\n'
        'acrossd: the connection broke: The client has gone\n'.format(worker)
    )
