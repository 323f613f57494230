# SPDX-License-Identifier: MIT
"""Functions that pickle cannot name cross by value, with Options(pickler=...)."""

import gc
import os
import pickle
import shutil
import subprocess
import sys
import weakref

import cloudpickle
import pytest

import across

from . import daemon as daemons
from . import remote_tasks as tasks
from .daemon import environment
from .test_plain_peer import plain_server
from .waiting import wait_until

BY_VALUE = across.Options(pickler='cloudpickle')
CLOUDPICKLE = os.path.dirname(os.path.dirname(cloudpickle.__file__))


@pytest.fixture
def daemon(make_daemon, isolation):
    """acrossd that can import cloudpickle."""
    return make_daemon(isolation=isolation, env=environment(CLOUDPICKLE))


@pytest.fixture
def by_value(daemon):
    """A connection with the option."""
    with daemon.connect(BY_VALUE) as conn:
        yield conn


@pytest.fixture
def bare_daemon(make_daemon, isolation, tmp_path):
    """acrossd that cannot import cloudpickle, whatever is installed on this machine."""
    folder = tmp_path / 'hidden'
    folder.mkdir()
    (folder / 'cloudpickle.py').write_text("raise ModuleNotFoundError('hidden by a test', name='cloudpickle')\n")
    return make_daemon(isolation=isolation, env=environment(str(folder)))


def make_point_class():
    class Point:
        def __init__(self, x):
            self.x = x

        def get(self):
            return self.x

    return Point


# ---- what crosses ----


def test_lambdas_and_closures_are_called(by_value):
    offset = 3
    there = by_value.call(os.getpid)
    assert by_value.call(lambda value: value + offset, 4) == 7
    assert by_value.call(lambda: os.getpid()) == there != os.getpid()
    assert by_value.call(tasks.call_back, lambda value: value * offset, 5) == 15
    assert by_value.call(sorted, ['ccc', 'a', 'bb'], key=lambda word: -len(word)) == ['ccc', 'bb', 'a']


def test_functions_come_back_as_results(by_value):
    def make_adder(number):
        return lambda value: value + number

    assert by_value.call(make_adder, 3)(4) == 7
    assert [func() for func in by_value.call(lambda: [lambda: 1, lambda: 2])] == [1, 2]
    assert by_value.execute('lambda: base + 1', base=4)() == 5


def test_functions_in_create_and_replicate(by_value):
    point = by_value.create(lambda: make_point_class()(5))
    assert isinstance(point, across.Proxy) and point.get() == 5
    replica = by_value.replicate(make_point_class()(6))
    assert isinstance(replica, across.Proxy) and replica.get() == 6


def test_functions_in_method_calls_of_proxies(by_value):
    words = by_value.create(list, ['bbb', 'a', 'cc'])
    words.sort(key=lambda word: len(word))
    assert by_value.call(list, words) == ['a', 'cc', 'bbb']
    words.append(lambda: 8)
    assert words[3]() == 8


def test_functions_in_callbacks(by_value):
    kept = []
    by_value.call(lambda keep: keep(lambda: 9), across.Local(kept.append))
    assert kept.pop()() == 9
    assert by_value.call(lambda: across.get_connection().call(lambda: os.getpid())) == os.getpid()
    assert by_value.call(lambda fetch: fetch()(1), across.Local(lambda: lambda value: value + 1)) == 2


def test_proxies_and_references_inside_of_functions(by_value):
    here = []
    there = by_value.create(list)
    local = across.Local(here)
    by_value.call(lambda: (there.append(1), [local][0].append(2)) and None)
    assert here == [2] and len(there) == 1


def test_instances_keep_their_class(by_value):
    cls = make_point_class()
    assert type(by_value.call(tasks.echo, cls(1))) is cls
    assert by_value.call(tasks.echo, cls) is cls


def test_exceptions_of_classes_that_have_no_name(by_value):
    class LocalError(Exception):
        pass

    def fail():
        try:
            raise LocalError('inner')
        except LocalError as error:
            raise LocalError('outer', 2) from error

    with pytest.raises(LocalError) as info:
        by_value.call(fail)
    assert info.value.args == ('outer', 2)
    assert type(info.value.__cause__) is LocalError


NOTEBOOK = """
import sys
import across

class Account:
    def __init__(self, balance):
        self.balance = balance

class TooPoor(Exception):
    pass

def withdraw(account, amount):
    if amount > account.balance:
        raise TooPoor(amount)
    return Account(account.balance - amount)

with across.Connection.from_unix(sys.argv[1], options=across.Options(pickler='cloudpickle')) as conn:
    rest = conn.call(withdraw, Account(5), 2)
    assert type(rest) is Account
    try:
        conn.call(withdraw, rest, 4)
    except TooPoor as error:
        print(rest.balance, error)
"""


