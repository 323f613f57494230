# SPDX-License-Identifier: MIT
"""
mitogen: a child of the local connection method.

It talks to it through its standard input and output, a pair of unix sockets, and listens nowhere, so rows without a
transport are over these. Calls of one child run one after another. What calls back is a service, in a pool of a thread.
"""

from __future__ import annotations

import sys

import mitogen.core
import mitogen.master
import mitogen.service
import services

from . import base


def call_service(econtext):
    return econtext.router.context_by_id(0).call_service('bench', 'call')


call_service = mitogen.core.takes_econtext(call_service)


class AllowChildren(mitogen.service.Policy):
    def is_authorized(self, service, msg):
        return True


class Service(mitogen.service.Service):
    def __init__(self, router):
        super().__init__(router)
        self.counted = base.Counted()

    @classmethod
    def name(cls):
        return 'bench'

    @mitogen.service.expose(AllowChildren())
    def call(self):
        return self.counted()


class Peer(base.Peer):
    def __init__(self, router):
        self.router = router
        self.context = router.local(python_path=sys.executable)

    def null(self):
        return self.context.call(services.length, '')

    def hold(self, kind, size):
        return self.context.call(services.hold, kind, size)

    def put(self, value):
        return self.context.call(services.length, value)

    def get(self):
        return self.context.call(services.held)

    def put_array(self, value):
        raise base.CannotError('its unpickler takes no arrays')

    get_array = put_array

    def callback(self):
        mitogen.service.Pool(self.router, [Service(self.router)], size=1)
        return lambda: self.context.call(call_service)

    def close(self):
        self.context.shutdown(wait=True)


class Contestant(base.Contestant):
    name = 'mitogen'
    transports = ('stdio',)
    usual = 'stdio'
    why_not = 'listens nowhere'
    cannot = dict.fromkeys(('shared', 'idle'), 'has a process for each connection')

    def __init__(self):
        self.router = mitogen.master.Router(mitogen.master.Broker())

    def connect(self, address):
        return Peer(self.router)
