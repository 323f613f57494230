# SPDX-License-Identifier: MIT
"""The driver's side of ledger.h, and of functions.h."""

import ctypes
import errno
import mmap
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
MAGIC = 0x544F5254
SITES = 4096
FRAMES = 6
ROLES = ['other', 'supervisor', 'zygote', 'keeper', 'worker', 'stdio', 'status', 'client']
MODULES = ['', 'acrossd', '_across', 'acrossd-openssl', 'libuv']


class _Site(ctypes.Structure):
    _fields_ = [
        ('key', ctypes.c_uint64),
        ('role', ctypes.c_uint32),
        ('function', ctypes.c_uint32),
        ('errors', ctypes.c_uint32),
        ('calls', ctypes.c_uint32),
        ('live', ctypes.c_uint32),
        ('unused', ctypes.c_uint32),
        ('frames', ctypes.c_uint64 * FRAMES),
    ]


class _Ended(ctypes.Structure):
    _fields_ = [('processes', ctypes.c_uint32), ('files', ctypes.c_uint32)]


class _Ledger(ctypes.Structure):
    _fields_ = [
        ('magic', ctypes.c_uint32),
        ('target_call', ctypes.c_uint32),
        ('target_key', ctypes.c_uint64),
        ('target_error', ctypes.c_uint32),
        ('fired', ctypes.c_uint32),
        ('crash', ctypes.c_uint32),
        ('crash_role', ctypes.c_uint32),
        ('lost', ctypes.c_uint32),
        ('unused', ctypes.c_uint32),
        ('ended', _Ended * len(ROLES)),
        ('sites', _Site * SITES),
    ]


class Function:
    """A function that can fail."""

    def __init__(self, name, kind, errors):
        self.name = name
        self.kind = kind
        self.errors = errors


def _read_functions():
    with open(os.path.join(HERE, 'functions.h')) as file:
        found = re.findall(r'X\((\w+), (\w+), ([A-Z, ]+)\)', file.read())
    return [Function(name, kind, errors.split(', ')) for name, kind, errors in found]


FUNCTIONS = _read_functions()


class Site:
    """What one site says after a run."""

    def __init__(self, raw):
        self.key = raw.key
        self.role = ROLES[raw.role]
        self.function = FUNCTIONS[raw.function]
        self.errors = [error for i, error in enumerate(self.function.errors) if raw.errors >> i & 1]
        self.calls = raw.calls
        self.live = raw.live
        self.frames = [(MODULES[frame >> 48], frame & (1 << 48) - 1) for frame in raw.frames if frame]


class Point:
    """One call that is to fail, in one way."""

    def __init__(self, site, call, error):
        assert hasattr(errno, error)
        self.site = site
        self.call = call
        self.error = error


class Ledger:
    """The file that the processes of one run share."""

    def __init__(self, path, point=None):
        self.path = path
        with open(path, 'w+b') as file:
            file.truncate(ctypes.sizeof(_Ledger))
            self._memory = mmap.mmap(file.fileno(), ctypes.sizeof(_Ledger))
        self._raw = _Ledger.from_buffer(self._memory)
        self._raw.magic = MAGIC
        if point is not None:
            self._raw.target_call = point.call
            self._raw.target_key = point.site.key
            self._raw.target_error = point.site.function.errors.index(point.error)

    @property
    def fired(self):
        """The process in which the call failed; 0: it has not been made."""
        return self._raw.fired

    @property
    def crash(self):
        """The signal and the role of a process that died by its own fault; or None."""
        return (self._raw.crash, ROLES[self._raw.crash_role]) if self._raw.crash else None

    def files(self):
        """By role: how many processes exited in order, and how many descriptors they then had, on average."""
        return {
            role: (ended.processes, ended.files / ended.processes)
            for role, ended in zip(ROLES, self._raw.ended)
            if ended.processes
        }

    def sites(self):
        assert not self._raw.lost, 'the ledger is too small: {} calls were not counted'.format(self._raw.lost)
        return [Site(raw) for raw in self._raw.sites if raw.key]

    def close(self):
        del self._raw
        self._memory.close()
        os.unlink(self.path)
