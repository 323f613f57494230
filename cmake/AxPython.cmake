# SPDX-License-Identifier: MIT
# Chooses the interpreter to build for, and learns from it where its headers and its library are.
#
# Python3_EXECUTABLE names it; else it is the first python3 on PATH that will do. A name on PATH may be a wrapper (pyenv's
# are), so everything is asked of the running interpreter itself. Only the daemon needs the library.
cmake_minimum_required(VERSION 3.22...4.0) # it is a script of its own, too

set(AX_PYTHON_FACTS executable implementation version headers library ext_suffix)

# Sets AX_PYTHON_<fact> for each fact, and AX_PYTHON_problem: why this interpreter won't do, or "".
macro(ax_describe_python python)
    execute_process(
        COMMAND "${python}" -I "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/describe_python.py"
        RESULT_VARIABLE _ax_status OUTPUT_VARIABLE _ax_output ERROR_QUIET
    )
    foreach(_ax_fact IN LISTS AX_PYTHON_FACTS)
        string(REGEX MATCH "(^|\n)${_ax_fact}=([^\n]*)" _ax_match "${_ax_output}")
        set(AX_PYTHON_${_ax_fact} "${CMAKE_MATCH_2}")
    endforeach()
    set(AX_PYTHON_problem "")
    if(NOT _ax_status EQUAL 0)
        set(AX_PYTHON_problem "does not run as a Python interpreter")
    elseif(NOT AX_PYTHON_implementation STREQUAL "CPython")
        set(AX_PYTHON_problem "is ${AX_PYTHON_implementation}, not CPython")
    elseif(AX_PYTHON_version VERSION_LESS 3.9)
        set(AX_PYTHON_problem "is Python ${AX_PYTHON_version}; 3.9 or newer is needed")
    elseif(NOT AX_PYTHON_headers)
        set(AX_PYTHON_problem "has no header files (Python.h): install python${AX_PYTHON_version}-dev or python3-dev")
    elseif(AX_DAEMON AND NOT AX_PYTHON_library)
        string(CONCAT AX_PYTHON_problem "has no shared libpython${AX_PYTHON_version}: install python${AX_PYTHON_version}-dev or "
               "python3-dev; with pyenv, build it with PYTHON_CONFIGURE_OPTS=--enable-shared")
    endif()
endmacro()

# Chooses the interpreter. Sets AX_PYTHON_<fact> of it, or AX_PYTHON_problem: what is wrong with every candidate.
function(ax_choose_python)
    set(candidates "${Python3_EXECUTABLE}")
    if(NOT Python3_EXECUTABLE)
        string(REPLACE ":" ";" folders "$ENV{PATH}")
        list(TRANSFORM folders APPEND "/python3" OUTPUT_VARIABLE candidates)
    endif()

    set(refused "")
    foreach(python IN LISTS candidates)
        if(EXISTS "${python}" OR Python3_EXECUTABLE)
            ax_describe_python("${python}")
            if(NOT AX_PYTHON_problem)
                break()
            endif()
            string(APPEND refused "\n  ${python} ${AX_PYTHON_problem}")
        endif()
    endforeach()

    if(AX_PYTHON_problem OR NOT AX_PYTHON_executable)
        if(NOT refused)
            set(refused "\n  there is no python3 on PATH: install python3 and python3-dev")
        endif()
        set(AX_PYTHON_problem "No Python to build for (-DPython3_EXECUTABLE=... names one):${refused}")
    endif()
    foreach(fact IN LISTS AX_PYTHON_FACTS ITEMS problem)
        set(AX_PYTHON_${fact} "${AX_PYTHON_${fact}}" PARENT_SCOPE)
    endforeach()
endfunction()

# Ax::Python, the headers alone: for an extension module, which finds the interpreter's symbols in its process.
# Ax::PythonEmbed, headers and libpython: for a program that holds an interpreter. With AX_DAEMON alone.
function(ax_add_python_targets)
    add_library(Ax::Python INTERFACE IMPORTED GLOBAL)
    target_include_directories(Ax::Python SYSTEM INTERFACE "${AX_PYTHON_headers}")
    if(NOT AX_DAEMON)
        return()
    endif()
    add_library(ax_libpython SHARED IMPORTED GLOBAL)
    set_target_properties(ax_libpython PROPERTIES IMPORTED_LOCATION "${AX_PYTHON_library}")
    add_library(Ax::PythonEmbed INTERFACE IMPORTED GLOBAL)
    target_link_libraries(Ax::PythonEmbed INTERFACE Ax::Python ax_libpython)
endfunction()

# As a script (cmake -P): prints the executable, for dev/.
if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
    set(AX_DAEMON ON)
    ax_choose_python()
    if(AX_PYTHON_problem)
        message(FATAL_ERROR "${AX_PYTHON_problem}")
    endif()
    execute_process(COMMAND "${CMAKE_COMMAND}" -E echo "${AX_PYTHON_executable}")
endif()
