/* SPDX-License-Identifier: MIT */
/*
 * For the coverage build alone: counters are written when a process ends by exit(), but processes of acrossd end by
 * _exit(), and start others by execv(). The linker puts these in the place of both (--wrap). What a process has counted
 * when a signal kills it is lost; so is what one has that became another user, who may not write here.
 */
#include <fcntl.h>
#include <gcov.h>
#include <unistd.h>

_Noreturn void __real__exit(int status);
int __real_execv(const char *path, char *const *arguments);
_Noreturn void __wrap__exit(int status);
int __wrap_execv(const char *path, char *const *arguments);

/*
 * That something cannot be written shall not show in the daemon's log, where tests expect nothing. Its last line is
 * out.
 */
__attribute__((destructor)) static void be_quiet(void)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

    dup2(null, STDERR_FILENO);
    close(null);
}

static void dump(void)
{
    int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

    be_quiet();
    __gcov_dump();
    dup2(saved, STDERR_FILENO);
    close(saved);
}

_Noreturn void __wrap__exit(int status)
{
    dump();
    __real__exit(status);
}

int __wrap_execv(const char *path, char *const *arguments)
{
    dump();
    int result = __real_execv(path, arguments);
    __gcov_reset(); /* it failed, and this process goes on counting */
    return result;
}
