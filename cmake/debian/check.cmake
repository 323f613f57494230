# SPDX-License-Identifier: MIT
# Run by cpack: a package cannot depend on an interpreter that is in none.
execute_process(COMMAND dpkg-query --search "${CPACK_AX_PYTHON_LIBRARY}" RESULT_VARIABLE status OUTPUT_QUIET ERROR_QUIET)
if(NOT status EQUAL 0)
    message(FATAL_ERROR "${CPACK_AX_PYTHON_LIBRARY}, for which this is built, belongs to no Debian package: configure with "
        "-DPython3_EXECUTABLE=/usr/bin/python3")
endif()
