# SPDX-License-Identifier: MIT
"""Ends of a connection opposite a peer that reads nothing: every state, without a timeout that would help."""

import os
import socket
import time

import pytest

import across

from .test_connection import run_script

SUPERBLOCK = bytes.fromhex('e35b9e78 00020000 00000000 00000000')
GREETING = bytes.fromhex('0000000000000004 0000')
GOODBYE = bytes.fromhex('0000000000000002 03')

# What the peer says, whether a large call of ours blocks the output, whether we close() then, what the peer says after
# that, and whether it ends its stream behind it.
STATES = {
    'superblock': (b'', False, False, b'', False),
    'greeting': (SUPERBLOCK, False, False, b'', False),
    'ready': (SUPERBLOCK + GREETING, False, False, b'', False),
    'ready blocked': (SUPERBLOCK + GREETING, True, False, b'', False),
    'closing': (SUPERBLOCK + GREETING, False, True, b'', False),
    'closing blocked': (SUPERBLOCK + GREETING, True, True, b'', False),
    'closed by peer': (SUPERBLOCK + GREETING, True, False, GOODBYE, True),
    'closed by both': (SUPERBLOCK + GREETING, True, True, GOODBYE, True),
    'closed by ending': (SUPERBLOCK + GREETING, True, True, b'', True),
}


class Peer:
    """A connection in one of these states, and the other end of its socket."""

    def __init__(self, state, run_thread):
        hello, blocks, closes, rest, ends = STATES[state]
        ours, self.sock = socket.socketpair()
        self.conn = across.Connection.from_socket(ours, options=across.Options(timeout=None))
        self.failures = []  # what close() raised, in whichever thread
        self.sock.sendall(hello)
        if not hello.endswith(GREETING):
            return
        assert self.conn._link.wait_ready()
        if blocks:
            run_thread(self.call)
            self.sock.recv(1, socket.MSG_PEEK | socket.MSG_WAITALL)
            while len(self.sock.recv(100000, socket.MSG_PEEK)) < 50000:  # of which the handshake is not a hundredth
                time.sleep(0.001)
        if closes:
            run_thread(self.close)
            self.conn.wait()
        self.sock.sendall(rest)
        if ends:
            self.sock.shutdown(socket.SHUT_WR)
        if rest or ends:
            self.conn.wait()

    def call(self):
        with pytest.raises(across.DisconnectError):
            self.conn.call(len, bytes(4 << 20))

    def close(self):
        try:
            self.conn.close()
        except Exception as error:
            self.failures.append(error)


@pytest.fixture
def make_peer(run_thread):
    made = []

    def make(state):
        peer = Peer(state, run_thread)
        made.append(peer)
        return peer

    yield make
    for peer in made:
        peer.conn.cancel()
        peer.sock.close()


@pytest.mark.parametrize('state', STATES)
def test_cancel_ends_at_once(make_peer, state):
    peer = make_peer(state)
    peer.conn.cancel()
    peer.conn.close()
    assert not peer.conn.is_connected()
    assert peer.conn._link.error is None
    with pytest.raises(across.DisconnectError):
        peer.conn.call(os.getpid)


@pytest.mark.parametrize('state', STATES)
def test_a_broken_channel_ends_at_once(make_peer, state):
    peer = make_peer(state)
    peer.conn._link.fail(LookupError('broken'))
    peer.close()  # returns when the connection has finished
    if state == 'closed by peer':  # both have said GOODBYE: nothing was left to break
        assert peer.failures == [] and peer.conn._link.error is None
    elif not state.startswith('closed'):  # in the other two, the peer's last word may not have been read before
        assert isinstance(peer.conn._link.error, LookupError)


@pytest.mark.parametrize('state', [state for state in STATES if state.startswith('closed')])
def test_a_closed_connection_sleeps_until_there_is_room(make_peer, state):
    peer = make_peer(state)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.2
    received = bytearray()
    while data := peer.sock.recv(1 << 20):
        received += data
    assert received.endswith(GOODBYE)
    peer.conn.close()


def test_the_end_of_the_interpreter_waits_for_no_peer():
    output = run_script(
        'import across, socket, threading, time\n'
        'ours, peer = socket.socketpair()\n'
        'conn = across.Connection.from_socket(ours, options=across.Options(timeout=None))\n'
        f'peer.sendall({SUPERBLOCK + GREETING!r})\n'
        'conn._link.wait_ready()\n'
        'call = lambda: conn.call(len, bytes(4 << 20))\n'
        'threading.excepthook = print\n'
        'threading.Thread(target=call, daemon=True).start()\n'
        'while len(peer.recv(100000, socket.MSG_PEEK)) < 50000: time.sleep(0.001)\n'
        f'peer.sendall({GOODBYE!r})\n'
        'peer.shutdown(socket.SHUT_WR)\n'
        'conn.wait()\n'
        'threading.Thread(target=conn.close, daemon=True).start()\n'
        'threading.excepthook = lambda *args: None\n'
    )
    assert 'Traceback' not in output


def test_the_reason_of_a_failure_arrives_although_a_cancel_follows_at_once():
    for _ in range(20):
        ours, theirs = (across.Connection.from_socket(sock) for sock in socket.socketpair())
        assert theirs.call(len, 'ab') == 2
        ours._link.fail(ValueError('a reason'))
        ours.cancel()
        theirs.wait()
        with pytest.raises(across.DisconnectError, match='remotely closed: ValueError: a reason'):
            theirs.call(len, 'ab')
        with pytest.raises(ValueError, match='a reason'):
            ours.close()
        theirs.close()
