# SPDX-License-Identifier: MIT
"""An event that happens once, and can be set anywhere."""

from __future__ import annotations

import collections
import threading
from typing import Any


class Latch:
    """Opens once. Waiting can be interrupted; opening takes no lock and never waits."""

    def __init__(self) -> None:
        self.is_open = False
        self._waiting: collections.deque[Any] = collections.deque()  # a lock for each thread, locked

    def open(self) -> None:
        self.is_open = True
        while self._waiting:
            self._waiting.popleft().release()

    def wait(self, timeout: float = -1) -> None:
        lock = threading.Lock()
        lock.acquire()
        self._waiting.append(lock)
        if not self.is_open:
            lock.acquire(timeout=timeout)
