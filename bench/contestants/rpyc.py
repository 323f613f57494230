# SPDX-License-Identifier: MIT
"""
RPyC: a service of its own, in a ThreadedServer (mode 'own': a ForkingServer).

TCP_NODELAY is set at both ends. Compression is off, and the chunks of its input and output are 8 MiB, at both ends:
it copies what is left of a value behind each chunk. Arrays go through pickle, as in its `deliver` and `obtain`.
"""

from __future__ import annotations

import functools
import pickle
import socket

import rpyc
import services
from rpyc.core.channel import Channel
from rpyc.core.stream import PipeStream, SocketStream
from rpyc.utils import server

from . import base

CONFIG = {'allow_pickle': True, 'allow_public_attrs': True, 'sync_request_timeout': None}
UncompressedChannel = functools.partial(Channel, compress=False)
PipeStream.MAX_IO_CHUNK = SocketStream.MAX_IO_CHUNK = 8 << 20


class Service(rpyc.Service):
    exposed_length = staticmethod(services.length)
    exposed_hold = staticmethod(services.hold)
    exposed_held = staticmethod(services.held)
    exposed_call_back = staticmethod(services.call_back)
    exposed_Counter = services.Counter

    def on_connect(self, conn):
        stream = conn._channel.stream
        if isinstance(stream, SocketStream) and stream.sock.family == socket.AF_INET:
            stream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def exposed_load(self, pickled):
        return len(pickle.loads(pickled))


class Peer(base.Peer):
    def __init__(self, conn, process=None):
        self.conn = conn
        self.process = process
        self.root = conn.root

    def null(self):
        return self.root.length('')

    def hold(self, kind, size):
        return self.root.hold(kind, size)

    def put(self, value):
        return self.root.length(value)

    def get(self):
        return self.root.held()

    def put_array(self, value):
        return self.root.load(pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL))

    def get_array(self):
        return rpyc.utils.classic.obtain(self.root.held())

    def method(self):
        return self.root.Counter().increment

    def callback(self):
        counted = base.Counted()
        return functools.partial(self.root.call_back, counted)

    def close(self):
        self.conn.close()
        if self.process:
            self.process.wait()


class Contestant(base.Contestant):
    name = 'rpyc'

    def serve(self, address, mode):
        server.Channel = UncompressedChannel
        if address == 'stdio':
            Service._connect(UncompressedChannel(PipeStream.from_std()), CONFIG).serve_all()
            return
        kind = server.ForkingServer if mode == 'own' else server.ThreadedServer
        if address.startswith('unix:'):
            served = kind(Service, socket_path=address[5:], protocol_config=CONFIG)
        else:
            host, port = base.split_tcp(address)
            served = kind(Service, hostname=host, port=port, protocol_config=CONFIG)
        served.start()

    def connect(self, address):
        kind, _, rest = address.partition(':')
        process = None
        if kind == 'stdio':
            process = base.piped(self.command('stdio', rest))
            stream = PipeStream(process.stdout, process.stdin)
        elif kind == 'unix':
            stream = SocketStream.unix_connect(rest)
        else:
            stream = SocketStream.connect(*base.split_tcp(address), nodelay=True)
        conn = rpyc.connect_channel(UncompressedChannel(stream), config=CONFIG)
        return Peer(conn, process)
