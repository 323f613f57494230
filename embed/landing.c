/* SPDX-License-Identifier: MIT */
#include "embed/landing.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "embed/engine.h"

struct landing {
    struct ax_job job; /* drops the object, in a thread that may take the GIL */
    struct ax_engine *engine;
    atomic_uint shares;
    sem_t placed;     /* posted when all that had come is in it */
    PyObject *object; /* strong; NULL once it is a value */
};

static void destroy(struct landing *landing)
{
    sem_destroy(&landing->placed);
    free(landing);
}

static void run_drop(struct ax_job *job)
{
    struct landing *landing = (struct landing *)job;
    PyGILState_STATE gil = PyGILState_Ensure();
    Py_DECREF(landing->object);
    PyGILState_Release(gil);
    destroy(landing);
}

/* Any thread. */
static void drop_share(void *owner)
{
    struct landing *landing = owner;
    if (atomic_fetch_sub(&landing->shares, 1) > 1)
        return;
    if (landing->object != NULL)
        ax_executor_submit_service(&landing->engine->executor, &landing->job);
    else
        destroy(landing);
}

/* An empty object, with its memory; NULL when there is no room for it. */
static PyObject *make_object(const struct ax_wish *wish, unsigned char **data)
{
    PyObject *object;
    if (wish->kind == AX_BUFFER_BYTES) {
        object = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)wish->size);
        *data = object != NULL ? (unsigned char *)PyBytes_AS_STRING(object) : NULL;
    } else {
        object = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)wish->size);
        *data = object != NULL ? (unsigned char *)PyByteArray_AS_STRING(object) : NULL;
    }
    if (object == NULL)
        PyErr_Clear();
    return object;
}

bool ax_landing_place(struct ax_connection *connection, const struct ax_wish *wish, struct ax_buffer *memory)
{
    struct landing *landing = wish->size <= PY_SSIZE_T_MAX / 2 ? calloc(1, sizeof *landing) : NULL;
    if (landing == NULL)
        return false;
    landing->job.run = run_drop;
    landing->engine = connection->engine;
    atomic_init(&landing->shares, 2);
    sem_init(&landing->placed, 0, 0);
    *memory = (struct ax_buffer){.release = drop_share, .owner = landing};
    PyGILState_STATE gil = PyGILState_Ensure();
    landing->object = make_object(wish, &memory->data);
    PyGILState_Release(gil);
    if (landing->object == NULL) {
        destroy(landing);
        return false;
    }
    ax_blocks_prepare(memory->data, (size_t)wish->size);
    return true;
}

void ax_landing_placed(void *owner)
{
    struct landing *landing = owner;
    sem_post(&landing->placed);
    drop_share(landing);
}

static void wait_until_placed(struct landing *landing)
{
    if (sem_trywait(&landing->placed) == 0)
        return;
    Py_BEGIN_ALLOW_THREADS
    while (sem_wait(&landing->placed) != 0 && errno == EINTR)
        ; /* it is being copied: that ends */
    Py_END_ALLOW_THREADS
}

PyObject *ax_landing_take(struct ax_buffer *buffer)
{
    if (buffer->release != drop_share)
        return NULL;
    struct landing *landing = ax_buffer_take(buffer).owner;
    wait_until_placed(landing);
    PyObject *object = landing->object;
    landing->object = NULL;
    drop_share(landing);
    return object;
}
