# SPDX-License-Identifier: MIT
# Which interpreter the build takes, among stand-ins that tell what describe_python.py would.
cmake_minimum_required(VERSION 3.22...4.0)

function(stand_in name implementation version headers library)
    string(CONCAT script "#!/bin/sh\n" "echo executable=${FOLDER}/${name}/real\n" "echo implementation=${implementation}\n"
           "echo version=${version}\n" "echo headers=${headers}\n" "echo library=${library}\n" "echo ext_suffix=.so\n")
    file(WRITE "${FOLDER}/${name}/python3" "${script}")
    file(CHMOD "${FOLDER}/${name}/python3" PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
endfunction()

# expect(outcome [argument of cmake] [folder on PATH...]): the outcome is an executable, or a part of the message.
function(expect outcome argument)
    set(folders "")
    foreach(name IN LISTS ARGN)
        list(APPEND folders "${FOLDER}/${name}")
    endforeach()
    list(JOIN folders ":" path)
    execute_process(
        COMMAND "${CMAKE_COMMAND}" -E env "PATH=${path}" "${CMAKE_COMMAND}" ${argument} -P "${SCRIPTS}/AxPython.cmake"
        OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE status
    )
    string(REGEX REPLACE "[ \n]+" " " output "${output}") # messages are wrapped
    string(FIND "${output}" "${outcome}" position)
    if(position EQUAL -1)
        message(FATAL_ERROR "PATH ${path} ${argument} gives\n${output}\nexpected ${outcome}")
    endif()
endfunction()

file(REMOVE_RECURSE "${FOLDER}")
stand_in(good CPython 3.9 /include /libpython.so)
stand_in(newer CPython 3.15 /include /libpython.so)
stand_in(old CPython 3.8 /include /libpython.so)
stand_in(other PyPy 3.10 /include /libpython.so)
stand_in(headless CPython 3.11 "" /libpython.so)
stand_in(static CPython 3.11 /include "")
file(WRITE "${FOLDER}/broken/python3" "#!/bin/sh\nexit 127\n")
file(CHMOD "${FOLDER}/broken/python3" PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)

expect("${FOLDER}/good/real" "" good newer)
expect("${FOLDER}/newer/real" "" newer good)
expect("${FOLDER}/good/real" "" nowhere broken old other headless static good)
expect("${FOLDER}/newer/real" "-DPython3_EXECUTABLE=${FOLDER}/newer/python3" good)

expect("there is no python3 on PATH" "" nowhere)
expect("broken/python3 does not run as a Python interpreter" "" broken)
expect("old/python3 is Python 3.8; 3.9 or newer is needed" "" old)
expect("other/python3 is PyPy, not CPython" "" other)
expect("has no header files (Python.h): install python3.11-dev" "" headless)
expect("has no shared libpython3.11: install python3.11-dev" "" static)
expect("old/python3 is Python 3.8" "-DPython3_EXECUTABLE=${FOLDER}/old/python3" good)
expect("does not run as a Python interpreter" "-DPython3_EXECUTABLE=${FOLDER}/nowhere" good)
