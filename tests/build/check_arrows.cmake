# SPDX-License-Identifier: MIT
#
# cmake -DSOURCE=<the project> -P check_arrows.cmake
# Fails unless protocol/ includes no other folder's headers, embed/ those of protocol/ alone, and daemon/ those of
# protocol/ and of embed/ the two that are made for it. And unless each folder within daemon/ includes only those before it
# in this list: base, config, listen, admission, process, worker; status does not include worker. What is in daemon/ itself
# may include all of them.

cmake_minimum_required(VERSION 3.22)
set(allowed_protocol "^protocol/")
set(allowed_embed "^(embed|protocol)/")
set(allowed_daemon "^(daemon/|protocol/|embed/(host|call_stats)\\.h$)")
set(allowed_daemon/base "^(daemon/base|protocol)/")
set(allowed_daemon/config "^(daemon/(base|config)|protocol)/")
set(allowed_daemon/listen "^(daemon/(base|config|listen)|protocol)/")
set(allowed_daemon/admission "^(daemon/(base|config|listen|admission)|protocol)/")
set(allowed_daemon/process "^(daemon/(base|config|listen|admission|process)/|protocol/|embed/(host|call_stats)\\.h$)")
set(allowed_daemon/worker "^(daemon/(base|config|listen|admission|process|worker)/|protocol/|embed/(host|call_stats)\\.h$)")
set(allowed_daemon/status "^(daemon/(base|config|listen|admission|process|status)|protocol)/")

# A new folder needs a place in the order.
file(GLOB folders RELATIVE ${SOURCE} LIST_DIRECTORIES true ${SOURCE}/daemon/*/)
foreach(folder IN LISTS folders)
    if(IS_DIRECTORY ${SOURCE}/${folder} AND NOT DEFINED allowed_${folder})
        message(SEND_ERROR "${folder}/: say in ${CMAKE_CURRENT_LIST_FILE} what it may include")
    endif()
endforeach()

foreach(folder protocol embed daemon ${folders})
    if(NOT IS_DIRECTORY ${SOURCE}/${folder})
        continue()
    endif()
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
