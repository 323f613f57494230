# SPDX-License-Identifier: MIT
"""What one version of Python pickles is found by the others."""

import copy
import datetime
import importlib
import math
import os
import pathlib
import pickle
import re
import threading
import warnings
import zipfile

import pytest
from e2e.pythons import VERSIONS, find_python

import across

WARN = """
import warnings
with warnings.catch_warnings(record=True) as found:
    warnings.simplefilter('always')
    warnings.warn('w')
found
"""

# The names under which versions from 3.9 to 3.15 pickle what is public: found by comparing all of their public names.
NAMES = [
    ('pathlib._local', 'PosixPath', pathlib.PosixPath),
    ('pathlib._local', 'PurePosixPath', pathlib.PurePosixPath),
    ('pathlib._local', 'PureWindowsPath', pathlib.PureWindowsPath),
    ('pathlib', 'PosixPath', pathlib.PosixPath),
    ('zipfile._path', 'Path', zipfile.Path),
    ('_py_warnings', 'WarningMessage', warnings.WarningMessage),
    ('math.integer', 'factorial', math.factorial),
    ('math.integer', 'gcd', math.gcd),
    ('re', 'PatternError', re.error),
    ('re', 'error', re.error),
    ('re', 'prefixmatch', re.match),
    ('importlib._abc', 'Loader', importlib.import_module('importlib.abc').Loader),
]


def load_name(module, name):
    """Unpickle a global, as the C implementation of pickle looks for it."""
    data = b'\x80\x04' + b''.join(b'\x8c' + bytes([len(text)]) + text.encode() for text in (module, name)) + b'\x93.'
    return pickle.loads(data)


@pytest.mark.parametrize('module, name, value', NAMES)
def test_names_are_found_where_other_versions_have_them(module, name, value):
    assert load_name(module, name) is value


def test_functions_of_paths():
    assert load_name('posix', '_path_normpath')('/a/../b') == '/b'


def test_locks():
    assert load_name('_thread', 'lock')().acquire() is True
    assert type(load_name('_thread', 'allocate_lock')()) is type(threading.Lock())


@pytest.mark.parametrize('module', ['importlib.resources._functional', 'importlib.resources._legacy'])
def test_resource_functions(module):
    assert callable(load_name(module, 'read_text'))


def test_what_is_nowhere_is_still_missing():
    with pytest.raises((AttributeError, ModuleNotFoundError)):
        load_name('pathlib._local', 'NoSuchPath')
    with pytest.raises((AttributeError, ModuleNotFoundError)):
        load_name('re', 'no_such_function')


@pytest.mark.parametrize('version', VERSIONS)
def test_values_cross_between_versions(version):
    python = find_python(version)
    if python is None:
        pytest.skip('there is no Python {} on this machine'.format(version))
    values = pathlib.PurePosixPath('a/b'), pathlib.Path('/tmp'), re.compile('x+', re.I), datetime.timezone.utc
    with across.Connection.from_command([python, '-c', across.get_bios()]) as conn:
        for value in values:
            assert conn.call(copy.copy, value) == value
        assert conn.execute('import pathlib; pathlib.Path("c").name, pathlib.Path("c")') == ('c', pathlib.Path('c'))
        assert conn.call(os.path.normpath, 'a/../b') == 'b'
        assert conn.call(math.factorial, 5) == 120
        assert conn.call(re.match, 'x', 'y') is None
        assert conn.create(threading.Lock).acquire() is True
        with pytest.raises(re.error):
            conn.call(re.compile, '(')
        assert [str(warning.message) for warning in conn.execute(WARN)] == ['w']
