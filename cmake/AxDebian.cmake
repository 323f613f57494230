# SPDX-License-Identifier: MIT
# What `cpack` makes of an installation: a package for the Debian or Ubuntu that it is built on.

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_CONTACT "acrossd <root@localhost>" CACHE STRING "Who answers for the package")
set(CPACK_PACKAGE_DESCRIPTION "\
Clients call Python functions, over a unix socket, TCP or ssh, as if they\n\
were local. acrossd runs them in worker processes, one for each connection.\n\
The package holds the daemon, the Python package across for clients, which\n\
takes the place of the one of the same name on the Python package index, and\n\
units for systemd.")
set(CPACK_STRIP_FILES ON)

# Not a relocated tree: units have their prefix in them, and /etc is outside of it.
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
# The files that only this package has are not part of an ordinary installation.
set(CPACK_INSTALL_CMAKE_PROJECTS "${PROJECT_BINARY_DIR};acrossd;ALL;/;${PROJECT_BINARY_DIR};acrossd;debian;/")

set(debian "${CMAKE_CURRENT_LIST_DIR}/debian")
install(FILES "${debian}/acrossd.pth" DESTINATION lib/python3/dist-packages COMPONENT debian EXCLUDE_FROM_ALL)
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION share/doc/acrossd RENAME copyright
    COMPONENT debian EXCLUDE_FROM_ALL)

# libpython, libuv and OpenSSL come from what the executable is linked to. The extension module is of this Python alone.
string(REGEX REPLACE "^3\\." "" minor "${AX_PYTHON_version}")
math(EXPR next "${minor} + 1")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS
    "python3 (>= 3.${minor}), python3 (<< 3.${next}), python${AX_PYTHON_version}, systemd | systemd-standalone-sysusers")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
    "${debian}/conffiles" "${debian}/postinst" "${debian}/prerm" "${debian}/postrm")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

set(CPACK_AX_PYTHON_LIBRARY "${AX_PYTHON_library}")
set(CPACK_PROJECT_CONFIG_FILE "${debian}/check.cmake")
include(CPack)
