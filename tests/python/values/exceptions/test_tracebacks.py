# SPDX-License-Identifier: MIT
"""How tracebacks of other processes look here, in whatever shows tracebacks."""

import importlib.util
import linecache
import os
import subprocess
import sys
import traceback

import pytest

from across.values.exceptions import sources, tracebacks


@pytest.fixture(autouse=True)
def nothing_kept():
    """Each test begins and ends without lines of other processes."""
    yield
    for name, rows in list(sources._files.items()):
        sources._drop(name, rows)
    sources._files.clear()


def make_hop(*entries, host='lab', pid=7):
    return host, pid, list(entries)


def show(*hops, trusted=True):
    return ''.join(traceback.format_tb(tracebacks.unpack(list(hops), trusted)))


def list_frames(frames):
    found = []
    while frames is not None:
        code = frames.tb_frame.f_code
        assert frames.tb_lineno == frames.tb_frame.f_lineno == code.co_firstlineno
        found.append((code.co_filename, frames.tb_lineno, code.co_name))
        assert getattr(code, 'co_qualname', code.co_name) == code.co_name
        frames = frames.tb_next
    return found


def test_each_remote_frame_is_a_frame():
    hop = make_hop(('/srv/lab/one.py', 3, 'run', '    two.fail()\n'), ('/srv/lab/two.py', 9, 'fail', '  raise Boom'))
    frames = tracebacks.unpack([hop])
    assert list_frames(frames) == [
        ('<process 7 on lab>', 1, 'remote call'), ('/srv/lab/one.py', 3, 'run'), ('/srv/lab/two.py', 9, 'fail'),
    ]  # fmt: skip
    assert linecache.getline('/srv/lab/one.py', 3) == 'two.fail()\n'
    assert '  File "/srv/lab/two.py", line 9, in fail\n    raise Boom\n' in show(hop)


def test_hops_survive_being_passed_on():
    hops = [make_hop(('/srv/a.py', 1, 'f', 'g()')), make_hop(pid=8), make_hop(('/srv/a.py', 2, 'g', 'x'), pid=9)]
    assert tracebacks.pack(tracebacks.unpack(hops), here=False)[1:] == hops


def test_lines_of_a_local_file_of_the_same_name_stay(tmp_path):
    path = tmp_path / 'mod.py'
    path.write_text('def here():\n    return local\n')
    text = show(make_hop((str(path), 2, 'far', 'return remote')))
    assert 'File "lab:{}", line 2, in far\n    return remote\n'.format(path) in text
    assert linecache.getlines(str(path)) == ['def here():\n', '    return local\n']
    text = show(make_hop((str(path), 2, 'far', '  return local')))
    assert 'File "{}", line 2, in far\n    return local\n'.format(path) in text
    assert len(linecache.getlines(str(path))) == 2


@pytest.mark.parametrize('name', ['<string>', 'os.py', '<execute 1>'])
def test_names_that_mean_something_else_here(name, monkeypatch):
    monkeypatch.setitem(linecache.cache, name, (1, None, ['local\n'], name))
    assert 'File "lab:{}", line 1, in far\n    remote\n'.format(name) in show(make_hop((name, 1, 'far', 'remote')))
    assert linecache.getlines(name) == ['local\n']


def test_lines_that_have_changed_do_not_replace_those_of_earlier_tracebacks():
    first = tracebacks.unpack([make_hop(('<stdin>', 1, 'f', 'one()'))])
    second = tracebacks.unpack([make_hop(('<stdin>', 1, 'f', 'two()'))])
    third = tracebacks.unpack([make_hop(('<stdin>', 1, 'f', 'three()'))])
    for frames, line in ((first, 'one()'), (second, 'two()'), (third, 'three()')):
        assert '    {}\n'.format(line) in ''.join(traceback.format_tb(frames))


def test_lines_are_bounded():
    before = len(linecache.cache)
    for number in range(2000):
        tracebacks.unpack([make_hop(('/srv/{}.py'.format(number), 60000, 'f', 'line'), pid=number)])
    assert len(sources._files) <= sources._MAX_FILES
    assert sources._rows == sum(map(len, sources._files.values())) <= sources._MAX_ROWS
    assert len(linecache.cache) - before <= sources._MAX_FILES
    text = show(make_hop(('/srv/long.py', 1 << 62, 'f', 'line'), ('/srv/odd.py', -3, 'g', 'line')))
    assert 'line 2147483647, in f' in text and 'line 1, in g' in text and '/srv/long.py' not in linecache.cache


