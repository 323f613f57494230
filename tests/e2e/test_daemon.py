# SPDX-License-Identifier: MIT
"""acrossd as a program: its command line, its addresses, its signals, and how it stops."""

import concurrent.futures
import os
import re
import signal
import socket
import stat
import subprocess
import threading

import pytest

import across

from . import remote_tasks as tasks
from .daemon import ACROSSD, LOG, RunningCall, close_broken, environment
from .waiting import LIMIT, wait_until


def run_acrossd(*options):
    """Run acrossd where it is to end by itself."""
    return subprocess.run(
        [ACROSSD, *options],
        input='',
        capture_output=True,
        env=environment(),
        timeout=LIMIT,
        text=True,
    )


def check_failure(result, status, pattern):
    """It printed exactly one line, which matches, and exited with this status."""
    assert re.fullmatch(LOG + '[^\n]*(?:' + pattern + ')[^\n]*\n', result.stderr), result.stderr
    assert result.stdout == ''
    assert result.returncode == status


def socket_path(daemon, index=0):
    return daemon.addresses[index][len('unix:') :]


def signal_and_wait(daemon, number=signal.SIGTERM):
    """Tell it to stop, and return when it has begun to: its socket is removed then."""
    daemon.send_signal(number)
    wait_until(lambda: not os.path.exists(socket_path(daemon)), 'the removal of the socket')


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(('::1', 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason='no IPv6 on the loopback interface')

# ---- the command line ----


@pytest.mark.parametrize(
    'options, pattern',
    [
        ([], 'nowhere to listen: write --listen'),
        (['--verbose'], 'nowhere to listen: write --listen'),
        (['--stdio', '--listen', 'unix:x'], 'write one of them'),
        (['--lisen', 'unix:x'], 'there is no option --lisen: did you mean --listen\\?'),
        (['--frobnicate'], 'there is no option --frobnicate: acrossd --help lists them'),
        (['-x'], '"-x" is no option: acrossd --help lists them'),
        (['unix:x'], 'write --listen unix:x'),
        (['--listen'], '--listen has no value: write --listen ADDRESS'),
        (['--listen', '--stdio'], '--listen has no value: write --listen ADDRESS'),
        (['--listen='], '--listen is empty'),
        (['--listen', '/run/x'], 'write unix:/run/x'),
        (['--listen', 'localhost:7000'], 'write unix:PATH, or tcp:localhost:7000'),
        (['--listen', 'unix:'], 'write unix:PATH'),
        (['--listen', 'unix:' + 'x' * 200], 'write a shorter one'),
        (['--listen', 'tcp:localhost'], 'no port: write tcp:HOST:PORT'),
        (['--listen', 'tcp:localhost:http'], '"http" in tcp:localhost:http is no port'),
        (['--listen', 'tcp:localhost:65536'], 'write a number up to 65535'),
        (['--listen', 'tcp:::1:7000'], 'write tcp:\\[::1\\]:7000'),
        (['--listen', 'tcp:[localhost]:7000'], 'no IPv6 address'),
        (['--stdio', '--isolation', 'other'], 'write process or shared'),
        (['--stdio', '--grace', 'none'], 'is no time: write seconds'),
        (['--stdio', '--grace', '-1'], 'is no time: write seconds'),
        (['--stdio', '--timeout', 'soon'], 'is no time: write seconds.*, or none'),
        (['--stdio', '--handshake-timeout', '86401'], 'is no time: write seconds'),
        (['--stdio', '--max-message', '0'], 'is no size: write bytes'),
        (['--stdio', '--max-message', '12X'], 'is no size: write bytes'),
        (['--stdio', '--socket-mode', '888'], 'write three octal digits'),
        (['--stdio', '--verbose=maybe'], '--verbose takes no value but yes or no'),
        (['--stdio', '--chdir', '/nonexistent/folder'], 'write the name of a folder'),
        (['--listen', 'unix:x', '--chdir', '/nonexistent/folder'], 'write the name of a folder'),
        (['--stdio', '--role', 'worker'], 'leave it out'),
        (['--listen', 'tls:localhost:0'], 'needs --tls-cert FILE'),
        (['--listen', 'tls:localhost:0', '--tls-cert', 'a', '--tls-key', 'b'], 'needs --tls-client-ca FILE'),
        (['--listen', 'unix:x', '--tls-allow-name', 'alice'], 'is for tls: addresses'),
    ],
)
def test_a_wrong_command_line_is_refused_in_one_line(options, pattern, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_failure(run_acrossd(*options), 2, pattern)
    assert os.listdir(str(tmp_path)) == []


def test_stdio_needs_a_pipe():
    result = subprocess.run(
        [ACROSSD, '--stdio'],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT,
        text=True,
    )
    check_failure(result, 2, '--stdio needs pipes or sockets')


def test_help_names_every_option():
    result = run_acrossd('--help')
    assert (result.returncode, result.stderr) == (0, '')
    assert result.stdout.startswith('Usage: acrossd ')
    named = set(re.findall('^  --([a-z-]+)', result.stdout, re.MULTILINE))
    assert named == {
        *('listen', 'stdio', 'isolation', 'spare-workers', 'max-connections', 'max-handshakes', 'grace'),
        *('max-connections-per-source', 'max-handshakes-per-source'),
        *('handshake-timeout', 'timeout', 'max-message', 'spin'),
        *('worker-memory', 'worker-tasks', 'allow-uid', 'allow-gid'),
        *('tls-cert', 'tls-key', 'tls-client-ca', 'tls-allow-name'),
        *('run-as-peer', 'socket-mode', 'socket-group', 'secret-file', 'insecure', 'user', 'venv', 'preload'),
        *('no-new-privileges', 'chdir', 'verbose', 'config', 'check-config', 'print-config', 'help', 'version'),
    }
    assert run_acrossd('-h').stdout == result.stdout


def test_version_names_acrossd_its_protocols_and_python():
    result = run_acrossd('--version')
    assert (result.returncode, result.stderr) == (0, '')
    assert re.fullmatch(
        r'acrossd [0-9]+\.[0-9]+\.[0-9]+\S* \(protocol 0\.1 and 0\.2, Python 3\.[0-9]+(\.[0-9]+)?\S*\)\n', result.stdout
    )


@pytest.mark.parametrize('option', ['--help', '--version'])
def test_output_that_cannot_be_written_is_a_failure(option):
    with open('/dev/full', 'w') as full:
        result = subprocess.run([ACROSSD, option], stdout=full, stderr=subprocess.PIPE, timeout=LIMIT)
    assert result.returncode == 1
    assert re.fullmatch(LOG + 'cannot write to standard output\n', result.stderr.decode())


def test_preloaded_modules_are_imported_at_the_start_and_in_order(make_daemon, tmp_path):
    (tmp_path / 'first.py').write_text('import os\nos.environ["SEEN"] = "first"\n')
    (tmp_path / 'second.py').write_text('import os\nos.environ["SEEN"] += " second"\n')
    daemon = make_daemon('--preload', 'first', '--preload=second', env=environment(str(tmp_path)))
    with daemon.connect() as conn:
        assert conn.call(os.getenv, 'SEEN') == 'first second'


THREADS = 'modules that --preload names have left threads running: {}[.] Workers are forked without these.*'


def test_a_preloaded_module_that_leaves_threads_is_named(make_daemon, tmp_path):
    source = (
        'import threading\n'
        'for _ in range(2):\n'
        "    threading.Thread(target=threading.Event().wait, name='left', daemon=True).start()\n"
    )
    (tmp_path / 'leaves_none.py').write_text('import threading')
    (tmp_path / 'leaves_two.py').write_text(source)
    env = environment(str(tmp_path))
    daemon = make_daemon('--preload', 'leaves_none', '--preload', 'leaves_two', env=env)
    daemon.expect(LOG + THREADS.format('leaves_two [(]left, left[)]'))
    daemon.stop()


def test_a_preloaded_module_whose_threads_have_ended_is_fine(make_daemon, tmp_path):
    source = 'import threading\nthread = threading.Thread(target=int)\nthread.start()\nthread.join()\n'
    (tmp_path / 'leaves_none.py').write_text(source)
    make_daemon('--preload', 'leaves_none', env=environment(str(tmp_path))).stop()


def test_a_module_that_cannot_be_preloaded_is_a_failure(tmp_path):
    result = run_acrossd('--listen', 'unix:{}'.format(tmp_path / 'socket'), '--preload', 'nonexistent_module')
    assert result.returncode == 1
    assert 'nonexistent_module' in result.stderr and 'listening' not in result.stderr
    assert os.listdir(str(tmp_path)) == []


def test_calls_run_in_the_folder_of_chdir(make_daemon, tmp_path, monkeypatch):
    (tmp_path / 'work').mkdir()
    monkeypatch.chdir(tmp_path)
    daemon = make_daemon('--chdir', 'work', listen=['unix:socket'])
    assert (tmp_path / 'socket').exists()
    with daemon.connect() as conn:
        assert conn.call(os.getcwd) == os.path.realpath(str(tmp_path / 'work'))


# ---- addresses ----


def test_a_stale_socket_is_replaced(make_daemon, tmp_path):
    path = str(tmp_path / 'socket')
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    daemon = make_daemon(listen=['unix:' + path])
    with daemon.connect() as conn:
        assert conn.call(tasks.add, 1, 2) == 3


def test_a_socket_that_is_served_is_left_alone(daemon):
    address = daemon.addresses[0]
    check_failure(run_acrossd('--listen', address), 1, '{} is in use by another server'.format(address))
    with daemon.connect() as conn:
        assert conn.call(tasks.add, 1, 2) == 3


def test_a_file_that_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / 'file'
    path.write_text('precious')
    check_failure(run_acrossd('--listen', 'unix:{}'.format(path)), 1, 'is not a socket')
    assert path.read_text() == 'precious'


def test_a_tcp_port_in_use_is_a_failure(make_daemon):
    daemon = make_daemon(listen=['tcp:127.0.0.1:0'])
    check_failure(run_acrossd('--listen', daemon.addresses[0]), 1, 'is in use by another server')


def test_a_failure_removes_the_sockets_that_were_made(tmp_path, daemon):
    result = run_acrossd('--listen', 'unix:{}'.format(tmp_path / 'first'), '--listen', daemon.addresses[0])
    check_failure(result, 1, 'is in use by another server')
    assert os.listdir(str(tmp_path)) == [os.path.basename(socket_path(daemon))]


def test_all_addresses_lead_to_the_shared_worker(make_daemon, tmp_path):
    listen = ['unix:{}/a'.format(tmp_path), 'unix:{}/b'.format(tmp_path), 'tcp:127.0.0.1:0', 'tcp:127.0.0.1:0']
    daemon = make_daemon(listen=listen, isolation='shared')
    assert daemon.addresses[:2] == listen[:2]
    assert len(set(daemon.addresses)) == 4
    for address in daemon.addresses:
        with daemon.connect(address=address) as conn:
            assert conn.call(os.getpid) == daemon.worker
    daemon.stop()
    assert os.listdir(str(tmp_path)) == []


@pytest.mark.parametrize('host', ['127.0.0.1', pytest.param('[::1]', marks=needs_ipv6)])
def test_port_0_has_one_chosen(make_daemon, host):
    daemon = make_daemon(listen=['tcp:{}:0'.format(host)])
    match = re.fullmatch('tcp:{}:([0-9]+)'.format(re.escape(host)), daemon.addresses[0])
    assert match and int(match.group(1)) > 0
    with daemon.connect() as conn:
        assert conn.call(tasks.add, 1, 2) == 3


@needs_ipv6
def test_localhost_is_both_loopback_addresses(make_daemon):
    daemon = make_daemon(listen=['tcp:localhost:0'])
    port = daemon.addresses[0].rpartition(':')[2]
    for host in ('127.0.0.1', '[::1]'):
        with daemon.connect(address='tcp:{}:{}'.format(host, port)) as conn:
            assert conn.call(tasks.add, 1, 2) == 3


@pytest.mark.parametrize('host', ['0.0.0.0', pytest.param('[::]', marks=needs_ipv6)])
def test_an_address_that_others_can_reach_needs_insecure(host):
    pattern = '{} can be reached from other hosts.*--insecure'.format(re.escape('tcp:{}:0'.format(host)))
    check_failure(run_acrossd('--listen', 'tcp:{}:0'.format(host)), 2, pattern)


@pytest.mark.parametrize('options, mode', [((), 0o600), (('--socket-mode', '660'), 0o660)])
def test_the_permissions_of_a_unix_socket(make_daemon, options, mode):
    daemon = make_daemon(*options)
    assert stat.S_IMODE(os.stat(socket_path(daemon)).st_mode) == mode


# ---- signals ----


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_an_idle_daemon(daemon, number):
    signal_and_wait(daemon, number)
    daemon.join(0)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_running_calls_finish_when_the_daemon_stops(make_daemon, isolation, number):
    daemon = make_daemon('--grace', '1000', isolation=isolation)
    conn = daemon.connect()
    call = RunningCall(conn)
    signal_and_wait(daemon, number)
    assert daemon.process.poll() is None
    assert call.release() is True
    daemon.join(0)
    with pytest.raises(across.DisconnectError, match='remotely closed'):
        conn.call(os.getpid)
    conn.close()


def test_calls_that_outlast_the_grace_period_are_cut_off(make_daemon, isolation):
    daemon = make_daemon('--grace', '0.01', isolation=isolation)
    conn = daemon.connect()
    started = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        call = executor.submit(conn.call, tasks.call_back_then_wait_for, 'never', across.Local(started.set))
        assert started.wait(LIMIT)
        signal_and_wait(daemon)
        with pytest.raises(across.DisconnectError):
            call.result(LIMIT)
    daemon.expect(LOG + r'calls that still ran after 0\.010 seconds of grace, and were ended: 1')
    daemon.join(0)
    close_broken(conn)


def test_a_second_signal_ends_at_once(make_daemon, isolation):
    daemon = make_daemon('--grace', '1000', isolation=isolation)
    conn = daemon.connect()
    worker = conn.call(os.getpid)
    call = RunningCall(conn)
    signal_and_wait(daemon)
    daemon.send_signal(signal.SIGTERM)
    with pytest.raises(across.DisconnectError):
        call.result()
    daemon.expect(LOG + 'the worker, process {}, was killed; connections lost: 1'.format(worker))
    daemon.join(0)
    close_broken(conn)
