# SPDX-License-Identifier: MIT
"""Connections over ssh: acrossd where the other host has it, else a bare Python there, which is sent the package."""

from __future__ import annotations

import os
import select
import shlex
import socket
import subprocess
import threading
from collections.abc import Sequence
from typing import IO, Any, Optional

from .bios import get_bios
from .pipes import ProcessChannel, show

_NOTHING_THERE = 69  # exit status of the remote script; ssh's own is 255
_SSH_FAILED = 255
_MAX_SAID = 1000  # bytes of ssh's standard error that an exception repeats
_NOT_A_TERMINAL = '-T'  # a pseudo-terminal would alter the bytes

# Run by `sh -c`: the login shell may not be a Bourne shell.
_SCRIPT = (
    'if command -v {acrossd} >/dev/null 2>&1; then exec {acrossd} --stdio; '
    'elif command -v {python} >/dev/null 2>&1; then exec {python} -c {bios}; '
    'else exit {status}; fi'
)


class SshError(subprocess.CalledProcessError):
    """ssh, or what it started, ended with a status other than 0."""

    def __init__(self, status: int, args: Sequence[str], text: str) -> None:
        super().__init__(status, args)
        self.text = text

    def __str__(self) -> str:
        return self.text


SshError.__module__ = 'across._ssh'  # the name under which pickles find it


class _Echo:
    """Copies a program's standard error to sys.stderr, which need not be the process's own: in a notebook.

    Nothing waits for its end: processes that the program leaves behind may hold it open, as ssh's ControlPersist does.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._wake, self._waker = socket.socketpair()
        self._lock = threading.Lock()
        self._is_finished = False
        self._said = b''
        os.set_blocking(pipe.fileno(), False)
        self._thread = threading.Thread(target=self._run, name='across-stderr', daemon=True)
        self._thread.start()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        is_over = False
        while not is_over:
            is_over = any(fd == self._wake.fileno() for fd, _ in poll.poll())
            is_over = not self._take_all() or is_over

    def _take_all(self) -> bool:
        """Read what is available; return whether more may come."""
        while True:
            try:
                data = os.read(self._pipe.fileno(), 1 << 16)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._said = (self._said + data)[-_MAX_SAID:]
            show(data)

    def forget(self) -> None:
        """In a child made by fork()."""
        for file in (self._pipe, self._wake, self._waker):
            file.close()

    def finish(self) -> str:
        """Return the end of the program's standard error, in one line. Called when the program has ended."""
        with self._lock:
            if not self._is_finished:
                self._is_finished = True
                self._waker.send(b'\0')
                self._thread.join()
                self.forget()
        lines = self._said.decode('utf-8', 'replace').split('\n')
        return ' / '.join(line.strip() for line in lines if line.strip().isprintable() and line.strip())


class SshChannel(ProcessChannel):
    """Standard input and output of what ssh started on another host."""

    def __init__(self, host: str, ssh: Sequence[str], acrossd: str, python: str) -> None:
        if not isinstance(host, str) or not host or host.startswith('-'):
            raise ValueError('not the name of a host: {!r}'.format(host))
        if isinstance(ssh, (str, bytes)):
            raise TypeError('ssh must be a sequence of words, not {}'.format(type(ssh).__name__))
        self._host = host
        self._wanted = acrossd, python
        script = _SCRIPT.format(
            acrossd=shlex.quote(acrossd),
            python=shlex.quote(python),
            bios=shlex.quote(get_bios()),
            status=_NOTHING_THERE,
        )
        self._echo: Optional[_Echo] = None
        super().__init__([*ssh, _NOT_A_TERMINAL, '--', host, 'exec sh -c ' + shlex.quote(script)])

    def _start_program(self, args: Any, shell: bool, **kwargs: Any) -> subprocess.Popen[Any]:
        proc = super()._start_program(args, shell, stderr=subprocess.PIPE)
        assert proc.stderr is not None
        self._echo = _Echo(proc.stderr)
        return proc

    def forget(self) -> None:
        super().forget()
        if self._echo is not None:
            self._echo.forget()

    def finish(self, error: Optional[BaseException]) -> None:
        try:
            super().finish(error)
        except subprocess.CalledProcessError as failure:
            said = self._echo.finish() if self._echo is not None else ''
            text = self._explain(failure.returncode)
            raise SshError(failure.returncode, failure.cmd, '{}: {}'.format(text, said) if said else text) from None
        finally:
            if self._echo is not None:
                self._echo.finish()

    def _explain(self, status: int) -> str:
        if status == _NOTHING_THERE:
            return 'There is neither {} nor {} on {}; acrossd=... and python=... say where to find one'.format(
                *self._wanted, self._host
            )
        if status == _SSH_FAILED:
            return 'ssh to {} failed; it says why on standard error'.format(self._host)
        return 'What ssh started on {} ended with status {}'.format(self._host, status)

    def __repr__(self) -> str:
        return 'ssh:' + self._host
