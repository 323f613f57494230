# SPDX-License-Identifier: MIT
"""How the source of this process's modules is found, and what becomes of a main module. End to end: tests/e2e."""

import importlib.machinery
import sys
import types

import pytest

from across._importer import AcrossLoader
from across.exports import exporter
from across.exports.main_module import compile_main


@pytest.mark.parametrize(
    'args, command',
    [
        ('-c pass', 'pass'),
        ('-cpass 1 2', 'pass'),
        ('-Esc pass -c 1', 'pass'),
        ('-X dev -Wignore -c pass', 'pass'),
        ('-Xdev -W ignore -c pass', 'pass'),
        ('--check-hash-based-pycs always -c pass', 'pass'),
        ('--check-hash-based-pycs=always -c pass', 'pass'),
        ('-c', None),
        ('program.py -c pass', None),
        ('-X c program.py', None),
        ('', None),
    ],
)
def test_the_source_given_to_the_interpreter(args, command):
    assert exporter._find_command(args.split()) == command


def test_modules_that_are_not_imported_are_found_without_running_their_parents(tmp_path, monkeypatch):
    (tmp_path / 'unrun').mkdir()
    (tmp_path / 'unrun/__init__.py').write_text('raise AssertionError')
    (tmp_path / 'unrun/part.py').write_text('1 / 0')
    (tmp_path / 'spaced/deep').mkdir(parents=True)
    (tmp_path / 'spaced/deep/part.py').write_text('1 / 0')
    monkeypatch.syspath_prepend(str(tmp_path))
    assert exporter.find('unrun.part') == ('1 / 0', False, str(tmp_path / 'unrun/part.py'), None)
    assert exporter.find('unrun') == ('raise AssertionError', True, str(tmp_path / 'unrun/__init__.py'), None)
    assert exporter.find('spaced.deep') == ('', True, '<namespace>', None)
    assert exporter.find('spaced.deep.part') == ('1 / 0', False, str(tmp_path / 'spaced/deep/part.py'), None)
    for name in ('unrun.none', 'unrun.part.none', 'none_at_all', 'none_at_all.part', 'spaced.none'):
        assert exporter.find(name) is None
    assert not [name for name in sys.modules if name.startswith('unrun')]


def test_parts_of_the_interpreter_have_no_source():
    with pytest.raises(ImportError, match='sys cannot be exported: it is part of the interpreter'):
        exporter.find('sys')


@pytest.mark.parametrize('name', [None, '_pyrepl.__main__', 'program'])
def test_main_modules_that_have_no_source(monkeypatch, name):
    """One that was typed in, also into the console of Python 3.13, which is a module itself; and one that is gone."""
    main = types.ModuleType('__main__')
    if name is not None:
        main.__spec__ = importlib.machinery.ModuleSpec(
            name, importlib.machinery.SourceFileLoader(name, '/none/at/all.py')
        )
        main.__spec__.loader.get_source = {'_pyrepl.__main__': lambda name: 'source'}.get(name, lambda name: None)
    monkeypatch.setitem(sys.modules, '__main__', main)
    monkeypatch.setattr(sys, 'orig_argv', ['python', 'program.py'], raising=False)  # pytest-xdist uses -c
    with pytest.raises(ImportError, match='__main__ cannot be exported: it has no source here'):
        exporter.find('__main__')
    monkeypatch.delitem(sys.modules, '__main__')
    with pytest.raises(ImportError, match='this process has none'):
        exporter.find('__main__')


GUARDED = """
ran = []
if __name__ == '__main__' or False:
    ran.append(1)
if not __name__ != '__main__':
    ran.append(2)
if '__main__' == __name__:
    ran.append(3)
else:
    ran.append('else')
if ran:
    if __name__ == '__main__':
        ran.append(4)
    elif __name__ == 'other':
        ran.append(5)
def is_other():
    if __name__ != '__main__':
        return True
if __name__ == '__main__' and ran:
    ran.append(6)
"""


def run_main(source):
    scope = {'__name__': '__main__'}
    exec(compile_main(source, 'main.py*'), scope)
    return scope


def test_guarded_parts_of_a_main_module_do_not_run():
    scope = run_main(GUARDED)
    assert scope['ran'] == ['else'] and scope['is_other']() is True


@pytest.mark.parametrize(
    'source',
    [
        '',
        'main()',
        "if __name__ == '__main__':\n    main()\nmain()",
        "if __name__ != '__main__':\n    pass\nelse:\n    main()",
        "if __name__ == '__main__' or True:\n    main()",
        "if __name__ == 'main':\n    main()",
        "if name == '__main__':\n    main()",
        "if __name__ < '__main__':\n    main()",
        "if 1 < __name__ == '__main__':\n    main()",
        "def main():\n    if __name__ == '__main__':\n        pass",
    ],
)
def test_main_modules_without_a_guard_at_the_end_are_refused(source):
    with pytest.raises(ImportError, match='its last statement is not') as caught:
        run_main(source)
    assert caught.value.name == '__main__'


def test_loaders_of_both_versions():
    """What differs is the parent package, and who marks the name of the file."""
    old = AcrossLoader('1', False, '/x.py', None)
    new = AcrossLoader('1', False, '/x.py*', 'parent', None)
    assert old.get_filename('x') == new.get_filename('x') == '/x.py*'
    assert new.make_spec('__main__').parent == 'parent' and old.make_spec('a.b').parent == 'a'
    assert AcrossLoader('1', False, '<string>', None).get_filename('x') == '<string>'
    assert new.__reduce__() == (AcrossLoader, ('1', False, '/x.py*', 'parent', None))
