/* SPDX-License-Identifier: MIT */
/*
 * For the coverage build alone: counters are written when a process ends by exit(), but processes of acrossd end by
 * _exit(), and start others by execv(). The linker puts these in the place of both (--wrap). What a process has counted
 * when a signal kills it is lost; so is what one has that became another user, who may not write here.
 */
#include <gcov.h>
#include <stdlib.h>
#include <unistd.h>

_Noreturn void __real__exit(int status);
int __real_execv(const char *path, char *const *arguments);
_Noreturn void __wrap__exit(int status);
int __wrap_execv(const char *path, char *const *arguments);

/* What cannot be written shall not show in the daemon's log, where tests expect nothing. */
__attribute__((destructor)) static void be_quiet(void)
{
    setenv("GCOV_ERROR_FILE", "/dev/null", 1);
}

_Noreturn void __wrap__exit(int status)
{
    be_quiet();
    __gcov_dump();
    __real__exit(status);
}

int __wrap_execv(const char *path, char *const *arguments)
{
    __gcov_dump();
    int result = __real_execv(path, arguments);
    __gcov_reset(); /* it failed, and this process goes on counting */
    return result;
}
