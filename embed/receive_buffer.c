/* SPDX-License-Identifier: MIT */
#include "embed/receive_buffer.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "embed/engine.h"

struct receive_buffer {
    struct ax_job job; /* drops the object, in a thread that may take the GIL */
    struct ax_engine *engine;
    atomic_uint shares;
    sem_t copied;     /* posted when the bytes received before have been copied into it */
    PyObject *object; /* strong; NULL once it was taken */
};

static void destroy(struct receive_buffer *receive_buffer)
{
    sem_destroy(&receive_buffer->copied);
    free(receive_buffer);
}

static void run_drop(struct ax_job *job)
{
    struct receive_buffer *receive_buffer = (struct receive_buffer *)job;
    PyGILState_STATE gil = PyGILState_Ensure();

    Py_DECREF(receive_buffer->object);
    PyGILState_Release(gil);
    destroy(receive_buffer);
}

/* Any thread. */
static void drop_share(void *owner)
{
    struct receive_buffer *receive_buffer = owner;

    if (atomic_fetch_sub(&receive_buffer->shares, 1) > 1)
        return;
    if (receive_buffer->object != NULL)
        ax_executor_submit_service(&receive_buffer->engine->executor, &receive_buffer->job);
    else
        destroy(receive_buffer);
}

/* An uninitialised object, and its memory; NULL when memory is short. */
static PyObject *make_object(const struct ax_buffer_request *buffer_request, unsigned char **data)
{
    PyObject *object;

    if (buffer_request->kind == AX_BUFFER_BYTES) {
        object = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)buffer_request->size);
        *data = object != NULL ? (unsigned char *)PyBytes_AS_STRING(object) : NULL;
    } else {
        object = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)buffer_request->size);
        *data = object != NULL ? (unsigned char *)PyByteArray_AS_STRING(object) : NULL;
    }
    if (object == NULL)
        PyErr_Clear();
    return object;
}

bool ax_receive_buffer_allocate(struct ax_connection *connection, const struct ax_buffer_request *buffer_request,
                                struct ax_buffer *memory)
{
    struct receive_buffer *receive_buffer =
        buffer_request->size <= PY_SSIZE_T_MAX / 2 ? calloc(1, sizeof *receive_buffer) : NULL;

    if (receive_buffer == NULL)
        return false;
    receive_buffer->job.run = run_drop;
    receive_buffer->engine = connection->engine;
    atomic_init(&receive_buffer->shares, 2);
    sem_init(&receive_buffer->copied, 0, 0);
    *memory = (struct ax_buffer){.release = drop_share, .owner = receive_buffer};
    PyGILState_STATE gil = PyGILState_Ensure();
    receive_buffer->object = make_object(buffer_request, &memory->data);
    PyGILState_Release(gil);
    if (receive_buffer->object == NULL) {
        destroy(receive_buffer);
        return false;
    }
    ax_blocks_prepare(memory->data, (size_t)buffer_request->size);
    return true;
}

void ax_receive_buffer_copied(void *owner)
{
    struct receive_buffer *receive_buffer = owner;

    sem_post(&receive_buffer->copied);
    drop_share(receive_buffer);
}

static void wait_until_copied(struct receive_buffer *receive_buffer)
{
    if (sem_trywait(&receive_buffer->copied) == 0)
        return;
    Py_BEGIN_ALLOW_THREADS
    while (sem_wait(&receive_buffer->copied) != 0 && errno == EINTR)
        ; /* bounded: the copy is in progress */
    Py_END_ALLOW_THREADS
}

PyObject *ax_receive_buffer_take(struct ax_buffer *buffer)
{
    if (buffer->release != drop_share)
        return NULL;
    struct receive_buffer *receive_buffer = ax_buffer_take(buffer).owner;
    wait_until_copied(receive_buffer);
    PyObject *object = receive_buffer->object;
    receive_buffer->object = NULL;
    drop_share(receive_buffer);
    return object;
}
