# SPDX-License-Identifier: MIT
"""Modules that are exported to and by the plain package across 0.1.0."""

import importlib.machinery
import os
import sys
import textwrap
import zipfile

import pytest

from . import daemon as daemons
from .exports import BEGINNING, FOUND, OURS, PACKAGE, RESOURCES, SHOP, make_main, run_program, write

# What both packages have, beside what they connect with.
COMMON = (
    BEGINNING
    + """
RESOURCES = {!r}
FOUND = {!r}

def check_exporting(conn):
    import shop
    conn.export('shop', 'space')
    assert conn.call(shop.price, 'fig') == shop.prices.Price(30)
    assert conn.call(shop.prices.Price(2).double) == shop.prices.Price(4)
    try:
        conn.call(shop.prices.fail)
    except shop.prices.TooHigh:
        text = traceback.format_exc()
        assert "raise TooHigh('of everything')" in text and 'prices.py*", line 20, in fail' in text, text
    assert conn.execute('import space.inner.deep as deep; deep.value') == 3
    try:
        conn.execute('import shop.nothing')
    except ModuleNotFoundError as error:
        assert 'shop.nothing' in str(error)
    else:
        raise AssertionError('it does not exist')
    try:
        conn.export('os')
    except ValueError as error:
        assert 'already imported' in str(error)
    else:
        raise AssertionError('it is imported already')
    try:
        conn.execute('import shop.native')
    except (ImportError, ValueError) as error:
        assert 'ource' in str(error), error
    else:
        raise AssertionError('it is no source')

def check_importing(conn):
    conn.execute('import sys; sys.path.insert(0, folder)', folder=os.path.abspath('theirs'))
    conn.execute(EXPORT, names=['shop', 'space'])
    import shop
    assert shop.price('fig').amount == 30 and shop.__file__.endswith('*')
    assert conn.call(shop.prices.Price(1).double) == shop.prices.Price(2)
    try:
        shop.prices.fail()
    except shop.prices.TooHigh:
        assert "raise TooHigh('of everything')" in traceback.format_exc()
    must_fail(ModuleNotFoundError, 'import shop.nothing')
    import space.inner.deep
    assert space.inner.deep.value == 3
    error = must_fail(Exception, 'import shop.native')
    assert 'ource' in str(error), error
    return error

def check_resources():
    source, _, value = RESOURCES.rpartition('\\n{{\\n')
    scope = {{}}
    exec(source + '\\nfound = {{\\n' + value, scope)
    assert scope['found'] == FOUND, scope['found']
""".format(RESOURCES, FOUND)
)
SERVER = """
import across
with across.Connection.from_stdio(options=across.Options(accept_exported_modules=True)) as conn:
    conn.wait()
"""


@pytest.fixture(params=['unix', 'tcp', 'stdio'])
def address(request):
    """Where acrossd is; as arguments of connect() in the programs."""
    if request.param == 'stdio':
        return 'from_command({!r})'.format([daemons.ACROSSD, '--stdio'])
    listen = ['tcp:127.0.0.1:0'] if request.param == 'tcp' else None
    kind, _, rest = request.getfixturevalue('make_daemon')(listen=listen).addresses[0].partition(':')
    if kind == 'unix':
        return 'from_unix({!r})'.format(rest)
    return 'from_tcp({!r}, {})'.format(rest.rpartition(':')[0], rest.rpartition(':')[2])


def run(folder, package, text):
    (folder / 'program.py').write_text(COMMON + textwrap.dedent(text) + "\nprint('ok')\n")
    run_program(folder, 'program.py', package=package)


def write_modules(folder):
    write(folder, {**SHOP, 'space/inner/deep.py': 'value = 3\n'})
    write(folder, {'shop/native' + importlib.machinery.EXTENSION_SUFFIXES[0]: b''})


def test_acrossd_imports_modules_of_a_plain_client(plain_across, tmp_path, address):
    write_modules(tmp_path)
    text = (
        'with across.Connection.{} as conn:\n    check_exporting(conn)\n    assert conn.execute(RESOURCES) == FOUND\n'
    )
    run(tmp_path, plain_across, text.format(address))


def test_a_plain_client_imports_modules_of_acrossd(plain_across, tmp_path, address):
    write_modules(tmp_path / 'theirs')
    options = 'options=across.Options(accept_exported_modules=True)'
    text = 'with across.Connection.{}, {}) as conn:\n    assert isinstance(check_importing(conn), ImportError)\n'
    run(tmp_path, plain_across, text.format(address[:-1], options))


def plain_server(plain_across, folder, **options):
    """An expression that connects a program of this package to a plain server that it starts."""
    (folder / 'server.py').write_text(SERVER)
    process = (
        "subprocess.Popen([sys.executable, 'server.py'], stdin=-1, stdout=-1, env=dict(os.environ, PYTHONPATH={!r}))"
    )
    options = ', '.join('{}={!r}'.format(*item) for item in {'protocol_version': (0, 1), **options}.items())
    return 'across.Connection.from_process({}, options=across.Options({}))'.format(
        process.format(os.pathsep.join([plain_across, os.path.dirname(os.path.dirname(__file__))])), options
    )


def test_a_plain_server_imports_modules(plain_across, tmp_path):
    write_modules(tmp_path)
    text = 'with {} as conn:\n    check_exporting(conn)\n'
    run(tmp_path, OURS, text.format(plain_server(plain_across, tmp_path)))


def test_modules_of_a_plain_server_are_imported(plain_across, tmp_path):
    write_modules(tmp_path / 'theirs')
    text = 'with {} as conn:\n    assert isinstance(check_importing(conn), ImportError)\n    check_resources()\n'
    run(tmp_path, OURS, text.format(plain_server(plain_across, tmp_path, accept_exported_modules=True)))


@pytest.mark.parametrize('args', [['single.py'], ['-m', 'single'], ['-m', 'plainly.run'], ['folder'], ['archive.zip']])
def test_acrossd_imports_the_main_module_of_a_plain_client(plain_across, daemon, tmp_path, args):
    write(tmp_path, PACKAGE)
    write(tmp_path, {'plainly/__init__.py': '', 'plainly/run.py': make_main()})
    write(tmp_path, {'folder/__main__.py': make_main('import beside', 'beside.value', ('beside',))})
    write(tmp_path, {'folder/beside.py': 'value = 5\n'})
    with zipfile.ZipFile(tmp_path / 'archive.zip', 'w') as archive:
        for name in ('__main__.py', 'beside.py'):
            archive.write(tmp_path / 'folder' / name, name)
    run_program(tmp_path, *args, daemon.addresses[0][5:], package=plain_across)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason='plain across needs ast.Str for that, which is gone')
def test_a_plain_server_imports_the_main_module(plain_across, tmp_path):
    text = make_main().replace('across.Connection.from_unix(sys.argv[1])', plain_server(plain_across, tmp_path))
    (tmp_path / 'program.py').write_text(text.replace('import sys\n', 'import subprocess\nimport sys\n', 1))
    run_program(tmp_path, 'program.py')
