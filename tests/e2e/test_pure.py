# SPDX-License-Identifier: MIT
"""The engine in Python: how it is picked, and what is its own affair. All other tests run on it, too (docs/engines.md).

What needs this engine runs in processes of its own, whichever engine the tests run on.
"""

import os
import re
import shutil
import subprocess
import sys
import textwrap

import pytest

import across

from .daemon import environment
from .waiting import LIMIT

OURS = os.path.dirname(os.path.dirname(across.__file__))


def run_python(source, engine='pure', path=OURS, check=True):
    """Run source on an engine; return what it prints. It has to end, and to say nothing on standard error."""
    env = environment(path)
    env.pop('ACROSS_ENGINE', None)
    if engine is not None:
        env['ACROSS_ENGINE'] = engine
    command = [sys.executable, '-W', 'ignore::DeprecationWarning', '-c', textwrap.dedent(source)]
    done = subprocess.run(command, env=env, capture_output=True, timeout=6 * LIMIT, text=True)
    if not check:
        return done
    assert done.stderr == '' and done.returncode == 0
    return done.stdout


@pytest.fixture
def package_without_extension(tmp_path):
    """A folder with the package, but for the extension module."""
    shutil.copytree(
        os.path.dirname(across.__file__), tmp_path / 'across', ignore=shutil.ignore_patterns('*.so', '__pycache__')
    )
    return str(tmp_path)


PAIR = """
    import across, os, socket, threading, gc, signal, sys, time, weakref
    one, other = (across.Connection.from_socket(end) for end in socket.socketpair())
"""


# ---- which engine ----


@pytest.mark.parametrize('engine', ['native', 'pure'])
def test_an_engine_can_be_asked_for(engine):
    assert run_python('import across; print(across.engine)', engine) == engine + '\n'


def test_the_native_engine_is_used_where_it_is_there():
    assert run_python('import across; print(across.engine)', None) == 'native\n'


def test_else_the_one_in_python_is(package_without_extension):
    for engine in (None, 'pure'):
        assert run_python('import across; print(across.engine)', engine, package_without_extension) == 'pure\n'


