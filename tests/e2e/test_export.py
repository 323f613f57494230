# SPDX-License-Identifier: MIT
"""Modules of this process, imported by workers of acrossd; and modules of workers, imported by their clients."""

import importlib
import importlib.machinery
import pickle
import py_compile
import sys
import textwrap
import threading
import traceback
import zipfile

import pytest

import across

from . import daemon as daemons
from .daemon import close_broken, environment
from .exports import BEGINNING, FOUND, PACKAGE, RESOURCES, SHOP, TEXT, make_main, run_program, write
from .waiting import LIMIT, join

CANNOT = 'Cannot export module {}: '


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder that this process imports from, and acrossd does not. What was imported is forgotten at the end."""
    before = set(sys.modules)
    folder = tmp_path / 'home'
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in [name for name in set(sys.modules) - before if is_below(tmp_path, sys.modules[name])]:
        del sys.modules[name]


def is_below(folder, module):
    places = [getattr(module, '__file__', None), *getattr(module, '__path__', ())]
    return any(place and place.startswith(str(folder)) for place in places)


@pytest.fixture(params=['unix', 'tcp', 'stdio'])
def conn(request):
    """A connection to a worker of its own, over every transport."""
    if request.param == 'stdio':
        stdio = daemons.Stdio()
        with stdio.connect() as conn:
            yield conn
        stdio.stop()
    else:
        listen = ['tcp:127.0.0.1:0'] if request.param == 'tcp' else None
        with request.getfixturevalue('make_daemon')(listen=listen).connect() as conn:
            yield conn


@pytest.fixture
def shop(home):
    """The package, in this process."""
    write(home, SHOP)
    importlib.invalidate_caches()
    return importlib.import_module('shop')


def format_error(error):
    return ''.join(traceback.format_exception(type(error), error, error.__traceback__))


# ---- modules ----


def test_functions_and_classes_of_an_exported_package_cross(conn, shop):
    conn.export('shop')
    assert conn.call(shop.price, 'fig') == shop.prices.Price(30)
    assert conn.call(shop.prices.Price(2).double) == shop.prices.Price(4)
    proxy = conn.create(shop.prices.Price, 5)
    assert proxy.double() == shop.prices.Price(10)
    assert conn.execute('import shop; shop.goods.__package__, shop.prices.__name__') == ('shop.goods', 'shop.prices')


def test_exceptions_of_an_exported_module_arrive_with_its_source_lines(unix_conn, shop, home):
    unix_conn.export('shop')
    unix_conn.execute('import shop')
    # What is shown is what runs, and not a file of this name.
    (home / 'shop/prices.py').write_text('# another text\n' * 30)
    with pytest.raises(shop.prices.TooHigh) as caught:
        unix_conn.call(shop.prices.fail)
    text = format_error(caught.value)
    assert "raise TooHigh('of everything')" in text and 'prices.py*", line 20, in fail' in text
    text = unix_conn.execute(
        'import shop.prices, traceback\ntry: shop.prices.fail()\nexcept Exception: text = traceback.format_exc()\ntext'
    )
    assert "raise TooHigh('of everything')" in text and 'prices.py*", line 20' in text
    source = unix_conn.execute('import inspect, shop.goods; inspect.getsource(shop.goods.weigh)')
    assert source == 'def weigh(name):\n    return len(name)\n'


def test_submodules_are_fetched_when_they_are_imported(unix_conn, home):
    write(home, {'lazy/__init__.py': '', 'lazy/one.py': 'import lazy.two\n', 'lazy/two.py': ''})
    write(home, {'lazy/three.py': '1 / 0'})
    unix_conn.export('lazy')
    loaded = 'import sys; sorted(name for name in sys.modules if name.startswith("lazy"))'
    assert unix_conn.execute(loaded) == []
    unix_conn.execute('import lazy')
    assert unix_conn.execute(loaded) == ['lazy']
    unix_conn.execute('from lazy import one')
    assert unix_conn.execute(loaded) == ['lazy', 'lazy.one', 'lazy.two']
    with pytest.raises(ZeroDivisionError) as caught:
        unix_conn.execute('import lazy.three')
    assert 'lazy/three.py*", line 1' in format_error(caught.value)
    assert not [name for name in sys.modules if name.startswith('lazy')]  # the exporting side has not run any


def test_namespace_packages(unix_conn, home, tmp_path, monkeypatch):
    write(home, {'space/one/deep.py': 'value = 1\n'})
    write(tmp_path / 'more', {'space/two.py': 'from .one import deep\nvalue = deep.value + 1\n'})
    monkeypatch.syspath_prepend(str(tmp_path / 'more'))
    unix_conn.export('space')
    assert unix_conn.execute('import space.two; space.two.value, space.one.deep.value') == (2, 1)
    assert unix_conn.execute('import space.one; hasattr(space, "__file__"), space.one.__name__') == (False, 'space.one')
    with pytest.raises(ModuleNotFoundError):
        unix_conn.execute('import space.three')


def test_modules_that_do_not_exist(unix_conn, shop):
    unix_conn.export('shop', 'nothing_like_that')
    for name in ('nothing_like_that', 'shop.nothing', 'shop.goods.nothing', 'shop.prices.nothing'):
        with pytest.raises(ModuleNotFoundError, match='No module named ' + repr(name)):
            unix_conn.execute('import ' + name)
    assert unix_conn.execute('import importlib.util; importlib.util.find_spec("shop.nothing")') is None


def test_modules_in_a_zip(unix_conn, home, tmp_path, monkeypatch):
    write(tmp_path, SHOP)
    with zipfile.ZipFile(tmp_path / 'shop.zip', 'w') as archive:
        for name in SHOP:
            archive.write(tmp_path / name, name)
    monkeypatch.syspath_prepend(str(tmp_path / 'shop.zip'))
    unix_conn.export('shop')
    assert unix_conn.execute('import shop; shop.price("fig").amount, shop.__file__') == (
        30,
        '{}/shop.zip/shop/__init__.py*'.format(tmp_path),
    )
    assert unix_conn.execute('import pkgutil; pkgutil.get_data("shop.goods", "list.txt")') == TEXT.encode()
    read = 'import importlib.resources as r; r.files("shop.goods").joinpath("pictures/apple.bin").read_bytes()'
    assert unix_conn.execute(read) == b'\0\xff\n'


def test_a_module_can_be_loaded_again(unix_conn, home):
    write(home, {'changing.py': 'value = 1\n'})
    unix_conn.export('changing')
    assert unix_conn.execute('import changing; changing.value') == 1
    write(home, {'changing.py': 'value = 2\n'})
    assert unix_conn.execute('import changing, importlib; importlib.reload(changing).value') == 2


def test_loaders_that_do_not_give_the_source_away(unix_conn, home, monkeypatch):
    """Such as pytest's, of test modules: then it is read from the file."""

    class Loader:
        def __init__(self, loader):
            self.create_module, self.exec_module = loader.create_module, loader.exec_module

    class Finder:
        def find_spec(self, name, path=None, target=None):
            spec = importlib.machinery.PathFinder.find_spec(name, path) if name.startswith('hidden') else None
            if spec is not None:
                spec.loader = Loader(spec.loader)
            return spec

    monkeypatch.setattr(sys, 'meta_path', [Finder(), *sys.meta_path])
    write(home, {'hidden/__init__.py': 'value = 1\n', 'hidden/part.py': 'from . import value\n'})
    unix_conn.export('hidden')
    assert importlib.import_module('hidden').__file__ == str(home / 'hidden/__init__.py')
    assert unix_conn.execute('import hidden.part; hidden.part.value, hidden.__path__') == (1, [str(home / 'hidden*')])


