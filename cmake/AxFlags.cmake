# SPDX-License-Identifier: MIT
# What every C file of the project is compiled with.

if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Kind of build" FORCE)
endif()

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
# The objects of protocol/ and embed/ end up in an executable and in an extension module.
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
# A libpython outside of the system's folders is found at run time, too, after installation.
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)

include(CheckPIESupported)
check_pie_supported(LANGUAGES C)

include_directories("${PROJECT_SOURCE_DIR}")
add_compile_options(-Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes)
if(AX_WERROR)
    add_compile_options(-Werror)
endif()

if(AX_SANITIZE)
    add_compile_options("-fsanitize=${AX_SANITIZE}" -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options("-fsanitize=${AX_SANITIZE}")
    if(AX_SANITIZE STREQUAL "thread")
        # Else thread-locals of a module are in memory that libc frees, when it has seen what the sanitizer does not: that
        # their thread has ended.
        add_compile_options(-ftls-model=initial-exec)
    endif()
else()
    add_compile_options(-fstack-protector-strong)
    add_compile_options("$<$<CONFIG:Release,RelWithDebInfo>:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=2>")
    add_link_options(-Wl,-z,relro,-z,now)
endif()

if(AX_COVERAGE)
    add_compile_options(--coverage -fprofile-update=atomic)
    add_link_options(--coverage)
endif()

# A program with acrossd's main(): its processes count until their ends, where they are to be counted.
function(ax_count_until_end program)
    if(AX_COVERAGE)
        target_sources(${program} PRIVATE "${PROJECT_SOURCE_DIR}/tests/coverage/flush.c")
        target_link_options(${program} PRIVATE LINKER:--wrap=_exit LINKER:--wrap=execv)
    endif()
endfunction()

if(AX_FUZZ)
    if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
        message(FATAL_ERROR "AX_FUZZ needs clang (libFuzzer): use the preset fuzz, or -DCMAKE_C_COMPILER=clang")
    endif()
    # Everything reports what it covers; the targets in tests/fuzz link libFuzzer itself.
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()
