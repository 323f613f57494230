# SPDX-License-Identifier: MIT
"""What `cmake --install` leaves: a daemon that finds its package, and manual pages that are true."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = os.environ.get('AX_BUILD_DIR', '')
PAGES = ['share/man/man1/acrossd.1', 'share/man/man5/acrossd.conf.5']

pytestmark = pytest.mark.skipif(not BUILD, reason='AX_BUILD_DIR does not name a build of acrossd')


def install(*args, **env):
    subprocess.run(
        ['cmake', '--install', BUILD, *args], check=True, stdout=subprocess.DEVNULL, env={**os.environ, **env}
    )


@pytest.fixture(scope='module')
def prefix(tmp_path_factory):
    folder = tmp_path_factory.mktemp('prefix')
    install('--prefix', str(folder))
    return folder


def print_help(prefix):
    return subprocess.run([prefix / 'bin/acrossd', '--help'], check=True, stdout=subprocess.PIPE, text=True).stdout


def test_client_and_daemon(prefix):
    """Both use the installed package, which the client finds by PYTHONPATH, and acrossd by itself."""
    source = """
import sys, across
def where():
    return sys.modules['across'].__file__
with across.Connection.from_command([sys.argv[1], '--stdio']) as conn:
    print(across.engine, across.__file__, conn.execute('__import__("across").__file__'))
"""
    package = prefix / 'lib/acrossd/python'
    env = {name: value for name, value in os.environ.items() if not name.startswith('PYTHON')}
    command = [sys.executable, '-c', source, str(prefix / 'bin/acrossd')]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env={**env, 'PYTHONPATH': str(package)}, timeout=60
    )
    engine, *files = done.stdout.split()
    assert engine == 'native'
    assert [os.path.realpath(file) for file in files] == [str(package.resolve() / 'across/__init__.py')] * 2


def test_destdir_is_honoured(tmp_path):
    install('--prefix', '/usr', DESTDIR=str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {'etc', 'usr'}
    for name in ['usr/bin/acrossd', 'usr/lib/systemd/system/acrossd.service', 'etc/default/acrossd', 'usr/' + PAGES[0]]:
        assert (tmp_path / name).is_file()


def test_everything_of_the_package_is_installed(prefix):
    sources, installed = ROOT / 'python', prefix / 'lib/acrossd/python'
    expected = {path.relative_to(sources) for path in (sources / 'across').rglob('*.py')}
    assert {path.relative_to(installed) for path in installed.rglob('*.py')} == expected


def test_pages_name_no_unknown_option(prefix):
    known = set(re.findall(r'--[a-z][a-z-]+', print_help(prefix)))
    for page in PAGES:
        text = (prefix / page).read_text().replace('\\-', '-')
        options = set(re.findall(r'--[a-z][a-z-]+', text))
        assert options and options <= known


def test_example_of_the_file_is_valid(prefix, tmp_path):
    example = (prefix / PAGES[1]).read_text().split('.nf\n')[1].split('.fi\n')[0].replace('\\-', '-')
    # Its group and its module need not be there.
    lines = [line for line in example.splitlines() if not re.match('socket-group|preload', line)]
    assert len(lines) == len(example.splitlines()) - 2
    (tmp_path / 'acrossd.conf').write_text('\n'.join(lines))
    command = [prefix / 'bin/acrossd', '--config', tmp_path / 'acrossd.conf', '--check-config']
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert (done.returncode, done.stdout) == (0, 'the configuration is good\n')


@pytest.mark.skipif(not shutil.which('groff'), reason='groff is not installed')
@pytest.mark.parametrize('page', PAGES)
def test_pages_are_well_formed(prefix, page):
    env = {name: value for name, value in os.environ.items() if name != 'LD_PRELOAD'}  # no sanitizer's runtime
    done = subprocess.run(['groff', '-ww', '-man', '-Tascii', prefix / page], check=True, capture_output=True, env=env)
    assert done.stderr == b''
    assert done.stdout.count(b'acrossd') > 3