def test_sources_in_another_encoding(unix_conn, home):
    write(home, {'latin.py': '# coding: latin-1\nvalue = "pläum"\n'.encode('latin-1')})
    unix_conn.export('latin')
    assert unix_conn.execute('import latin; latin.value') == 'pläum'


def test_a_package_that_is_exported_further(make_daemon, daemon, shop):
    """From here to a worker, from that to another one."""
    with daemon.connect() as conn:
        conn.export('shop')
        found = conn.execute(
            """
import across
with across.Connection.from_unix(path) as further:
    further.export('shop')
    result = further.execute('import shop; shop.price("fig").amount, shop.__file__')
    data = further.execute('import pkgutil; pkgutil.get_data("shop.goods", "pictures/apple.bin")')
    names = further.execute('import importlib.resources as r; [i.name for i in r.files("shop.goods").iterdir()]')
result, data, sorted(set(names) - {'__pycache__'})
""",
            path=make_daemon().addresses[0][5:],
        )
    place = shop.__file__ + '*'
    assert found == ((30, place), b'\0\xff\n', ['__init__.py', 'list.txt', 'pictures'])


# ---- what takes precedence, and what is refused ----


def test_exported_modules_take_precedence_over_installed_ones(make_daemon, home, tmp_path):
    write(tmp_path / 'theirs', {'both.py': 'origin = "theirs"\n', 'used.py': 'origin = "theirs"\n'})
    write(home, {'both.py': 'origin = "ours"\n', 'used.py': 'origin = "ours"\n'})
    with make_daemon(env=environment(str(tmp_path / 'theirs'))).connect() as conn:
        assert conn.execute('import used; used.origin') == 'theirs'
        conn.export('both')
        assert conn.execute('import both; both.origin') == 'ours'
        with pytest.raises(ValueError, match=CANNOT.format('used') + 'it is already imported'):
            conn.export('used')


