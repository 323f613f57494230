/* SPDX-License-Identifier: MIT */
/*
 * A name service that hangs, for LD_PRELOAD: looking up a user blocks while the file named by SLOW_SHIM exists. The
 * file SLOW_SHIM.begun shows that a lookup has started.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int getpwnam_r(const char *name, struct passwd *user, char *strings, size_t size, struct passwd **result)
{
    int (*real)(const char *, struct passwd *, char *, size_t, struct passwd **);
    const char *file = getenv("SLOW_SHIM");
    char begun[256];

    *(void **)&real = dlsym(RTLD_NEXT, "getpwnam_r");
    if (file != NULL && access(file, F_OK) == 0) {
        snprintf(begun, sizeof begun, "%s.begun", file);
        close(open(begun, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        while (access(file, F_OK) == 0)
            usleep(1000);
        unlink(begun);
    }
    return real(name, user, strings, size, result);
}
