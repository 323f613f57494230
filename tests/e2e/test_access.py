# SPDX-License-Identifier: MIT
"""The user that calls run as, and what clients must not get."""

import concurrent.futures
import os
import platform
import pwd
import re
import resource
import signal
import socket
import subprocess
import sys

import pytest

import across

from . import peer_tasks as peer
from . import remote_tasks as tasks
from .daemon import ACROSSD, LOG, close_broken, environment
from .test_configuration import run_with
from .test_daemon import check_failure, run_acrossd
from .test_limits import STRANGER, connect_as, expect_refusal, needs_root, open_folder, powerless_command
from .test_secret import secret_file  # noqa: F401
from .test_systemd import opener
from .waiting import LIMIT, is_alive, parent_of, wait_until

__all__ = ['open_folder']

SO_PASSRIGHTS = 83  # which the module socket does not know

both_modes = pytest.mark.parametrize('isolation', ['process', 'shared'])


def insecure(address, what):
    """The line about an address that is open to everybody."""
    return LOG + address + ' can be reached from other hosts, without encryption [(]--insecure[)]: ' + what


# ---- --insecure ----


@both_modes
def test_insecure_is_said_aloud(make_daemon, isolation):
    daemon = make_daemon(
        '--insecure', listen=['tcp:0.0.0.0:0', 'tcp:127.0.0.1:0'], isolation=isolation, command=powerless_command()
    )
    daemon.expect(insecure(re.escape(daemon.addresses[0]), 'whoever connects may run anything'))
    with daemon.connect(address=daemon.addresses[0].replace('0.0.0.0', '127.0.0.1')) as conn:
        assert conn.call(tasks.add, 1, 2) == 3


@needs_root
def test_insecure_with_a_secret_is_still_insecure(make_daemon, secret_file):  # noqa: F811
    os.chown(secret_file, STRANGER, -1)
    os.chmod(os.path.dirname(secret_file), 0o755)
    daemon = make_daemon(
        '--insecure', '--secret-file', secret_file, listen=['tcp:0.0.0.0:0'], command=powerless_command(), warm=False
    )
    daemon.expect(insecure('tcp:0.0.0.0:[0-9]+', 'whoever can read or change the traffic .*'))


@needs_root
@pytest.mark.parametrize('options', [(), ('--user', 'root'), ('--user', '0'), ('--check-config',)])
def test_insecure_is_not_for_root(options):
    result = run_acrossd('--listen', 'tcp:0.0.0.0:0', '--insecure', *options)
    check_failure(result, 2, '--insecure is not for root: .*add --user NAME, or start acrossd as another user')


@needs_root
def test_insecure_is_for_root_who_has_calls_run_as_somebody_else():
    result = run_with('--check-config', '--listen', 'tcp:0.0.0.0:0', '--insecure', '--user', 'nobody')
    assert (result.returncode, result.stdout) == (0, 'the configuration is good\n')


# ---- --run-as-peer ----

# What tests call is there before users come, who may not be able to read it.
PRELOADED = ('e2e.peer_tasks', 'traceback', 'linecache')


@pytest.fixture
def make_peers_daemon(make_daemon, open_folder):
    """Starts daemons with --run-as-peer."""

    def make(*options, **kwargs):
        preloads = [word for name in PRELOADED for word in ('--preload', name)]
        return make_daemon(
            *('--run-as-peer', '--socket-mode', '666', *preloads, *options),
            **dict({'listen': ['unix:{}/socket'.format(open_folder)]}, **kwargs),
        )

    return make


USERS = [
    pytest.param(65534, 65534, (), id='nobody'),
    pytest.param(STRANGER, 4711, (), id='no-groups'),
    pytest.param(STRANGER, 4711, (1, 2, 54322), id='groups'),
    pytest.param(STRANGER, 1, tuple(range(5000, 5100)), id='many-groups'),
    pytest.param(0, 0, (), id='root'),
    pytest.param(0, 7, (8, 9), id='root-with-groups'),
]


