# SPDX-License-Identifier: MIT
"""Connections: what users hold. The engine's Link does the work; a Connection is its owner (docs/engine.md)."""

from __future__ import annotations

import atexit
import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Callable, Optional, TypeVar, Union

from . import engines
from ._advice import advise, describe_failure
from ._errors import DisconnectError, OperationError, ProtocolError, describe_error
from ._log import logger
from ._options import Options, take_options
from ._remote import _apply_ref, _export, run_call
from .channels.bridge import Bridge, Transport
from .channels.pipes import PipeChannel, ProcessChannel, StdioChannel
from .channels.sockets import SocketChannel, unix_address
from .channels.ssh import SshChannel
from .exports import bootstrap, exporter
from .values import moved, picklers
from .values.exceptions.records import dump_error, load_error, rescue_error
from .values.lending import lend
from .values.proxies import _SELF, Local, list_methods, make_proxy, run_method
from .values.snippets import _execute

if TYPE_CHECKING:
    import ssl

_T = TypeVar('_T')
_StrOrBytes = Union[str, bytes]
_StrOrBytesPath = Union[str, bytes, 'os.PathLike[str]', 'os.PathLike[bytes]']

_numbers = itertools.count(1)
_open: set[Connection] = set()  # that this process opened, and that have not ended
_served_accept_exports = False  # on connections that acrossd accepted


