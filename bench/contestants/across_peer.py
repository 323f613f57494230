# SPDX-License-Identifier: MIT
"""What acrossd and plain across share: their package has the same name and the same API."""

from __future__ import annotations

import services

import across

from .base import Contestant, Counted, Peer, split_tcp


class AcrossPeer(Peer):
    def __init__(self, conn: across.Connection) -> None:
        self.conn = conn

    def null(self):
        return self.conn.call(len, '')

    def hold(self, kind, size):
        return self.conn.call(services.hold, kind, size)

    def put(self, value):
        return self.conn.call(len, value)

    def get(self):
        return self.conn.call(services.held)

    put_array = put
    get_array = get

    def method(self):
        return self.conn.call_ref(services.Counter).increment

    def callback(self):
        counted = Counted()
        reference = across.ref(counted)

        def call():
            self.conn.call(services.call_back, reference)

        return call

    def close(self):
        self.conn.close()


class AcrossContestant(Contestant):
    def connect(self, address):
        kind, _, rest = address.partition(':')
        if kind == 'unix':
            return AcrossPeer(across.Connection.from_unix(rest))
        if kind == 'tcp':
            return AcrossPeer(across.Connection.from_tcp(*split_tcp(address)))
        return AcrossPeer(across.Connection.from_command(self.command('stdio', rest)))
