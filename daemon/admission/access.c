/* SPDX-License-Identifier: MIT */
#include "daemon/admission/access.h"

#include <stdbool.h>
#include <unistd.h>

#include "daemon/base/error_format.h"
#include "daemon/base/account.h"

/* The user that calls run as. 0, or -1 with an error message. */
static int find_caller(const struct ax_options *options, uid_t *uid, char *error, size_t size)
{
    *uid = geteuid();
    if (options->user == NULL)
        return 0;
    if (ax_account_check(options->user, error, size) < 0)
        return -1;
    return ax_account_find_user(options->user, uid, error, size);
}

int ax_access_check(const struct ax_options *options, char *error, size_t error_size)
{
    uid_t uid;

    if (find_caller(options, &uid, error, error_size) < 0)
        return -1;
    if (options->insecure && !options->use_stdio && uid == 0)
        return ax_error_format(
            error, error_size,
            "--insecure is not for root: whoever reaches the address could run anything as root; add "
            "--user NAME, or start acrossd as another user");
    if (options->run_as_peer && geteuid() != 0)
        return ax_error_format(
            error, error_size,
            "--run-as-peer is for root, who may become other users, and acrossd runs as user %lu: leave "
            "it out",
            (unsigned long)geteuid());
    return 0;
}

int ax_access_read_secret(const struct ax_options *options, struct ax_secret **secret, char *error, size_t error_size)
{
    *secret = NULL;
    if (options->secret_file == NULL)
        return 0;
    *secret = ax_secret_read(options->secret_file, error, error_size);
    return *secret != NULL ? 0 : -1;
}
