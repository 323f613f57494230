# SPDX-License-Identifier: MIT
"""Functions that the tests run in other processes, with either package across.

Imports nothing of the tests: acrossd's interpreter has no pytest.
"""

import gc
import logging
import os
import subprocess
import sys
import threading
import weakref

import across

# ---- values ----


def echo(value):
    return value


def add(a, b):
    return a + b


def collect(*args, **kwargs):
    return args, kwargs


def length(value):
    return len(value)


def make_bytes(size):
    return bytes(size)


class Point:
    def __init__(self, x, y=0):
        self.x = x
        self.y = y

    def sum(self):
        return self.x + self.y

    def move(self, dx):
        self.x += dx
        return self

    def __eq__(self, other):
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)

    __hash__ = None


class Blob(bytes):
    """Bytes with attributes."""


class Unpicklable:
    def __reduce__(self):
        raise ValueError('not for pickling')


class Unloadable:
    """Pickles, and raises when it is unpickled."""

    def __init__(self, value=0):
        self.value = value

    def __reduce__(self):
        return _raise_on_load, (self.value,)


def _raise_on_load(value):
    raise ValueError('cannot load {}'.format(value))


class DyingHere:
    """Ends the process that unpickles it, which must not be the test's."""

    def __reduce__(self):
        return os._exit, (7,)


def make_unpicklable():
    return Unpicklable()


def add_unpicklable(values):
    return [*values, Unpicklable()]


def make_unloadable():
    return Unloadable()


# ---- exceptions ----


class CustomError(Exception):
    def __init__(self, code, text):
        super().__init__(code, text)
        self.code = code


class UnpicklableError(Exception):
    def __reduce__(self):
        raise TypeError('this exception stays here')


class UnloadableError(Exception):
    def __reduce__(self):
        return _raise_on_load, (1,)


def raise_value_error(text):
    raise ValueError(text)


def raise_instance(exc):
    raise exc


def raise_custom():
    raise CustomError(42, 'custom')


def raise_with_cause():
    try:
        raise KeyError('cause')
    except KeyError as error:
        raise ValueError('effect') from error


def raise_with_context():
    try:
        raise KeyError('context')
    except KeyError:
        raise ValueError('effect')  # noqa: B904 - the context is what is wanted


def raise_without_context():
    try:
        raise KeyError('hidden')
    except KeyError:
        raise ValueError('effect') from None


def raise_with_notes():
    error = ValueError('noted')
    error.add_note('first note')
    error.add_note('second note')
    raise error


def raise_unpicklable():
    raise UnpicklableError('secret')


def raise_unloadable():
    raise UnloadableError('secret')


def raise_operation_error():
    raise across.OperationError('mine')


def raise_disconnect_error():
    raise across.DisconnectError('mine')


def raise_system_exit(code):
    sys.exit(code)


def raise_keyboard_interrupt():
    raise KeyboardInterrupt


def raise_in_circle():
    first, second = ValueError('first'), ValueError('second')
    first.__cause__ = second
    second.__cause__ = first
    raise first


def raise_nested(depth):
    if depth:
        raise_nested(depth - 1)
    raise ValueError('deep')


# ---- calls back ----


def call_back(func, *args):
    return func(*args)


def call_back_over_connection(func, *args):
    return across.get_connection().call(func, *args)


def note_threads(depth, here, there):
    """Goes back and forth `depth` times; returns the threads in which it ran, at the caller's and at this end."""
    there.append(threading.get_ident())
    if depth == 0:
        return here, there
    there, here = across.get_connection().call(note_threads, depth - 1, there, here)
    return here, there


def ping_pong(depth):
    """Calls itself at the other end, and so on."""
    if depth == 0:
        return [os.getpid()]
    return [os.getpid(), *across.get_connection().call(ping_pong, depth - 1)]


def ping_pong_then_raise(depth):
    if depth == 0:
        raise ValueError('from the bottom')
    return across.get_connection().call(ping_pong_then_raise, depth - 1)


def has_connection():
    return isinstance(across.get_connection(), across.Connection)


def get_connection_in_thread():
    """What get_connection() does in a thread that serves no call."""
    found = []

    def run():
        try:
            found.append(str(across.get_connection()))
        except ValueError as error:
            found.append(type(error).__name__)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def get_connection_twice():
    return across.get_connection() is across.get_connection()


# ---- meeting points ----

_barriers = {}
_events = {}
_lock = threading.Lock()


def meet(name, parties):
    """Returns when this many calls are here at the same time."""
    with _lock:
        barrier = _barriers.setdefault(name, threading.Barrier(parties))
    barrier.wait(60)
    return threading.get_ident()


def _get_event(name):
    with _lock:
        return _events.setdefault(name, threading.Event())


def wait_for(name):
    """Blocks until `set_event` is called with the same name."""
    return _get_event(name).wait(60)


