/* SPDX-License-Identifier: MIT */
#include "daemon/admission/crypto.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/error_format.h"
#include "daemon/base/paths.h"

#define LIBRARY "acrossd-openssl.so"

/* Whether the table belongs to this very build: an upgrade may have replaced the library meanwhile. */
static bool is_ours(const struct ax_crypto *table)
{
    return table->size == sizeof *table && strcmp(table->version, AX_VERSION) == 0;
}

static const struct ax_crypto *load(const char *path, char *error, size_t size)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    const struct ax_crypto *table = library != NULL ? dlsym(library, AX_CRYPTO_TABLE_NAME) : NULL;

    if (table == NULL)
        ax_error_format(error, size, "cannot load OpenSSL: %s", dlerror());
    else if (!is_ours(table))
        ax_error_format(error, size, "%s is of another version than this acrossd: start acrossd again", path);
    return table != NULL && is_ours(table) ? table : NULL;
}

const struct ax_crypto *ax_crypto_load(char *error, size_t error_size)
{
    static const struct ax_crypto *table;
    char *folder, *path;

    if (table != NULL)
        return table;
    folder = ax_paths_find(".", "../lib/acrossd", LIBRARY, "The library " LIBRARY, error, error_size);
    if (folder == NULL)
        return NULL;
    path = ax_paths_join(folder, LIBRARY);
    free(folder);
    if (path == NULL) {
        ax_error_format(error, error_size, "out of memory");
        return NULL;
    }
    table = load(path, error, error_size);
    free(path);
    return table;
}
