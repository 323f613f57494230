/* SPDX-License-Identifier: MIT */
/*
 * For builds with AddressSanitizer: a process of acrossd that has an interpreter is not searched for leaks at its end,
 * as CPython does not free everything that it allocates. The supervisor, which has none, is.
 */
#include <stdbool.h>

#include <Python.h>
#include <sanitizer/lsan_interface.h>

/* The linker puts it in the place of Py_InitializeFromConfig() (--wrap). */
PyStatus __real_Py_InitializeFromConfig(const PyConfig *config);
PyStatus __wrap_Py_InitializeFromConfig(const PyConfig *config);

static bool has_python;

PyStatus __wrap_Py_InitializeFromConfig(const PyConfig *config)
{
    has_python = true;
    return __real_Py_InitializeFromConfig(config);
}

/* The sanitizer asks at the end of a process; visible, so that its library finds it. */
__attribute__((visibility("default"))) int __lsan_is_turned_off(void)
{
    return has_python;
}
