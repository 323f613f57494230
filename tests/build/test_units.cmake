# SPDX-License-Identifier: MIT
# The units as `cmake --install` leaves them: systemd knows every line of them, with each example of a drop-in, too, and
# finds the services as hardened as they are said to be.
cmake_minimum_required(VERSION 3.22...4.0)

set(EXPOSURE_MAX 15) # tenths, of 10.0

find_program(ANALYZE systemd-analyze)
find_program(SYSUSERS systemd-sysusers)
find_program(TMPFILES systemd-tmpfiles)
if(NOT ANALYZE OR NOT SYSUSERS OR NOT TMPFILES)
    message("SKIPPED: systemd's tools are not installed")
    return()
endif()
execute_process(COMMAND "${ANALYZE}" --version OUTPUT_VARIABLE version COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCH "systemd ([0-9]+)" version "${version}")
if(CMAKE_MATCH_1 LESS 250)
    message("SKIPPED: ${version} cannot look at units that it does not run")
    return()
endif()

# Not in the build folder: a path in a unit has no spaces.
execute_process(COMMAND mktemp -d /tmp/acrossd-test-XXXXXX
    OUTPUT_VARIABLE FOLDER OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
set(UNITS "${FOLDER}/lib/systemd/system")

function(fail text)
    file(REMOVE_RECURSE "${FOLDER}")
    message(FATAL_ERROR "${text}")
endfunction()

# run(RESULT COMMAND...): what it prints and its exit status, as "status: text".
function(run result)
    execute_process(COMMAND ${ARGN} OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE status)
    set(${result} "${status}: ${output}" PARENT_SCOPE)
endfunction()

function(expect_silence)
    run(result ${ARGN})
    if(NOT result STREQUAL "0: ")
        list(JOIN ARGN " " command)
        fail("${command}: ${result}")
    endif()
endfunction()

set(verify "${ANALYZE}" verify --man=no)
set(all "${UNITS}/acrossd.service" "${UNITS}/acrossd.socket" "${UNITS}/acrossd@.service")

run(result "${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${FOLDER}")
if(NOT result MATCHES "^0: ")
    fail("the installation failed: ${result}")
endif()
expect_silence(${verify} ${all})

# A test that could not fail would be none.
file(WRITE "${UNITS}/acrossd.service.d/wrong.conf" "[Service]\nProtectEverything=yes\n")
run(result ${verify} ${all})
if(NOT result MATCHES "ProtectEverything")
    fail("a wrong line was not noticed: ${result}")
endif()
file(REMOVE "${UNITS}/acrossd.service.d/wrong.conf")

foreach(unit acrossd.service acrossd@.service)
    run(result "${ANALYZE}" security --no-pager --offline=yes --threshold=${EXPOSURE_MAX} "${UNITS}/${unit}")
    if(NOT result MATCHES "^0: ")
        fail("${unit} is too exposed: ${result}")
    endif()
    string(REGEX MATCH "Overall exposure level[^\n]*" level "${result}")
    message("${level}")
endforeach()

file(GLOB examples "${EXAMPLES}/*.conf")
if(examples STREQUAL "")
    fail("there are no examples in ${EXAMPLES}")
endif()
foreach(example IN LISTS examples)
    file(READ "${example}" text)
    if(text MATCHES "\\[Socket\\]")
        set(units acrossd.socket)
    else()
        set(units acrossd.service acrossd@.service)
    endif()
    foreach(unit IN LISTS units)
        file(COPY "${example}" DESTINATION "${UNITS}/${unit}.d")
    endforeach()
    expect_silence(${verify} ${all})
    foreach(unit IN LISTS units)
        file(REMOVE_RECURSE "${UNITS}/${unit}.d")
    endforeach()
endforeach()

# What the user and the folder come to, in a root of their own.
file(MAKE_DIRECTORY "${FOLDER}/system/etc")
run(result "${SYSUSERS}" "--root=${FOLDER}/system" "${FOLDER}/lib/sysusers.d/acrossd.conf")
file(STRINGS "${FOLDER}/system/etc/passwd" user REGEX "^acrossd:")
if(NOT user MATCHES "^acrossd:[^:]*:[0-9]+:[0-9]+:[^:]+:/var/lib/acrossd:/[a-z/]*nologin$")
    fail("the user is \"${user}\": ${result}")
endif()
expect_silence("${TMPFILES}" --create "--root=${FOLDER}/system" "${FOLDER}/lib/tmpfiles.d/acrossd.conf")
if(NOT IS_DIRECTORY "${FOLDER}/system/run/acrossd")
    fail("there is no /run/acrossd")
endif()

# An update leaves the administrator's settings alone.
file(WRITE "${FOLDER}/etc/default/acrossd" "edited")
run(result "${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${FOLDER}")
file(READ "${FOLDER}/etc/default/acrossd" text)
if(NOT text STREQUAL "edited")
    fail("the settings were replaced")
endif()
file(REMOVE_RECURSE "${FOLDER}")
