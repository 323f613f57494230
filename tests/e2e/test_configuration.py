# SPDX-License-Identifier: MIT
"""Where acrossd takes its settings from, and where its calls run: files, variables, environments, folders, users."""

import os
import pwd
import re
import signal
import stat
import subprocess
import sys
import sysconfig
import venv

import pytest

import across

from . import remote_tasks as tasks
from .daemon import ACROSSD, LOG, RunningCall, environment
from .test_daemon import check_failure, run_acrossd
from .test_limits import open_folder, powerless_command  # noqa: F401 - a fixture is used by its name
from .users import open_acrossd, open_environment
from .waiting import LIMIT, children, wait_until

both_modes = pytest.mark.parametrize('isolation', ['process', 'shared'])
RELOADED = LOG + 'reloaded: new connections get new workers'


def run_with(*options, variables=None, command=(ACROSSD,)):
    """Run acrossd where it is to end by itself, with further variables."""
    return subprocess.run(
        [*command, *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=dict(environment(), **(variables or {})),
        timeout=LIMIT,
        text=True,
    )


def read_settings(text):
    """The settings of a file as --print-config prints it, and where each comes from."""
    settings = {}
    source = None
    for line in text.splitlines():
        if line.startswith('# '):
            source = line[2:]
        elif line:
            name, _, value = line.partition(' = ')
            settings.setdefault(name, ([], source))[0].append(value)
    return {name: (' '.join(values), source) for name, (values, source) in settings.items()}


def print_config(*options, variables=None, command=(ACROSSD,)):
    result = run_with('--print-config', *options, variables=variables, command=command)
    assert (result.returncode, result.stderr) == (0, '')
    return result.stdout


@pytest.fixture
def config(tmp_path):
    """The file of the test's daemon."""
    return tmp_path / 'acrossd.conf'


# ---- where settings come from ----


def test_each_level_goes_before_the_ones_below(config):
    config.write_text('# a comment\ngrace = 3\n')
    name = ['--config', str(config)]
    variables = {'ACROSSD_GRACE': '4'}
    assert read_settings(print_config('--config', '/dev/null'))['grace'] == ('10', 'default')
    assert read_settings(print_config(*name))['grace'] == ('3', '{}:2'.format(config))
    assert read_settings(print_config(*name, variables=variables))['grace'] == ('4', 'environment')
    settings = read_settings(print_config(*name, '--grace', '5', variables=variables))
    assert settings['grace'] == ('5', 'command line')


@both_modes
def test_calls_run_with_the_settings_of_every_level(make_daemon, tmp_path, config, isolation):
    folders = [tmp_path / name for name in ('file', 'variable', 'option')]
    for folder in folders:
        folder.mkdir()
    config.write_text('chdir = {}\npreload = colorsys\npreload = chunk_of_file\n'.format(folders[0]))
    (tmp_path / 'chunk_of_file.py').write_text('')
    env = environment(str(tmp_path))
    options = ['--config', str(config)]
    for index, folder in enumerate(folders):
        if index == 1:
            env['ACROSSD_CHDIR'] = str(folder)
        elif index == 2:
            options += ['--chdir', str(folder)]
        daemon = make_daemon(*options, isolation=isolation, env=env)
        with daemon.connect() as conn:
            assert conn.call(os.getcwd) == os.path.realpath(str(folder))
            assert conn.execute('import sys\n"colorsys" in sys.modules and "chunk_of_file" in sys.modules')


def test_a_file_may_say_everything(tmp_path, config):
    path = tmp_path / 'socket'
    config.write_text('listen = unix:{}\nisolation = shared\nsocket-mode = 640\nverbose = no\n'.format(path))
    process = subprocess.Popen(
        [ACROSSD], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=dict(environment(), ACROSSD_CONFIG=str(config))
    )
    with process:
        try:
            assert process.stderr.readline() == 'listening on unix:{}\n'.format(path).encode()
            assert stat.S_IMODE(os.stat(str(path)).st_mode) == 0o640
        finally:
            process.terminate()
        assert process.wait(LIMIT) == 0


def test_lists_are_replaced_as_a_whole(config):
    config.write_text('preload = one\npreload = two\n')
    name = ['--config', str(config)]
    assert read_settings(print_config(*name))['preload'] == ('one two', '{}:1'.format(config))
    variables = {'ACROSSD_PRELOAD': 'three four'}
    assert read_settings(print_config(*name, variables=variables))['preload'][0] == 'three four'
    assert read_settings(print_config(*name, '--preload', 'five', variables=variables))['preload'][0] == 'five'


@pytest.mark.parametrize('variable', ['XDG_CONFIG_HOME', 'HOME'])
def test_a_user_has_a_file_without_naming_it(open_folder, variable):  # noqa: F811
    folder = os.path.join(open_folder, '.config' if variable == 'HOME' else '', 'acrossd')
    os.makedirs(folder)
    file = os.path.join(folder, 'acrossd.conf')
    with open(file, 'w') as stream:
        stream.write('grace = 3\n')
    variables = {'XDG_CONFIG_HOME': '', variable: open_folder}
    settings = read_settings(print_config(variables=variables, command=powerless_command()))
    assert settings['grace'] == ('3', file + ':1')


def test_what_is_printed_is_a_file_with_the_same_meaning(tmp_path, config):
    (tmp_path / 'a folder ').mkdir()
    options = ['--listen', 'unix:{}/s'.format(tmp_path), '--listen', 'tcp:127.0.0.1:0', '--isolation', 'shared']
    options += ['--preload', 'colorsys', '--preload', 'csv', '--grace', '0.25', '--timeout', 'none', '--verbose']
    options += ['--max-message', '3M', '--worker-memory', '2G', '--socket-mode', '640', '--socket-group', '0']
    options += ['--spare-workers', '3', '--max-connections', '9', '--chdir', str(tmp_path / 'a folder ')]
    first = print_config(*options)
    config.write_text(first)
    second = print_config('--config', str(config))
    values = [{name: value for name, (value, _) in read_settings(text).items()} for text in (first, second)]
    assert values[0] == values[1]
    assert (values[0]['grace'], values[0]['timeout'], values[0]['verbose']) == ('0.250', 'none', 'yes')
    assert values[0]['chdir'] == '"{}/a folder "'.format(tmp_path)
    sources = [source for _, source in read_settings(second).values()]
    assert all(source.startswith(str(config)) for source in sources)


# ---- mistakes ----


@pytest.mark.parametrize(
    ('text', 'line', 'pattern'),
    [
        ('# fine\n\ngracee = 3\n', 3, 'there is no setting gracee: did you mean grace[?]'),
        ('frobnicate = yes\n', 1, 'there is no setting frobnicate'),
        ('grace = 3\nlisten = unix:x\ngrace = 4\n', 3, 'grace is set on line 1 already'),
        ('grace = soon\n', 1, 'is no time: write seconds'),
        ('grace\n', 1, '"grace" is no setting: write NAME = VALUE'),
        ('[server]\n', 1, '"\\[server\\]" is no setting: write NAME = VALUE'),
        ('grace = 3 # seconds\n', 1, 'is no time: write seconds'),
        ('config = other.conf\n', 1, 'there is no setting config'),
        ('check-config = yes\n', 1, 'there is no setting check-config'),
        ('role = zygote\n', 1, 'there is no setting role'),
    ],
)
@pytest.mark.parametrize('check', [False, True], ids=['serve', 'check'])
def test_a_mistake_in_the_file_is_named_with_its_line(tmp_path, config, text, line, pattern, check):
    config.write_text(text)
    options = ['--config', str(config), '--listen', 'unix:{}/socket'.format(tmp_path)]
    result = run_acrossd(*options, *(['--check-config'] if check else []))
    check_failure(result, 2, '{}:{}: .*{}'.format(re.escape(str(config)), line, pattern))
    assert not (tmp_path / 'socket').exists()


@pytest.mark.parametrize(
    ('variables', 'pattern'),
    [
        ({'ACROSSD_GRACEE': '3'}, 'there is no setting ACROSSD_GRACEE: did you mean ACROSSD_GRACE[?]'),
        ({'ACROSSD_GRACE': 'soon'}, 'is no time: write seconds'),
        ({'ACROSSD_CONFIG': '/nonexistent/file'}, 'the configuration file /nonexistent/file cannot be read'),
    ],
)
def test_a_mistake_in_the_environment_is_named(tmp_path, variables, pattern):
    result = run_with('--listen', 'unix:{}/socket'.format(tmp_path), variables=variables)
    check_failure(result, 2, pattern)
    assert os.listdir(str(tmp_path)) == []


@pytest.mark.parametrize(
    ('options', 'pattern'),
    [
        ([], 'nowhere to listen'),
        (['--listen', 'unix:x', '--venv', '/nonexistent'], 'is no virtual environment'),
        (['--listen', 'unix:x', '--chdir', '/nonexistent'], 'write the name of a folder'),
        (['--listen', 'unix:x', '--allow-uid', 'no-such-name'], 'this system has no user "no-such-name"'),
        (['--listen', 'unix:x', '--allow-gid', 'no-such-name'], 'this system has no group "no-such-name"'),
        (['--listen', 'unix:x', '--user', 'no-such-name'], 'this system has no user "no-such-name"'),
        (['--listen', 'unix:x', '--config', '/'], 'the configuration file / is no file'),
    ],
)
def test_what_would_fail_later_fails_the_check(tmp_path, monkeypatch, options, pattern):
    monkeypatch.chdir(tmp_path)
    check_failure(run_acrossd('--check-config', *options), 2, pattern)
    assert os.listdir(str(tmp_path)) == []


def test_a_good_configuration_is_said_to_be_good(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run_acrossd('--check-config', '--listen', 'unix:x', '--user', str(os.geteuid()), '--preload', 'anything')
    assert (result.returncode, result.stdout, result.stderr) == (0, 'the configuration is good\n', '')
    assert os.listdir(str(tmp_path)) == []


# ---- reading it again ----


def reload(daemon):
    daemon.process.send_signal(signal.SIGHUP)
    daemon.expect(RELOADED)


def forget_old_workers(daemon):
    """After a reload, the daemon's zygote and workers are others; its sockets and descriptors are as many as before."""
    wait_until(lambda: len(daemon.workers()) == 1, 'the end of old workers')
    if daemon.worker:
        daemon.worker = daemon.find_worker()
        with daemon.connect() as conn:
            conn.call(os.getpid)
        daemon.stop(check=False)


@both_modes
def test_a_reload_brings_new_settings_and_new_code_to_new_connections(make_daemon, tmp_path, config, isolation):
    code = tmp_path / 'reloaded_code.py'
    code.write_text('answer = 1\n')
    config.write_text('preload = reloaded_code\n')
    daemon = make_daemon('--config', str(config), isolation=isolation, env=environment(str(tmp_path)))
    zygote = daemon.find_zygote()
    ask = 'import sys\n"colorsys" in sys.modules, sys.modules["reloaded_code"].answer, __import__("os").getpid()'
    with daemon.connect() as old:
        before = old.execute(ask)
        assert before[:2] == (False, 1)
        call = RunningCall(old)
        code.write_text('answer = 2\n')
        config.write_text('preload = colorsys\npreload = reloaded_code\n')
        reload(daemon)
        with daemon.connect() as new:
            after = new.execute(ask)
            assert after[:2] == (True, 2)
            assert after[2] != before[2]
            assert old.execute(ask) == before
            assert call.release() is True
    assert daemon.find_zygote() != zygote
    forget_old_workers(daemon)


@both_modes
@pytest.mark.parametrize(
    ('text', 'pattern'),
    [
        ('grace = 3\npreloaad = csv\n', 'cannot reload: {}:2: there is no setting preloaad.*'),
        ('venv = /nonexistent\n', 'cannot reload: .*is no virtual environment.*'),
        (None, 'cannot reload: the configuration file {} cannot be read: .*'),
    ],
    ids=['unknown', 'venv', 'gone'],
)
def test_a_broken_file_changes_nothing(make_daemon, config, isolation, text, pattern):
    config.write_text('preload = colorsys\n')
    daemon = make_daemon('--config', str(config), isolation=isolation)
    zygote = daemon.find_zygote()
    with daemon.connect() as conn:
        pid = conn.call(os.getpid)
        config.unlink()
        if text is not None:
            config.write_text(text)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.expect(LOG + pattern.format(re.escape(str(config))))
        assert conn.call(os.getpid) == pid
    assert daemon.find_zygote() == zygote
    with daemon.connect() as conn:
        assert conn.execute('import sys\n"colorsys" in sys.modules')


@both_modes
def test_a_module_that_fails_changes_nothing_until_it_is_mended(make_daemon, tmp_path, config, isolation):
    code = tmp_path / 'sometimes_broken.py'
    code.write_text('answer = 1\n')
    config.write_text('preload = sometimes_broken\n')
    daemon = make_daemon('--config', str(config), isolation=isolation, env=environment(str(tmp_path)))
    zygote = daemon.find_zygote()
    code.write_text('raise RuntimeError("not today")\n')
    daemon.process.send_signal(signal.SIGHUP)
    daemon.expect('RuntimeError: not today')
    daemon.expect(LOG + 'the reload failed: new connections get workers as before')
    daemon.expect('Traceback [(]most recent call last[)]:')
    daemon.allow_lines('  .*|' + LOG + '.*for the reason above')
    wait_until(lambda: children(daemon.process.pid) == [zygote], 'the end of the failed zygote')
    with daemon.connect() as conn:
        assert conn.execute('import sometimes_broken\nsometimes_broken.answer') == 1
    code.write_text('answer = 3\n')
    reload(daemon)
    with daemon.connect() as conn:
        assert conn.execute('import sometimes_broken\nsometimes_broken.answer') == 3
    forget_old_workers(daemon)


def test_several_signals_lead_to_the_newest_settings(make_daemon, tmp_path, config):
    config.write_text('')
    daemon = make_daemon('--config', str(config), isolation='process')
    for number in range(5):
        config.write_text('chdir = {}\n'.format(tmp_path if number == 4 else '/'))
        daemon.process.send_signal(signal.SIGHUP)
    daemon.expect(RELOADED)
    wanted = os.path.realpath(str(tmp_path))

    def is_reached():
        with daemon.connect() as conn:
            return conn.call(os.getcwd) == wanted

    wait_until(is_reached, 'the newest settings')
    daemon.allow_lines(RELOADED)


# ---- where calls run ----


def python_version():
    return re.search(r'Python (3\.[0-9]+)', run_acrossd('--version').stdout).group(1)


def make_venv(folder):
    """An environment for acrossd's Python, with a package that is nowhere else."""
    if python_version() != '{}.{}'.format(*sys.version_info):
        pytest.skip('the tests run on another Python than acrossd, and make no environment for it')
    venv.create(str(folder), symlinks=True)
    packages = sysconfig.get_path(
        'purelib',
        'venv' if sys.version_info >= (3, 11) else 'posix_prefix',
        {'base': str(folder), 'platbase': str(folder), 'installed_base': str(folder)},
    )
    os.makedirs(os.path.join(packages, 'only_there'))
    with open(os.path.join(packages, 'only_there', '__init__.py'), 'w') as file:
        file.write('import sys\n\ndef where():\n    return sys.prefix\n')


@both_modes
def test_packages_of_a_venv_can_be_imported(make_daemon, tmp_path, isolation):
    make_venv(tmp_path / 'venv')
    daemon = make_daemon('--venv', str(tmp_path / 'venv'), isolation=isolation)
    with daemon.connect() as conn:
        assert conn.execute('import only_there\nonly_there.where()') == str(tmp_path / 'venv')
        executable = conn.execute('import sys\nsys.executable')
        assert executable == str(tmp_path / 'venv' / 'bin' / 'python')
        assert conn.execute('import subprocess, sys\nsubprocess.call([sys.executable, "-c", "import only_there"])') == 0
    plain = make_daemon(isolation=isolation)
    with plain.connect() as conn, pytest.raises(ModuleNotFoundError):
        conn.execute('import only_there')


def test_a_venv_in_the_file_is_read_again(make_daemon, tmp_path, config):
    config.write_text('')
    daemon = make_daemon('--config', str(config), isolation='process')
    make_venv(tmp_path / 'venv')
    config.write_text('venv = {}\npreload = only_there\n'.format(tmp_path / 'venv'))
    reload(daemon)
    with daemon.connect() as conn:
        assert conn.execute('import sys\nsys.modules["only_there"].where()') == str(tmp_path / 'venv')


def test_a_venv_of_another_python_is_refused(tmp_path):
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin' / 'python').write_text('')
    (tmp_path / 'pyvenv.cfg').write_text('home = /usr/bin\nversion = 3.6.9\n')
    result = run_acrossd('--listen', 'unix:{}/socket'.format(tmp_path), '--venv', str(tmp_path))
    version = re.escape(python_version())
    sentence = '--venv {} is of Python 3[.]6, and this acrossd runs Python {}: make one with python{} -m venv'
    check_failure(result, 2, sentence.format(re.escape(str(tmp_path)), version, version))
    assert not (tmp_path / 'socket').exists()


def test_a_folder_that_is_no_venv_is_refused(tmp_path):
    result = run_acrossd('--listen', 'unix:{}/socket'.format(tmp_path), '--venv', str(tmp_path))
    check_failure(result, 2, 'is no virtual environment: make one with python{} -m venv'.format(python_version()))


# ---- as whom calls run ----


def check_that_nobody_can_read():
    """Nobody needs the interpreter; on some systems it is in one of root's own folders."""
    nobody = pwd.getpwnam('nobody')
    with across.Connection.from_command([ACROSSD, '--stdio']) as conn:
        places = conn.execute('import os, sys\n[os.__file__, sys.executable]')
    user = {'user': nobody.pw_uid, 'group': nobody.pw_gid, 'extra_groups': []}
    for place in places:
        if subprocess.run(['test', '-r', os.path.realpath(place)], **user).returncode != 0:
            pytest.skip('nobody cannot read {}'.format(place))
    if subprocess.run([open_acrossd(), '--version'], stdout=subprocess.DEVNULL, **user).returncode != 0:
        pytest.skip('nobody cannot run acrossd')


@pytest.mark.skipif(os.geteuid() != 0, reason='only root may become somebody else')
@both_modes
def test_calls_run_as_another_user(make_daemon, open_folder, isolation):  # noqa: F811
    check_that_nobody_can_read()
    nobody = pwd.getpwnam('nobody')
    os.chown(open_folder, nobody.pw_uid, nobody.pw_gid)
    daemon = make_daemon(
        *('--user', 'nobody', '--chdir', open_folder),
        isolation=isolation,
        listen=['unix:{}/socket'.format(open_folder)],
        command=[open_acrossd()],
        env=open_environment(),
    )
    with daemon.connect() as conn:
        assert conn.call(os.getresuid) == (nobody.pw_uid,) * 3
        assert conn.call(os.getresgid) == (nobody.pw_gid,) * 3
        assert conn.call(os.getgroups) == os.getgrouplist('nobody', nobody.pw_gid)
        assert [conn.call(os.getenv, name) for name in ('HOME', 'USER', 'LOGNAME')] == [
            nobody.pw_dir,
            'nobody',
            'nobody',
        ]
        conn.execute('open("made", "w").close()')
        made = os.stat(os.path.join(open_folder, 'made'))
        assert (made.st_uid, made.st_gid) == (nobody.pw_uid, nobody.pw_gid)
        with pytest.raises(PermissionError):
            conn.call(os.setuid, 0)
        with pytest.raises(PermissionError):
            conn.execute('open("/proc/1/mem", "rb")')
        pid = conn.call(os.getpid)
        assert conn.call(tasks.run_command, 'test "$(id -u)" = {}'.format(nobody.pw_uid)) == 0
        assert os.stat('/proc/{}'.format(pid)).st_uid == nobody.pw_uid
    assert os.stat('/proc/{}'.format(daemon.process.pid)).st_uid == 0
    assert os.stat('/proc/{}'.format(daemon.find_zygote())).st_uid == nobody.pw_uid
    assert os.stat(os.path.join(open_folder, 'socket')).st_uid == 0


@pytest.mark.parametrize('check', [False, True], ids=['serve', 'check'])
def test_only_root_may_become_somebody_else(open_folder, check):  # noqa: F811
    os.chmod(open_folder, 0o777)
    options = ['--listen', 'unix:{}/socket'.format(open_folder), '--user', 'nobody']
    result = run_with(*options, *(['--check-config'] if check else []), command=powerless_command())
    check_failure(result, 2, 'only root may become user nobody, and acrossd runs as user [0-9]+')
    assert os.listdir(open_folder) == []


def test_the_user_that_acrossd_runs_as_already_needs_no_rights(make_daemon):
    daemon = make_daemon('--user', pwd.getpwuid(os.geteuid()).pw_name, isolation='process')
    with daemon.connect() as conn:
        assert conn.call(os.geteuid) == os.geteuid()
