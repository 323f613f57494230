# SPDX-License-Identifier: MIT
"""Prints what the build must know about the interpreter that runs this, one `name=value` a line.

Old interpreters run it as well, to be refused by their version: no syntax that Python 3.5 does not know.
"""

import os
import platform
import sys
import sysconfig


def find(folders, names):
    """The first existing file of these names in these folders, or an empty string."""
    for folder in folders:
        for name in names:
            path = os.path.join(folder, name) if folder and name else ''
            if os.path.isfile(path):
                return path
    return ''


def main():
    var = sysconfig.get_config_var
    version = '%d.%d' % sys.version_info[:2]
    library_folders = [var('LIBDIR'), os.path.join(sys.base_prefix, 'lib'), var('LIBPL')]
    library_names = [var('LDLIBRARY'), var('INSTSONAME'), var('PY3LIBRARY')]
    include_folders = [var('INCLUDEPY'), sysconfig.get_path('include')]
    include_folders.append(os.path.join(sys.base_prefix, 'include', 'python' + version))
    facts = [
        ('executable', sys.executable),
        ('implementation', platform.python_implementation()),
        ('version', version),
        ('headers', os.path.dirname(find(include_folders, ['Python.h']))),
        ('library', find(library_folders, [name for name in library_names if name and '.so' in name])),
        ('ext_suffix', var('EXT_SUFFIX')),
    ]
    for name, value in facts:
        print('%s=%s' % (name, value))


main()
