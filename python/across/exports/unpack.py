# SPDX-License-Identifier: MIT
"""The first module that runs on a bootstrapped host: it makes the package importable that the host was sent.

It is executed before there is a package, and so imports nothing but the standard library.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import CodeType, ModuleType
from typing import Any, Optional


class Loader:
    """Finds and loads the modules of the package that was sent.

    Without the base classes of importlib.abc, which takes more time to import than the rest of this file.
    """

    def __init__(self, files: dict[str, tuple[str, bool]]) -> None:
        self.sent_files = files

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        if fullname not in self.sent_files:
            return None
        loader: Any = self
        spec = importlib.util.spec_from_loader(fullname, loader, origin=self.get_filename(fullname))
        if spec is not None:
            spec.has_location = True  # the module gets a __file__
        return spec

    def get_filename(self, fullname: str) -> str:
        """Return a name that no file has; linecache then asks for the source."""
        return '<bootstrap>/{}{}.py'.format(
            fullname.replace('.', '/'), '/__init__' if self.is_package(fullname) else ''
        )

    def get_source(self, fullname: str) -> str:
        return self.sent_files[fullname][0]

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = compile(self.get_source(fullname), self.get_filename(fullname), 'exec', dont_inherit=True)
        return code

    def is_package(self, fullname: str) -> bool:
        return self.sent_files[fullname][1]

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Leave that to the interpreter."""

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), module.__dict__)


def boot(files: dict[str, tuple[str, bool]], main: str, how: Any) -> None:
    """Make the package importable, and call `serve(how)` of its module `main`, which serves the connection."""
    sys.meta_path.insert(0, Loader(files))
    importlib.import_module(main).serve(how)
