# SPDX-License-Identifier: MIT
"""Records of what ran and how it ended, in files that survive the writing process. Imports nothing of the tests."""

import array
import os

RECORD = 16  # bytes: a call's number, and a word about it. A write of so many is never cut: 16 divides a page


class Ledger:
    """Appends to a file. From any thread; each note is one write(2), and then nothing can undo it."""

    def __init__(self, path):
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, number, word=0):
        size = os.write(self._fd, number.to_bytes(8, 'little') + word.to_bytes(8, 'little'))
        assert size == RECORD


def read(path):
    """All notes: pairs of numbers and words."""
    words = array.array('Q')
    with open(path, 'rb') as file:
        words.frombytes(file.read())
    return zip(words[::2], words[1::2])