def account_of(uid):
    """What a login begins with."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return str(uid), '/', '/bin/sh'
    return entry.pw_name, entry.pw_dir, entry.pw_shell or '/bin/sh'


@needs_root
@pytest.mark.parametrize('uid, gid, groups', USERS)
def test_calls_run_as_whoever_connects(make_peers_daemon, uid, gid, groups):
    daemon = make_peers_daemon()
    name, home, shell = account_of(uid)
    with connect_as(daemon, uid, gid, groups) as conn:
        assert conn.call(os.getresuid) == (uid,) * 3
        assert conn.call(os.getresgid) == (gid,) * 3
        assert sorted(conn.call(os.getgroups)) == sorted(groups)
        assert conn.call(peer.get_variables, 'HOME', 'USER', 'LOGNAME', 'SHELL') == [home, name, name, shell]
        assert conn.call(peer.get_c_variable, 'HOME') == home
        assert conn.call(os.getcwd) in (home, '/')
        assert os.stat('/proc/{}'.format(conn.call(os.getpid))).st_uid == uid


@needs_root
@pytest.mark.parametrize('setting', ['umask 0', 'umask 077; ulimit -n 2048', 'umask 077; ulimit -n 512'])
def test_users_have_the_mask_and_the_descriptors_of_a_login(make_peers_daemon, setting):
    command = ('sh', '-c', setting + '; exec "$0" "$@"', ACROSSD)
    daemon = make_peers_daemon('--preload', 'resource', '--max-connections', '20', command=command)
    hard = int(setting.split()[-1]) if 'ulimit' in setting else resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    hard = min(hard % 2**64, 524288)
    with connect_as(daemon, STRANGER, STRANGER) as conn:
        assert conn.call(os.umask, 0) == 0o022
        assert conn.call(resource.getrlimit, resource.RLIMIT_NOFILE) == (min(1024, hard), hard)


GAINS = [((), '0'), (('--no-new-privileges',), '1'), (('--no-new-privileges', '--isolation', 'shared'), '1')]


@pytest.mark.parametrize('options, expected', GAINS, ids=['default', 'set', 'shared'])
def test_programs_gain_no_rights_where_that_is_said(make_daemon, options, expected):
    with make_daemon(*options, isolation='shared' if 'shared' in options else 'process').connect() as conn:
        states = conn.call(peer.get_thread_states)
    assert {status['NoNewPrivs'].strip() for status in states} == {expected}


@needs_root
@pytest.mark.parametrize('options, expected', [((), '1'), (('--no-new-privileges=no',), '0')], ids=['default', 'no'])
def test_programs_of_users_gain_no_rights_unless_that_is_said(make_peers_daemon, options, expected):
    with connect_as(make_peers_daemon(*options), STRANGER, STRANGER) as conn:
        states = conn.call(peer.get_thread_states)
    assert {status['NoNewPrivs'].strip() for status in states} == {expected}


@needs_root
@pytest.mark.parametrize('uid', [65534, STRANGER], ids=['nobody', 'stranger'])
def test_nobody_comes_back_from_being_a_user(make_peers_daemon, uid):
    daemon = make_peers_daemon()
    with connect_as(daemon, uid, uid) as conn:
        for func, *args in [(os.setuid, 0), (os.seteuid, 0), (os.setgid, 0), (os.setgroups, [0]), (os.chroot, '/')]:
            with pytest.raises(PermissionError):
                conn.call(func, *args)
        for status in conn.call(peer.get_thread_states):  # as the kernel has it: all four ids, and all sets
            assert status['Uid'].split() == [str(uid)] * 4 and status['Gid'].split() == [str(uid)] * 4
            assert {int(status[name], 16) for name in ('CapInh', 'CapPrm', 'CapEff', 'CapAmb')} == {0}
        with pytest.raises(PermissionError):
            conn.call(peer.read_file, '/proc/1/mem')
        with pytest.raises(PermissionError):
            conn.call(peer.read_file, '/etc/shadow')


@needs_root
def test_users_do_not_reach_each_other_nor_acrossd(make_peers_daemon):
    daemon = make_peers_daemon(spare=2)
    with connect_as(daemon, STRANGER, STRANGER) as conn, connect_as(daemon, STRANGER + 1, STRANGER) as other:
        own = conn.call(os.getpid)
        wait_until(lambda: len(daemon.workers()) == 4, 'spare workers')
        workers = [pid for pid in daemon.workers() if pid != own]
        keepers = [parent_of(pid) for pid in [own, *workers]]
        assert other.call(os.getpid) in workers
        for pid in [*workers, *keepers, daemon.find_zygote(), daemon.process.pid]:
            for number in (0, signal.SIGCONT, signal.SIGKILL):
                with pytest.raises(PermissionError):
                    conn.call(os.kill, pid, number)
            for name in ('mem', 'environ', 'maps'):
                with pytest.raises(PermissionError):
                    conn.call(peer.read_file, '/proc/{}/{}'.format(pid, name))
            with pytest.raises(PermissionError):
                conn.call(os.listdir, '/proc/{}/fd'.format(pid))
        conn.call(peer.read_file, '/proc/{}/environ'.format(own))  # their own processes
        assert other.call(os.getuid) == STRANGER + 1


@needs_root
def test_users_see_nothing_of_the_environment_of_acrossd(make_peers_daemon):
    env = environment()
    env['LC_TIME'] = 'C'
    hidden = dict.fromkeys(['TOKEN', 'AWS_SECRET_ACCESS_KEY', 'ACROSSD_GRACE', 'CREDENTIALS_DIRECTORY'], '12.34')
    daemon = make_peers_daemon(env=dict(env, **hidden))
    with connect_as(daemon, STRANGER, STRANGER) as conn:
        assert conn.call(peer.get_variables, *hidden) == [None] * len(hidden)
        assert b'12.34' not in conn.call(peer.read_file, '/proc/self/environ')
        assert conn.call(peer.get_variables, 'PATH', 'LC_TIME') == [env['PATH'], 'C']


@needs_root
def test_users_do_not_have_the_keys_of_acrossd(make_peers_daemon):
    keyctl = {'x86_64': 250, 'aarch64': 219}.get(platform.machine())
    if keyctl is None or peer.get_session_keyring(keyctl) < 0:
        pytest.skip('no keyrings here')
    daemon = make_peers_daemon()
    found = {peer.get_session_keyring(keyctl)}
    for _ in range(2):
        with connect_as(daemon, STRANGER, STRANGER) as conn:
            found.add(conn.call(peer.get_session_keyring, keyctl))
    assert len(found) == 3 and min(found) > 0


@needs_root
def test_every_user_has_a_worker_of_his_own(make_peers_daemon):
    daemon = make_peers_daemon()
    pids = set()
    for uid in (STRANGER, 0, STRANGER + 1, STRANGER):
        with connect_as(daemon, uid, uid) as conn:
            assert conn.call(os.geteuid) == uid
            pids.add(conn.call(os.getpid))
    assert len(pids) == 4


@needs_root
def test_a_home_is_where_calls_run(make_peers_daemon, open_folder):
    with connect_as(make_peers_daemon(), 0, 0) as conn:
        assert conn.call(os.getcwd) == os.path.realpath(pwd.getpwuid(0).pw_dir)
    daemon = make_peers_daemon('--chdir', open_folder, listen=['unix:{}/another'.format(open_folder)])
    with connect_as(daemon, STRANGER, STRANGER) as conn:
        assert conn.call(os.getcwd) == os.path.realpath(open_folder)


@needs_root
def test_what_a_user_starts_is_ended_with_his_connection(make_peers_daemon):
    daemon = make_peers_daemon()
    with connect_as(daemon, STRANGER, STRANGER) as conn:
        pid = conn.call(peer.leave_behind)
        assert os.stat('/proc/{}'.format(pid)).st_uid == STRANGER
    wait_until(lambda: not is_alive(pid), 'the end of what was left behind')


@needs_root
def test_limits_count_the_processes_of_the_user(make_peers_daemon):
    daemon = make_peers_daemon(command=['prlimit', '--nproc=24:24', ACROSSD])
    with connect_as(daemon, STRANGER, STRANGER) as conn:
        assert conn.call(peer.start_processes, 40) < 24
        with connect_as(daemon, 0, 0) as root:
            assert root.call(peer.start_processes, 40) == 40


@needs_root
def test_only_those_who_are_allowed_get_a_worker(make_peers_daemon):
    daemon = make_peers_daemon('--allow-uid', str(STRANGER), '--allow-uid', '0')
    with connect_as(daemon, STRANGER, STRANGER) as conn:
        assert conn.call(os.geteuid) == STRANGER
    expect_refusal(lambda: connect_as(daemon, STRANGER + 1, STRANGER), 'User {} may not connect'.format(STRANGER + 1))
    daemon.expect(LOG + 'connection [0-9]+ from .* was refused: User {} may not connect'.format(STRANGER + 1))


def is_stopped(pid):
    with open('/proc/{}/stat'.format(pid)) as file:
        return file.read().rpartition(')')[2].split()[0] == 'T'


def close_broken_at_once(conn):
    conn.cancel()
    close_broken(conn)


def call_in_background(conn, func):
    """Begin a call that may never end."""
    executor = concurrent.futures.ThreadPoolExecutor(1)
    future = executor.submit(conn.call, func)
    executor.shutdown(wait=False)
    return future


@needs_root
def test_what_a_worker_says_of_itself_harms_nobody_else(make_peers_daemon):
    """User code finds its worker's control socket, and sends what only acrossd's own processes send."""
    daemon = make_peers_daemon('--grace', '0')
    victim = subprocess.Popen(['sleep', '60'])
    try:
        with connect_as(daemon, STRANGER + 1, STRANGER) as other:
            conn = connect_as(daemon, STRANGER, STRANGER)
            pid = conn.call(os.getpid)
            conn.call(peer.claim_to_be_kept_by, victim.pid)
            for connection in (1, 2, 3):  # all but its own, which is not the first one
                conn.call(peer.claim_end_of, connection)
            future = call_in_background(conn, peer.stop)
            wait_until(lambda: is_stopped(pid), 'the stop')
            close_broken_at_once(conn)
            daemon.expect(LOG + 'worker {} did not end in time, and is killed'.format(pid))
            wait_until(lambda: not is_alive(pid), 'the end of the worker')
            assert isinstance(future.exception(LIMIT), across.DisconnectError)
            daemon.allow_lines(LOG + 'the worker, process {}, .*'.format(pid))
            assert victim.poll() is None
            assert other.call(os.geteuid) == STRANGER + 1
    finally:
        victim.kill()
        victim.wait()


@needs_root
def test_a_worker_that_says_that_it_is_dead_soon_is(make_peers_daemon):
    daemon = make_peers_daemon('--grace', '0')
    conn = connect_as(daemon, STRANGER, STRANGER)
    pid = conn.call(os.getpid)
    future = call_in_background(conn, peer.claim_to_have_died)
    daemon.expect_lost(pid, 'exited with status 0')
    assert isinstance(future.exception(LIMIT), across.DisconnectError)
    close_broken_at_once(conn)
    daemon.expect(LOG + 'worker {} did not end in time, and is killed'.format(pid))
    wait_until(lambda: not is_alive(pid), 'the end of the worker')


@needs_root
def test_a_worker_dies_once(make_peers_daemon):
    daemon = make_peers_daemon()
    conn = connect_as(daemon, STRANGER, STRANGER)
    pid = conn.call(os.getpid)
    future = call_in_background(conn, peer.claim_to_die_again_and_again)
    daemon.expect_lost(pid)
    assert isinstance(future.exception(LIMIT), across.DisconnectError)
    close_broken_at_once(conn)
    wait_until(lambda: not is_alive(pid), 'the end of the worker')


def refuses_descriptors():
    """Whether this kernel can keep descriptors from a socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
        except OSError:
            return False
    return True