def test_what_cannot_be_exported(unix_conn, shop):
    for name in ('os', 'across', 'threading'):
        with pytest.raises(ValueError, match=CANNOT.format(name) + 'it is already imported'):
            unix_conn.export(name)
    for name in ('shop.goods', ''):
        with pytest.raises(ValueError, match='Not a top-level module'):
            unix_conn.export(name)
    with pytest.raises(TypeError):
        unix_conn.export(shop)
    with pytest.raises(ValueError):
        unix_conn.export('shop', 'os')  # all or nothing
    with pytest.raises(ModuleNotFoundError):
        unix_conn.execute('import shop')
    unix_conn.export('shop')
    unix_conn.execute('import shop')
    unix_conn.export('shop')  # once more, by the same peer
    unix_conn.export()


def test_a_shared_worker_accepts_no_modules(shared_daemon, shop):
    with shared_daemon.connect() as conn:
        for modules in ([], ['shop'], ['os']):
            with pytest.raises(ValueError, match=r'^Exporting modules is not allowed$'):
                conn.export(*modules)
        assert conn.execute('1 + 1') == 2


def test_a_client_accepts_no_modules_unless_it_says_so(unix_conn):
    with pytest.raises(ValueError, match=r'^Exporting modules is not allowed$'):
        unix_conn.execute('import across; across.get_connection().export("sys")')


def test_modules_without_source_say_so(unix_conn, home):
    write(home, {'mixed/__init__.py': '', 'mixed/bare.py': 'value = 1\n'})
    write(home, {'mixed/native' + importlib.machinery.EXTENSION_SUFFIXES[0]: b'', 'mixed/broken.py': b'\xff = 1\n'})
    py_compile.compile(str(home / 'mixed/bare.py'), str(home / 'mixed/bare.pyc'))
    (home / 'mixed/bare.py').unlink()
    unix_conn.export('mixed')
    for name, reason in (('native', 'is an extension module'), ('bare', 'its source is missing')):
        with pytest.raises(ImportError, match='mixed.{} cannot be exported: .*{}'.format(name, reason)) as caught:
            unix_conn.execute('import mixed.' + name)
        assert caught.value.name == 'mixed.' + name
    with pytest.raises(ImportError):
        unix_conn.execute('import mixed.broken')
    assert unix_conn.execute('try: import mixed.native\nexcept ImportError: found = False\nfound') is False


def test_a_package_that_has_a_finder_of_its_own(unix_conn, home):
    """As six does: some of its submodules have no source, on either side."""
    write(
        home,
        {
            'finding.py': """
            import importlib.machinery, sys, types
            __path__ = []

            class Finder:
                def find_spec(self, name, path=None, target=None):
                    if name == 'finding.made':
                        return importlib.machinery.ModuleSpec(name, self)

                def create_module(self, spec):
                    return types.ModuleType(spec.name)

                def exec_module(self, module):
                    module.value = 7

            sys.meta_path.append(Finder())
            """
        },
    )
    unix_conn.export('finding')
    module = importlib.import_module('finding')
    try:
        assert importlib.import_module('finding.made').value == 7
        assert unix_conn.execute('import finding.made; finding.made.value') == 7
    finally:
        sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder) is not module.Finder]
        sys.modules.pop('finding.made', None)


