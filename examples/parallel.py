# SPDX-License-Identifier: MIT
"""Many calls at once over one connection: each runs on a thread of its own in acrossd.

Usage: python3 examples/parallel.py SOCKET
"""

from __future__ import annotations

import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import across


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit('usage: parallel.py SOCKET')
    with across.Connection.from_unix(sys.argv[1]) as conn, ThreadPoolExecutor(max_workers=8) as pool:
        started = time.monotonic()
        for _ in pool.map(lambda _: conn.call(time.sleep, 0.25), range(8)):
            pass
        print(f'8 calls that sleep for 0.25 s took {time.monotonic() - started:.2f} s together')

        blocks = [bytes([number]) * 1_000_000 for number in range(16)]
        sums = list(pool.map(lambda block: conn.call(zlib.crc32, block), blocks))
        print(f'16 checksums of 1 MB each, all right: {sums == [zlib.crc32(block) for block in blocks]}')


if __name__ == '__main__':
    main()
