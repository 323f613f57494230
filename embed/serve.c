/* SPDX-License-Identifier: MIT */
#include "embed/serve.h"

#include "embed/marshal.h"
#include "embed/engine.h"
#include "embed/failure.h"

/*
 * To be called after anything that may have run user code, before the connection is used: ends a child that was forked
 * there and has returned, after printing its exception, if any, as for a thread.
 */
static void end_if_forked(struct ax_request *request)
{
    if (!ax_engine_is_past(request->connection->engine))
        return;
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_SystemExit))
        PyErr_Print();
    ax_fork_end();
}

/* ---- what is asked ---- */

/* The arguments of run_method(): object, name, args and kwargs. */
static PyObject *open_method(struct ax_module *module, struct ax_request *request)
{
    struct ax_message *message = request->message;
    PyObject *call = NULL, *object = NULL, *name = NULL;

    /*
     * Unpickles the arguments first, whatever is wrong with the rest, so that their references are claimed or released.
     */
    PyObject *arguments = message->buffer_count > 0 ? ax_unpickle(module, request->connection, message)
                                                    : Py_BuildValue("(()O)", module->no_kwargs);
    if (arguments != NULL)
        object = ax_look_up(module, request->connection, message->object);
    if (object != NULL)
        name = PyUnicode_DecodeUTF8((const char *)message->text, (Py_ssize_t)message->text_size, NULL);
    if (name == NULL)
        goto out;
    if (!PyTuple_Check(arguments) || PyTuple_GET_SIZE(arguments) != 2) {
        PyErr_SetString(PyExc_TypeError, "The arguments of a method must be a tuple of a tuple and a dict");
        goto out;
    }
    call = PyTuple_Pack(4, object, name, PyTuple_GET_ITEM(arguments, 0), PyTuple_GET_ITEM(arguments, 1));
out:
    Py_XDECREF(object);
    Py_XDECREF(name);
    Py_XDECREF(arguments);
    return call;
}

/* The subject of a request: the call of a function or a method, as a tuple; or an object. */
static PyObject *open_subject(struct ax_module *module, struct ax_request *request)
{
    switch (request->message->type) {
    case AX_COPY:
        return ax_look_up(module, request->connection, request->message->object);
    case AX_METHOD:
        return open_method(module, request);
    default:
        return ax_unpickle(module, request->connection, request->message);
    }
}

/* Gives credit and returns the ticket. The result: objects to drop, which the peer has released meanwhile. */
static struct ax_object *end_reading(struct ax_request *request)
{
    end_if_forked(request);
    if (request->message->counted > 0) {
        Py_BEGIN_ALLOW_THREADS
        ax_request_give_credit(request);
        Py_END_ALLOW_THREADS
    }
    return ax_request_unpickled(request);
}

/* The subject, or NULL with OperationError set. Drops the objects that the peer has released meanwhile. */
static PyObject *open_request(struct ax_module *module, struct ax_request *request)
{
    PyObject *subject = open_subject(module, request);

    end_if_forked(request);
    if (subject == NULL)
        ax_raise_operation_failed(module, "Unpickling");
    PyObject *error = subject == NULL ? ax_error_take() : NULL;
    ax_drop_objects(end_reading(request));
    end_if_forked(request); /* in a finalizer of a dropped object */
    if (error != NULL)
        ax_error_restore(error);
    return subject;
}

/* ---- running it ---- */

static bool is_call(PyObject *subject)
{
    return PyTuple_Check(subject) && PyTuple_GET_SIZE(subject) == 3 && PyTuple_Check(PyTuple_GET_ITEM(subject, 1)) &&
           PyDict_Check(PyTuple_GET_ITEM(subject, 2));
}

/*
 * Calls the function through one of the package's, so that functions which inspect the frame of their caller find one.
 */
static PyObject *run(struct ax_module *module, struct ax_request *request, PyObject *subject)
{
    uint64_t type = request->message->type;

    if (type == AX_COPY || type == AX_REPLICATE)
        return Py_NewRef(subject);
    if (type != AX_METHOD && !is_call(subject)) {
        PyErr_SetString(PyExc_TypeError, "A call must be a tuple of a function, a tuple and a dict");
        return NULL;
    }
    struct ax_scope scope;
    ax_scope_enter(&scope, request->connection, AX_SCOPE_CALL);
    scope.call = request->message->call;
    PyObject *value = PyObject_Call(type == AX_METHOD ? module->run_method : module->run_call, subject, NULL);
    ax_scope_leave(&scope);
    return value;
}