# ---- resources ----

FUNCTIONS = """
import importlib.resources as resources
with resources.open_binary('shop.goods', 'list.txt') as file:
    opened = file.read()
with resources.path('shop.goods', 'list.txt') as path:
    copied = path.read_bytes()
(
    resources.read_text('shop.goods', 'list.txt'),
    resources.read_binary('shop.goods', 'list.txt'),
    [resources.is_resource('shop.goods', name) for name in ('list.txt', 'pictures', 'none')],
    sorted(set(resources.contents('shop.goods')) - {'__pycache__'}),
    opened,
    copied,
)
"""


def test_resources(conn, shop):
    conn.export('shop')
    assert conn.execute(RESOURCES) == FOUND
    for snippet in ('pkgutil.get_data("shop.goods", "none")', 'resources.files("shop").joinpath("none").read_text()'):
        with pytest.raises(FileNotFoundError):
            conn.execute('import importlib.resources as resources, pkgutil, shop.goods\n' + snippet)


@pytest.mark.skipif(not hasattr(importlib.import_module('importlib.resources'), 'read_binary'), reason='they are gone')
def test_resources_by_functions(unix_conn, shop):
    unix_conn.export('shop')
    names = ['__init__.py', 'list.txt', 'pictures']
    expected = TEXT, TEXT.encode(), [True, False, False], names, TEXT.encode(), TEXT.encode()
    assert unix_conn.execute(FUNCTIONS) == expected


@pytest.mark.skipif(sys.version_info < (3, 10), reason='3.9 has no resources in namespace packages')
def test_resources_of_a_namespace_package(unix_conn, home):
    write(home, {'space/data/note.txt': 'written'})
    unix_conn.export('space')
    read = 'import importlib.resources as r, space.data; r.files("space.data").joinpath("note.txt").read_text()'
    assert unix_conn.execute(read) == 'written'


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.parametrize(
    'module', ['importlib.resources', 'importlib.resources._legacy', 'importlib.resources._functional']
)
def test_resource_functions_are_answered_by_all_their_names(unix_conn, shop, module):
    """The importing side names what its version of Python has."""
    unix_conn.export('shop')
    unix_conn.execute('import shop.goods')
    ask = """
import across
def ask(name, *args):
    return across.get_connection().call(load_and_call, 'c{}\\n{}\\n.'.format(module, name).encode(), *args)
ask('read_binary', 'shop.goods', 'list.txt'), ask('is_resource', 'shop.goods', 'list.txt')
"""
    assert unix_conn.execute(ask, module=module, load_and_call=across.Local(load_and_call)) == (TEXT.encode(), True)
    contents = unix_conn.execute(
        'import across, across._importer as i; across.get_connection().call(i._contents, "shop.goods")'
    )
    assert set(contents) - {'__pycache__'} == {'__init__.py', 'list.txt', 'pictures'}


def load_and_call(pickled, *args):
    return pickle.loads(pickled)(*args)


# ---- several threads ----

IMPORT_IN_THREADS = """
import importlib, threading, across
conn = across.get_connection()
errors = []
barrier = threading.Barrier(len(names))
def run(name):
    barrier.wait()
    try:
        while True:
            try:
                return importlib.import_module(name)
            except RuntimeError as error:
                # importlib gives up when two threads want each other's module at the same moment, whatever the finder.
                if type(error).__name__ != '_DeadlockError' or not may_be_circular:
                    raise
    except BaseException as error:
        errors.append(error)
threads = [threading.Thread(target=run, args=(name,), daemon=True) for name in names]
for thread in threads: thread.start()
for thread in threads: thread.join(limit)
[repr(error) for error in errors], [thread.is_alive() for thread in threads].count(True)
"""


