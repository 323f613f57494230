# SPDX-License-Identifier: MIT
#
# cmake -DSOURCE=<the project> -P check_arrows.cmake
# Fails unless protocol/ includes no other folder's headers, embed/ those of protocol/ alone, and daemon/ those of
# protocol/ and of embed/ the two that are made for it.

cmake_minimum_required(VERSION 3.22)
set(allowed_protocol "^protocol/")
set(allowed_embed "^(embed|protocol)/")
set(allowed_daemon "^(daemon/|protocol/|embed/(host|tally)\\.h$)")

foreach(folder protocol embed daemon)
    file(GLOB_RECURSE files ${SOURCE}/${folder}/*.c ${SOURCE}/${folder}/*.h)
    if(NOT files)
        message(FATAL_ERROR "No files in ${SOURCE}/${folder}")
    endif()
    foreach(file IN LISTS files)
        file(STRINGS ${file} lines REGEX "^[ \t]*#[ \t]*include[ \t]+\"")
        foreach(line IN LISTS lines)
            string(REGEX REPLACE "^[^\"]*\"([^\"]*)\".*$" "\\1" header "${line}")
            if(NOT header MATCHES "${allowed_${folder}}")
                message(SEND_ERROR "${file}: not allowed in ${folder}/: ${line}")
            endif()
        endforeach()
    endforeach()
endforeach()
