# SPDX-License-Identifier: MIT
"""A shared secret: the file that holds it, and the exchange that proves to both sides of a socket that they know it.

docs/access.md has the exchange byte by byte. Each side of it is a function that is given two others: one sends a
message, the other receives the peer's next one, or as much of it as came.
"""

from __future__ import annotations

import hmac
import os
import stat
from typing import Any, Callable, Optional

from .._errors import ProtocolError

MAGIC = b'\x5e\xc2\xe7\x01'
MESSAGE_SIZE = 40  # bytes: magic, kind, three zeros, a nonce or a proof
_HELLO, _CHALLENGE, _PROOF, _ANSWER, _REFUSAL = range(1, 6)
_CLIENT, _SERVER = b'across secret 1 client', b'across secret 1 server'
_NONCE_SIZE = 32
_SUPERBLOCK_SIZE = 16
_REASONS = b'\0\0\0\1'  # the feature bit of a peer that reads the reason in a GOODBYE
_ACROSS = b'\xe3\x5b\x9e\x78'  # the magic of a superblock, which a peer without a secret sends first

_MIN, _MAX = 16, 1024  # bytes of a secret: shorter ones can be guessed, longer files are something else

NEEDED = 'The server demands a shared secret: connect with its secret_file'

Send = Callable[[bytes], Any]
Receive = Callable[[], bytes]


def read_secret(path: Any) -> bytes:
    """Return the secret in a file. OSError when it cannot be read; ValueError when it is no file for a secret."""
    path = os.fspath(path)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _check_file(os.fstat(fd), path)
        data = os.read(fd, _MAX + 3)  # with a line end of two bytes, and one byte too many
    finally:
        os.close(fd)
    secret = data.rstrip(b'\r\n')
    if len(secret) > _MAX or len(data) == _MAX + 3:
        raise ValueError('the secret file {!r} is too long: a secret has at most {} bytes'.format(path, _MAX))
    if len(secret) < _MIN:
        raise ValueError(
            'the secret file {!r} is too short: a secret has at least {} bytes, better 32 random ones'.format(
                path, _MIN
            )
        )
    return secret


def _check_file(status: os.stat_result, path: Any) -> None:
    """Raise ValueError unless the file is regular, owned by this user or root, and closed to others."""
    if not stat.S_ISREG(status.st_mode):
        raise ValueError('the secret file {!r} is not a regular file'.format(path))
    if status.st_uid not in (0, os.geteuid()):
        raise ValueError(
            'the secret file {!r} belongs to user {}, and must belong to user {} or root'.format(
                path, status.st_uid, os.geteuid()
            )
        )
    # Root cannot give a file to one user alone without making it that user's own, and so shares it with a group.
    is_shared = status.st_uid == 0 and os.geteuid() != 0
    if status.st_mode & (0o037 if is_shared else 0o077):
        raise ValueError(
            'the secret file {!r} is open to others, with mode {:03o}: it has to be {}'.format(
                path, stat.S_IMODE(status.st_mode), '640' if is_shared else '600'
            )
        )


def missing(received: bytes) -> int:
    """Return how many bytes are missing of a message, or of the superblock of a peer that does not take part."""
    is_message = len(received) < len(MAGIC) or received.startswith(MAGIC)
    return max(0, (MESSAGE_SIZE if is_message else _SUPERBLOCK_SIZE) - len(received))


def prove_to_server(secret: bytes, send: Send, receive: Receive) -> None:
    """The client's side. ProtocolError when the server does not know the secret, or demands none."""
    client = os.urandom(_NONCE_SIZE)
    send(_make(_HELLO, client))
    reply = receive()
    server = _open(reply, _CHALLENGE)
    if server is None:
        raise ProtocolError(_describe_stranger(reply))
    send(_make(_PROOF, _prove(secret, _CLIENT, client, server)))
    reply = receive()
    answer = _open(reply, _ANSWER)
    if answer is None:
        refused = _open(reply, _REFUSAL) is not None
        raise ProtocolError(
            'The server has another secret' if refused else 'The server broke off the exchange that proves a secret'
        )
    if not hmac.compare_digest(answer, _prove(secret, _SERVER, client, server)):
        raise ProtocolError('The server does not know the secret')


def _describe_stranger(reply: bytes) -> str:
    if reply.startswith(_ACROSS):
        return 'The server demands no secret: leave secret_file out, or give it to the server, too'
    if not reply:
        return 'The server ended the connection and asked for no secret: it may demand none, or be no across server'
    return 'The server asked for no secret, but began with 0x{}'.format(reply[: len(MAGIC)].hex())


def demand_of_client(secret: bytes, send: Send, receive: Receive) -> None:
    """The server's side. ProtocolError when the client does not know the secret, which it is told first."""
    received = receive()
    client = _open(received, _HELLO)
    if client is None:
        send(_refuse_unproved(received))
        raise ProtocolError(NEEDED)
    server = os.urandom(_NONCE_SIZE)
    send(_make(_CHALLENGE, server))
    proof = _open(receive(), _PROOF)
    if proof is None or not hmac.compare_digest(proof, _prove(secret, _CLIENT, client, server)):
        send(_make(_REFUSAL))
        raise ProtocolError('The peer has another secret')
    send(_make(_ANSWER, _prove(secret, _SERVER, client, server)))


def _refuse_unproved(received: bytes) -> bytes:
    """Return what tells a peer without a secret that it needs one: a reason, or for others an unknown magic."""
    announced = int.from_bytes(received[8:12], 'big') if received[7:8] > b'\0' else 0
    if not received.startswith(_ACROSS) or not announced & int.from_bytes(_REASONS, 'big'):
        return _make(_REFUSAL)
    ours = received[:7] + bytes([1]) + _REASONS + bytes(4)
    return ours + _frame(bytes([0, 0])) + _frame(bytes([3, len(NEEDED)]) + NEEDED.encode())  # GREETING, GOODBYE


def _frame(head: bytes) -> bytes:
    return (len(head) * 2).to_bytes(8, 'big') + head


def _make(kind: int, content: bytes = bytes(32)) -> bytes:
    return MAGIC + bytes([kind, 0, 0, 0]) + content


def _open(message: bytes, kind: int) -> Optional[bytes]:
    """Return the nonce or proof in a message, or None when it is no such message."""
    if len(message) != MESSAGE_SIZE or not message.startswith(MAGIC) or message[4] != kind:
        return None
    return message[8:]


def _prove(secret: bytes, prover: bytes, client: bytes, server: bytes) -> bytes:
    return hmac.new(secret, prover + client + server, 'sha256').digest()
