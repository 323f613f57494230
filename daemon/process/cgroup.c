/* SPDX-License-Identifier: MIT */
#include "daemon/process/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define LEAF "acrossd.supervisor"
#define WORKER "acrossd.worker-"

#define MOVES_MAX 100 /* passes over a list that may grow while it is read */

/* ---- files ---- */

/* Returns whether the path fits. */
static bool join(char path[PATH_MAX], const struct ax_cgroup *base, const char *group, const char *file)
{
    int length = snprintf(path, PATH_MAX, "%s%s%s%s%s", base->path, group[0] != '\0' ? "/" : "", group,
                          file[0] != '\0' ? "/" : "", file);

    return length > 0 && length < PATH_MAX;
}

static int write_file(const struct ax_cgroup *base, const char *group, const char *file, const char *text)
{
    char path[PATH_MAX];
    int fd = join(path, base, group, file) ? open(path, O_WRONLY | O_CLOEXEC) : -1;
    int code = fd >= 0 && write(fd, text, strlen(text)) >= 0 ? 0 : -errno;

    if (fd >= 0)
        close(fd);
    return code;
}

/* ---- finding it ---- */

/* The path of this process's group in the hierarchy. False: there is none. */
static bool read_own_path(char path[PATH_MAX])
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    char line[PATH_MAX + 8];
    bool found = false;

    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        found = strncmp(line, "0::/", 4) == 0 && strstr(line, "/..") == NULL &&
                snprintf(path, PATH_MAX, "%s", strcmp(line, "0::/") == 0 ? "" : line + 3) < PATH_MAX;
    }
    if (file != NULL)
        fclose(file);
    return found;
}

/* Where the hierarchy's root, or that of its namespace, is mounted. False: nowhere. */
static bool read_mount(char path[PATH_MAX])
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    char *line = NULL;
    size_t size = 0;
    bool found = false;

    while (file != NULL && !found && getline(&line, &size, file) > 0) {
        char root[8], mount[1024];

        found = strstr(line, " - cgroup2 ") != NULL && sscanf(line, "%*s %*s %*s %7s %1023s", root, mount) == 2 &&
                strcmp(root, "/") == 0;
        if (found)
            snprintf(path, PATH_MAX, "%s", mount);
    }
    free(line);
    if (file != NULL)
        fclose(file);
    return found;
}

static bool has_mark(const char *path, const char *name)
{
    char value[2];

    return getxattr(path, name, value, sizeof value) == 1 && value[0] == '1';
}

static bool is_delegated(const char *path)
{
    struct stat status;

    if (access(path, W_OK) < 0)
        return false;
    if (has_mark(path, "user.delegate") || has_mark(path, "trusted.delegate"))
        return true;
    return geteuid() != 0 && stat(path, &status) == 0 && status.st_uid == geteuid();
}

bool ax_cgroup_find(struct ax_cgroup *base, bool *is_leaf)
{
    char mount[PATH_MAX], own[PATH_MAX];
    int length;

    *base = (struct ax_cgroup){0};
    *is_leaf = false;
    if (!read_own_path(own) || own[0] == '\0' || !read_mount(mount))
        return false;
    length = snprintf(base->path, sizeof base->path, "%s%s", mount, own);
    if (length < 0 || (size_t)length >= sizeof base->path)
        return false;
    if (is_delegated(base->path))
        return true;
    *strrchr(base->path, '/') = '\0';
    *is_leaf = true;
    return strlen(base->path) > strlen(mount) && is_delegated(base->path);
}

/* ---- entering it ---- */

/* Returns how many processes had to be moved, or a negative errno. */
static int move_all(const struct ax_cgroup *base)
{
    char path[PATH_MAX], line[24];
    FILE *procs = join(path, base, "", "cgroup.procs") ? fopen(path, "re") : NULL;
    int code = procs != NULL ? 0 : -errno;
    int count = 0;

    while (code == 0 && fgets(line, sizeof line, procs) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        code = write_file(base, LEAF, "cgroup.procs", line);
        if (code == -ESRCH)
            code = 0; /* it has exited */
        count++;
    }
    if (procs != NULL)
        fclose(procs);
    return code < 0 ? code : count;
}

static int make_folder(const struct ax_cgroup *base, const char *name)
{
    char path[PATH_MAX];

    if (!join(path, base, name, ""))
        return -ENAMETOOLONG;
    return mkdir(path, 0755) == 0 ? 0 : -errno;
}

int ax_cgroup_enter(struct ax_cgroup *base, bool is_leaf)
{
    int left = 1;

    if (!is_leaf) {
        int code = make_folder(base, LEAF);

        if (code < 0 && code != -EEXIST)
            return code;
        for (int i = 0; i < MOVES_MAX && left > 0; i++)
            left = move_all(base);
        if (left != 0)
            return left < 0 ? left : -EBUSY;
    }
    base->has_memory = write_file(base, "", "cgroup.subtree_control", "+memory") == 0;
    base->has_pids = write_file(base, "", "cgroup.subtree_control", "+pids") == 0;
    return 0;
}

/* ---- groups of workers ---- */

void ax_cgroup_name(char name[AX_CGROUP_NAME], pid_t supervisor, uint64_t number)
{
    snprintf(name, AX_CGROUP_NAME, WORKER "%ld-%llu", (long)supervisor, (unsigned long long)number);
}

int ax_cgroup_make(const struct ax_cgroup *base, const char *name)
{
    char path[PATH_MAX];
    int code = make_folder(base, name);
    int fd;

    if (code < 0)
        return code;
    fd = join(path, base, name, "cgroup.procs") ? open(path, O_WRONLY | O_CLOEXEC) : -1;
    if (fd >= 0)
        return fd;
    code = -errno;
    ax_cgroup_remove(base, name);
    return code;
}

static int write_limit(const struct ax_cgroup *base, const char *name, const char *file, uint64_t limit)
{
    char text[24];

    snprintf(text, sizeof text, "%llu", (unsigned long long)limit);
    return write_file(base, name, file, limit > 0 ? text : "max");
}

int ax_cgroup_limit(const struct ax_cgroup *base, const char *name, uint64_t memory, uint64_t tasks)
{
    int code = base->has_memory ? write_limit(base, name, "memory.max", memory) : 0;

    return code == 0 && base->has_pids ? write_limit(base, name, "pids.max", tasks) : code;
}

int ax_cgroup_remove(const struct ax_cgroup *base, const char *name)
{
    char path[PATH_MAX];

    if (!join(path, base, name, ""))
        return -ENAMETOOLONG;
    /* Linux 5.14 and later; on older kernels the keepers have killed what they found */
    write_file(base, name, "cgroup.kill", "1");
    return rmdir(path) == 0 || errno == ENOENT ? 0 : -errno;
}

int ax_cgroup_join(int procs_fd)
{
    return write(procs_fd, "0", 1) == 1 ? 0 : -errno;
}

static bool is_left_over(const char *name, pid_t pid)
{
    long owner;

    if (strncmp(name, WORKER, strlen(WORKER)) != 0)
        return false;
    owner = strtol(name + strlen(WORKER), NULL, 10);
    return owner > 0 && (owner == (long)pid || (kill((pid_t)owner, 0) < 0 && errno == ESRCH));
}

void ax_cgroup_remove_stale(const struct ax_cgroup *base, pid_t pid)
{
    DIR *folder = opendir(base->path);
    struct dirent *entry;

    while (folder != NULL && (entry = readdir(folder)) != NULL)
        if (is_left_over(entry->d_name, pid))
            ax_cgroup_remove(base, entry->d_name);
    if (folder != NULL)
        closedir(folder);
}
