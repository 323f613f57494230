/* SPDX-License-Identifier: MIT */
#include "embed/call.h"

#include <errno.h>

#include "embed/crossing.h"
#include "embed/failure.h"

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

/* OperationError for what is set; but a call within a call that finds no stack left raises what any function would, so that the
 * outermost caller sees that and not an error of one of the connection's operations in between. */
static void raise_failed(struct ax_module *module, struct ax_connection *connection, const char *what)
{
    if (ax_scope_within(connection) == 0 || !PyErr_ExceptionMatches(PyExc_RecursionError))
        ax_raise_operation_failed(module, what);
}

/* Sends a pickled call. 0; or -1 with an exception set. */
static int send_call(struct ax_module *module, struct ax_connection *connection, struct ax_pickled *pickled,
                     struct ax_pending *pending)
{
    struct ax_buffer buffer;
    struct ax_operation operation = {.type = AX_APPLY, .within = ax_scope_within(connection)};
    struct ax_cargo cargo = {pickled->scope.ids, pickled->scope.count, &buffer, 1};
    int error = ax_pickled_buffer(pickled, connection, &buffer);
    while (error == 0) {
        Py_BEGIN_ALLOW_THREADS
        error = ax_connection_call(connection, &operation, &cargo, pending);
        Py_END_ALLOW_THREADS
        if (error == 0)
            return 0;
        if (error == -EINTR && PyErr_CheckSignals() == 0)
            error = 0;
    }
    ax_buffer_fini(&buffer);
    if (error != -EINTR)
        ax_raise_code(module, connection, error);
    return -1;
}

static void serve_call(struct ax_module *module, struct ax_request *request);

/* Serves what the peer asks while it serves a call of this thread. */
static void serve_within(struct ax_module *module, struct ax_request *request)
{
    serve_call(module, request);
    ax_request_free(request);
}

/* Waits for the result of a call that was sent: the message; or NULL with an exception set. */
static struct ax_message *receive_result(struct ax_module *module, struct ax_connection *connection,
                                         struct ax_pending *pending)
{
    struct ax_request *request = NULL;
    int error;
    do {
        if (PyErr_CheckSignals() != 0) { /* before the wait, too: a signal that has come already interrupts nothing */
            ax_connection_abandon(connection, pending);
            return NULL;
        }
        Py_BEGIN_ALLOW_THREADS
        error = ax_connection_await(connection, pending, &request);
        Py_END_ALLOW_THREADS
        if (request != NULL)
            serve_within(module, request);
    } while (error != 0 || request != NULL);
    if (pending->message == NULL)
        ax_raise_disconnected(module, connection);
    return pending->message;
}

/* A result that came in time may mention objects that are gone, since the connection has ended before it was taken. */
static void raise_unpickling_failed(struct ax_module *module, struct ax_connection *connection)
{
    if (PyErr_ExceptionMatches(module->disconnect_error) && ax_connection_phase(connection) >= AX_PHASE_STOPPING) {
        PyErr_Clear();
        ax_raise_disconnected(module, connection);
    } else {
        raise_failed(module, connection, "Unpickling");
    }
}

/* Turns a result into a value, or raises what it says. */
static PyObject *open_result(struct ax_module *module, struct ax_connection *connection, struct ax_message *message)
{
    if (message->kind == AX_RESULT_OPERATION_ERROR) {
        PyObject *text = PyUnicode_DecodeUTF8((const char *)message->text, (Py_ssize_t)message->text_size, "replace");
        if (text != NULL)
            PyErr_SetObject(module->operation_error, text);
        Py_XDECREF(text);
        return NULL;
    }
    PyObject *value = ax_unpickle(module, connection, message, message->kind == AX_RESULT_ERROR);
    if (value == NULL) {
        raise_unpickling_failed(module, connection);
        return NULL;
    }
    if (message->kind == AX_RESULT_SUCCESS)
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
    /* Objects that the peer released after this result are dropped now, which may run anything. */
    PyObject *error = value == NULL ? ax_error_take() : NULL;
    ax_drop_objects(ax_ticket_done(connection, &pending->ticket));
    if (error != NULL)
        ax_error_restore(error);
    ax_message_free(message);
    return value;
}

PyObject *ax_call(struct ax_module *module, struct ax_connection *connection, PyObject *func, PyObject *args,
                  PyObject *kwargs)
{
    if (ax_connection_phase(connection) != AX_PHASE_RUNNING) {
        if (ax_wait_phase(connection, AX_PHASE_RUNNING) != 0)
            return NULL;
        if (ax_connection_phase(connection) != AX_PHASE_RUNNING)
            return ax_raise_disconnected(module, connection);
    }
    PyObject *call = PyTuple_Pack(3, func, args, kwargs != NULL ? kwargs : module->no_kwargs);
    if (call == NULL)
        return NULL;
    struct ax_pickled pickled;
    int failed = ax_pickle(module, connection, call, &pickled);
    Py_DECREF(call);
    if (failed) {
        raise_failed(module, connection, "Pickling");
        return NULL;
    }
    struct ax_pending pending;
    failed = send_call(module, connection, &pickled, &pending);
    ax_pickled_fini(&pickled, !failed);
    return failed ? NULL : take_result(module, connection, &pending);
}

/* ---- requests of the peer ---- */

/* Unpickles the request; NULL with OperationError set. Drops what the peer released meanwhile. */
static PyObject *open_request(struct ax_module *module, struct ax_request *request)
{
    PyObject *call = ax_unpickle(module, request->connection, request->message, false);
    if (call == NULL)
        ax_raise_operation_failed(module, "Unpickling");
    PyObject *error = call == NULL ? ax_error_take() : NULL;
    ax_drop_objects(ax_request_unpickled(request));
    if (error != NULL)
        ax_error_restore(error);
    return call;
}

