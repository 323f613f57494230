# SPDX-License-Identifier: MIT
"""Connections over ssh: acrossd where the other host has it, else a bare Python there, which is sent the package."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from typing import Optional

from ._bios import get_bios
from ._channels import ProcessChannel

_NOTHING_THERE = 69  # exit status of the script over there; ssh's own is 255
_SSH_FAILED = 255
_NOT_A_TERMINAL = '-T'  # a terminal would change bytes

# In whatever shell: a user's own may not be a Bourne shell.
_SCRIPT = (
    'if command -v {acrossd} >/dev/null 2>&1; then exec {acrossd} --stdio; '
    'elif command -v {python} >/dev/null 2>&1; then exec {python} -c {bios}; '
    'else exit {status}; fi'
)


class SshError(subprocess.CalledProcessError):
    """ssh did not end well."""

    def __init__(self, status: int, args: Sequence[str], text: str) -> None:
        super().__init__(status, args)
        self.text = text

    def __str__(self) -> str:
        return self.text


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
        super().__init__([*ssh, _NOT_A_TERMINAL, '--', host, 'exec sh -c ' + shlex.quote(script)])

    def finish(self, error: Optional[BaseException]) -> None:
        try:
            super().finish(error)
        except subprocess.CalledProcessError as failure:
            raise SshError(failure.returncode, failure.cmd, self._explain(failure.returncode)) from None

    def _explain(self, status: int) -> str:
        if status == _NOTHING_THERE:
            return 'There is neither {} nor {} on {}'.format(*self._wanted, self._host)
        if status == _SSH_FAILED:
            return 'ssh to {} failed; it says why on standard error'.format(self._host)
        return 'What ssh started on {} ended with status {}'.format(self._host, status)

    def __repr__(self) -> str:
        return 'ssh:' + self._host
