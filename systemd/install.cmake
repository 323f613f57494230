# SPDX-License-Identifier: MIT
# Run by `cmake --install`: units for the prefix that it was told. Needs `source` and `folder`, which it may write to.
include("${source}/AxUnits.cmake")

ax_find_sysconfdir(sysconfdir "${CMAKE_INSTALL_PREFIX}")
ax_configure_units("${CMAKE_INSTALL_PREFIX}" "${sysconfdir}" "${folder}")

set(readable FILE_PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
list(TRANSFORM AX_UNITS PREPEND "${folder}/" OUTPUT_VARIABLE files)
file(INSTALL ${files} DESTINATION "${CMAKE_INSTALL_PREFIX}/lib/systemd/system" ${readable})
file(INSTALL "${source}/sysusers.conf" DESTINATION "${CMAKE_INSTALL_PREFIX}/lib/sysusers.d" RENAME acrossd.conf ${readable})
file(INSTALL "${source}/tmpfiles.conf" DESTINATION "${CMAKE_INSTALL_PREFIX}/lib/tmpfiles.d" RENAME acrossd.conf ${readable})

# Its user's edits are worth more than an update.
if(NOT EXISTS "$ENV{DESTDIR}${sysconfdir}/default/acrossd")
    file(INSTALL "${source}/acrossd.default" DESTINATION "${sysconfdir}/default" RENAME acrossd ${readable})
endif()
