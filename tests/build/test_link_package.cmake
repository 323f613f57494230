# SPDX-License-Identifier: MIT
# The package in the build folder follows its sources: new files, edits, removals, folders.
cmake_minimum_required(VERSION 3.22...4.0)

function(expect_files)
    file(GLOB_RECURSE present RELATIVE "${FOLDER}/target" "${FOLDER}/target/*")
    list(SORT present)
    if(NOT present STREQUAL "${ARGN}")
        message(FATAL_ERROR "the package holds ${present}\nexpected ${ARGN}")
    endif()
endfunction()

function(link_package)
    execute_process(
        COMMAND "${CMAKE_COMMAND}" "-DSOURCE=${FOLDER}/source" "-DTARGET=${FOLDER}/target" -DKEEP=_ext.so
                -P "${SCRIPTS}/link_package.cmake"
        COMMAND_ERROR_IS_FATAL ANY
    )
endfunction()

file(REMOVE_RECURSE "${FOLDER}")
file(WRITE "${FOLDER}/source/__init__.py" "1")
file(WRITE "${FOLDER}/source/py.typed" "")
file(WRITE "${FOLDER}/source/sub/deep/leaf.py" "2")
file(WRITE "${FOLDER}/source/notes.txt" "not part of the package")
file(WRITE "${FOLDER}/source/__pycache__/x.py" "not either")
file(WRITE "${FOLDER}/target/_ext.so" "made by the compiler")
file(WRITE "${FOLDER}/target/stale.py" "of an earlier build")
file(WRITE "${FOLDER}/target/_ext.other.so" "of another interpreter")
link_package()
expect_files(__init__.py _ext.so py.typed sub/deep/leaf.py)

# An edit needs no build; a removal and a new file need one, and so does a folder that became a file.
file(WRITE "${FOLDER}/source/__init__.py" "edited")
file(READ "${FOLDER}/target/__init__.py" content)
if(NOT content STREQUAL "edited")
    message(FATAL_ERROR "an edit was not seen: ${content}")
endif()
file(WRITE "${FOLDER}/target/__pycache__/kept.pyc" "")
file(WRITE "${FOLDER}/target/sub/__pycache__/gone.pyc" "")
file(REMOVE_RECURSE "${FOLDER}/source/sub")
file(WRITE "${FOLDER}/source/new.py" "3")
link_package()
expect_files(__init__.py __pycache__/kept.pyc _ext.so new.py py.typed)
if(EXISTS "${FOLDER}/target/sub")
    message(FATAL_ERROR "a folder without sources is left: it would be importable")
endif()
