# SPDX-License-Identifier: MIT
"""Frames, heads and messages: the format of the stream, and its limits."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Union

MAGIC = 0xE35B9E78
MAGIC_BOOTSTRAP = 0xE54E6D01
LEVEL = 1  # of the extension
FEATURE_REASON = 1  # feature: GOODBYE says why
FEATURE_DESCRIBED = 32  # feature: a proxy may come with more than its methods
FEATURE_LIMITS = 64  # feature: GREETING has its sender's limits of one message
FEATURE_DETAILS = 128  # feature: exceptions may have details beside their pickle
FEATURES = FEATURE_REASON | FEATURE_DESCRIBED | FEATURE_LIMITS | FEATURE_DETAILS
OLDEST_MINOR, NEWEST_MINOR = 1, 2
GREETING, APPLY, RESULT, GOODBYE, DEL_OBJS, IDLE = range(6)
SUCCESS, ERROR, OPERATION_ERROR = 2, 3, 4
# The limits of docs/protocol.md, section 7; protocol/session.c has the reasons.
MAX_MESSAGE = 1 << 30
MAX_HEAD = 1 << 20
MAX_FRAMES = 1024
MAX_IDS = 65536
MAX_ID = (1 << 64) - 1
MAX_TIMEOUT_MS = 86400000
_MAX_REASON = 255
MAX_TEXT = 4096
Bytes = Union[bytes, bytearray, memoryview]


def may_begin_superblock(data: bytearray) -> bool:
    return any(struct.pack('>I', magic).startswith(data[:4]) for magic in (MAGIC, MAGIC_BOOTSTRAP))


def put_uint(value: int) -> bytes:
    if value <= 0xFC:
        return bytes((value,))
    if value <= 0xFFFF:
        return struct.pack('>BH', 0xFD, value)
    return struct.pack('>BI', 0xFE, value) if value <= 0xFFFFFFFF else struct.pack('>BQ', 0xFF, value)


def put_uints(*values: int) -> bytes:
    return b''.join(map(put_uint, values))


def put_ids(ids: list[int]) -> bytes:
    return put_uints(len(ids), *ids)


def put_frame_header(length: int, more: bool = False) -> bytes:
    return struct.pack('>Q', length * 2 + more)


class _Head:
    """Reads the fields of a head. Fields beyond its end are 0, or empty."""

    def __init__(self, data: Bytes) -> None:
        self._data = bytes(data)
        self._pos = 0

    def left(self) -> int:
        return len(self._data) - self._pos

    def uint(self) -> int:
        if not self.left():
            return 0
        first = self._data[self._pos]
        self._pos += 1
        if first <= 0xFC:
            return first
        size = {0xFD: 2, 0xFE: 4, 0xFF: 8}[first]
        field = self._take(size)
        return int.from_bytes(field, 'big') if len(field) == size else 0

    def text(self) -> str:
        return self._take(self.uint()).decode('utf-8', 'replace')

    def ids(self, count: int) -> Iterator[int]:
        while count and self.left():
            yield self.uint()
            count -= 1

    def _take(self, size: int) -> bytes:
        field = self._data[self._pos : self._pos + size]
        self._pos += len(field)
        return field


class Message:
    """A received message. Which fields are used depends on its type."""

    def __init__(self, head: Bytes) -> None:
        fields = _Head(head)
        self.type = fields.uint()
        self.call = fields.uint() if self.type in (APPLY, RESULT) else 0
        self.kind = fields.uint() if self.type == RESULT else 0
        has_text = self.type == GOODBYE or self.kind == OPERATION_ERROR
        has_ids = self.type in (APPLY, DEL_OBJS) or self.kind in (SUCCESS, ERROR)
        self.timeout = fields.uint() if self.type == GREETING else 0
        # The first two are those of flow control.
        self.limits = [fields.uint() for _ in range(5)][2:] if self.type == GREETING else []
        self.text = fields.text() if has_text else ''
        self.ids_announced = fields.uint() if has_ids else 0
        self.ids_size = fields.left()
        self.ids: list[int] = []
        if self.ids_announced <= min(MAX_IDS, self.ids_size):
            self.ids.extend(fields.ids(self.ids_announced))
        self.buffers: list[bytearray] = []


def clean_reason(text: str) -> str:
    """Return one line that fits into a GOODBYE."""
    line = ''.join(char if char.isprintable() else ' ' for char in text.replace('\ufffd', '?'))
    return line.encode('utf-8', 'replace')[:_MAX_REASON].decode('utf-8', 'ignore')
