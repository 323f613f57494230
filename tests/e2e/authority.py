# SPDX-License-Identifier: MIT
"""Certificates as tests need them, made by dev/make-ca."""

import os
import ssl
import subprocess

import across

from .daemon import TESTS

MAKE_CA = os.path.join(os.path.dirname(TESTS), 'dev', 'make-ca')


def make(folder, *options):
    """Run dev/make-ca. It is a program for the shell, and no shell runs with ThreadSanitizer's runtime preloaded."""
    env = {name: value for name, value in os.environ.items() if name != 'LD_PRELOAD'}
    subprocess.run([MAKE_CA, folder, *options], check=True, env=env)


class Authority:
    """A certificate authority in a folder of its own, with a server's certificate and a client's, `client`."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.issue('client')

    def path(self, name):
        return os.path.join(self.folder, name)

    def issue(self, *clients, days=30):
        """Make certificates for clients; those of no days have expired already."""
        names = [word for name in clients for word in ('--client', name)]
        make(self.folder, *names, '--days', str(days))

    def renew_server(self, *hosts):
        """Make another certificate for the server, for these names."""
        os.unlink(self.path('server.pem'))
        names = [word for name in hosts for word in ('--host', name)]
        make(self.folder, *names)

    def options(self, server=None):
        """The options with which a daemon accepts this authority's clients; its certificate may be another one's."""
        server = server or self
        return [
            *('--tls-cert', server.path('server.pem'), '--tls-key', server.path('server.key')),
            *('--tls-client-ca', self.path('ca.pem')),
        ]

    def files(self, client='client'):
        """Arguments of Connection.from_tls()."""
        return {
            'cafile': self.path('ca.pem'),
            'certfile': self.path(client + '.pem'),
            'keyfile': self.path(client + '.key'),
        }

    def context(self, client='client', newest=ssl.TLSVersion.MAXIMUM_SUPPORTED):
        """An SSLContext of a client with this certificate."""
        context = ssl.create_default_context(cafile=self.path('ca.pem'))
        context.load_cert_chain(self.path(client + '.pem'), self.path(client + '.key'))
        context.maximum_version = newest
        return context

    def connect(self, address, client='client', options=None):
        host, _, port = address[4:].rpartition(':')
        return across.Connection.from_tls(host.strip('[]'), port, options=options, **self.files(client))