needs_refusal = pytest.mark.skipif(not refuses_descriptors(), reason='needs Linux 6.16 or later')


@needs_root
@needs_refusal
def test_a_worker_can_send_no_descriptors(make_peers_daemon):
    daemon = make_peers_daemon()
    with connect_as(daemon, STRANGER, STRANGER) as conn:
        with pytest.raises(PermissionError):
            conn.call(peer.send_descriptor)
        assert conn.call(os.geteuid) == STRANGER


@needs_refusal
def test_a_peer_can_send_no_descriptors(make_daemon):
    """Whoever closes them last may have to wait for the sender."""
    daemon = make_daemon()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(daemon.addresses[0][5:])
        with pytest.raises(PermissionError):
            socket.send_fds(sock, [b'x'], [sock.fileno()])


@needs_root
def test_a_worker_that_reports_without_end_does_not_hold_up_others(make_peers_daemon):
    daemon = make_peers_daemon('--grace', '0')
    with connect_as(daemon, STRANGER, STRANGER) as conn:
        conn.call(peer.report_for_ever)
        for _ in range(3):
            with connect_as(daemon, STRANGER + 1, STRANGER) as other:
                assert other.call(os.geteuid) == STRANGER + 1
        conn.cancel()
    daemon.allow_broken(1)


