# SPDX-License-Identifier: MIT
"""What a process has allocated, as its allocators count it. Imports nothing of the tests."""

import ctypes
import gc
import sys


class _Info(ctypes.Structure):
    """struct mallinfo2"""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in 'arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost'.split()
    ]


def count_allocated():
    """Blocks of Python's allocator, and bytes of the C library's: in use, without what they keep for later.

    The bytes are 0 with C libraries that don't tell.
    """
    gc.collect()
    tell = getattr(ctypes.CDLL(None), 'mallinfo2', None)
    if tell is None:
        return sys.getallocatedblocks(), 0
    tell.restype = _Info
    info = tell()
    return sys.getallocatedblocks(), info.uordblks + info.hblkhd
