# SPDX-License-Identifier: MIT
"""What the package's modules may import of each other: no circles, and nothing of a layer above."""

import ast
import pathlib

import across

FOLDER = pathlib.Path(across.__file__).parent

BASE = {'across._errors', 'across._log'}  # which import nothing of the package
ROOMS = ('engines', 'channels', 'values', 'exports', 'serving')
# What each room may import besides itself and BASE. All that is in no room may import everything but `serving`, which
# the programs at the top may import, too.
BELOW = {'engines': {'_across'}, 'channels': {'engines'}, 'values': {'engines'}, 'exports': {'engines'}}
PROGRAMS = {'across.servers', 'across.__main__'}
PUBLIC = {'across.__main__', 'across.logging'}  # which import the package as users do
# Modules under the names that pickles carry (test_wire_names.py): nothing of the package imports them.
ALIASES = {'across._importer', 'across._methods', 'across._picklers', 'across._ssh'}

# Imports that close a circle at run time, and why they have to. Importing in a function is not enough of a reason.
ALLOWED_CIRCLES = {}


def list_modules(folder=FOLDER, package='across'):
    """Return the source of each module, by name."""
    found = {}
    for path in folder.rglob('*.py'):
        parts = [package, *path.relative_to(folder).with_suffix('').parts]
        found['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path
    return found


def find_imports(name, path, modules):
    """Return the modules that a module imports anywhere: also in functions, for type checkers, and by name."""
    package = name if path.name == '__init__.py' else name.rpartition('.')[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                parents = package.split('.')[: len(package.split('.')) - node.level + 1]
                base = '.'.join([*parents, *filter(None, [base])])
            for alias in node.names:
                full = '{}.{}'.format(base, alias.name)
                found.add(full if full in modules else base)
        elif isinstance(node, ast.Call) and getattr(node.func, 'attr', '') in ('import_module', '__import__'):
            found.update(arg.value for arg in node.args if isinstance(arg, ast.Constant))
    found.discard(name)
    return {item for item in found if str(item).partition('.')[0] == 'across'}


def make_graph():
    modules = list_modules()
    return {name: find_imports(name, path, modules) for name, path in modules.items()}


def find_circle(graph):
    """Return the modules of a circle of imports, or None."""
    state = {}

    def visit(name, path):
        state[name] = 'open'
        for other in sorted(graph.get(name, ())):
            if state.get(other) == 'open':
                return [*path[path.index(other) :], other] if other in path else [name, other]
            if other not in state:
                circle = visit(other, [*path, other])
                if circle:
                    return circle
        state[name] = 'done'
        return None

    for name in sorted(graph):
        if name not in state:
            circle = visit(name, [name])
            if circle:
                return circle
    return None


def get_room(name):
    part = [*name.split('.'), ''][1]
    return part if part in ROOMS else ''


def may_import(name, other):
    room, target = get_room(name), get_room(other)
    if other == 'across':
        return name in PUBLIC
    if other in ALIASES:
        return False
    if name in BASE:
        return other in BASE
    if room == 'engines' and name != 'across.engines':
        return name.rpartition('.')[0] == 'across.engines.pure' or other.startswith('across.engines.pure')
    if room and room == target:
        return True
    if room in BELOW:
        return (other in BASE and room != 'engines') or (other.split('.')[1] in BELOW[room])
    if target == 'serving':
        return name in PROGRAMS
    return True


def test_imports_form_no_circle():
    graph = make_graph()
    for name, others in ALLOWED_CIRCLES.items():
        assert others <= graph[name], 'an exception that is none any more: {}'.format(name)
        graph[name] -= others
    assert find_circle(graph) is None


def test_modules_import_nothing_of_a_layer_above():
    graph = make_graph()
    assert [
        (name, other) for name in sorted(graph) for other in sorted(graph[name]) if not may_import(name, other)
    ] == []


def test_the_pure_engine_imports_nothing_of_the_package():
    graph = make_graph()
    pure = {name: others for name, others in graph.items() if name.startswith('across.engines.pure')}
    assert len(pure) > 1
    assert [item for others in pure.values() for item in others if not item.startswith('across.engines.pure')] == []


def test_a_circle_is_found_however_it_is_hidden(tmp_path):
    (tmp_path / '__init__.py').write_text('')
    (tmp_path / 'room').mkdir()
    (tmp_path / 'room' / '__init__.py').write_text('from . import one')
    (tmp_path / 'room' / 'one.py').write_text('def f():\n    from ..two import g')
    hidden = {
        'from .room.one import f',
        'from .room import one',
        'import across.room.one',
        'def g():\n    from across.room import one',
        'if TYPE_CHECKING:\n    from .room.one import f',
        'import importlib\nimportlib.import_module("across.room.one")',
    }
    for text in sorted(hidden):
        (tmp_path / 'two.py').write_text(text)
        modules = list_modules(tmp_path)
        assert sorted(modules) == ['across', 'across.room', 'across.room.one', 'across.two']
        graph = {name: find_imports(name, path, modules) for name, path in modules.items()}
        assert set(find_circle(graph)) == {'across.room.one', 'across.two'}
    (tmp_path / 'two.py').write_text('import os')
    modules = list_modules(tmp_path)
    assert find_circle({name: find_imports(name, path, modules) for name, path in modules.items()}) is None


def test_every_module_is_listed_or_in_a_room():
    graph = make_graph()
    assert BASE | PROGRAMS | PUBLIC | ALIASES <= set(graph)
    folders = {path.name for path in FOLDER.iterdir() if path.is_dir() and path.name != '__pycache__'}
    assert folders == set(ROOMS)
