# SPDX-License-Identifier: MIT
"""Threads that run calls, services, and ends of connections."""

from __future__ import annotations

import collections
import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any, Callable, Optional, Protocol

from .failures import report
from .latch import Latch
from .scope import local

_MAX_THREADS = 256  # that run calls
_SERVICE_THREADS = 2  # more, for short work of the engine
_ENDING_THREADS = 64  # more, for ends of links
_MAX_WAITING_CALLS = 65536
_THREAD_PATIENCE = 10.0  # seconds without work, after which a thread ends


class Owner(Protocol):
    """Whose code a thread runs: a link."""

    @property
    def is_finished(self) -> bool: ...


class Job:
    """Work for a thread: a call, which can be refused; long background work; a short service; or an ending.

    An ending is that of a link, which may block for a channel or a program that does not end. It takes no thread away
    from calls and services.
    """

    def __init__(
        self, run: Callable[[], object], is_service: bool = False, refuse: Any = None, owner: Optional[Owner] = None,
        is_ending: bool = False,
    ) -> None:  # fmt: skip
        self.run = run
        self.owner = owner  # whose code it runs; None: no owner's
        self.is_service = is_service
        self.is_ending = is_ending
        self.is_call = not is_service and not is_ending
        self.refuse: Optional[Callable[[], object]] = refuse