MISTAKES = [
    (('unix:{}', '--isolation', 'shared'), '--run-as-peer needs a worker for each connection'),
    (('unix:{}', '--user', 'nobody'), '--run-as-peer runs calls as whoever connects, and --user as nobody'),
    (('tcp:127.0.0.1:0',), '--run-as-peer is for unix sockets, and tcp:127.0.0.1:0 does not identify its users'),
    (('unix:{}', '--listen', 'tcp:127.0.0.1:0'), '--run-as-peer is for unix sockets'),
]


@pytest.mark.parametrize('options, message', MISTAKES)
def test_run_as_peer_is_refused_where_it_cannot_be_had(tmp_path, options, message):
    place, *options = options
    result = run_acrossd('--run-as-peer', '--listen', place.format(tmp_path / 'socket'), *options)
    check_failure(result, 2, message)
    assert os.listdir(str(tmp_path)) == []


def test_run_as_peer_is_refused_for_stdio():
    check_failure(run_acrossd('--run-as-peer', '--stdio'), 2, '--run-as-peer is for unix sockets, and --stdio')


@pytest.mark.parametrize('check', [(), ('--check-config',)], ids=['serve', 'check'])
def test_run_as_peer_is_for_root(open_folder, check):
    os.chmod(open_folder, 0o777)
    options = ['--run-as-peer', '--listen', 'unix:{}/socket'.format(open_folder), *check]
    result = run_with(*options, command=powerless_command())
    check_failure(result, 2, '--run-as-peer is for root, who may become other users, and acrossd runs as user [0-9]+')
    assert os.listdir(open_folder) == []