def test_lines_come_back_when_linecache_was_cleared(monkeypatch):
    hop = make_hop(('/srv/lab.py', 2, 'f', 'line()'))
    show(hop)
    monkeypatch.setattr(linecache, 'cache', {})
    assert '    line()\n' in show(hop)


def test_a_peer_that_is_not_trusted_has_no_file_looked_for(monkeypatch):
    hop = make_hop((__file__, 1, 'f', open(__file__).readline()), ('/dev/stdin', 1, 'g', 'line'))
    monkeypatch.setattr(os.path, 'isfile', None)
    monkeypatch.setattr(os.path, 'lexists', None)
    text = show(hop, trusted=False)
    assert 'File "lab:{}", line 1, in f'.format(__file__) in text and 'File "lab:/dev/stdin", line 1, in g' in text


def test_frames_are_bounded():
    hop = make_hop(*[('/srv/x.py', number, 'f', '') for number in range(1, 2001)])
    assert len(list_frames(tracebacks.unpack([hop] * 100))) <= tracebacks._MAX_FRAMES + 100


# ---- what shows tracebacks ----

RAISE = """
import socket, sys, threading
import across
one, other = [across.Connection.from_socket(end) for end in socket.socketpair()]
SOURCE = '''
import sys, types
module = types.ModuleType('labonly')
lines = ['def run(number):', '    return fail(number * 2)', '', '', 'def fail(number):']
lines.append('    raise ValueError(number)  # far')
text = chr(10).join(lines)
module.__loader__ = Loader = type('Loader', (), {'get_source': staticmethod(lambda name: text)})
exec(compile(text, '/srv/lab/labonly.py', 'exec'), module.__dict__)
module.run(21)
'''
"""


def run_python(source, *args):
    env = {**os.environ, 'NO_COLOR': '1', 'PYTHONPATH': os.pathsep.join(sys.path)}
    command = [sys.executable, *args, '-c', source] if source is not None else [sys.executable, *args]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    return done.stdout


def check_shown(text):
    lines = [line.strip() for line in text.splitlines()]
    for source in ('return fail(number * 2)', 'raise ValueError(number)  # far'):
        assert any(line.endswith(source) for line in lines), text
    assert '/srv/lab/labonly.py' in text and '???' not in text and 'Could not get source' not in text, text


def test_the_interpreter():
    text = run_python(RAISE + 'one.execute(SOURCE)')
    check_shown(text)
    assert 'File "/srv/lab/labonly.py", line 6, in fail' in text


def test_a_thread():
    text = run_python(RAISE + 'threading.Thread(target=one.execute, args=(SOURCE,), name="worker").start()')
    check_shown(text)
    assert 'Exception in thread worker' in text


def test_hooks_of_the_program_stay():
    source = (
        'hook = sys.excepthook = threading.excepthook = print\n{}assert sys.excepthook is threading.excepthook is hook'
    )
    assert run_python(RAISE + source.format('try: one.execute(SOURCE)\nexcept ValueError: pass\n')) == ''


def test_exceptions_without_remote_frames_are_printed_as_ever():
    source = RAISE + 'try: one.execute(SOURCE)\nexcept ValueError: pass\n1 / 0'
    assert 'labonly' not in run_python(source) and 'ZeroDivisionError' in run_python(source)


@pytest.mark.parametrize('style', ['auto', 'long', 'short', 'native', 'line'])
def test_pytest(style, tmp_path):
    (tmp_path / 'test_far.py').write_text(RAISE + 'def test():\n    with one: one.execute(SOURCE)\n')
    args = ['-m', 'pytest', '-q', '-p', 'no:cacheprovider', '--color=no', '--rootdir', str(tmp_path), '--tb=' + style]
    text = run_python(None, *args, str(tmp_path))
    if style == 'line':
        assert '/srv/lab/labonly.py:6: ValueError: 42' in text, text
    else:
        check_shown(text)
    assert 'INTERNALERROR' not in text and '1 failed' in text


@pytest.mark.skipif(importlib.util.find_spec('IPython') is None, reason='IPython is not installed')
@pytest.mark.parametrize('mode', ['Plain', 'Context', 'Verbose', 'Minimal'])
def test_ipython(mode, tmp_path, monkeypatch):
    monkeypatch.setenv('IPYTHONDIR', str(tmp_path))
    source = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance(colors='NoColor')
shell.user_ns.update(one=one, SOURCE=SOURCE)
shell.InteractiveTB.set_mode({!r})
shell.run_cell('one.execute(SOURCE)')
"""
    text = run_python(RAISE + source.format(mode))
    if mode == 'Minimal':
        assert 'ValueError: 42' in text
    else:
        check_shown(text)
        assert 'in fail' in text
