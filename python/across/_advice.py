# SPDX-License-Identifier: MIT
"""Hints on what to do about an error, appended to its text."""

from __future__ import annotations

import pickle
import re
from typing import Optional

from ._errors import describe_error

_MAX_SHOWN = 40  # bytes that are quoted
_NO_GOODBYE = (
    'the connection ended without a goodbye: the other process has died or was killed, or the network between broke'
)
_TO_PICKLE = (
    'pass it as Local(...) to give the other side a proxy, make it there with conn.create(), '
    "or, for functions and classes that pickle cannot name, use Options(pickler='cloudpickle')"
)
_FROM_MAIN = (
    "the other side has a __main__ of its own: conn.export('__main__') lets it import this one, "
    "or put it into a module, or use Options(pickler='cloudpickle')"
)
_NO_PICKLE = re.compile(r"([Cc]an't|[Cc]annot) (be )?pickle|[Nn]ot picklable")  # in all versions of Python
_HTTP = re.compile(rb'HTTP/[0-9]|(GET|HEAD|POST|PUT|OPTIONS|CONNECT) ')


def advise(text: str, heard: bytes, opened: bool) -> str:
    """Return the text of the error that broke a connection, with a hint if one is known.

    `heard` is the beginning of what the other side sent in place of a superblock; `opened` tells whether this side
    opened the connection.
    """
    advice = None
    if text.startswith(('Invalid magic', 'Incomplete superblock')):
        advice = _explain_superblock(heard, opened)
        if advice is None and not heard and text.startswith('Incomplete'):
            advice = 'the other side ended the connection before it said anything; its log may tell why'
            if opened:
                advice += ', and one that speaks TLS is connected to by Connection.from_tls()'
    elif text.startswith('Incomplete frame'):
        advice = _NO_GOODBYE
    elif opened and text.startswith('Local across') and 'remote 0.1.' in text:
        advice = 'Options(protocol_version=(0, 1)) speaks its version'
    elif text.startswith('Message of ') and ' bytes is larger than the limit of ' in text:
        advice = 'the other side has to send so much in parts'
    return text if advice is None else '{}; {}'.format(text, advice)


def _explain_superblock(heard: bytes, opened: bool) -> Optional[str]:
    """Say what these bytes, which are no superblock, look like."""
    if heard[:1] in (b'\x15', b'\x16') and heard[1:2] in (b'', b'\x03'):
        return 'it looks like TLS; ' + (
            'Connection.from_tls() connects to such a server' if opened else 'this server does not speak TLS'
        )
    if heard.startswith(b'SSH-'):
        return 'it looks like SSH; Connection.from_ssh() connects to such a host'
    said = _show_text(heard)
    if _HTTP.match(heard):
        return '{} looks like HTTP; is this the right address?'.format(said)
    if heard.startswith(b'\x5e\xc2\xe7'):
        return 'the server demands a shared secret; Connection.from_tcp(secret_file=...) proves it'
    if said is None:
        return None
    return 'it began with {}; {}'.format(said, 'is this the right address or command?' if opened else 'who is that?')


def _show_text(heard: bytes) -> Optional[str]:
    """Return bytes as quoted text, unless they are no text."""
    text = heard[:_MAX_SHOWN].decode('utf-8', 'ignore')
    if not text or sum(char.isprintable() or char.isspace() for char in text) < 0.9 * len(heard[:_MAX_SHOWN]):
        return None
    return repr(text)


def describe_failure(what: str, cause: BaseException) -> str:
    """Return the text of the OperationError for an exception of pickling or unpickling."""
    text = '{} failed due to {}'.format(what, describe_error(cause))
    advice = _advise_pickling(cause) if what == 'Pickling' else _advise_unpickling(cause)
    return text if advice is None else '{}; {}'.format(text, advice)


def _advise_pickling(cause: BaseException) -> Optional[str]:
    if isinstance(cause, (TypeError, AttributeError, pickle.PicklingError)) and _NO_PICKLE.search(str(cause)):
        return _TO_PICKLE
    return None


def _advise_unpickling(cause: BaseException) -> Optional[str]:
    if isinstance(cause, AttributeError):
        found = re.match("Can't get attribute .* on <module '([^']*)'|module '([^']*)' has no attribute", str(cause))
        name = found and (found[1] or found[2])
        if name == '__main__':
            return _FROM_MAIN
        if name:
            return 'is {!r} another version there? conn.export({!r}) lets it import the one from here'.format(
                name, name.partition('.')[0]
            )
    if isinstance(cause, ModuleNotFoundError) and cause.name:
        name = cause.name.partition('.')[0]
        return '{!r} has to be installed on both sides, or conn.export({!r}) lets the other side import it'.format(
            name, name
        )
    return None
