# SPDX-License-Identifier: MIT
"""Functions that note that they ran, and say in what they return, or raise, which call they answer.

What they note goes to a ledger of their process, in the folder that AX_LEDGERS names.
"""

import os
import threading
import time
import zlib

from e2e.ledger import Ledger

_lock = threading.Lock()
_ledger = None


class Failure(Exception):
    """The result."""


def open_ledger():
    """Each forked process opens its own: the zygote has none."""
    global _ledger
    with _lock:
        if _ledger is None:
            _ledger = Ledger('{}/ran-{}'.format(os.environ['AX_LEDGERS'], os.getpid()))
    return _ledger


def note(number):
    """This call runs."""
    open_ledger().note(number)


def give_back(number, data):
    note(number)
    return number, zlib.crc32(data), data


def fail(number):
    note(number)
    raise Failure(number)


def call_back(number, func):
    note(number)
    return number, func(number)


def linger(number, seconds):
    note(number)
    time.sleep(seconds)
    return number


class Thing:
    """An object to refer to."""

    def __init__(self, number):
        note(number)
        self.number = number

    def get(self, number):
        note(number)
        return number, self.number