def test_the_functions_of_a_notebook(daemon):
    """They are in `__main__`, which the other side has, too: another one."""
    result = subprocess.run(
        [sys.executable, '-', daemon.addresses[0][5:]],
        input=NOTEBOOK,
        env=environment(os.path.dirname(os.path.dirname(across.__file__)), CLOUDPICKLE),
        capture_output=True,
        text=True,
    )
    assert (result.stdout, result.stderr, result.returncode) == ('3 4\n', '', 0)


# ---- nothing changes without the option ----


def test_without_the_option_functions_have_to_have_names(daemon):
    with daemon.connect(BY_VALUE) as other, daemon.connect() as conn:
        other.call(lambda: None)
        with pytest.raises(across.OperationError, match=r'^Pickling failed due to '):
            conn.call(lambda: None)
        with pytest.raises(across.OperationError, match=r'^Pickling failed due to '):
            conn.execute('lambda: None')
        assert conn.call(os.getpid) != os.getpid()


def test_without_the_option_cloudpickle_is_not_imported(daemon):
    code = (
        'import sys, across, os\n'
        'with across.Connection.from_unix(sys.argv[1]) as conn:\n'
        '    print("cloudpickle" in sys.modules, conn.execute("import sys; \'cloudpickle\' in sys.modules"))'
    )
    output = subprocess.check_output(
        [sys.executable, '-c', code, daemon.addresses[0][5:]],
        env=environment(os.path.dirname(os.path.dirname(across.__file__)), CLOUDPICKLE),
    )
    assert output == b'False False\n'


# ---- where it is missing ----