class Executor:
    """Cached threads. A call never waits for another as long as there are threads.

    When all of them wait for calls of their own, a queued call may be what they wait for: then it is refused.

    What code of one link leaves in a thread (threading.local) must not be seen by another's: a thread has one owner.
    The main thread never takes the lock, so a KeyboardInterrupt cannot leave it locked.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended = Latch()  # stopping, and no thread is idle any more
        self._idle: list[_Worker] = []
        self._services: collections.deque[Job] = collections.deque()
        self._calls: collections.deque[Job] = collections.deque()
        self._threads = 0
        self._busy = 0  # threads that run something
        self._endings: collections.deque[Job] = collections.deque()
        self._in_endings = 0
        self._in_calls = 0  # threads that run a call, or background work
        self._pid = os.getpid()
        self._waiting = 0  # those of them that wait for the peer
        self._stopping = False

    def end_if_forked(self, error: Optional[BaseException] = None) -> None:
        """Called where user code returns to a thread of the executor: if it has forked, the child ends here.

        It ends like a child that is forked in a thread of a program: with status 0, after printing an exception, and
        without running its parent's atexit functions.
        """
        if os.getpid() == self._pid:
            return
        try:
            if error is not None and not isinstance(error, SystemExit):
                report(error)
        finally:
            os._exit(0)

    def start(self) -> None:
        """Start one thread, which stays, so that services can run even if no more threads can be started."""
        with self._lock:
            self._start_thread(None)

    def submit(self, job: Job) -> None:
        with self._lock:
            accepted = True
            if job.is_service:
                if not self._give(job, _MAX_THREADS + _SERVICE_THREADS):
                    self._services.append(job)
            elif job.is_ending:
                most = _MAX_THREADS + _SERVICE_THREADS + 1
                if self._in_endings < _ENDING_THREADS and self._give(job, most):
                    self._in_endings += 1
                else:
                    self._endings.append(job)
            elif self._in_calls < _MAX_THREADS and self._give(job, _MAX_THREADS):
                self._in_calls += 1
            else:
                accepted = not job.refuse or (len(self._calls) < _MAX_WAITING_CALLS and not self._is_stuck())
                if accepted:
                    self._calls.append(job)
        if not accepted and job.refuse:
            job.refuse()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """While the thread of a call waits for a call of its own."""
        refused: list[Job] = []
        with self._lock:
            self._waiting += 1
            if self._is_stuck():
                refused = [job for job in self._calls if job.refuse]
                self._calls = collections.deque(job for job in self._calls if not job.refuse)
        for job in refused:
            assert job.refuse
            job.refuse()
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1

    def stop(self) -> None:
        """Have idle threads end."""
        with self._lock:
            self._stopping = True
            while self._idle:
                self._idle.pop().given.release()
            self._note_end()

    def wait_for_end(self, timeout: float) -> None:
        self._ended.wait(timeout)

    def _note_end(self) -> None:
        if self._stopping and self._threads <= self._busy:
            self._ended.open()

    def _is_stuck(self) -> bool:
        """Whether no thread will take a queued call unless a peer answers first."""
        another = self._threads - self._in_endings > self._in_calls and self._in_calls < _MAX_THREADS
        return self._waiting == self._in_calls and not another

    def _give(self, job: Job, most: int) -> bool:
        """Give the job to an idle thread, or to a new one."""
        worker = next((worker for worker in reversed(self._idle) if worker.suits(job)), None)
        if worker is None:
            if self._threads - self._in_endings >= most and self._idle:
                self._retire(self._idle[0])
            return self._threads - self._in_endings < most and self._start_thread(job)
        self._idle.remove(worker)
        worker.job = job
        worker.given.release()
        return True

    def _retire(self, worker: _Worker) -> None:
        """Have an idle thread end."""
        self._idle.remove(worker)
        self._threads -= 1
        worker.is_retired = True
        worker.given.release()

    def disown(self, owner: Owner) -> None:
        """End idle threads that belong to this link: they may hold thread-local data of its calls."""
        with self._lock:
            for worker in [worker for worker in self._idle if worker.owner is owner]:
                self._retire(worker)
            if not self._threads and not self._stopping:
                self._start_thread(None)

    def _start_thread(self, job: Optional[Job]) -> bool:
        try:
            _Worker(self, job).start()
        except (RuntimeError, MemoryError):
            return False
        self._threads += 1
        return True

    # -- in the threads

    def next_job(self, worker: _Worker) -> Optional[Job]:
        """Wait for work; None: the thread is to end."""
        while True:
            with self._lock:
                if worker.is_retired:
                    return None
                job, worker.job = worker.job, None
                if job is None:
                    job = self._take_queued(worker)
                if job is not None:
                    self._busy += 1
                    self._note_end()
                    worker.owner = job.owner or worker.owner
                    return job
                if worker.is_retired:
                    return None
                if self._stopping or (worker.owner is not None and worker.owner.is_finished):
                    self._end_thread()
                    if not self._threads and not self._stopping:
                        self._start_thread(None)
                    return None
                self._idle.append(worker)
            if worker.given.acquire(timeout=_THREAD_PATIENCE):
                continue
            with self._lock:
                if worker not in self._idle:  # it was given a job just now
                    worker.given.acquire()
                    continue
                self._idle.remove(worker)
                if self._threads > 1:
                    self._end_thread()
                    return None

    def _take_queued(self, worker: _Worker) -> Optional[Job]:
        """The next job that waits for a thread. One that does not suit this one gets a new one instead, if possible."""
        job = None
        if self._services:
            job = self._services.popleft()
        elif self._endings and self._in_endings < _ENDING_THREADS:
            job = self._endings.popleft()
            self._in_endings += 1
        elif self._calls and self._in_calls < _MAX_THREADS:
            job = self._calls.popleft()
            self._in_calls += 1
        if job is None or worker.suits(job) or not self._start_thread(job):
            return job
        self._threads -= 1
        worker.is_retired = True
        return None

    def _end_thread(self) -> None:
        self._threads -= 1
        self._note_end()

    def end_job(self, job: Job) -> None:
        with self._lock:
            self._busy -= 1
            self._in_calls -= job.is_call
            self._in_endings -= job.is_ending


class _Worker(threading.Thread):
    """A thread of the executor."""

    def __init__(self, executor: Executor, job: Optional[Job]) -> None:
        super().__init__(name='across.worker', daemon=True)
        self.job = job  # what to run next
        self.owner: Optional[Owner] = None  # whose code it has run
        self.is_retired = False  # it is to end, and is not counted any more
        self.given = threading.Lock()  # released when there is a job, or the end
        self.given.acquire()
        self._executor = executor

    def suits(self, job: Job) -> bool:
        """Whether it may run the job: it has run no code of another owner."""
        return job.owner is None or self.owner is None or self.owner is job.owner

    def run(self) -> None:
        while True:
            job = self._executor.next_job(self)
            if job is None:
                return
            local.in_call = job.is_call
            try:
                job.run()
            except BaseException as error:
                self._executor.end_if_forked(error)
                report(error)
            self._executor.end_if_forked()
            self._executor.end_job(job)
            del job  # with all that it refers to