class Connection:
    """A connection to another Python process. Functions can be called over it in both directions.

    `channel` carries the bytes: one made by the `from_...` constructors, or any object with these methods:

    - `connect()`, which may block;
    - `recv_into(buffer) -> int` (0: end of stream) and `send(buffer) -> int`, which block, and have a thread each;
    - `cancel()`, which makes what blocks return or raise, and is called from any thread, also at an orderly end;
    - `close()`, called when all others have returned;
    - `set_timeout(seconds)`, called first, unless there is no timeout.

    Construction does not block: the connection is made in the background. Calls wait for it, and so does the `with`
    statement, which raises why it failed. All methods may be called from any thread.

    A process that is made by `fork()` has no part in the connections of its parent, which go on. Its copies of them and
    of their proxies raise :exc:`DisconnectError`. It may open its own.
    """

    __slots__ = ('_link', '_apply', '_transport', '_label', '_ended', '_failure', '_pid',
                 '_accepts_exports', '_takes_data', '_asks', '__dict__', '__weakref__')  # fmt: skip

    _log_error: Callable[..., object] = logger.error  # which says why it broke
    _sends_package = True  # to a bare Python that asks for it
    _is_acceptor = False  # whether the other side sends the first superblock, and with it the version
    _link: engines.Link
    _apply: Callable[..., Any]  # the link's; with cloudpickle, first one that negotiates the pickler
    _transport: Optional[Transport]
    _label: str
    _ended: bool  # by close() or cancel()
    _failure: list[BaseException]  # what close() raises: at most one, and once
    _pid: int  # of the process that opened it; in a child made by fork() it is unusable
    _accepts_exports: bool  # the peer may export modules to this process
    _takes_data: bool  # trust='data': the peer may not call functions here
    _asks: bool  # whether the pickler is still to be negotiated

    def __init__(self, channel: Any, *, options: Optional[Options] = None) -> None:
        options = take_options(options)
        takes_data = options.trust == 'data'
        if takes_data and options.accept_exported_modules:
            raise ValueError("accept_exported_modules needs trust='full': modules are code")
        transport = channel if isinstance(channel, Transport) else Bridge(channel)
        if options.timeout is not None:
            transport.set_timeout(options.timeout)
        timeout_ms = 0 if options.timeout is None else max(1, round(options.timeout * 1000))
        package = bootstrap.get_source() if self._sends_package and not takes_data else None
        link = engines.Link(
            self, acceptor=self._is_acceptor, minor=options.protocol_version[1], timeout_ms=timeout_ms,
            handshake_ms=timeout_ms, bootstrap=package, refuse_requests=takes_data,
            max_preamble=transport.max_preamble, spin_us=options.spin,
        )  # fmt: skip
        self._set_up(link, transport, repr(transport))
        self._accepts_exports = options.accept_exported_modules
        self._takes_data = takes_data
        if takes_data:
            from .values import trust  # slow to import, and most connections do not need it

            link.loads = trust.make_loads(options.trusted_types)
        link.dumps = picklers.get_dumps(options.pickler)
        if options.pickler == picklers.CLOUDPICKLE:
            self._asks = True
            self._apply = self._ask_and_apply
        logger.info('%r starts, options=%r', self, options)
        _open.add(self)
        transport.begin(link)

    def _set_up(self, link: engines.Link, transport: Optional[Transport], peer: str) -> None:
        self._link = link
        self._apply = link.apply
        self._transport = transport
        self._label = '{} {}'.format(next(_numbers), peer)
        self._ended = False
        self._failure = []
        self._pid = os.getpid()
        self._accepts_exports = self._takes_data = self._asks = False

    @classmethod
    def from_tcp(
        cls, host: str, port: Union[int, str], *, secret_file: Optional[_StrOrBytesPath] = None,
        options: Optional[Options] = None,
    ) -> Connection:  # fmt: skip
        """Connect over TCP, to the first address of `host` that accepts.

        `secret_file` names a file with the secret that the server shares. Both sides prove that they know it, before
        anything else is said; if the other side does not, the connection breaks with a :exc:`ProtocolError`. ValueError
        when others than its owner can read or write the file, or its owner is neither this process's user nor root.
        """
        secret = None if secret_file is None else _read_secret(secret_file)
        return cls(SocketChannel(socket.AF_UNSPEC, (host, port), secret=secret), options=options)

    @classmethod
    def from_tls(
        cls, host: str, port: Union[int, str], *, ssl_context: Optional[ssl.SSLContext] = None,
        cafile: Optional[_StrOrBytesPath] = None, certfile: Optional[_StrOrBytesPath] = None,
        keyfile: Optional[_StrOrBytesPath] = None, options: Optional[Options] = None,
    ) -> Connection:  # fmt: skip
        """Connect over TLS 1.3, to the first address of `host` that accepts.

        The server has to have a certificate for `host` of an authority in `cafile`, or, without that, of one that the
        system knows. `certfile` is this side's certificate, and `keyfile` its private key, unless that is in the same
        file; all are PEM. Or give an `ssl_context` that is made ready for clients: then it says what is verified.
        OSError, of which ssl.SSLError is a kind, when one of the files cannot be used. If the server is not the right
        one, or refuses the certificate, the connection breaks with an ssl.SSLError.
        """
        from .channels import tls  # most programs need no ssl

        if ssl_context is None:
            ssl_context = tls.make_context(cafile, certfile, keyfile)
        elif (cafile, certfile, keyfile) != (None, None, None):
            raise TypeError('either an ssl_context or files are needed, not both')
        return cls(tls.TlsChannel(host, port, ssl_context), options=options)

    @classmethod
    def from_unix(cls, path: _StrOrBytesPath, *, options: Optional[Options] = None) -> Connection:
        """Connect to a unix domain socket. `@NAME` is an abstract name, and no file: write `./@NAME` for one."""
        return cls(SocketChannel(socket.AF_UNIX, unix_address(path)), options=options)

    @classmethod
    def from_socket(cls, sock: socket.socket, *, options: Optional[Options] = None) -> Connection:
        """Use a connected stream socket. It belongs to the connection from now on, and is closed by it."""
        return cls(SocketChannel(sock=sock), options=options)

    @classmethod
    def from_pipes(cls, in_pipe: BinaryIO, out_pipe: BinaryIO, *, options: Optional[Options] = None) -> Connection:
        """Receive from one file and send to another. Both belong to the connection from now on."""
        return cls(PipeChannel(in_pipe, out_pipe), options=options)

    @classmethod
    def from_stdio(cls, *, options: Optional[Options] = None) -> Connection:
        """Use this process's standard input and output, which are left open.

        While the connection lasts, what the process prints goes to standard error.
        """
        return cls(StdioChannel(), options=options)

    @classmethod
    def from_command(cls, args: Sequence[_StrOrBytesPath], *, options: Optional[Options] = None) -> Connection:
        """Start a program, and use its standard input and output.

        It is started with SIGINT ignored, so that Ctrl-C at a terminal leaves the connection usable. What it prints
        before it begins to speak, up to 64 KiB, appears on standard error.
        If the program exits with another status than 0, `close()` raises subprocess.CalledProcessError.
        """
        if not isinstance(args, (list, tuple)):
            text = 'a command must be a list or tuple, not {}; from_shell() takes a script'
            raise TypeError(text.format(type(args).__name__))
        return cls(ProcessChannel(args), options=options)

    @classmethod
    def from_shell(cls, script: _StrOrBytes, *, options: Optional[Options] = None) -> Connection:
        """Start a shell script, and use its standard input and output. See :meth:`from_command`."""
        if not isinstance(script, (str, bytes)):
            text = 'a script must be a str or bytes, not {}; from_command() takes a list of words'
            raise TypeError(text.format(type(script).__name__))
        return cls(ProcessChannel(script, shell=True), options=options)

    @classmethod
    def from_process(cls, proc: subprocess.Popen[bytes], *, options: Optional[Options] = None) -> Connection:
        """Use the standard input and output of a started program. It is joined when the connection ends."""
        return cls(ProcessChannel(proc=proc), options=options)

    @classmethod
    def from_ssh(
        cls, host: str, *, ssh: Sequence[str] = ('ssh',), acrossd: str = 'acrossd', python: str = 'python3',
        options: Optional[Options] = None,
    ) -> Connection:  # fmt: skip
        """Connect to another host over ssh. `host` is what ssh takes, `user@name` for example.

        Where the host has acrossd, `acrossd --stdio` runs there. Else its Python becomes a peer, 3.9 or later, without
        installing anything: it is sent this package, and accepts exported modules. `acrossd` and `python` are the names
        or paths of these programs over there, and `ssh` begins the command here: ['ssh', '-p', '2222'], say. What
        ssh, and programs over there, have to say appears on standard error. If ssh fails, or there is neither
        program, `close()` and the `with` statement raise a subprocess.CalledProcessError that says so.
        """
        return cls(SshChannel(host, ssh, acrossd, python), options=options)

    def call(self, func: Callable[..., _T], /, *args: Any, **kwargs: Any) -> _T:
        """Call `func(*args, **kwargs)` in the other process; return what it returns, or raise what it raises.

        Function, arguments and result are pickled. What is wrapped in :class:`Local` arrives as a proxy.
        :exc:`OperationError` says that something else than the function failed, :exc:`DisconnectError` that the
        connection is gone. An interrupted call (KeyboardInterrupt) leaves the connection usable.
        """
        return self._apply(func, args, kwargs)  # type: ignore[no-any-return]

    def create(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call `func(*args, **kwargs)` in the other process, keep its result there, and return a proxy for it."""
        self._ask_once()
        return self._link.create(func, args, kwargs)

    call_ref = create

    def replicate(self, obj: Any) -> Any:
        """Make a copy of `obj` in the other process, and return a proxy for it."""
        self._ask_once()
        return self._link.replicate(obj)

    def execute(self, source: _StrOrBytes, /, **vars: Any) -> Any:
        """Execute source code in the other process with `vars` as its global variables.

        Returns the value of its last statement if that is an expression, else None.
        """
        return self._apply(_execute, (source, vars), {})

    def export(self, *modules: str) -> None:
        """Let the other process import modules of this one, given by name, with all their submodules.

        It fetches each of them when it is imported there. They take precedence over modules that are installed there.
        `__main__` can be exported if it ends with an `if __name__ == '__main__'` block, which does not run there.
        ValueError when the other side accepts no modules, or has imported one of that name already, and on a connection
        with trust='data': importing calls back.
        """
        if self._takes_data:
            raise ValueError("export() needs trust='full': the other side would have to call here for each module")
        for name in modules:
            if not isinstance(name, str):
                raise TypeError('modules are exported by name, a str and not {}'.format(type(name).__name__))
        exporter.provide_resource_functions()
        self._link.apply(_export, (modules,), {})

    def _ask_once(self) -> None:
        if self._asks:
            picklers.ask(self._link)
            self._apply = self._link.apply
            self._asks = False

    def _ask_and_apply(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._ask_once()
        return self._link.apply(func, args, kwargs)

    def _get_invoke(self, handle: engines.Handle) -> Callable[[str, tuple[Any, ...], dict[str, Any]], Any]:
        """Return what calls methods of an object of the other side."""
        if not self._asks:
            return handle.invoke

        def ask_and_invoke(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            self._ask_once()
            return handle.invoke(name, args, kwargs)

        return ask_and_invoke

    def is_connected(self) -> bool:
        """Return whether calls are still possible: False once either side has closed the connection, or it broke."""
        return self._link.connected

    def wait(self) -> None:
        """Block until the connection ends: either side closes it, or it breaks."""
        self._link.wait()

    def cancel(self) -> None:
        """Break the connection, without waiting for anything. Calls fail from now on; close() is still due."""
        self._ended = True
        if self._pid != os.getpid():
            return
        self._link.cancel()
        if self._transport is not None:
            self._transport.cancel()

    def close(self) -> None:
        """Close the connection, and block until all that it used is free.

        Waits for a connection that is being made. The error that broke the connection, if one did, is raised, once.
        Does nothing in a child process that inherited the connection: there it is its parent's business.
        """
        if self._pid != os.getpid():
            return
        self._link.close()
        self._ended = True
        try:
            error = self._failure.pop()
        except IndexError:
            return
        try:
            raise error
        finally:
            del error  # a traceback refers to this frame

    def __enter__(self) -> Connection:
        if self._link.wait_ready() and not self._ended:
            return self
        refusal = self._get_refusal()
        was_ended = self._ended
        self.close()
        raise ValueError('Connection is closed') if was_ended else refusal

    def _get_refusal(self) -> DisconnectError:
        """Return the error of calls over a connection that was closed, with the reason that the other side gave."""
        try:
            self._link.apply(os.getpid, (), {})
        except DisconnectError as error:
            return error
        raise AssertionError('a connection that is not ready takes calls')

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    def _link_finished(self) -> None:
        """Called by the engine, once, when it no longer needs the transport."""
        error = self._link.error
        if self._transport is not None:
            try:
                self._transport.finish(error)
            except BaseException as finish_error:
                # The program's exit status says more than the end of its output.
                if error is None or (
                    isinstance(error, EOFError) and isinstance(finish_error, subprocess.SubprocessError)
                ):
                    error = finish_error
        if error is None:
            logger.info('%r ended', self)
        else:
            self._log_error('%r broke: %s', self, describe_error(error))
            self._failure.append(error)
        _open.discard(self)

    def __repr__(self) -> str:
        return '<across.Connection {}>'.format(self._label)


def get_connection() -> Connection:
    """Return the connection whose call, pickling or unpickling is going on in this thread. ValueError if none is."""
    conn = engines.current()
    if conn is None:
        raise ValueError('No call of a connection is running in this thread')
    return conn


def _read_secret(path: _StrOrBytesPath) -> bytes:
    from .channels.secret import read_secret  # most connections have none

    return read_secret(path)


def _make_connection(link: engines.Link) -> Connection:
    """Return the owner of a link that the daemon accepted."""
    conn = Connection.__new__(Connection)
    conn._set_up(link, None, 'accepted')
    conn._accepts_exports = _served_accept_exports
    return conn


def accept_exports_of_clients() -> None:
    """Let the clients of this process, a worker of acrossd, export modules to it."""
    global _served_accept_exports
    _served_accept_exports = True


def _close_all() -> None:
    for conn in list(_open):
        conn.cancel()
        try:
            conn.close()
        except Exception as error:
            print('Exception ignored while closing {!r}: {}'.format(conn, describe_error(error)), file=sys.stderr)
    engines.shut_down()


atexit.register(_close_all)


def _forget_all() -> None:
    """In a child made by fork(): close its copies of descriptors, so that connections end with the parent."""
    for conn in _open:
        if conn._transport is not None:
            conn._transport.forget()
    _open.clear()


os.register_at_fork(after_in_child=_forget_all)

moved.provide()

engines.install(
    OperationError=OperationError,
    DisconnectError=DisconnectError,
    ProtocolError=ProtocolError,
    dump_error=dump_error,
    load_error=load_error,
    rescue_error=rescue_error,
    describe_error=describe_error,
    make_connection=_make_connection,
    run_call=run_call,
    run_method=run_method,
    list_methods=list_methods,
    make_proxy=make_proxy,
    advise=advise,
    describe_failure=describe_failure,
    lend=lend,
    same_object=_SELF,
    create_by_name=_apply_ref,
    replicate_by_name=Local,
)

Connection.__module__ = get_connection.__module__ = 'across'
