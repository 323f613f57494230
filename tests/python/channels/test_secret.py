# SPDX-License-Identifier: MIT
"""Secrets without a server: their files, and both sides of the exchange against each other."""

import os
import queue
import threading

import pytest

import across
from across.channels import secret as _secret

SECRET = b'correct horse battery staple'


def talk(client, server):
    """Run both sides, each in a thread; return what the client and the server raised, or None."""
    to_server, to_client = queue.Queue(), queue.Queue()
    errors = {}

    def run(name, side, secret, out, inbox):
        try:
            side(secret, out.put, lambda: inbox.get(timeout=60))
        except Exception as error:
            errors[name] = error

    threads = [
        threading.Thread(target=run, args=('client', _secret.prove_to_server, client, to_server, to_client)),
        threading.Thread(target=run, args=('server', _secret.demand_of_client, server, to_client, to_server)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors.get('client'), errors.get('server')


def test_proofs_are_those_of_the_documentation():
    client, server = bytes(range(32)), bytes(range(0x80, 0xA0))
    assert [_secret._prove(SECRET, prover, client, server).hex() for prover in (_secret._CLIENT, _secret._SERVER)] == [
        '1694bfba4e3304661c48882c15d43101a9f9846d822009532a80f1a8b325965c',
        '6d05f464c229d68229a5af3b5770f6c8f02d19bf69fac87c692a4c19618fb419',
    ]


def test_both_sides_agree():
    assert talk(SECRET, SECRET) == (None, None)


def test_different_secrets_do_not():
    client, server = talk(SECRET, SECRET + b'!')
    assert isinstance(client, across.ProtocolError) and str(client) == 'The server has another secret'
    assert isinstance(server, across.ProtocolError) and str(server) == 'The peer has another secret'


def test_proofs_are_compared_in_constant_time(monkeypatch):
    """Not by their time, which no test can measure here, but by the function that does it."""
    compared = []
    compare = _secret.hmac.compare_digest
    monkeypatch.setattr(_secret.hmac, 'compare_digest', lambda *both: compared.append(both) or compare(*both))
    assert talk(SECRET, SECRET) == (None, None)
    assert len(compared) == 2 and all(left == right and len(left) == 32 for left, right in compared)


@pytest.mark.parametrize('received, missing', [(b'', 40), (b'\x5e\xc2', 38), (b'\x5e\xc2\xe7\x01', 36), (b'GET ', 12)])
def test_knows_how_much_is_still_to_come(received, missing):
    assert _secret.missing(received) == missing
    assert _secret.missing(received + bytes(missing)) == 0


@pytest.mark.parametrize('end', [b'', b'\n', b'\r\n'])
def test_line_ends_are_no_part_of_a_secret(tmp_path, end):
    path = tmp_path / 'secret'
    path.write_bytes(SECRET + end)
    path.chmod(0o600)
    for name in (path, str(path), os.fsencode(str(path))):
        assert _secret.read_secret(name) == SECRET


def test_a_secret_is_neither_short_nor_long(tmp_path):
    path = tmp_path / 'secret'
    for size, message in ((15, 'too short'), (1025, 'too long'), (5000, 'too long')):
        path.write_bytes(b'x' * size)
        path.chmod(0o600)
        with pytest.raises(ValueError, match=message):
            _secret.read_secret(path)
