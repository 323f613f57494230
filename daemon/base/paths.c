/* SPDX-License-Identifier: MIT */
#include "daemon/base/paths.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/error_format.h"

char *ax_paths_join(const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = malloc(size);

    if (path != NULL)
        snprintf(path, size, "%s/%s", folder, name);
    return path;
}

bool ax_paths_has(const char *folder, const char *name)
{
    char *path = ax_paths_join(folder, name);
    bool result = path != NULL && access(path, F_OK) == 0;

    free(path);
    return result;
}

static int executable_folder(char folder[PATH_MAX])
{
    ssize_t length = readlink("/proc/self/exe", folder, PATH_MAX - 1);
    char *slash;

    if (length < 0)
        return -1;
    folder[length] = '\0';
    slash = strrchr(folder, '/'); /* the file's name may be "acrossd (deleted)" after an upgrade */
    if (slash == NULL)
        return -1;
    slash[slash == folder ? 1 : 0] = '\0';
    return 0;
}

char *ax_paths_find(const char *built, const char *installed, const char *name, const char *what, char *error,
                    size_t error_size)
{
    const char *const places[] = {built, installed};
    char folder[PATH_MAX];

    if (executable_folder(folder) < 0) {
        ax_error_format(error, error_size, "cannot tell where acrossd is installed (is /proc mounted?): %s",
                        strerror(errno));
        return NULL;
    }
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char *place = ax_paths_join(folder, places[i]);

        if (place != NULL && ax_paths_has(place, name))
            return place;
        free(place);
    }
    ax_error_format(error, error_size, "%s is neither in %s/%s nor in %s/%s: install acrossd again", what, folder,
                    built, folder, installed);
    return NULL;
}
