# SPDX-License-Identifier: MIT
"""What tests of exported modules export, and how they run programs that do. For this package, and for the plain one."""

import os
import subprocess
import sys
import textwrap

import across

from .daemon import environment
from .waiting import LIMIT

OURS = os.path.dirname(os.path.dirname(across.__file__))
# How programs begin that run in processes of their own.
BEGINNING = """
import os, subprocess, sys, traceback
import across

EXPORT = 'import across; across.get_connection().export(*names)'

def must_fail(kind, statement):
    try:
        exec(statement, {})
    except kind as error:
        return error
    raise AssertionError(statement)
"""
# A package with everything that packages have.
SHOP = {
    'shop/__init__.py': 'from .prices import price\n',
    'shop/prices.py': """
        from . import goods

        class Price:
            def __init__(self, amount):
                self.amount = amount

            def __eq__(self, other):
                return type(self) is type(other) and self.amount == other.amount

            def double(self):
                return type(self)(self.amount * 2)

        class TooHigh(Exception):
            pass

        def price(name):
            return Price(goods.weigh(name) * 10)

        def fail():
            raise TooHigh('of everything')
        """,
    'shop/goods/__init__.py': """
        def weigh(name):
            return len(name)
        """,
    'shop/goods/list.txt': 'apples\npläums\n',
    'shop/goods/pictures/apple.bin': b'\0\xff\n',
}
RESOURCES = """
import importlib.resources as resources, pkgutil, shop.goods
files = resources.files('shop.goods')
with resources.as_file(files.joinpath('list.txt')) as path:
    copied = path.read_bytes()
with files.joinpath('list.txt').open(encoding='utf-8') as file:
    first = file.readline()
{
    'read_text': (files / 'list.txt').read_text(encoding='utf-8'),
    'read_bytes': files.joinpath('pictures/apple.bin').read_bytes(),
    'children': sorted(item.name for item in files.iterdir() if item.name != '__pycache__'),
    'grandchildren': [item.name for item in (files / 'pictures').iterdir()],
    'kinds': [(files / name).is_file() for name in ('list.txt', 'pictures', 'none')],
    'folders': [(files / name).is_dir() for name in ('list.txt', 'pictures', 'none')],
    'name': files.name,
    'copied': copied,
    'first': first,
    'get_data': pkgutil.get_data('shop.goods', 'pictures/apple.bin'),
    'get_data of a parent': pkgutil.get_data('shop', 'goods/list.txt'),
}
"""
TEXT = SHOP['shop/goods/list.txt']
FOUND = {
    'read_text': TEXT,
    'read_bytes': b'\0\xff\n',
    'children': ['__init__.py', 'list.txt', 'pictures'],
    'grandchildren': ['apple.bin'],
    'kinds': [True, False, False],
    'folders': [False, True, False],
    'name': 'goods',
    'copied': TEXT.encode(),
    'first': 'apples\n',
    'get_data': b'\0\xff\n',
    'get_data of a parent': TEXT.encode(),
}


MAIN = """
import os
import sys
import traceback
IMPORTS
import across

class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __eq__(self, other):
        return (self.x, self.y) == (other.x, other.y)

    def swap(self):
        return Point(self.y, self.x)

def where():
    return os.getpid(), __name__

def fail():
    raise ValueError('from the main module')

def use_imports():
    return USE

def main():
    with across.Connection.from_unix(sys.argv[1]) as conn:
        conn.export('__main__', *EXPORTS)
        pid, name = conn.call(where)
        assert pid != os.getpid() and name == '__main__'
        assert conn.call(Point(1, 2).swap) == Point(2, 1)
        assert conn.call(use_imports) == USE
        try:
            conn.call(fail)
        except ValueError:
            assert "raise ValueError('from the main module')" in traceback.format_exc(), traceback.format_exc()
        assert conn.execute('import __main__; __main__.where()') == (pid, '__main__')
    print('ok')

if __name__ == '__main__':
    main()
"""


def make_main(imports='', use='1', exports=()):
    text = MAIN.replace('IMPORTS', imports).replace('USE', use).replace('EXPORTS', repr(exports))
    return text


PACKAGE = {
    'app/__init__.py': '',
    'app/tools.py': 'def tell(): return __name__\n',
    'app/run.py': make_main('from . import tools', 'tools.tell()', ('app',)),
    'app/__main__.py': make_main('from .tools import tell', 'tell()', ('app',)),
    'single.py': make_main(),
}


def write(folder, files):
    """Write files, given as text or bytes by name, into a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).lstrip('\n').encode())


def run_program(folder, *args, package=OURS, stdin=b''):
    """Run Python with these arguments. It has to print ok, and nothing else but prompts."""
    process = subprocess.run(
        [sys.executable, *args],
        cwd=str(folder),
        env=environment(package),
        input=stdin,
        capture_output=True,
        timeout=4 * LIMIT,
    )
    errors = process.stderr.decode()
    if '-i' in args:
        errors = errors.replace('>>>', '').strip()
    assert (errors, process.stdout, process.returncode) == ('', b'ok\n', 0)
