# SPDX-License-Identifier: MIT
# Finds what the build needs, and says everything that is missing at once.

include(AxPython)
set(AX_MISSING "")

# Sets an imported target PkgConfig::<name>, or notes the Debian package that would bring it.
macro(ax_need_library name module package what)
    pkg_check_modules(${name} QUIET IMPORTED_TARGET GLOBAL ${module})
    if(NOT ${name}_FOUND)
        string(APPEND AX_MISSING "\n- ${what}: apt-get install ${package}")
    endif()
endmacro()

find_package(PkgConfig QUIET)
if(NOT PKG_CONFIG_FOUND)
    string(APPEND AX_MISSING "\n- pkg-config, to find libraries: apt-get install pkg-config")
else()
    if(AX_ENGINE)
        ax_need_library(UV libuv libuv1-dev "libuv, the event loop")
    endif()
    if(BUILD_TESTING)
        ax_need_library(CMOCKA cmocka libcmocka-dev "cmocka, for the tests (or configure with -DBUILD_TESTING=OFF)")
    endif()
endif()

if(AX_ENGINE)
    find_package(Threads REQUIRED)
    ax_choose_python()
    if(AX_PYTHON_problem)
        string(APPEND AX_MISSING "\n- ${AX_PYTHON_problem}")
    else()
        set(Python3_EXECUTABLE "${AX_PYTHON_executable}" CACHE FILEPATH "The interpreter to build for")
        message(STATUS "Python ${AX_PYTHON_version}: ${AX_PYTHON_executable}, ${AX_PYTHON_library}")
        ax_add_python_targets()
    endif()
endif()

if(AX_MISSING)
    message(FATAL_ERROR "Missing for this build (on Debian and Ubuntu, dev/setup installs it):${AX_MISSING}")
endif()
