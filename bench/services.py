# SPDX-License-Identifier: MIT
"""What servers are asked to do: the same functions and class for every contestant."""

import os

_held = None


def length(text):
    return len(text)


def hold(kind, size):
    """Keep a value for `held`, so that making it is not measured. Gives the number of the process."""
    global _held
    if kind == 'array':
        import numpy

        _held = numpy.ones(size, dtype=numpy.uint8)
    else:
        _held = b'x' * size
    return os.getpid()


def held():
    return _held


def call_back(func):
    return func()


class Counter:
    def __init__(self):
        self.count = 0

    def increment(self):
        self.count += 1
        return self.count
