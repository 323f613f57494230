/* SPDX-License-Identifier: MIT */
#include "embed/failure.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "embed/engine.h"
#define FIRST_BYTES_SIZE 64 /* enough to recognize what the peer speaks */

/* How a connection ended, copied out of it so that no lock is held while Python runs. */
struct ending {
    enum ax_end end;
    bool close_called;
    int error;
    int io_error;
    bool ended_for_it; /* the reason was given by the link's fail_at_end() */
    char reason[AX_REASON_SIZE];
    unsigned char first_bytes[FIRST_BYTES_SIZE]; /* the first bytes of a peer that has sent no superblock */
    size_t first_bytes_size;
    bool opened; /* we opened the connection */
};

static void copy_first_bytes(struct ending *ending, const struct ax_session *session)
{
    const struct ax_buffer *preamble = &session->preamble;
    size_t size = preamble->size < sizeof ending->first_bytes ? preamble->size : sizeof ending->first_bytes;
    size_t more = sizeof ending->first_bytes - size;

    if (more > session->superblock_size)
        more = session->superblock_size;
    if (size > 0)
        memcpy(ending->first_bytes, preamble->data, size);
    memcpy(ending->first_bytes + size, session->superblock, more);
    ending->first_bytes_size = size + more;
}

static struct ending ending_of(struct ax_connection *connection)
{
    struct ending ending;

    Py_BEGIN_ALLOW_THREADS
    ax_connection_lock(connection);
    ending.end = connection->end;
    ending.close_called = connection->close_called;
    ending.error = connection->session.error;
    ending.io_error = connection->io_error;
    ending.ended_for_it = connection->ended_for_it;
    ending.opened = connection->session.config.role == AX_OPENER;
    copy_first_bytes(&ending, &connection->session);
    snprintf(ending.reason, sizeof ending.reason, "%s", ax_session_reason(&connection->session));
    ax_connection_unlock(connection);
    Py_END_ALLOW_THREADS
    return ending;
}

static PyObject *decode(const char *text)
{
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
}

PyObject *ax_describe(struct ax_module *module, PyObject *error)
{
    return PyObject_CallFunctionObjArgs(module->describe_error, error, NULL);
}

static PyObject *make_error(PyObject *type, const char *reason)
{
    PyObject *text = decode(reason);
    PyObject *error = text != NULL ? PyObject_CallFunctionObjArgs(type, text, NULL) : NULL;

    Py_XDECREF(text);
    return error;
}

/* The same, with advice from the package where it has some. */
static PyObject *make_advised_error(struct ax_module *module, PyObject *type, const struct ending *ending)
{
    PyObject *reason = decode(ending->reason);

    if (reason == NULL)
        return NULL;
    PyObject *text = PyObject_CallFunction(module->advise, "Oy#O", reason, (const char *)ending->first_bytes,
                                           (Py_ssize_t)ending->first_bytes_size, ending->opened ? Py_True : Py_False);
    PyObject *error = text != NULL ? PyObject_CallFunctionObjArgs(type, text, NULL) : NULL;
    Py_XDECREF(text);
    Py_DECREF(reason);
    return error;
}

static PyObject *make_os_error(int number, const char *reason)
{
    return PyObject_CallFunction(PyExc_OSError, "is", number, reason);
}

static PyObject *make_fatal_error(struct ax_module *module, const struct ending *ending)
{
    if (ending->io_error != 0)
        return make_os_error(ending->io_error, strerror(ending->io_error));
    switch (ending->error) {
    case AX_EEOF:
        return make_advised_error(module, PyExc_EOFError, ending);
    case AX_ETIMEDOUT:
        return make_os_error(ETIMEDOUT, ending->reason);
    case AX_ENOMEM:
        return make_error(PyExc_MemoryError, ending->reason);
    default:
        return make_advised_error(module, module->protocol_error, ending);
    }
}

PyObject *ax_fatal_error(struct ax_module *module, struct ax_connection *connection)
{
    struct ax_binding *binding = connection->above;
    struct ending ending = ending_of(connection);

    if (ending.end != AX_END_FAILED)
        return Py_NewRef(Py_None);
    if (binding->error == NULL && ending.ended_for_it)
        binding->error = Py_XNewRef(binding->end_error);
    if (binding->error == NULL) {
        PyObject *error = make_fatal_error(module, &ending);
        if (binding->error != NULL) /* another thread has made it meanwhile */
            Py_XDECREF(error);
        else
            binding->error = error;
    }
    return Py_XNewRef(binding->error);
}

static PyObject *disconnect_text(struct ax_module *module, struct ax_connection *connection)
{
    if (ax_engine_is_past(connection->engine)) /* its lock must not be taken */
        return PyUnicode_FromString("The connection belongs to the process that this one was forked from");
    struct ending ending = ending_of(connection);
    if (ending.close_called)
        return PyUnicode_FromString("Connection is closed");
    if (ending.end == AX_END_CANCELLED)
        return PyUnicode_FromString("Connection was cancelled");
    if (ending.end == AX_END_FAILED) {
        PyObject *error = ax_fatal_error(module, connection);
        PyObject *what = error != NULL ? ax_describe(module, error) : NULL;
        PyObject *text = what != NULL ? PyUnicode_FromFormat("Connection was aborted due to %S", what) : NULL;
        Py_XDECREF(error);
        Py_XDECREF(what);
        return text;
    }
    PyObject *reason = decode(ending.reason);
    PyObject *text = NULL;
    if (reason != NULL)
        text = PyUnicode_FromFormat("Connection was remotely closed%s%U", ending.reason[0] != '\0' ? ": " : "", reason);
    Py_XDECREF(reason);
    return text;
}

PyObject *ax_raise_disconnected(struct ax_module *module, struct ax_connection *connection)
{
    PyObject *text = disconnect_text(module, connection);

    if (text != NULL)
        PyErr_SetObject(module->disconnect_error, text);
    Py_XDECREF(text);
    return NULL;
}

void ax_raise_operation_failed(struct ax_module *module, const char *what)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return;
    PyObject *cause = ax_error_take();
    PyObject *text = PyObject_CallFunction(module->describe_failure, "sO", what, cause);
    if (text == NULL) {
        Py_DECREF(cause);
        return;
    }
    PyErr_SetObject(module->operation_error, text);
    Py_DECREF(text);
    PyObject *error = ax_error_take();
    PyException_SetContext(error, Py_NewRef(cause));
    PyException_SetCause(error, cause);
    ax_error_restore(error);
}

PyObject *ax_raise_too_large(struct ax_module *module, struct ax_connection *connection,
                             const struct ax_operation *operation, const struct ax_payload *payload)
{
    char text[AX_TOO_LARGE_SIZE];

    ax_session_explain_too_large(&connection->session, operation, payload, text);
    PyErr_SetString(module->operation_error, text);
    return NULL;
}

PyObject *ax_raise_code(struct ax_module *module, struct ax_connection *connection, int code)
{
    switch (code) {
    case AX_ESTATE:
        return ax_raise_disconnected(module, connection);
    case AX_ENOMEM:
    case -ENOMEM:
        return PyErr_NoMemory();
    default:
        PyErr_SetString(module->operation_error, ax_error_text(code));
        return NULL;
    }
}