def test_threads_that_import_each_others_modules(unix_conn, home):
    """Each holds the lock of its module, and wants that of another one, while both ask the exporting side."""
    for number in range(20):
        left, right = 'left{}'.format(number), 'right{}'.format(number)
        write(home, {left + '.py': 'import {}\n'.format(right), right + '.py': 'import {}\n'.format(left)})
        unix_conn.export(left, right)
        names = [left, right, left, right]
        assert unix_conn.execute(IMPORT_IN_THREADS, names=names, limit=LIMIT, may_be_circular=True) == ([], 0)


def test_threads_that_import_modules_with_parts_in_common(unix_conn, home):
    """A tree of modules: each imports two others, in another order than its neighbour."""
    names = ['tree{}'.format(number) for number in range(32)]
    for number, name in enumerate(names):
        imports = [names[child] for child in (2 * number + 1, 2 * number + 2) if child < len(names)]
        write(home, {name + '.py': ''.join(map('import {}\n'.format, imports[:: 1 if number % 2 else -1]))})
    unix_conn.export(*names)
    assert unix_conn.execute(IMPORT_IN_THREADS, names=names, limit=LIMIT, may_be_circular=False) == ([], 0)
    assert unix_conn.execute('import sys; all(name in sys.modules for name in names)', names=names)


def test_calls_that_import_the_same_module_at_once(unix_conn, home):
    """Each call unpickles the name of a function, in a thread of its own."""
    write(home, {'once.py': 'loaded = []\nloaded.append(1)\ndef count(number): return number, len(loaded)\n'})
    unix_conn.export('once')
    once = importlib.import_module('once')
    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(unix_conn.call(once.count, n))) for n in range(16)]
    for thread in threads:
        thread.start()
    join(threads)
    assert sorted(results) == [(number, 1) for number in range(16)]


def test_modules_that_call_back_while_they_are_imported(unix_conn, home):
    """What they call calls the importing side in its turn, for which that has to import another module."""
    calling = 'import across\nvalue = across.get_connection().call(helper.answer, {!r})\n'
    write(home, {'helper.py': HELPER, 'leaf0.py': 'value = 0\n', 'leaf1.py': 'value = 1\n'})
    write(home, {'caller{}.py'.format(n): 'import helper\n' + calling.format('leaf{}'.format(n)) for n in range(2)})
    helper = importlib.import_module('helper')
    helper.conn = unix_conn
    unix_conn.export('helper', 'leaf0', 'leaf1', 'caller0', 'caller1')
    results = []

    def run(number):
        results.append(unix_conn.execute('import caller{0}; caller{0}.value'.format(number)))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    join(threads)
    assert sorted(results) == [0, 1]


HELPER = """
conn = None

def answer(name):
    return conn.execute('import {0}; {0}.value'.format(name))
"""


