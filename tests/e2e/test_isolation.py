# SPDX-License-Identifier: MIT
"""What workers have of their own, and what they share: modules, random generators, signals, descriptors, memory."""

import concurrent.futures
import os
import re
import signal
import subprocess
import sys

import pytest

from . import deadly_tasks as deadly
from . import remote_tasks as tasks
from .daemon import ACROSSD, environment
from .waiting import LIMIT, count_threads, memory

# ---- modules ----


def test_connections_share_no_modules_and_globals(daemon):
    with daemon.connect() as first, daemon.connect() as second:
        first.call(tasks.keep, 'mine')
        first.execute('import sys, email; sys.modules["only_here"] = email; sys.path.append("/only/here")')
        first.call(os.putenv, 'ONLY', 'here')
        first.call(os.chdir, '/')
        assert first.call(deadly.has_module, 'only_here') and not second.call(deadly.has_module, 'only_here')
        assert '/only/here' in first.execute('import sys; sys.path')
        assert '/only/here' not in second.execute('import sys; sys.path')
        assert second.call(os.getcwd) == os.getcwd()
        with pytest.raises(IndexError):
            second.call(tasks.pop_kept)
        assert first.call(tasks.pop_kept) == 'mine'
    with daemon.connect() as third:
        assert not third.call(deadly.has_module, 'only_here')


def test_connections_to_the_shared_worker_share_modules_and_globals(shared_daemon):
    with shared_daemon.connect() as first, shared_daemon.connect() as second:
        first.call(tasks.keep, 'ours')
        assert second.call(tasks.pop_kept) == 'ours'


PRELOADED = """
import os
pid = os.getpid()
value = bytes(range(256)) * (64 << 12)
"""


def test_a_preloaded_module_is_there_and_its_memory_shared(make_daemon, tmp_path):
    """64 MiB that were made once, by the zygote."""
    (tmp_path / 'preloaded.py').write_text(PRELOADED)
    daemon = make_daemon('--preload', 'preloaded', env=environment(str(tmp_path)))
    with daemon.connect() as first, daemon.connect() as second:
        for conn in (first, second):
            assert conn.call(deadly.has_module, 'preloaded')
            assert conn.call(deadly.get_global, 'preloaded', 'pid') == daemon.find_zygote()
            assert memory(conn.call(os.getpid)) > 64 << 20
            rollup = conn.call(deadly.read_own, 'smaps_rollup')
            private = sum(int(kib) for kib in re.findall('^Private_.*: +([0-9]+) kB$', rollup, re.MULTILINE))
            assert private < 16 << 10


# ---- random generators ----

SAMPLES = 4


def collect_random_numbers(daemon):
    """One value of each generator, from several workers at a time."""
    conns = [daemon.connect() for _ in range(SAMPLES)]
    try:
        return [conn.call(deadly.make_random_numbers) for conn in conns]
    finally:
        for conn in conns:
            conn.close()


def check_random_numbers(samples):
    for name in samples[0]:
        values = [sample[name] for sample in samples]
        assert len(set(values)) == SAMPLES, '{}: {}'.format(name, values)


def test_random_generators_differ_between_workers(make_daemon):
    daemon = make_daemon('--preload', 'random', '--preload=uuid', '--preload=ssl', spare=SAMPLES)
    check_random_numbers(collect_random_numbers(daemon))


def test_generators_that_were_used_before_the_fork_differ_between_workers(make_daemon, tmp_path):
    """Whatever a module drew while it was preloaded."""
    (tmp_path / 'preloaded.py').write_text(
        'import random, ssl, uuid\nrandom.random(), ssl.RAND_bytes(1), uuid.uuid1(), uuid.uuid4()\n'
    )
    daemon = make_daemon('--preload', 'preloaded', env=environment(str(tmp_path)))
    check_random_numbers(collect_random_numbers(daemon))


@pytest.mark.in_venv
def test_the_generator_of_numpy_differs_between_workers(make_daemon):
    pytest.importorskip('numpy')
    daemon = make_daemon('--preload', 'numpy')
    samples = collect_random_numbers(daemon)
    assert all('numpy' in sample for sample in samples)
    check_random_numbers(samples)


# ---- signals ----


def read_signals(conn, folder):
    """The sets of signals of the process or thread that serves this call."""
    text = conn.call(deadly.read_own, folder + 'status')
    return {
        name: {number for number in range(1, 65) if int(bits, 16) >> (number - 1) & 1}
        for name, bits in re.findall('^(Sig[A-Z][a-z]+):\t([0-9a-f]+)$', text, re.MULTILINE)
    }