def set_event(name):
    _get_event(name).set()


def pass_gate(path):
    """Returns when another process opens this FIFO for writing."""
    os.close(os.open(path, os.O_RDONLY))
    return True


def call_back_then_wait_for(name, func):
    func()
    return wait_for(name)


def run_until(name, func):
    """Calls back, and runs until `set_event` is called with the same name, or the connection has ended."""
    func()
    conn = across.get_connection()
    event = _get_event(name)
    while (
        not event.wait(0.05) and conn.is_connected()
    ):  # looks for the end itself: no thread outlives its process's end
        pass
    return event.is_set()


def wait_for_disconnect(path):
    """Writes to a file when the connection that called this has gone."""
    conn = across.get_connection()
    watcher = threading.Thread(target=_note_disconnect, args=(conn, path), daemon=True)
    watcher.start()


def _note_disconnect(conn, path):
    conn.wait()
    with open(path, 'w') as file:
        file.write('gone')


# ---- objects ----


class Counted:
    """Counts its living instances."""

    live = weakref.WeakSet()

    def __init__(self, value=None):
        self.value = value
        self.live.add(self)

    def get(self):
        return self.value

    def me(self):
        return self


def count_live():
    gc.collect()
    return len(Counted.live)


def count_live_now():
    return len(Counted.live)


def make_counted(count):
    return [across.ref(Counted(number)) for number in range(count)]


class ManyLocals:
    """Arrives as a list that keeps so many objects of the sender's table, without proxies, which would take longer."""

    def __init__(self, count):
        self._count = count

    def __reduce__(self):
        from across import engines  # plain across has none

        return _claim, ([engines.register(ManyLocals) for _ in range(self._count)],)


def _claim(ids):
    from across import engines

    return [engines.claim(id) for id in ids]


def make_counted_and_unloadable():
    return [across.ref(Counted()), Unloadable(), across.ref(Counted())]


def make_counted_and_unpicklable():
    return [across.ref(Counted()), Unpicklable()]


def is_same(a, b):
    return a is b


_kept = []


def keep(value):
    _kept.append(value)


def pop_kept():
    return _kept.pop()


def drop_kept():
    _kept.clear()
    gc.collect()


def append_to(items, value):
    items.append(value)


def sum_of(items):
    return sum(items[index] for index in range(len(items)))


def generate(count):
    yield from range(count)


class Manager:
    """A context manager that remembers what happened."""

    def __init__(self, swallow=False):
        self.swallow = swallow
        self.events = []

    def __enter__(self):
        self.events.append('enter')
        return self

    def __exit__(self, kind, exc, traceback):
        self.events.append('exit' if kind is None else '{}: {}'.format(kind.__name__, exc))
        return self.swallow

    def get_events(self):
        return self.events


def make_cycle_with(proxy):
    """Leaves a proxy in garbage that only the collector finds."""
    cycle = [proxy]
    cycle.append(cycle)


# ---- this process ----


def get_pid():
    return os.getpid()


def read_stdin():
    return sys.stdin.read(), os.read(0, 10)


def print_text(text):
    print(text, flush=True)


def write_fd(fd, data):
    return os.write(fd, data)


def run_command(command):
    return subprocess.call(command, shell=True)


def write_stdout_without_flush(text):
    sys.stdout.write(text)


def close_own_connection():
    across.get_connection().close()


def cancel_own_connection():
    across.get_connection().cancel()


def log(name, level, text, *args):
    logging.getLogger(name).log(level, text, *args)


# ---- with the packages' logging ----


def forward_logs(name, level=logging.DEBUG):
    """From now on, what is logged here goes over the connection that calls this."""
    import across.logging

    logger = logging.getLogger(name)
    logger.setLevel(level)
    logger.propagate = False
    logger.handlers[:] = [across.logging.AcrossHandler()]


def stop_logs(name):
    logging.getLogger(name).handlers.clear()


def log_exception(name, text):
    try:
        raise KeyError('logged')
    except KeyError:
        logging.getLogger(name).exception(text)


def log_extra(name, text, extra):
    logging.getLogger(name).warning(text, extra=extra)


def log_unpicklable_argument(name):
    logging.getLogger(name).info('argument %s, %r', threading.Lock().__class__.__name__, 3)


def log_unpicklable_extra(name):
    logging.getLogger(name).info('with extra', extra={'lock': threading.Lock(), 'number': 5})


# ---- memory ----


def reset_peak():
    """Forget what this process has used at most, and return what it uses, in kB."""
    gc.collect()
    with open('/proc/self/clear_refs', 'w') as file:
        file.write('5')
    return _status('VmRSS')


def peak():
    """What this process has used at most since then, in kB."""
    return _status('VmHWM')


def _status(name):
    with open('/proc/self/status') as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name))


def make_array(size):
    import numpy

    return numpy.ones(size, dtype='u1')