def test_what_is_asked_for_and_not_there_is_an_import_error(package_without_extension):
    done = run_python('import across', 'native', package_without_extension, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith(
        'ImportError: ACROSS_ENGINE asks for the native engine, but this package has no extension module _across\n'
    )
    done = run_python('import across', 'fast', check=False)
    assert done.stderr.endswith("ImportError: ACROSS_ENGINE must be native or pure, not 'fast'\n")


def test_acrossd_keeps_its_own(make_daemon):
    env = dict(environment(), ACROSS_ENGINE='pure')
    with make_daemon(env=env).connect() as conn:
        assert conn.execute('import across; across.engine') == 'native'


def test_it_imports_nothing_of_the_package():
    """It can be read, and run, by itself."""
    code = """
        import sys
        sys.path.insert(0, {!r})
        import pure
        print(pure.name, [module for module in sys.modules if module.split('.')[0] == 'across'])
    """
    folder = os.path.join(os.path.dirname(across.__file__), 'engines')
    assert run_python(code.format(folder)) == 'pure []\n'


# ---- threads ----


def test_calls_that_would_wait_for_ever_are_refused():
    """Each call keeps a thread until the one behind it has ended, and there are 256 of them."""
    found = run_python(
        PAIR
        + """
    def descend(depth):
        try:
            return across.get_connection().call(descend, depth - 1) if depth else 'bottom'
        except across.OperationError as error:
            return str(error)

    print(one.call(descend, 200))
    print(one.call(descend, 400))
    print(one.call(len, 'abc'))
    """
    )
    text = 'Too many calls: all threads that run calls are in use, and no more can wait for one'
    assert found == 'bottom\n{}\n3\n'.format(text)


def test_threads_without_work_end_with_the_program():
    found = run_python(
        PAIR
        + """
    one.call(len, '')
    one.close(), other.close()
    across.engines.shut_down()
    for thread in threading.enumerate()[1:]:  # they are on their way out
        thread.join(30)
    print([thread.name for thread in threading.enumerate()])
    """
    )
    assert found == "['MainThread']\n"


def test_a_finalizer_in_a_thread_of_the_engine_does_not_block_it():
    """The garbage collector may run in the loop: waiting there for a connection would be a deadlock."""
    found = run_python(
        PAIR
        + """
    one.call(len, '')
    tried = threading.Event()

    def wait():
        try:
            one.call(len, 'abc')
        except across.OperationError as error:
            print(error)
        tried.set()

    one._link._loop.post(wait)
    tried.wait(30)
    print(one.call(len, 'abc'))
    """
    )
    assert found == 'A finalizer that runs in a thread of the engine cannot wait for a connection\n3\n'


def test_interrupts_at_any_point_leave_the_connection_usable():
    """Ctrl-C a thousand times, wherever the main thread is, and nothing is half done."""
    found = run_python(
        PAIR
        + """
    interrupted = 0
    done = threading.Event()
    main = threading.main_thread().ident
    outermost = sys._getframe().f_code

    # A second interrupt may come while the first is handled. It spares the loop that begins anew alone.
    def on_signal(number, frame):
        global interrupted
        if frame.f_code is not outermost:
            interrupted += 1
            raise KeyboardInterrupt

    def interrupt():
        while not done.wait(0.0005):
            signal.pthread_kill(main, signal.SIGINT)

    class Kept:
        pass

    def echo(value):
        return value

    def call_again_and_again():
        while True:
            assert one.call(echo, across.Local(Kept())) is not None

    def count_kept():
        return sum(type(obj) is Kept for obj in gc.get_objects())

    other.call(len, '')
    signal.signal(signal.SIGINT, on_signal)
    thread = threading.Thread(target=interrupt)
    thread.start()
    while interrupted < 1000:
        try:
            call_again_and_again()
        except KeyboardInterrupt:
            pass
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    done.set()
    thread.join()
    print(one.call(len, 'abc'), other.call(len, 'abcd'))
    links = [one._link, other._link]
    deadline = time.monotonic() + 30
    while (count_kept() or any(link._objects._tickets for link in links)) and time.monotonic() < deadline:
        one._link._loop.wake()
    print(count_kept(), [(link._session.calls, link._objects._tickets) for link in links])
    """
    )
    assert found == '3 4\n0 [({}, []), ({}, [])]\n'


def test_a_fork_while_calls_run_leaves_a_child_that_can_start_anew():
    found = run_python(
        PAIR
        + """
    def churn():
        while not done.is_set():
            one.call(len, 'abc')

    done = threading.Event()
    threads = [threading.Thread(target=churn) for _ in range(3)]
    for thread in threads:
        thread.start()
    statuses = []
    for _ in range(20):
        proxy = one.create(list)
        pid = os.fork()
        if pid == 0:
            del proxy
            gc.collect()
            assert not one.is_connected()
            a, b = (across.Connection.from_socket(end) for end in socket.socketpair())
            os._exit(a.call(len, 'abc'))
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        proxy.append(1)
    done.set()
    for thread in threads:
        thread.join()
    print(set(statuses), one.call(len, 'ab'))
    """
    )
    assert found == '{3} 2\n'


# ---- streams ----


def test_results_and_releases_keep_their_order_when_the_stream_is_full():
    """A result that mentions an object, behind megabytes that wait for room, goes before the release of the object."""
    found = run_python(
        PAIR
        + """
    class Thing:
        def get(self):
            return 'here'

    def borrow(thing, pad):
        return [thing, pad]

    def run():
        for _ in range(20):
            thing = Thing()
            back = one.call(borrow, across.Local(thing), bytes(3 << 20))
            assert back[0] is thing

    errors = []
    threading.excepthook = lambda args: errors.append(args.exc_value)
    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(errors)
    """
    )
    assert found == '[]\n'


def test_files_that_cannot_be_polled_are_refused(tmp_path):
    (tmp_path / 'file').write_bytes(b'')
    found = run_python(
        """
    import across
    file = open({!r}, 'r+b')
    try:
        across.Connection.from_pipes(file, open({!r}, 'wb')).__enter__()
    except PermissionError as error:
        print(error)
    """.format(str(tmp_path / 'file'), os.devnull)
    )
    assert found == '[Errno 1] Operation not permitted\n'


def test_what_handles_are_not_for():
    found = run_python(
        PAIR
        + """
    import copy, pickle
    proxy = one.create(list)
    handle = across.values.proxies._get_handle(proxy)
    for attempt in (across.engines.Handle, lambda: copy.copy(handle), lambda: pickle.dumps(handle)):
        try:
            attempt()
        except TypeError as error:
            print(error)
    for name, args in (('register', [1]), ('claim', [1]), ('lookup', [1])):
        try:
            getattr(across.engines, name)(*args)
        except RuntimeError as error:
            print(error)
    """
    )
    assert re.findall('.+', found) == [
        'handles are made by the engine',
        'a handle can be neither copied nor pickled',
        'a handle can be neither copied nor pickled',
        'Only possible while a connection pickles',
        'Only possible while a connection unpickles',
        'Only possible while a connection is in use by this thread',
    ]


def test_an_error_of_the_engine_itself_breaks_a_connection_and_not_the_loop():
    found = run_python(
        PAIR
        + """
    third, fourth = (across.Connection.from_socket(end) for end in socket.socketpair())
    reported = []
    threading.excepthook = lambda args: reported.append(args.exc_value)
    one.call(len, '')

    def fail(call):
        raise LookupError('a bug')

    one._link._session.call = fail
    try:
        one.call(len, '')
    except across.DisconnectError as error:
        print(error)
    try:
        one.close()
    except LookupError as error:
        print(error, reported == [error])
    print(third.call(len, 'abc'))
    """
    )
    assert found == 'Connection was aborted due to LookupError: a bug\na bug True\n3\n'
