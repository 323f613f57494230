# SPDX-License-Identifier: MIT
"""Has acrossd read the files of a folder, and shows on the way what a connection can do.

    acrossd --listen unix:/tmp/across.sock       # with PYTHONPATH=examples, in another terminal
    python3 examples/demo.py /tmp/across.sock docs

dev/demo does both. The exit status is 0 when everything came out as it must.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback

import across
import demo_tasks


def title(text: str) -> None:
    print(f'\n-- {text}', flush=True)


def show_progress(number: int, total: int, name: str) -> None:
    """Runs here, in the client, although a function in acrossd calls it."""
    print(f'   [{number}/{total}] {name} (printed by process {os.getpid()})', flush=True)


def show_logs() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter('   log: %(name)s: %(message)s (logged by process %(process)d)'))
    logging.getLogger('demo').addHandler(handler)


def survey(conn: across.Connection, folder: str) -> None:
    title('call: a function runs in acrossd. It calls back, through Local, to tell how far it is')
    print(f'   this is process {os.getpid()}, the other is {conn.call(os.getpid)}')
    reports = conn.call(demo_tasks.survey, folder, across.Local(show_progress))
    for entry in reports:
        print(f'   {entry.name:20} {entry.lines:5} lines {entry.words:6} words  sha256 {entry.sha256[:12]}…')
    assert reports == [demo_tasks.report(path) for path in demo_tasks.text_files(folder)], 'the reports differ'
    print('   read again here, the files give the same')


def index(conn: across.Connection, folder: str) -> None:
    title('forwarded logs: what the other side logs appears here')
    conn.call(demo_tasks.forward_logs)

    title('create: an object that stays in acrossd. Here is a proxy of it')
    words = conn.create(demo_tasks.WordIndex, folder)
    print(f"   len(words) = {len(words)}, words.find('interpreter') = {words.find('interpreter')}")
    assert words.find('interpreter') == demo_tasks.WordIndex(folder).find('interpreter'), 'the indexes differ'

    title('replicate: a copy of an object from here, kept over there. Both proxies go back as arguments')
    ignored = conn.replicate({'the', 'and', 'of', 'to', 'is', 'in', 'it', 'that'})
    ignored.add('or')
    for word, count in conn.call(demo_tasks.most_common, words, ignored, 5):
        print(f'   {word:20} {count:5} times')


def fail(conn: across.Connection) -> None:
    title('exceptions: they cross with the traceback of the other side')
    try:
        conn.call(demo_tasks.checksum, '/no/such/file')
    except FileNotFoundError:
        text = traceback.format_exc()
        print('   ' + text.rstrip().replace('\n', '\n   '))
        assert 'in checksum' in text, 'the remote frames are missing'
    else:
        raise AssertionError('a file that does not exist was read')
    print(f'   the connection goes on: the answer is {conn.call(int, "42")}')


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit('usage: demo.py SOCKET FOLDER')
    show_logs()
    socket, folder = sys.argv[1], os.path.abspath(sys.argv[2])
    with across.Connection.from_unix(socket) as conn:
        survey(conn, folder)
        index(conn, folder)
        fail(conn)
    print('\nThe connection is closed.', flush=True)


if __name__ == '__main__':
    main()
