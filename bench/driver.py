# SPDX-License-Identifier: MIT
"""Measures one contestant from a process of its own: both our package and the plain one have this API.

    driver.py calls ADDRESS N      times of N null calls
    driver.py transfer ADDRESS N   times of N round trips of 64 MiB
    driver.py connect ADDRESS N    times from connecting to the first result

ADDRESS: unix:PATH, tcp:HOST:PORT, or stdio:JSON with a command line. Prints one time a line, in microseconds.
"""

import json
import sys
import time

import across

SIZE = 64 << 20


def connect(address: str) -> across.Connection:
    kind, _, rest = address.partition(':')
    if kind == 'unix':
        return across.Connection.from_unix(rest)
    if kind == 'tcp':
        host, _, port = rest.rpartition(':')
        return across.Connection.from_tcp(host, int(port))
    return across.Connection.from_command(json.loads(rest))


def calls(address: str, count: int) -> list[float]:
    times = []
    with connect(address) as conn:
        for _ in range(min(count, 200)):
            conn.call(len, '')
        for _ in range(count):
            begin = time.perf_counter()
            conn.call(len, '')
            times.append(time.perf_counter() - begin)
    return times


def transfer(address: str, count: int) -> list[float]:
    times = []
    data = b'x' * SIZE
    with connect(address) as conn:
        conn.call(bytes, data)
        for _ in range(count):
            begin = time.perf_counter()
            back = conn.call(bytes, data)
            times.append(time.perf_counter() - begin)
            if back != data:
                raise SystemExit('what came back is not what was sent')
    return times


def first_result(address: str, count: int) -> list[float]:
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        conn = connect(address)
        conn.call(len, '')
        times.append(time.perf_counter() - begin)
        conn.close()
    return times


MEASURES = {'calls': calls, 'transfer': transfer, 'connect': first_result}

if __name__ == '__main__':
    for taken in MEASURES[sys.argv[1]](sys.argv[2], int(sys.argv[3])):
        print(f'{taken * 1e6:.2f}')
