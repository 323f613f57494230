# SPDX-License-Identifier: MIT
"""What a contestant is to those who measure: a server that can be started, and connections to it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

BENCH = Path(__file__).resolve().parent.parent


class CannotError(Exception):
    """This contestant has no such thing, for the reason given."""


class Peer:
    """A connection to a server that is up. Everything that a contestant cannot do raises CannotError."""

    def null(self) -> object:
        """The smallest call there is: the length of an empty string."""
        raise NotImplementedError

    def for_thread(self) -> Peer:
        """What another thread calls with. The same connection, if that can be."""
        return self

    def hold(self, kind: str, size: int) -> int:
        """Have the server keep `bytes` or an `array` of that size. Gives the number of the process that does."""
        raise NotImplementedError

    def put(self, value: object) -> int:
        """Send the value, get its length back."""
        raise NotImplementedError

    def get(self) -> object:
        """Get what the server holds."""
        raise NotImplementedError

    put_array: Callable[[object], int]
    get_array: Callable[[], object]

    def method(self) -> Callable[[], object]:
        """A method of an object that lives at the server, ready to be called."""
        raise CannotError('has no proxies of objects')

    def callback(self) -> None:
        """A call that calls a function of ours before it returns."""
        raise CannotError('has no calls back')

    def close(self) -> None:
        raise NotImplementedError


class Contestant:
    name: str
    """As the tables have it."""
    transports: tuple[str, ...] = ('unix', 'tcp', 'stdio')
    why_not = 'has no such transport'
    """Why other transports are missing."""
    usual = 'unix'
    """The transport of rows that do not name one."""
    cannot: ClassVar[dict[str, str]] = {}
    """Modes that are missing, and why."""

    @contextlib.contextmanager
    def serving(self, transport: str, mode: str, folder: str) -> Iterator[str]:
        """
        A server for the time of the block; gives its address.

        Modes: 'usual'; 'own', an interpreter for each connection; 'shared', one for all; 'idle', one that is to hold
        many connections. stdio has no server: the address then says how the program is started.
        """
        if transport not in self.transports:
            raise CannotError(self.why_not)
        if mode in self.cannot:
            raise CannotError(self.cannot[mode])
        if transport == 'stdio':
            yield 'stdio:' + mode
            return
        address = f'unix:{folder}/s' if transport == 'unix' else f'tcp:127.0.0.1:{free_port()}'
        server = subprocess.Popen(self.command(address, mode), stdout=subprocess.DEVNULL)
        self.pid = server.pid
        try:
            wait_until_listening(address, server)
            yield address
        finally:
            server.terminate()
            server.wait()

    def command(self, address: str, mode: str) -> list[str]:
        """How the server is started: in Python, unless it is a program of its own."""
        return [sys.executable, str(BENCH / 'serve.py'), type(self).__module__.rpartition('.')[2], address, mode]

    def serve(self, address: str, mode: str) -> None:
        """Be that server, until a signal comes."""
        raise NotImplementedError

    def connect(self, address: str) -> Peer:
        raise NotImplementedError

    def pause_before_connect(self) -> None:
        """Wait for what the server does between connections, if it does anything."""


class Counted:
    """An object to be called back."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        return self.calls


def split_tcp(address: str) -> tuple[str, int]:
    host, _, port = address.partition(':')[2].rpartition(':')
    return host, int(port)


def piped(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return int(probe.getsockname()[1])


def wait_until_listening(address: str, server: subprocess.Popen[bytes]) -> None:
    """Blocks until somebody listens at the address. RuntimeError when the server ends instead."""
    while not is_listening(address):
        if server.poll() is not None:
            raise RuntimeError(f'the server of {address} ended with status {server.returncode}')
        time.sleep(0.01)


def is_listening(address: str) -> bool:
    """Looks it up instead of connecting: some servers take a connection that ends at once for a client in trouble."""
    kind, _, rest = address.partition(':')
    if kind == 'unix':
        listening = '00010000'
        for line in Path('/proc/net/unix').read_text().splitlines():
            fields = line.split()
            if fields[-1] == rest and fields[3] == listening:
                return True
        return False
    local = f'0100007F:{int(rest.rpartition(":")[2]):04X}'
    listening = '0A'
    lines = Path('/proc/net/tcp').read_text().splitlines()
    return any(line.split()[1] == local and line.split()[3] == listening for line in lines)