def test_signals_are_as_in_any_python(make_daemon, isolation):
    """Nothing is blocked and nothing is caught; Python itself ignores those that are errors of write()."""
    daemon = make_daemon(isolation=isolation)
    conns = [daemon.connect() for _ in range(6)]
    try:
        for conn in conns:
            for folder in ('', '../thread-self/'):
                signals = read_signals(conn, folder)
                assert signals['SigBlk'] == set()
                assert signals['SigIgn'] == {signal.SIGPIPE, signal.SIGXFSZ}
                assert {number for number in signals['SigCgt'] if number < 32} == set()
            assert conn.call(signal.getsignal, signal.SIGTERM) == signal.SIG_DFL
            assert conn.call(signal.getsignal, signal.SIGPIPE) == signal.SIG_IGN
    finally:
        for conn in conns:
            conn.close()


def test_no_signal_is_blocked_in_any_call_or_its_children(make_daemon, isolation):
    """However many threads there are: the engine starts them as they are needed."""
    daemon = make_daemon(isolation=isolation)
    with daemon.connect() as conn, concurrent.futures.ThreadPoolExecutor(20) as executor:
        calls = [executor.submit(conn.call, deadly.find_blocked_signals) for _ in range(20)]
        assert {call.result(LIMIT) for call in calls} == {('SigBlk:\t0000000000000000', 'SigBlk:\t0000000000000000')}


# ---- descriptors ----


def test_workers_have_only_their_own_descriptors(make_daemon):
    """The same ones whoever else is connected; and no listening socket among them."""
    daemon = make_daemon(spare=2)
    with daemon.connect() as first:
        alone = [text.partition(':')[0] for _, text in sorted(first.call(deadly.list_own_fds).items())]
        with daemon.connect() as second, daemon.connect() as third:
            for conn in (second, third):
                found = conn.call(deadly.list_own_fds)
                assert [text.partition(':')[0] for _, text in sorted(found.items())] == alone
            assert conn.call(deadly.count_listening_sockets) == 0
            sockets = [set(conn.call(deadly.list_own_fds).values()) for conn in (first, second, third)]
            ours = [{text for text in found if text.startswith('socket:')} for found in sockets]
            assert all(len(found) == 2 for found in ours)  # to the client, and to the supervisor
            assert len(set.union(*ours)) == 6


def test_children_of_calls_have_only_the_standard_descriptors(make_daemon, isolation):
    daemon = make_daemon(isolation=isolation)
    with daemon.connect() as conn, daemon.connect():
        assert conn.call(deadly.list_fds_of_child) == ['0', '1', '2']


# ---- sessions ----


def test_workers_lead_sessions_of_their_own(daemon):
    with daemon.connect() as first, daemon.connect() as second:
        sessions = [conn.call(os.getsid, 0) for conn in (first, second)]
        assert sessions == [conn.call(os.getpid) for conn in (first, second)]


def test_a_worker_takes_the_priority_of_being_killed_first(daemon):
    """When the host runs out of memory, one worker had better go than all of them with their supervisor."""
    with daemon.connect() as conn:
        assert int(conn.call(deadly.read_own, 'oom_score_adj')) > 0


def test_the_supervisor_and_zygote_have_one_thread(daemon):
    assert count_threads(daemon.process.pid) == count_threads(daemon.find_zygote()) == 1


# ---- pools of processes ----

POOL = """
import concurrent.futures, math, multiprocessing

with concurrent.futures.ProcessPoolExecutor(2) as pool:
    roots = list(pool.map(math.sqrt, [1, 4, 9]))
multiprocessing.get_start_method(), roots
"""


def test_a_call_may_use_a_pool_of_processes(daemon):
    """With the default start method, which is forkserver from Python 3.14 on. What it starts ends with the worker."""
    with daemon.connect() as conn:
        method, roots = conn.execute(POOL)
        assert roots == [1, 2, 3]
        assert method == ('fork' if sys.version_info < (3, 14) else 'forkserver')


# ---- a failing start ----


def start_with_preload(folder, source):
    (folder / 'preloaded.py').write_text(source)
    options = ['--listen', 'unix:{}/socket'.format(folder), '--preload', 'preloaded']
    return subprocess.run(
        [ACROSSD, *options], input='', capture_output=True, env=environment(str(folder)), timeout=LIMIT, text=True
    )


def test_a_preload_that_raises_stops_the_start_with_its_traceback(tmp_path):
    result = start_with_preload(tmp_path, 'def load():\n    raise ValueError("not today")\nload()\n')
    assert result.returncode == 1 and 'listening' not in result.stderr
    assert re.search('preloaded.py", line 2, in load\n.*\n(.*\n)?ValueError: not today\n', result.stderr), result.stderr
    assert not (tmp_path / 'socket').exists()


@pytest.mark.parametrize(
    'source, how',
    [
        ('import os; os._exit(3)', 'exited with status 3'),
        ('import os; os.kill(os.getpid(), 9)', 'was killed by signal 9 [(]Killed[)]'),
    ],
    ids=['exit', 'kill'],
)
def test_a_zygote_that_dies_at_the_start_stops_it(tmp_path, source, how):
    result = start_with_preload(tmp_path, source)
    assert result.returncode == 1
    assert re.search('the zygote, process [0-9]+, {}\n'.format(how), result.stderr), result.stderr
    assert not (tmp_path / 'socket').exists()
