/* SPDX-License-Identifier: MIT */
#include "embed/call.h"

#include <errno.h>

#include "embed/marshal.h"
#include "embed/failure.h"
#include "embed/serve.h"

int ax_wait_phase(struct ax_connection *connection, enum ax_phase phase)
{
    int error;

    do {
        Py_BEGIN_ALLOW_THREADS
        error = ax_connection_wait(connection, phase);
        Py_END_ALLOW_THREADS
        if (error != 0 && PyErr_CheckSignals() != 0)
            return -1;
    } while (error != 0);
    return 0;
}

/* ---- calls of ours ---- */

/*
 * Turns the exception that is set into an OperationError, with two exceptions. A nested call that exhausts the stack
 * raises RecursionError as any function would, so that the outermost caller sees that. And an error that is due to the
 * end of the connection, such as a result with references to objects that are gone, becomes a DisconnectError.
 */
static void raise_failed(struct ax_module *module, struct ax_connection *connection, const char *what)
{
    if (PyErr_ExceptionMatches(module->disconnect_error) && ax_connection_phase(connection) >= AX_PHASE_STOPPING) {
        PyErr_Clear();
        ax_raise_disconnected(module, connection);
    } else if (ax_scope_within(connection) == 0 || !PyErr_ExceptionMatches(PyExc_RecursionError)) {
        ax_raise_operation_failed(module, what);
    }
}

/* Sends a request. 0: the payload's buffers were taken; -1 with an exception set. */
static int send_request(struct ax_module *module, struct ax_connection *connection,
                        const struct ax_operation *operation, struct ax_payload *payload, struct ax_pending *pending)
{
    int error = 0;

    while (error == 0) {
        Py_BEGIN_ALLOW_THREADS
        error = ax_connection_call(connection, operation, payload, pending);
        Py_END_ALLOW_THREADS
        if (error == 0)
            return 0;
        if (error == -EINTR && PyErr_CheckSignals() == 0)
            error = 0;
    }
    if (error == AX_ETOOLARGE)
        ax_raise_too_large(module, connection, operation, payload);
    else if (error != -EINTR)
        ax_raise_code(module, connection, error);
    return -1;
}

/* Waits for the result of a call that was sent: the message; or NULL with an exception set. */
static struct ax_message *receive_result(struct ax_module *module, struct ax_connection *connection,
                                         struct ax_pending *pending)
{
    struct ax_request *request = NULL;
    int error;

    do {
        if (PyErr_CheckSignals() != 0) { /* also before the wait: a signal that is already pending interrupts nothing */
            Py_BEGIN_ALLOW_THREADS
            ax_connection_abandon(connection, pending);
            Py_END_ALLOW_THREADS
            return NULL;
        }
        Py_BEGIN_ALLOW_THREADS
        error = ax_connection_await(connection, pending, &request);
        Py_END_ALLOW_THREADS
        if (request != NULL)
            ax_serve_within(module, request); /* a request that the peer makes within this call */
    } while (error != 0 || request != NULL);
    if (pending->message == NULL)
        ax_raise_disconnected(module, connection);
    return pending->message;
}

/* Turns a result into a value, or raises what it says. */
static PyObject *open_result(struct ax_module *module, struct ax_connection *connection, struct ax_message *message)
{
    if (message->kind == AX_RESULT_SELF)
        return Py_NewRef(module->same_object);
    if (message->kind == AX_RESULT_OPERATION_ERROR) {
        PyObject *text = PyUnicode_DecodeUTF8((const char *)message->text, (Py_ssize_t)message->text_size, "replace");
        if (text != NULL)
            PyErr_SetObject(module->operation_error, text);
        Py_XDECREF(text);
        return NULL;
    }
    PyObject *value = ax_unpickle(module, connection, message);
    if (value == NULL) {
        raise_failed(module, connection, "Unpickling");
        return NULL;
    }
    if (message->kind != AX_RESULT_ERROR)
        return value;
    ax_error_restore(value);
    return NULL;
}

static PyObject *take_result(struct ax_module *module, struct ax_connection *connection, struct ax_pending *pending)
{
    struct ax_message *message = receive_result(module, connection, pending);

    if (message == NULL)
        return NULL;
    PyObject *value = open_result(module, connection, message);
    /* Objects that the peer released after this result are dropped now, which may run any code. */
    PyObject *error = value == NULL ? ax_error_take() : NULL;
    ax_drop_objects(ax_ticket_done(connection, &pending->ticket));
    if (error != NULL)
        ax_error_restore(error);
    ax_message_free(message);
    return value;
}

/* Waits until the connection is running or has ended: 0; or -1 with an exception set. */
static int wait_until_running(struct ax_module *module, struct ax_connection *connection)
{
    if (ax_connection_phase(connection) == AX_PHASE_RUNNING)
        return 0;
    if (ax_wait_phase(connection, AX_PHASE_RUNNING) != 0)
        return -1;
    if (ax_connection_phase(connection) == AX_PHASE_RUNNING)
        return 0;
    ax_raise_disconnected(module, connection);
    return -1;
}

