# SPDX-License-Identifier: MIT
"""Who is measured: acrossd with our package, and plain across; each in processes and with a path of its own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Contestant:
    name: str
    path: Path
    """The folder that holds its package ``across``."""
    acrossd: Path | None
    """The daemon, or None for plain across."""

    def _environment(self) -> dict[str, str]:
        return {**os.environ, 'PYTHONPATH': str(self.path), 'PYTHONDONTWRITEBYTECODE': '1'}

    def measure(self, what: str, address: str, count: int) -> list[float]:
        """Times in microseconds, as ``driver.py`` prints them."""
        command = [sys.executable, str(HERE / 'driver.py'), what, address, str(count)]
        output = subprocess.run(command, env=self._environment(), check=True, stdout=subprocess.PIPE, text=True).stdout
        return [float(line) for line in output.split()]

    @contextlib.contextmanager
    def serving(self, transport: str, folder: Path) -> Iterator[str]:
        """A server for the time of the block; gives the address for ``driver.py``. stdio needs none."""
        if transport == 'stdio':
            yield 'stdio:' + json.dumps(self._stdio_command())
            return
        address = f'unix:{folder / self.name}.sock' if transport == 'unix' else f'tcp:127.0.0.1:{free_port()}'
        command = self._server_command(address)
        quiet = subprocess.DEVNULL
        server = subprocess.Popen(command, env=self._environment(), stdout=quiet, stderr=quiet)
        try:
            wait_until_listening(address, server)
            yield address
        finally:
            server.terminate()
            server.wait()

    def _stdio_command(self) -> list[str]:
        if self.acrossd:
            return [str(self.acrossd), '--stdio']
        return [sys.executable, str(HERE / 'plain_server.py'), 'stdio']

    def _server_command(self, address: str) -> list[str]:
        if self.acrossd:
            return [str(self.acrossd), '--listen', address]
        return [sys.executable, str(HERE / 'plain_server.py'), address]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return int(probe.getsockname()[1])


def wait_until_listening(address: str, server: subprocess.Popen[bytes]) -> None:
    """Blocks until somebody accepts connections at the address. RuntimeError when the server ends instead."""
    kind, _, rest = address.partition(':')
    while True:
        if server.poll() is not None:
            raise RuntimeError(f'the server of {address} ended with status {server.returncode}')
        try:
            if kind == 'unix':
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(rest)
            else:
                host, _, port = rest.rpartition(':')
                socket.create_connection((host, int(port))).close()
            return
        except OSError:
            time.sleep(0.01)
