# SPDX-License-Identifier: MIT
"""Names that pickles carry: the same in every release, wherever the package keeps what they mean."""

import ast
import os
import pickle
import socket
import subprocess

import pytest

import across
import across._importer
import across._methods
import across._picklers
import across._ssh
import across.logging
from across.values import picklers

# Module and name, as docs/protocol.md has them, or as pickles of classes that may cross have them. Peers of other
# releases, and plain across, look them up here, and expect them from here. None is ever removed.
NAMES = [
    ('across', '_get_obj'), ('across', '_make_proxy'), ('across', '_apply_method'), ('across', '_SELF'),
    ('across', '_apply_ref'), ('across', 'ref'), ('across', '_execute'), ('across', '_export'),
    ('across', 'set_debug_level'), ('across', 'get_bios'), ('across', 'get_connection'),
    ('across', 'get_proxy_connection'), ('across', 'same_object'), ('across', 'Connection'), ('across', 'Options'),
    ('across', 'Proxy'), ('across', 'OperationError'), ('across', 'DisconnectError'), ('across', 'ProtocolError'),
    ('across', 'RemoteError'), ('across', 'UnknownExceptionError'),
    ('across._importer', '_find_across_loader'), ('across._importer', '_contents'),
    ('across._importer', 'AcrossLoader'), ('across._methods', 'has_method'), ('across._ssh', 'SshError'),
    ('across.logging', '_handle'),
]  # fmt: skip
# Only looked up: this package sends them under another name, or in a snippet of source.
ALIASES = [('across', 'Local'), ('across', 'Reference'), ('across._importer', 'set_debug_level'),
           ('across._picklers', 'answer_in_kind')]  # fmt: skip


def write_name(module, name):
    """Return what a peer writes, by hand: protocol 4, two short strings, STACK_GLOBAL."""
    texts = [b'\x8c' + bytes([len(text)]) + text.encode() for text in (module, name)]
    return b'\x80\x04' + b''.join(texts) + b'\x93.'


@pytest.mark.parametrize('module, name', NAMES + ALIASES)
def test_names_of_other_releases_are_found(module, name):
    assert callable(pickle.loads(write_name(module, name)))


@pytest.mark.parametrize('module, name', NAMES)
def test_names_are_sent_as_other_releases_know_them(module, name):
    obj = pickle.loads(write_name(module, name))
    assert (obj.__module__, obj.__qualname__) == (module, name)
    assert pickle.loads(pickle.dumps(obj, 4)) is obj


def test_errors_of_ssh_are_sent_under_their_old_name():
    data = pickle.dumps(across._ssh.SshError(255, ['ssh'], 'it failed'), 4)
    assert b'across._ssh' in data and b'channels' not in data
    assert str(pickle.loads(data)) == 'it failed'


def test_snippets_import_nothing_but_names_of_the_wire():
    known = {(module, name) for module, name in NAMES + ALIASES}
    snippets = [text for text in vars(picklers).values() if isinstance(text, str) and 'import' in text and '\n' in text]
    found = set()
    for text in snippets:
        if text is picklers.__doc__:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith('across'):
                found.update((node.module, alias.name) for alias in node.names)
    assert found == {('across._picklers', 'answer_in_kind')} and found <= known


class Recorder:
    """Relays a connection between two sockets, and keeps what passes."""

    def __init__(self, run_thread):
        self.data = {0: bytearray(), 1: bytearray()}
        pairs = [socket.socketpair(), socket.socketpair()]
        self.ends = [pair[0] for pair in pairs]
        inner = [pair[1] for pair in pairs]
        for side in (0, 1):
            run_thread(lambda side=side: self._relay(side, inner[side], inner[1 - side]))

    def _relay(self, side, source, target):
        while True:
            data = source.recv(65536)
            if not data:
                break
            self.data[side] += data
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


class Lazy:
    def __getattribute__(self, name):
        return object.__getattribute__(self, name)

    def greet(self):
        return 'hello'


def test_no_name_of_a_room_crosses(run_thread):
    """Whatever connections send between them, no path of a module that may move is in it."""
    recorder = Recorder(run_thread)
    one, two = (across.Connection.from_socket(sock) for sock in recorder.ends)
    with one, two:
        proxy = one.call(across.ref, Lazy())
        assert proxy.greet() == 'hello' and not hasattr(proxy, 'missing')
        assert list(one.create(list, [1, 2])) == [1, 2]
        assert one.execute('1 + 1') == 2
        with pytest.raises(subprocess.CalledProcessError):
            one.call(fail_like_ssh)
        with pytest.raises(ValueError, match='Exporting modules is not allowed'):
            one.export('nothing')
        assert one.call(across._importer._find_across_loader, 'missing_module') is None
        assert one.call(get_options).timeout == 3
    sent = bytes(recorder.data[0] + recorder.data[1])
    assert b'across._ssh' in sent and b'across._methods' in sent
    folder = os.path.dirname(across.__file__)
    rooms = [name for name in os.listdir(folder) if os.path.isdir(os.path.join(folder, name)) and name[0] != '_']
    assert len(rooms) >= 4
    assert [room for room in rooms if 'across.{}'.format(room).encode() in sent] == []


def fail_like_ssh():
    raise across._ssh.SshError(255, ['ssh'], 'it failed')


def get_options():
    return across.Options(timeout=3)