/* ---- answering ---- */

/*
 * Sends an answer; if `error`, the code of its preparation, is AX_ENOMEM, sends an operation error instead. A result
 * that comes too late is dropped. Returns 0 when the payload's buffers were taken; AX_ETOOLARGE when nothing was sent
 * and the peer is still to be told; or another code of ax_request_result().
 */
static int send_answer(struct ax_request *request, enum ax_result_kind kind, struct ax_payload *payload, int error)
{
    end_if_forked(request);
    Py_BEGIN_ALLOW_THREADS
    if (error == 0)
        error = ax_request_result(request, kind, payload);
    if (error == AX_ENOMEM)
        ax_request_fail(request, "Out of memory for the result");
    Py_END_ALLOW_THREADS
    return error;
}

/* 0; or -1 with OperationError set if the answer was too large to send; the caller keeps it while it cleans up. */
static int explain_unsent(struct ax_module *module, struct ax_request *request, const struct ax_payload *payload,
                          int error)
{
    if (error != AX_ETOOLARGE)
        return 0;
    ax_raise_too_large(module, request->connection, NULL, payload);
    return -1;
}

/*
 * Pickles an answer and sends it. 0; or -1 with OperationError set when it can't be pickled, or is too large for the
 * peer.
 */
static int answer(struct ax_module *module, struct ax_request *request, enum ax_result_kind kind, PyObject *value)
{
    struct ax_pickled pickled;
    struct ax_payload payload;

    if (ax_pickle(module, request->connection, value, false, &pickled) != 0) {
        ax_raise_operation_failed(module, "Pickling");
        return -1;
    }
    int error = ax_pickled_payload(&pickled, request->connection, &payload);
    error = send_answer(request, kind, &payload, error);
    int failed = explain_unsent(module, request, &payload, error);
    PyObject *raised = failed != 0 ? ax_error_take() : NULL; /* dropping the references may run any code */
    ax_pickled_fini(&pickled, error == 0);
    if (failed != 0)
        ax_error_restore(raised);
    return failed;
}

/* Answers with an object that stays here: its id, and the names of its methods. */
static int answer_reference(struct ax_module *module, struct ax_request *request, PyObject *value, PyObject *names)
{
    struct ax_connection *connection = request->connection;
    uint64_t id;
    struct ax_buffer buffer = {0};
    struct ax_payload payload = {.refs = &id, .ref_count = 1, .buffers = &buffer, .buffer_count = 1};

    if (ax_register(module, connection, value, &id) != 0)
        return -1;
    int error = ax_buffer_append(&buffer, PyBytes_AS_STRING(names), (size_t)PyBytes_GET_SIZE(names));
    error = send_answer(request, AX_RESULT_REFERENCE, &payload, error);
    if (error == 0)
        return 0;
    int failed = explain_unsent(module, request, &payload, error);
    PyObject *raised = failed != 0 ? ax_error_take() : NULL;
    ax_buffer_fini(&buffer);
    ax_unregister(connection, id);
    if (failed != 0)
        ax_error_restore(raised);
    return failed;
}

/* Last resort: answers with the text of the exception. */
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
    end_if_forked(request);
    Py_BEGIN_ALLOW_THREADS
    ax_request_fail(request, utf8);
    Py_END_ALLOW_THREADS
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

/* When the stack is exhausted: answers with a bare exception, which is a valid record. */
static int answer_recursion(struct ax_module *module, struct ax_request *request)
{
    PyErr_Clear();
    PyObject *record = PyObject_CallFunction(PyExc_RecursionError, "s", "maximum recursion depth exceeded in a call");
    int failed = record == NULL || answer(module, request, AX_RESULT_ERROR, record) != 0 ? -1 : 0;
    Py_XDECREF(record);
    return failed;
}

/* Answers with the exception that is set, as completely as possible. */
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

enum shape { VALUE, REFERENCE, SAME };

/* Whether the result of a method stays here because of the method's name. */
static bool makes_iterator(struct ax_module *module, PyObject *name)
{
    if (PyUnicode_GET_LENGTH(name) == 0 || PyUnicode_READ_CHAR(name, 0) != '_')
        return false;
    return PyUnicode_Compare(name, module->iter_name) == 0 || PyUnicode_Compare(name, module->reversed_name) == 0;
}

