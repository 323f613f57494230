# SPDX-License-Identifier: MIT
#
# ax_configure_units(PREFIX SYSCONFDIR FOLDER): writes the units for an acrossd below PREFIX into FOLDER. It runs twice:
# at configure time for the tests, and by `cmake --install`, which may be told another prefix.

set(AX_UNITS acrossd.service acrossd@.service acrossd.socket)
set(AX_UNITS_SOURCE "${CMAKE_CURRENT_LIST_DIR}")

function(ax_configure_units prefix sysconfdir folder)
    file(READ "${AX_UNITS_SOURCE}/hardening.conf" hardening)
    foreach(unit IN LISTS AX_UNITS)
        configure_file("${AX_UNITS_SOURCE}/${unit}.in" "${folder}/${unit}" @ONLY)
    endforeach()
endfunction()

# ax_find_sysconfdir(RESULT PREFIX): where a package below PREFIX has its settings.
function(ax_find_sysconfdir result prefix)
    if(prefix STREQUAL "/usr")
        set(${result} /etc PARENT_SCOPE)
    else()
        set(${result} "${prefix}/etc" PARENT_SCOPE)
    endif()
endfunction()
