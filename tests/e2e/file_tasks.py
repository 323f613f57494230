# SPDX-License-Identifier: MIT
"""Functions that leave files open, in globals and elsewhere. Imports nothing of the tests, as remote_tasks."""

import gzip
import os
import tempfile
import zipfile

left = []  # open files
TEXT = 'written, and not flushed\n'


def leave_open(folder):
    """Files of all kinds, in which something was written that is still buffered."""
    path = os.path.join(folder, '')
    left.append(open(path + 'text', 'w'))
    left[-1].write(TEXT)
    left.append(open(path + 'bytes', 'wb'))
    left[-1].write(TEXT.encode())
    left.append(open(path + 'random', 'w+b'))
    left[-1].write(TEXT.encode())
    left.append(gzip.open(path + 'gzip', 'wt'))
    left[-1].write(TEXT)
    left.append(zipfile.ZipFile(path + 'zip', 'w'))
    left[-1].writestr('name', TEXT)
    left.append(tempfile.NamedTemporaryFile('w', dir=folder))
    return left[-1].name


def leave_pipe_open(folder):
    """A pipe that is full, and that nobody reads; and a file that was opened after it."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(65536))
    except BlockingIOError:
        os.set_blocking(writer, True)
    left.extend([reader, open(writer, 'w')])
    left[-1].write(TEXT)
    left.append(open(os.path.join(folder, 'text'), 'w'))
    left[-1].write(TEXT)


def leave_full_open(folder):
    """A device on which there is no room; and a file that was opened after it."""
    left.append(open('/dev/full', 'w'))
    left[-1].write(TEXT)
    left.append(open(os.path.join(folder, 'text'), 'w'))
    left[-1].write(TEXT)