/* How the result of a request is sent. */
static enum shape shape_of(struct ax_module *module, struct ax_request *request, PyObject *subject, PyObject *value)
{
    switch (request->message->type) {
    case AX_CREATE:
    case AX_REPLICATE:
        return REFERENCE;
    case AX_METHOD:
        if (value == PyTuple_GET_ITEM(subject, 0))
            return SAME;
        return makes_iterator(module, PyTuple_GET_ITEM(subject, 1)) ? REFERENCE : VALUE;
    default:
        return VALUE;
    }
}

/*
 * Answers with a value that could not be pickled, as the exception that is set tells, but whose iterators and views may
 * stay here, as proxies. 0; or -1 with the same exception set if that fails, too.
 */
static int answer_lent(struct ax_module *module, struct ax_request *request, PyObject *value)
{
    if (request->message->type == AX_COPY || !PyErr_ExceptionMatches(module->operation_error))
        return -1;
    PyObject *error = ax_error_take();
    PyObject *lent = PyObject_CallFunctionObjArgs(module->lend, value, NULL);
    bool answered = lent != NULL && lent != value && answer(module, request, AX_RESULT_SUCCESS, lent) == 0;
    Py_XDECREF(lent);
    if (answered) {
        Py_DECREF(error);
        return 0;
    }
    PyErr_Clear();
    ax_error_restore(error);
    return -1;
}

/* Answers with the result of a request; on failure, with the reason. */
static void answer_value(struct ax_module *module, struct ax_request *request, enum shape shape, PyObject *value)
{
    struct ax_payload nothing = {0};

    if (shape == SAME) {
        send_answer(request, AX_RESULT_SELF, &nothing, 0);
    } else if (shape == VALUE) {
        if (answer(module, request, AX_RESULT_SUCCESS, value) != 0 && answer_lent(module, request, value) != 0)
            answer_failure(module, request, false);
    } else {
        PyObject *names = PyObject_CallFunctionObjArgs(module->list_methods, value, NULL);
        if (names == NULL || answer_reference(module, request, value, names) != 0)
            answer_failure(module, request, names == NULL);
        Py_XDECREF(names);
    }
}

/* Runs the subject of a request, and answers. */
static void serve_subject(struct ax_module *module, struct ax_request *request, PyObject *subject)
{
    PyObject *value = run(module, request, subject);

    end_if_forked(request);
    enum shape shape = value != NULL ? shape_of(module, request, subject, value) : VALUE;
    /* Proxies among the arguments are released along with the answer. */
    ax_connection_batch_releases(request->connection);
    Py_DECREF(subject);
    ax_connection_batch_releases(NULL);
    if (value == NULL && module->out_of_memory != NULL && PyErr_ExceptionMatches(PyExc_MemoryError))
        module->out_of_memory();
    if (value == NULL)
        answer_failure(module, request, true);
    else
        answer_value(module, request, shape, value);
    Py_XDECREF(value);
}

/* Leaves no exception set. */
static void serve(struct ax_module *module, struct ax_request *request)
{
    if (ax_binding_link(request->connection) == NULL) {
        ax_drop_objects(end_reading(request));
        answer_failure(module, request, false);
        return;
    }
    PyObject *subject = open_request(module, request);
    if (subject == NULL)
        answer_failure(module, request, false);
    else
        serve_subject(module, request, subject);
    end_if_forked(request);
    PyErr_Clear();
}

/*
 * The same in a context of its own: changes of context variables by the call, including those of the module decimal,
 * end with it, whichever thread runs it.
 */
static void serve_in_context(struct ax_module *module, struct ax_request *request)
{
    PyObject *context = PyContext_New();

    if (context == NULL || PyContext_Enter(context) != 0) {
        ax_drop_objects(end_reading(request));
        answer_failure(module, request, false);
        PyErr_Clear();
    } else {
        serve(module, request);
        if (PyContext_Exit(context) != 0)
            PyErr_WriteUnraisable(NULL);
    }
    Py_XDECREF(context);
    end_if_forked(request); /* in a finalizer of a context variable's value */
}

void ax_serve(struct ax_request *request)
{
    struct ax_binding *binding = request->connection->above;
    PyGILState_STATE gil = PyGILState_Ensure();

    serve_in_context(binding->module, request);
    PyGILState_Release(gil);
    ax_request_free(request);
}

void ax_serve_within(struct ax_module *module, struct ax_request *request)
{
    serve_in_context(module, request);
    ax_request_free(request);
}