/* Sends a request without a value, and returns its result. */
static PyObject *ask_without_value(struct ax_module *module, struct ax_connection *connection,
                                   struct ax_operation *operation)
{
    struct ax_payload payload = {0};
    struct ax_pending pending;

    operation->within = ax_scope_within(connection);
    if (send_request(module, connection, operation, &payload, &pending) != 0)
        return NULL;
    return take_result(module, connection, &pending);
}

/* Sends a request with a value, and returns its result. The connection is running, or has been. */
static PyObject *ask(struct ax_module *module, struct ax_connection *connection, struct ax_operation *operation,
                     PyObject *value)
{
    struct ax_pickled pickled;
    struct ax_pending pending;

    if (ax_pickle(module, connection, value, true, &pickled) != 0) {
        raise_failed(module, connection, "Pickling");
        return NULL;
    }
    struct ax_payload payload;
    operation->within = ax_scope_within(connection);
    int failed = ax_pickled_payload(&pickled, connection, &payload);
    if (failed != 0)
        PyErr_NoMemory();
    else
        failed = send_request(module, connection, operation, &payload, &pending);
    PyObject *error = failed != 0 ? ax_error_take() : NULL; /* dropping the references may run any code */
    ax_pickled_fini(&pickled, failed == 0);
    if (failed == 0)
        return take_result(module, connection, &pending);
    ax_error_restore(error);
    return NULL;
}

/* The same, with a function and its arguments. */
static PyObject *ask_to_run(struct ax_module *module, struct ax_connection *connection, enum ax_message_type type,
                            PyObject *func, PyObject *args, PyObject *kwargs)
{
    struct ax_operation operation = {.type = type};
    PyObject *call = PyTuple_Pack(3, func, args, kwargs != NULL ? kwargs : module->no_kwargs);

    if (call == NULL)
        return NULL;
    PyObject *value = ask(module, connection, &operation, call);
    Py_DECREF(call);
    return value;
}

PyObject *ax_call(struct ax_module *module, struct ax_connection *connection, PyObject *func, PyObject *args,
                  PyObject *kwargs)
{
    if (wait_until_running(module, connection) != 0)
        return NULL;
    return ask_to_run(module, connection, AX_APPLY, func, args, kwargs);
}

/* ---- operations on objects ---- */

/* The handshake sets the features before it succeeds, and nothing changes them afterwards. */
bool ax_has_operations(const struct ax_connection *connection)
{
    return (connection->session.features & AX_FEATURE_OPERATIONS) != 0;
}

PyObject *ax_create(struct ax_module *module, struct ax_connection *connection, PyObject *func, PyObject *args,
                    PyObject *kwargs)
{
    if (wait_until_running(module, connection) != 0)
        return NULL;
    if (ax_has_operations(connection))
        return ask_to_run(module, connection, AX_CREATE, func, args, kwargs);
    PyObject *call = PyTuple_Pack(3, func, args, kwargs != NULL ? kwargs : module->no_kwargs);
    if (call == NULL)
        return NULL;
    PyObject *proxy = ask_to_run(module, connection, AX_APPLY, module->create_by_name, call, NULL);
    Py_DECREF(call);
    return proxy;
}

PyObject *ax_replicate(struct ax_module *module, struct ax_connection *connection, PyObject *value)
{
    struct ax_operation operation = {.type = AX_REPLICATE};

    if (wait_until_running(module, connection) != 0)
        return NULL;
    if (ax_has_operations(connection))
        return ask(module, connection, &operation, value);
    PyObject *args = PyTuple_Pack(1, value);
    if (args == NULL)
        return NULL;
    PyObject *proxy = ask_to_run(module, connection, AX_APPLY, module->replicate_by_name, args, NULL);
    Py_DECREF(args);
    return proxy;
}

PyObject *ax_copy(struct ax_module *module, struct ax_connection *connection, uint64_t id)
{
    struct ax_operation operation = {.type = AX_COPY, .object = id};

    return ask_without_value(module, connection, &operation);
}

PyObject *ax_invoke(struct ax_module *module, struct ax_connection *connection, uint64_t id, PyObject *name,
                    PyObject *args, PyObject *kwargs)
{
    Py_ssize_t size;
    const char *utf8 = PyUnicode_AsUTF8AndSize(name, &size);

    if (utf8 == NULL)
        return NULL;
    struct ax_operation operation = {.type = AX_METHOD, .object = id, .name = utf8, .name_size = (size_t)size};
    if (PyTuple_GET_SIZE(args) == 0 && PyDict_GET_SIZE(kwargs) == 0)
        return ask_without_value(module, connection, &operation);
    PyObject *arguments = PyTuple_Pack(2, args, kwargs);
    if (arguments == NULL)
        return NULL;
    PyObject *value = ask(module, connection, &operation, arguments);
    Py_DECREF(arguments);
    return value;
}
