# SPDX-License-Identifier: MIT
"""
execnet: a gateway through pipes (`popen`), or through its socket server.

It has no unix sockets, so rows without a transport are through pipes. It has channels and no calls: a call here is a
message to a loop at the other end, and one back; each thread has a channel and a loop of its own.
"""

from __future__ import annotations

import sys

import execnet

from . import base


def loop(channel):
    """Runs at the other end, where it arrives as source."""
    import services

    for what, *args in channel:
        if what == 'call back':
            channel.send(None)
            channel.send(channel.receive())
        else:
            channel.send(getattr(services, what)(*args))


class Peer(base.Peer):
    def __init__(self, gateway):
        self.gateway = gateway
        self.channel = gateway.remote_exec(loop)

    def ask(self, *message):
        self.channel.send(message)
        return self.channel.receive()

    def null(self):
        return self.ask('length', '')

    def for_thread(self):
        return Peer(self.gateway)

    def hold(self, kind, size):
        return self.ask('hold', kind, size)

    def put(self, value):
        return self.ask('length', value)

    def get(self):
        return self.ask('held')

    def put_array(self, value):
        raise base.CannotError('its serializer takes no arrays')

    get_array = put_array

    def callback(self):
        counted = base.Counted()

        def call():
            self.ask('call back')
            self.ask_raw(counted())

        return call

    def ask_raw(self, value):
        self.channel.send(value)
        return self.channel.receive()

    def close(self):
        self.gateway.exit()
        self.gateway._io.wait()


class Contestant(base.Contestant):
    name = 'execnet'
    transports = ('tcp', 'stdio')
    usual = 'stdio'
    why_not = 'has no unix sockets'
    cannot = dict.fromkeys(('shared', 'idle'), 'has a process for each connection')

    def command(self, address, mode):
        return [sys.executable, '-m', 'execnet.script.socketserver', address[4:]]

    def connect(self, address):
        if address.startswith('stdio:'):
            return Peer(execnet.makegateway('popen//python=' + sys.executable))
        return Peer(execnet.makegateway('socket=' + address[4:]))