@needs_root
def test_run_as_peer_is_refused_for_inherited_sockets_that_tell_no_user():
    result = run_with('--run-as-peer', command=opener(['tcp:127.0.0.1:0'], 'x'))
    check_failure(result, 2, 'the inherited socket tcp:127.0.0.1:[0-9]+ does not identify its users')


# ---- abstract names ----


@both_modes
def test_an_abstract_name_works_wherever_an_address_does(make_daemon, isolation):
    address = 'unix:@acrossd-test-{}'.format(os.getpid())
    daemon = make_daemon('--socket-mode', '666', listen=[address], isolation=isolation)
    assert daemon.addresses == [address]
    assert run_acrossd('status', address).stdout.startswith('acrossd ')
    with across.Connection.from_unix(address[5:]) as conn:
        assert conn.call(tasks.add, 1, 2) == 3
    result = subprocess.run(
        [sys.executable, '-m', 'across', '--unix', address[5:], '--execute', '6 * 7'],
        env=environment(os.path.dirname(os.path.dirname(across.__file__))), stdout=subprocess.PIPE, timeout=LIMIT,
        check=True,
    )  # fmt: skip
    assert result.stdout == b'42\n'


@needs_root
@both_modes
def test_an_abstract_name_is_for_the_own_user(make_daemon, isolation):
    address = 'unix:@acrossd-test-{}'.format(os.getpid())
    daemon = make_daemon('--socket-mode', '666', listen=[address], isolation=isolation)
    expect_refusal(lambda: connect_as(daemon, STRANGER, 1), 'User {} may not connect'.format(STRANGER))
    daemon.expect_broken()


@needs_root
def test_an_abstract_name_is_for_those_who_are_listed(make_daemon):
    address = 'unix:@acrossd-test-{}'.format(os.getpid())
    daemon = make_daemon('--allow-uid', str(STRANGER), '--allow-uid', '0', listen=[address])
    with connect_as(daemon, STRANGER, 1) as conn:
        assert conn.call(tasks.add, 1, 2) == 3
