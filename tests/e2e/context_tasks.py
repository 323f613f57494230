# SPDX-License-Identifier: MIT
"""Functions that keep something in contexts and threads, and look what is there.

Imports nothing of the tests, as remote_tasks.
"""

import contextvars
import decimal
import threading

variable = contextvars.ContextVar('variable', default='nothing')
local = threading.local()


def set_context(value, func=None):
    """What the context was before; meanwhile `func` may call back."""
    found = look_at_context()
    variable.set(value)
    decimal.getcontext().prec = 5
    if func is not None:
        func()
        assert look_at_context() == (value, 5)
    return found


def look_at_context():
    return variable.get(), decimal.getcontext().prec


class Keeper:
    """Its methods are calls, too."""

    def set(self, value):
        return set_context(value)

    def look(self):
        return look_at_context()


class SetWhenLoaded:
    def __reduce__(self):
        return set_context, ('loaded',)


def set_local(value):
    """What was there before: in the thread, and in what threading knows of it."""
    found = look_at_local()
    local.value = value
    threading.current_thread().value = value
    return found


def look_at_local():
    return getattr(local, 'value', None), getattr(threading.current_thread(), 'value', None)


class Noted:
    """Says when it is dropped."""

    dropped = threading.Event()

    def __del__(self):
        self.dropped.set()


def keep_in_thread():
    local.value = Noted()


def is_dropped():
    return Noted.dropped.is_set()
