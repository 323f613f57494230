# SPDX-License-Identifier: MIT
#
# cmake -DFOLDER=<protocol> -P check_includes.cmake
# Fails unless all that the files of the folder include is their own headers and these of the C standard library. No clock,
# thread, socket, event loop or interpreter gets in this way.

cmake_minimum_required(VERSION 3.22)
set(allowed inttypes.h limits.h stdarg.h stdbool.h stddef.h stdint.h stdio.h stdlib.h string.h)

file(GLOB files ${FOLDER}/*.c ${FOLDER}/*.h)
list(LENGTH files count)
if(count EQUAL 0)
    message(FATAL_ERROR "No files in ${FOLDER}")
endif()

foreach(file IN LISTS files)
    file(STRINGS ${file} lines REGEX "^[ \t]*#[ \t]*include")
    foreach(line IN LISTS lines)
        if(line MATCHES "#[ \t]*include[ \t]+\"(protocol/[a-z_]+\\.h)\"$")
            if(NOT EXISTS ${FOLDER}/../${CMAKE_MATCH_1})
                message(SEND_ERROR "${file}: no such file: ${line}")
            endif()
        elseif(NOT (line MATCHES "#[ \t]*include[ \t]+<([a-z_]+\\.h)>$" AND CMAKE_MATCH_1 IN_LIST allowed))
            message(SEND_ERROR "${file}: not allowed in protocol/: ${line}")
        endif()
    endforeach()
endforeach()
