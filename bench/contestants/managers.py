# SPDX-License-Identifier: MIT
"""multiprocessing's managers: a BaseManager that serves one object. By itself it gives each thread a connection."""

from __future__ import annotations

from multiprocessing import managers
from typing import ClassVar

import services

from . import base


class Service:
    length = staticmethod(services.length)
    hold = staticmethod(services.hold)
    held = staticmethod(services.held)


class Manager(managers.BaseManager):
    pass


Manager.register('service', Service, exposed=('length', 'hold', 'held'))
Manager.register('counter', services.Counter, exposed=('increment',))


class Peer(base.Peer):
    def __init__(self, manager):
        self.manager = manager
        self.service = manager.service()

    def null(self):
        return self.service.length('')

    def hold(self, kind, size):
        return self.service.hold(kind, size)

    def put(self, value):
        return self.service.length(value)

    def get(self):
        return self.service.held()

    put_array = put
    get_array = get

    def method(self):
        return self.manager.counter().increment

    def close(self):
        self.service = None


class Contestant(base.Contestant):
    name = 'managers'
    transports = ('unix', 'tcp')
    cannot: ClassVar = {
        'own': 'has one interpreter for all connections',
        'idle': 'has one connection for all proxies of a thread',
    }

    def make_manager(self, address):
        place = address[5:] if address.startswith('unix:') else base.split_tcp(address)
        return Manager(address=place, authkey=b'bench')

    def serve(self, address, mode):
        self.make_manager(address).get_server().serve_forever()

    def connect(self, address):
        manager = self.make_manager(address)
        manager.connect()
        return Peer(manager)