/* Calls the function through one of the package's, so that functions which look at the frame of their caller find one. */
static PyObject *run(struct ax_module *module, struct ax_request *request, PyObject *call)
{
    if (!PyTuple_Check(call) || PyTuple_GET_SIZE(call) != 3 || !PyTuple_Check(PyTuple_GET_ITEM(call, 1)) ||
        !PyDict_Check(PyTuple_GET_ITEM(call, 2))) {
        PyErr_SetString(PyExc_TypeError, "A call must be a tuple of a function, a tuple and a dict");
        return NULL;
    }
    struct ax_scope scope;
    ax_scope_enter(&scope, request->connection, AX_SCOPE_CALL);
    scope.call = request->message->call;
    PyObject *value = PyObject_Call(module->run_call, call, NULL);
    ax_scope_leave(&scope);
    return value;
}

/* Pickles an answer and sends it. 0; or -1 with OperationError set when it can't be pickled. */
static int answer(struct ax_module *module, struct ax_request *request, enum ax_result_kind kind, PyObject *value)
{
    struct ax_pickled pickled;
    struct ax_buffer buffer;
    if (ax_pickle(module, request->connection, value, &pickled) != 0) {
        ax_raise_operation_failed(module, "Pickling");
        return -1;
    }
    struct ax_cargo cargo = {pickled.scope.ids, pickled.scope.count, &buffer, 1};
    int error = ax_pickled_buffer(&pickled, request->connection, &buffer);
    Py_BEGIN_ALLOW_THREADS
    if (error == 0)
        error = ax_request_result(request, kind, &cargo);
    if (error == AX_ENOMEM)
        ax_request_fail(request, "Out of memory for the result");
    Py_END_ALLOW_THREADS
    if (error != 0)
        ax_buffer_fini(&buffer);
    ax_pickled_fini(&pickled, error == 0);
    return 0; /* a result that comes too late goes nowhere */
}

/* The last resort: the peer gets at least the text of the exception. */
static void answer_text(struct ax_request *request, PyObject *error)
{
    PyObject *text = PyObject_Str(error);
    const char *utf8 = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
    if (utf8 == NULL) {
        PyErr_Clear();
        Py_XDECREF(text);
        text = PyUnicode_FromString("The call failed, and its exception can be neither pickled nor printed");
        utf8 = text != NULL ? PyUnicode_AsUTF8(text) : "Out of memory";
    }
    ax_request_fail(request, utf8);
    Py_XDECREF(text);
}

/* Answers with the exception that is set. `from_call`: the called function raised it. */
static int answer_error(struct ax_module *module, struct ax_request *request, PyObject *error, bool from_call)
{
    struct ax_scope scope;
    ax_scope_enter(&scope, request->connection, AX_SCOPE_CALL);
    PyObject *record = PyObject_CallFunctionObjArgs(module->dump_error, error, from_call ? Py_True : Py_False, NULL);
    ax_scope_leave(&scope);
    if (record == NULL) {
        ax_raise_operation_failed(module, "Pickling");
        return -1;
    }
    int failed = answer(module, request, AX_RESULT_ERROR, record);
    Py_DECREF(record);
    return failed;
}

/* At the end of the stack there is no room to say more: a bare exception is a record, too. */
static int answer_recursion(struct ax_module *module, struct ax_request *request)
{
    PyErr_Clear();
    PyObject *record = PyObject_CallFunction(PyExc_RecursionError, "s", "maximum recursion depth exceeded in a call");
    int failed = record == NULL || answer(module, request, AX_RESULT_ERROR, record) != 0 ? -1 : 0;
    Py_XDECREF(record);
    return failed;
}

/* Answers with what is set as exception, as well as that can be done. */
static void answer_failure(struct ax_module *module, struct ax_request *request, bool from_call)
{
    PyObject *error = ax_error_take();
    bool exhausted = PyErr_GivenExceptionMatches(error, PyExc_RecursionError);
    bool answered =
        answer_error(module, request, error, from_call) == 0 || (exhausted && answer_recursion(module, request) == 0);
    Py_DECREF(error);
    if (answered)
        return;
    error = ax_error_take(); /* why that could not be pickled */
    if (answer_error(module, request, error, false) != 0) {
        PyErr_Clear();
        answer_text(request, error);
    }
    Py_DECREF(error);
}

static void serve_call(struct ax_module *module, struct ax_request *request)
{
    if (ax_binding_link(request->connection) == NULL) {
        ax_drop_objects(ax_request_unpickled(request));
        answer_failure(module, request, false);
        return;
    }
    PyObject *call = open_request(module, request);
    if (call == NULL) {
        answer_failure(module, request, false);
        return;
    }
    PyObject *value = run(module, request, call);
    Py_DECREF(call);
    if (value == NULL && module->out_of_memory != NULL && PyErr_ExceptionMatches(PyExc_MemoryError))
        module->out_of_memory();
    if (value == NULL)
        answer_failure(module, request, true);
    else if (answer(module, request, AX_RESULT_SUCCESS, value) != 0)
        answer_failure(module, request, false);
    Py_XDECREF(value);
    PyErr_Clear();
}

void ax_serve(struct ax_request *request)
{
    struct ax_binding *binding = request->connection->above;
    PyGILState_STATE gil = PyGILState_Ensure();
    serve_call(binding->module, request);
    PyGILState_Release(gil);
    ax_request_free(request);
}