def test_ten_thousand_callbacks_while_modules_import(unix_conn, home):
    modules, rounds, workers = 100, 100, 4
    body = 'import notes\nfor _ in range({}): notes.send()\n'.format(rounds)
    write(home, {'busy{}.py'.format(number): body for number in range(modules)})
    write(home, {'notes.py': 'send = None\n'})
    received = []
    unix_conn.export('notes', *('busy{}'.format(number) for number in range(modules)))
    unix_conn.execute('import notes; notes.send = send', send=across.Local(lambda: received.append(1)))

    def run(first):
        for number in range(first, modules, workers):
            unix_conn.execute('import busy{}'.format(number))

    threads = [threading.Thread(target=run, args=(first,)) for first in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(received) == modules * rounds == 10000


# ---- the exporting side ends ----


class BlockingFinder:
    """Keeps who looks for a module waiting."""

    def __init__(self, name):
        self.name = name
        self.asked = threading.Event()
        self.released = threading.Event()

    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            self.asked.set()
            self.released.wait(60)


def test_a_worker_ends_whose_client_goes_in_the_middle_of_an_import(daemon, home, monkeypatch):
    finder = BlockingFinder('awaited')
    monkeypatch.setattr(sys, 'meta_path', [finder, *sys.meta_path])
    conn = daemon.connect()
    conn.export('awaited')
    errors = []

    def run():
        try:
            conn.execute('import awaited')
        except across.OperationError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert finder.asked.wait(LIMIT)
        conn.cancel()
        close_broken(conn)
    finally:
        finder.released.set()  # it is the thread of the call that looks for the module
    join([thread])
    assert isinstance(errors[0], across.DisconnectError)
    daemon.allow_broken(1)


DYING_FINDER = """
import os, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == 'victim.sub':
            os.kill(os.getpid(), 9)

sys.meta_path.insert(0, Finder())
"""
BECOME_MAIN = """
import importlib.machinery, importlib.util, sys
loader = importlib.machinery.SourceFileLoader('__main__', path)
main = importlib.util.module_from_spec(importlib.util.spec_from_loader('__main__', loader))
loader.exec_module(main)
sys.modules['__main__'] = main
"""
ACCEPTING = (
    BEGINNING
    + """
def connect(folder):
    conn = across.Connection.from_unix(sys.argv[1], options=across.Options(accept_exported_modules=True))
    conn.execute('import sys; sys.path.insert(0, folder)', folder=os.path.abspath(folder))
    return conn

DYING_FINDER = {!r}
BECOME_MAIN = {!r}
""".format(DYING_FINDER, BECOME_MAIN)
)


def test_a_client_imports_modules_of_a_worker(daemon, tmp_path):
    write(tmp_path / 'theirs', SHOP)
    program = ACCEPTING + textwrap.dedent("""
        with connect(sys.argv[2]) as conn:
            must_fail(ModuleNotFoundError, 'import shop')
            conn.execute(EXPORT, names=['shop', 'collections'][:1])
            import shop
            assert shop.price('fig').amount == 30
            assert conn.call(shop.prices.Price(1).double) == shop.prices.Price(2)
            try:
                shop.prices.fail()
            except shop.prices.TooHigh:
                assert "raise TooHigh('of everything')" in traceback.format_exc()
            must_fail(ModuleNotFoundError, 'import shop.nothing')
            scope = {}
            source, _, value = RESOURCES.rpartition('\\n{\\n')
            exec(source + '\\nfound = {\\n' + value, scope)
            assert scope['found'] == FOUND, scope['found']
            try:
                conn.execute(EXPORT, names=['os'])
            except ValueError as error:
                assert 'already imported' in str(error)
        print('ok')
        """)
    program = program.replace('RESOURCES', repr(RESOURCES)).replace('FOUND', repr(FOUND))
    (tmp_path / 'program.py').write_text(program)
    run_program(tmp_path, 'program.py', daemon.addresses[0][5:], 'theirs')


def test_the_exporting_side_dies_in_the_middle_of_an_import(daemon, tmp_path):
    write(tmp_path / 'theirs', {'victim/__init__.py': 'value = 1\n', 'victim/sub.py': '', 'later.py': 'value = 2\n'})
    program = ACCEPTING + textwrap.dedent("""
        conn = connect(sys.argv[2])
        conn.execute(EXPORT, names=['victim', 'later'])
        import victim
        conn.execute(DYING_FINDER)
        error = must_fail(ImportError, 'import victim.sub')
        assert 'victim.sub is exported by a peer, and could not be fetched' in str(error), error
        assert error.name == 'victim.sub' and isinstance(error.__cause__, across.DisconnectError)
        must_fail(ImportError, 'import later')
        try:
            conn.close()
        except Exception:
            pass
        must_fail(ImportError, 'import later')
        assert victim.value == 1
        with connect(sys.argv[2]) as conn:  # somebody else may export what was not imported
            conn.execute(EXPORT, names=['later'])
            import later
            assert later.value == 2
            try:
                conn.execute(EXPORT, names=['victim'])
            except ValueError as error:
                assert 'already imported' in str(error), error
            else:
                raise AssertionError('it is imported')
        print('ok')
        """)
    (tmp_path / 'program.py').write_text(program)
    run_program(tmp_path, 'program.py', daemon.addresses[0][5:], 'theirs')
    daemon.expect(daemons.LOG + 'the worker, process [0-9]+, was killed by signal 9 [(]Killed[)]; connections lost: 1')


def test_names_that_several_connections_export(daemon, tmp_path):
    write(tmp_path / 'theirs', {'wanted.py': 'import os\npid = os.getpid()\n'})
    program = ACCEPTING + textwrap.dedent("""
        with connect(sys.argv[2]) as first:
            with connect(sys.argv[2]) as second:
                first.execute(EXPORT, names=['wanted'])
                try:
                    second.execute(EXPORT, names=['wanted'])
                except ValueError as error:
                    assert 'another connection' in str(error), error
                else:
                    raise AssertionError('two of a name')
        print('ok')
        """)
    (tmp_path / 'program.py').write_text(program)
    run_program(tmp_path, 'program.py', daemon.addresses[0][5:], 'theirs')


# ---- the main module ----
@pytest.mark.parametrize(
    'args',
    [
        ['single.py'],
        ['-m', 'single'],
        ['-m', 'app.run'],
        ['-m', 'app'],
        ['-c', make_main()],
        ['-Bsc' + make_main()],
        ['-X', 'dev', '-W', 'ignore', '-c', make_main()],
        ['-i', 'single.py'],
        ['folder'],
        ['archive.zip'],
    ],
    ids='script module submodule package command word options interactive folder zip'.split(),
)
def test_the_main_module(daemon, tmp_path, args):
    write(tmp_path, PACKAGE)
    write(tmp_path, {'folder/__main__.py': make_main('import beside', 'beside.value', ('beside',))})
    write(tmp_path, {'folder/beside.py': 'value = 5\n'})
    with zipfile.ZipFile(tmp_path / 'archive.zip', 'w') as archive:
        for name in ('__main__.py', 'beside.py'):
            archive.write(tmp_path / 'folder' / name, name)
    run_program(tmp_path, *args, daemon.addresses[0][5:])


REFUSED = """
import sys
import across

def run():
    pass

with across.Connection.from_unix(PATH) as conn:
    conn.export('__main__')
    try:
        conn.call(run)
    except across.OperationError as error:
        assert REASON in str(error), error
        print('ok')
"""


@pytest.mark.parametrize('kind', ['without a guard', 'from standard input', 'with more after the guard'])
def test_a_main_module_that_cannot_be_imported_says_why(daemon, tmp_path, kind):
    reason = 'it has no source here' if kind == 'from standard input' else 'its last statement is not `if __name__ =='
    text = REFUSED.replace('PATH', repr(daemon.addresses[0][5:])).replace('REASON', repr(reason))
    if kind == 'from standard input':
        run_program(tmp_path, '-', stdin=text.encode())
        return
    if kind == 'with more after the guard':
        text = "if __name__ == '__main__':\n    pass\n" + text
    (tmp_path / 'program.py').write_text(text)
    run_program(tmp_path, 'program.py')


def test_guards_in_other_places_do_not_run_either(daemon, tmp_path):
    text = make_main()
    first = "if '__main__' == __name__ and sys.argv:\n    import only_here\nelse:\n    is_there = True\n"
    text = text.replace('import across\n', 'import across\n' + first, 1)
    text = text.replace('return 1', "return __name__ != '__main__' or 'is_there' in globals()")
    text = text.replace('== 1\n', '\n')
    (tmp_path / 'only_here.py').write_text('')
    (tmp_path / 'program.py').write_text(text)
    run_program(tmp_path, 'program.py', daemon.addresses[0][5:])


def test_a_client_that_runs_a_program_imports_the_main_module_of_a_worker(daemon, tmp_path):
    """Its own main module goes on, and is found no more."""
    write(tmp_path, {'theirs.py': "def tell(): return 'theirs'\nif __name__ == '__main__': pass\n"})
    program = ACCEPTING + textwrap.dedent("""
        def tell():
            return 'ours'

        if __name__ == '__main__':
            with connect('/') as conn:
                conn.execute(BECOME_MAIN, path=os.path.abspath(sys.argv[2]))
                conn.execute(EXPORT, names=['__main__'])
                import __main__
                assert __main__.tell() == 'theirs' and tell() == 'ours'
                assert conn.call(__main__.tell) == 'theirs'
            print('ok')
        """)
    (tmp_path / 'program.py').write_text(program)
    run_program(tmp_path, 'program.py', daemon.addresses[0][5:], 'theirs.py')
