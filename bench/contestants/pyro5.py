# SPDX-License-Identifier: MIT
"""
Pyro5: one exposed object in a daemon with the default thread pool.

Mode 'idle' has the multiplexing server, for the pool ends at 80 connections. The serializer is msgpack, which takes
bytes as they are. TCP_NODELAY is set. A proxy belongs to a thread, so each thread has a connection of its own. For
calls back the client has a daemon in a thread, and the server keeps the proxy that it was given.
"""

from __future__ import annotations

import copy
import os
import tempfile
import threading
from typing import ClassVar

import Pyro5.api
import services

from . import base

Pyro5.config.SERIALIZER = 'msgpack'
Pyro5.config.SOCK_NODELAY = True


@Pyro5.api.expose
class Counter(services.Counter):
    increment = services.Counter.increment


@Pyro5.api.expose
class Callback(base.Counted):
    def call(self):
        return self()


@Pyro5.api.expose
@Pyro5.api.behavior(instance_mode='single')
class Service:
    def length(self, value):
        return len(value)

    def hold(self, kind, size):
        return services.hold(kind, size)

    def held(self):
        return services.held()

    def counter(self):
        counter = Counter()
        self._pyroDaemon.register(counter)
        return counter

    def keep(self, callback):
        self.callback = callback

    def call_back(self):
        return self.callback.call()


class Peer(base.Peer):
    def __init__(self, proxy):
        self.proxy = proxy

    def null(self):
        return self.proxy.length('')

    def for_thread(self):
        return Peer(copy.copy(self.proxy))

    def hold(self, kind, size):
        return self.proxy.hold(kind, size)

    def put(self, value):
        return self.proxy.length(value)

    def get(self):
        return self.proxy.held()

    def put_array(self, value):
        raise base.CannotError('its serializers take no arrays')

    get_array = put_array

    def method(self):
        return self.proxy.counter().increment

    def callback(self):
        folder = tempfile.mkdtemp()
        daemon = Pyro5.api.Daemon(unixsocket=os.path.join(folder, 's'))
        callback = Callback()
        daemon.register(callback)
        threading.Thread(target=daemon.requestLoop, daemon=True).start()
        self.proxy.keep(callback)
        return self.proxy.call_back

    def close(self):
        self.proxy._pyroRelease()


class Contestant(base.Contestant):
    name = 'Pyro5'
    transports = ('unix', 'tcp')
    cannot: ClassVar = {'own': 'has one interpreter for all connections'}

    def serve(self, address, mode):
        if mode == 'idle':
            Pyro5.config.SERVERTYPE = 'multiplex'
        if address.startswith('unix:'):
            daemon = Pyro5.api.Daemon(unixsocket=address[5:])
        else:
            daemon = Pyro5.api.Daemon(*base.split_tcp(address))
        daemon.register(Service, 'bench')
        daemon.requestLoop()

    def connect(self, address):
        location = './u:' + address[5:] if address.startswith('unix:') else address[4:]
        return Peer(Pyro5.api.Proxy('PYRO:bench@' + location))