def test_missing_here(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cloudpickle', None)
    with pytest.raises(ImportError, match='needs the package cloudpickle, which cannot be imported here') as info:
        across.Options(pickler='cloudpickle')
    assert info.value.name == 'cloudpickle'


def test_missing_there(bare_daemon):
    with bare_daemon.connect(BY_VALUE) as conn:
        for _ in range(2):
            with pytest.raises(across.OperationError, match='the other side has no package cloudpickle'):
                conn.call(lambda: None)
    with bare_daemon.connect() as conn:
        assert conn.call(tasks.add, 1, 2) == 3


@pytest.mark.parametrize('isolation', ['process'])
def test_cloudpickle_can_be_exported_to_where_it_is_missing(bare_daemon):
    with bare_daemon.connect(BY_VALUE) as conn:
        conn.export('cloudpickle')
        assert conn.call(lambda: lambda: 4)() == 4


def test_cloudpickle_can_be_exported_to_a_bare_python():
    command = [sys.executable, '-S', '-c', across.get_bios()]
    with across.Connection.from_command(command, options=BY_VALUE) as conn:
        with pytest.raises(across.OperationError, match='the other side has no package cloudpickle'):
            conn.call(lambda: None)
        conn.export('cloudpickle')
        assert conn.call(lambda: lambda: 4)() == 4


def make_other_version(folder, version, *changes):
    """Copy cloudpickle, with another version and other names inside."""
    shutil.copytree(os.path.dirname(cloudpickle.__file__), folder / 'cloudpickle')
    for path in (folder / 'cloudpickle').glob('*.py'):
        text = path.read_text().replace(cloudpickle.__version__, version)
        for old, new in changes:
            text = text.replace(old, new)
        path.write_text(text)


@pytest.fixture
def other_daemon(make_daemon, isolation, tmp_path):
    """acrossd with a cloudpickle whose pickles, and ours, name functions that the other does not have."""
    make_other_version(tmp_path, '2.9.9', ('_function_setstate', '_function_set_state'))
    return make_daemon(isolation=isolation, env=environment(str(tmp_path)))


def test_another_version_of_cloudpickle_that_does_not_fit(other_daemon):
    with other_daemon.connect(BY_VALUE) as conn:
        for _ in range(2):
            with pytest.raises(across.OperationError) as caught:
                conn.call(lambda: None)
            text = str(caught.value)
            assert 'cloudpickle {} here and 2.9.9 there'.format(cloudpickle.__version__) in text
            assert '_function_setstate' in text and "conn.export('cloudpickle')" in text


@pytest.mark.parametrize('isolation', ['process'])
def test_another_version_is_replaced_by_an_exported_one(other_daemon):
    with other_daemon.connect(BY_VALUE) as conn:
        with pytest.raises(across.OperationError, match=r'2\.9\.9 there'):
            conn.call(lambda: None)
        conn.export('cloudpickle')
        assert conn.call(lambda: lambda: 4)() == 4


def test_another_version_whose_answers_do_not_fit(make_daemon, tmp_path):
    # It knows our names, and uses others itself.
    old, new = 'def _function_setstate(', 'def _function_set_state('
    alias = old, '{}*args):\n    return _function_set_state(*args)\n\n\n{}'.format(old, new)
    make_other_version(tmp_path, '2.9.9', alias, ('_function_setstate)', '_function_set_state)'))
    with make_daemon(env=environment(str(tmp_path))).connect(BY_VALUE) as conn:
        with pytest.raises(across.OperationError, match=r'2\.9\.9 there: AttributeError'):
            conn.call(lambda: None)
        conn.export('cloudpickle')
        assert conn.call(lambda: lambda: 4)() == 4


def test_another_version_of_cloudpickle_that_fits(make_daemon, isolation, tmp_path):
    make_other_version(tmp_path, '3.99.0')
    with make_daemon(isolation=isolation, env=environment(str(tmp_path))).connect(BY_VALUE) as conn:
        assert conn.call(lambda: lambda: 4)() == 4
        assert conn.execute('import cloudpickle; cloudpickle.__version__') == '3.99.0'


def test_another_version_of_python_there(daemon, monkeypatch):
    with daemon.connect(BY_VALUE) as conn:
        monkeypatch.setattr(sys.implementation, 'cache_tag', 'other-1')
        with pytest.raises(across.OperationError, match='by value between other-1 here and cpython-'):
            conn.call(lambda: None)


# ---- functions of one's own ----


def test_a_function_as_pickler_is_used_on_this_side_alone(daemon):
    sizes = []

    def dumps(value, protocol):
        data = cloudpickle.dumps(value, protocol)
        sizes.append((protocol, len(data)))
        return data

    with daemon.connect(across.Options(pickler=dumps)) as conn:
        assert conn.call(lambda: 1) == 1
        assert len(sizes) == 1 and sizes[0][0] == 4
        with pytest.raises(across.OperationError, match=r'^Pickling failed due to '):
            conn.call(lambda: lambda: 1)
        here = conn.call(tasks.echo, across.Local(tasks.Point(1, 2)))
        assert here.sum() == 3


def test_a_pickler_that_fails(daemon):
    def fail(value, protocol):
        raise KeyError('no')

    def give_text(value, protocol):
        return 'text'

    for pickler, reason in (fail, "KeyError: 'no'"), (give_text, 'TypeError: The pickler returned str, not bytes'):
        with daemon.connect(across.Options(pickler=pickler)) as conn:
            with pytest.raises(across.OperationError, match=r'^Pickling failed due to {}$'.format(reason)):
                conn.call(os.getpid)
            assert conn.is_connected()


def test_references_are_released_when_a_pickler_fails(daemon):
    def fail_late(value, protocol):
        pickle.dumps(value, protocol)
        raise KeyError('late')

    with daemon.connect(across.Options(pickler=fail_late)) as conn:
        obj = tasks.Point(1)
        reference = weakref.ref(obj)
        with pytest.raises(across.OperationError):
            conn.call(tasks.echo, across.Local(obj))
        del obj
        assert reference() is None


@pytest.mark.parametrize('kind, error', [('dill', ValueError), (3, TypeError)])
def test_wrong_picklers(kind, error):
    with pytest.raises(error):
        across.Options(pickler=kind)


def test_a_pickler_that_refers_to_its_connection_is_collected(daemon):
    class Dumper:
        def __call__(self, value, protocol):
            return pickle.dumps(value, protocol)

    dumper = Dumper()
    dumper.conn = daemon.connect(across.Options(pickler=dumper))
    with dumper.conn:
        dumper.conn.call(os.getpid)
    reference = weakref.ref(dumper)
    del dumper

    def is_collected():  # a thread of the engine may still be about to let go of it
        gc.collect()
        return reference() is None

    wait_until(is_collected, 'the end of the pickler')


# ---- plain across ----


def test_a_plain_server_reads_functions_by_value(plain_across, tmp_path):
    path = os.pathsep.join([plain_across, CLOUDPICKLE])
    options = BY_VALUE.copy(protocol_version=(0, 1))
    with plain_server(path, 'unix', str(tmp_path / 'plain')) as address:
        with across.Connection.from_unix(address[5:], options=options) as conn:
            assert conn.call(lambda value: value + 1, 2) == 3
            with pytest.raises(across.OperationError, match=r'^Pickling failed due to '):
                conn.call(lambda: lambda: 1)


def test_with_acrossd_on_stdio():
    env = environment(CLOUDPICKLE)
    proc = subprocess.Popen([daemons.ACROSSD, '--stdio'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
    with across.Connection.from_process(proc, options=BY_VALUE) as conn:
        assert conn.call(lambda: lambda: 4)() == 4
