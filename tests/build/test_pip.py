# SPDX-License-Identifier: MIT
"""What `pip install .` makes: the package for clients alone, complete, in an environment that has nothing else."""

import os
import pathlib
import re
import subprocess
import sys
import venv
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = os.environ.get('AX_BUILD_DIR', '')

pytestmark = pytest.mark.xdist_group('pip')  # one wheel and one environment for all


def pip(python, *args):
    command = [str(python), '-m', 'pip', '--disable-pip-version-check', '--no-input', *map(str, args)]
    subprocess.run(command, check=True, env=bare_environment())


def bare_environment():
    """No path to the package of a build folder, and no sanitizer's runtime for compilers."""
    return {name: value for name, value in os.environ.items() if not name.startswith(('PYTHON', 'LD_PRELOAD'))}


@pytest.fixture(scope='session')
def wheel(tmp_path_factory):
    """Built by the tests' own environment, which has the build backend: no network is needed."""
    folder = tmp_path_factory.mktemp('wheel')
    pip(sys.executable, 'wheel', '--no-build-isolation', '--no-index', '--no-deps', '--wheel-dir', folder, ROOT)
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope='session')
def environment(tmp_path_factory, wheel):
    """A new virtual environment with the wheel."""
    folder = tmp_path_factory.mktemp('environment')
    venv.create(folder, with_pip=True, symlinks=True)
    pip(folder / 'bin/python', 'install', '--no-index', wheel)
    return folder


@pytest.fixture
def run(environment, tmp_path):
    """Runs a program in that environment, and returns what it prints."""

    def run(source, *args):
        command = [str(environment / 'bin/python'), '-I', '-c', source, *map(str, args)]
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=bare_environment(), timeout=60
        )
        return done.stdout.strip()

    return run


def test_wheel_holds_the_package_alone(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = ROOT / 'python'
    modules = {str(path.relative_to(sources)) for path in (sources / 'across').rglob('*.py')}
    assert modules <= names
    assert {'across/py.typed', 'across/_across.pyi'} <= names
    others = {name for name in names - modules if not re.match(r'acrossd-[0-9.]+\.dist-info/', name)}
    pattern = r'across/(py\.typed|_across\.pyi|_across\..*\.so|libuv\.so\.1)'
    assert [name for name in others if not re.fullmatch(pattern, name)] == []


def test_engine_is_native(run, environment):
    engine, path = run('import across; print(across.engine, across.__file__)').split()
    assert engine == 'native'
    assert pathlib.Path(path).is_relative_to(environment)


def test_brings_its_libuv(run, environment):
    maps = run('import across\nfor line in open("/proc/self/maps"): print(line.split()[-1])').splitlines()
    extensions = {path for path in maps if os.path.basename(path).startswith('_across.')}
    assert len(extensions) == 1
    outside = {path for path in maps if 'libuv' in os.path.basename(path)} - {
        str(path) for path in environment.rglob('libuv.so.1')
    }
    assert outside == set()


def test_versions_agree(run):
    package, distribution = run(
        'import across, importlib.metadata as metadata; print(across.__version__, metadata.version("acrossd"))'
    ).split()
    assert package == distribution
    assert re.search(r'project\(acrossd VERSION ([0-9.]+)', (ROOT / 'CMakeLists.txt').read_text()).group(1) == package


@pytest.mark.skipif(not BUILD, reason='AX_BUILD_DIR does not name a build of acrossd')
def test_calls_acrossd(run, tmp_path):
    daemon = subprocess.Popen(
        [os.path.join(BUILD, 'acrossd'), '--listen', 'unix:{}/socket'.format(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        env=bare_environment(),
    )
    try:
        assert daemon.stderr.readline() == 'listening on unix:{}/socket\n'.format(tmp_path)
        source = """
import os, sys, across
with across.Connection.from_unix(sys.argv[1]) as conn:
    remote = conn.create(dict, {'here': os.getpid()})
    words = conn.call(sorted, ['b', 'A'], key=across.Local(lambda word: word.lower()))
    print(conn.call(os.getpid), *words, remote['here'] == os.getpid())
"""
        pid, *rest = run(source, tmp_path / 'socket').split()
        assert int(pid) not in (daemon.pid, os.getpid())
        assert rest == ['A', 'b', 'True']
    finally:
        daemon.terminate()
        lines = daemon.communicate(timeout=60)[1]
    assert (daemon.returncode, lines) == (0, '')


def test_uninstalls_completely(wheel, tmp_path):
    venv.create(tmp_path / 'venv', with_pip=True, symlinks=True)
    python = tmp_path / 'venv/bin/python'
    before = set((tmp_path / 'venv').rglob('*'))
    pip(python, 'install', '--no-index', wheel)
    subprocess.run([str(python), '-I', '-c', 'import across'], check=True, env=bare_environment())
    pip(python, 'uninstall', '--yes', 'acrossd')
    after = {path for path in set((tmp_path / 'venv').rglob('*')) - before if '__pycache__' not in path.parts}
    assert after == set()
