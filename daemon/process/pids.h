/* SPDX-License-Identifier: MIT */
/*
 * A hash table by process id. Lookup, insertion and removal take constant time.
 *
 * Values are borrowed. All zero is an empty table. For one thread.
 */
#ifndef AX_DAEMON_PROCESS_PIDS_H
#define AX_DAEMON_PROCESS_PIDS_H

#include <stddef.h>
#include <sys/types.h>

struct ax_pids_slot {
    pid_t pid; /* 0: the slot is empty */
    void *value;
};

struct ax_pids {
    struct ax_pids_slot *slots; /* owned; open addressing with linear probing */
    size_t capacity;            /* slots: 0 or a power of two, at most half of them in use */
    size_t count;
};

/* Adds a process id > 0, or replaces its value, which must not be NULL. 0, or -1 when there is no memory. */
int ax_pids_add(struct ax_pids *pids, pid_t pid, void *value);

/* NULL: not found. */
void *ax_pids_find(const struct ax_pids *pids, pid_t pid);

/* Removes it, if it is there. Returns its value, or NULL. */
void *ax_pids_remove(struct ax_pids *pids, pid_t pid);

void ax_pids_fini(struct ax_pids *pids);

#endif
