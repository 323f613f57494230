/* SPDX-License-Identifier: MIT */
#include "embed/link.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "embed/call.h"
#include "embed/marshal.h"
#include "embed/engine.h"
#include "embed/failure.h"
#include "embed/receive_buffer.h"
#include "embed/reader.h"
#include "embed/serve.h"

/* ---- the Python side of a connection ---- */

static struct ax_binding *binding_of(struct ax_link *link)
{
    return link->connection->above;
}

static void drop(struct ax_connection *connection, struct ax_object *doomed)
{
    if (doomed == NULL)
        return;
    PyGILState_STATE gil = PyGILState_Ensure();
    ax_drop_objects(doomed);
    if (ax_engine_is_past(connection->engine))
        ax_fork_end();
    PyGILState_Release(gil);
}

static void notify_owner(struct ax_binding *binding)
{
    struct ax_link *link = (struct ax_link *)binding->link;

    if (link == NULL || link->owner == NULL)
        return;
    PyObject *done = PyObject_CallMethodNoArgs(link->owner, binding->module->finished_name);
    if (done == NULL)
        PyErr_WriteUnraisable(link->owner);
    Py_XDECREF(done);
}

static void finished(struct ax_connection *connection)
{
    struct ax_binding *binding = connection->above;
    PyGILState_STATE gil = PyGILState_Ensure();

    notify_owner(binding);
    binding->finished = true;
    Py_CLEAR(binding->link); /* the engine still has a reference to the connection */
    if (ax_engine_is_past(connection->engine))
        ax_fork_end();
    PyGILState_Release(gil);
    if (binding->ended == NULL)
        return;
    char reason[AX_REASON_SIZE] = "";
    ax_connection_lock(connection);
    if (connection->end == AX_END_FAILED)
        snprintf(reason, sizeof reason, "%s", ax_session_reason(&connection->session));
    ax_connection_unlock(connection);
    binding->ended(binding->ended_arg, reason);
}

const struct ax_connection_ops ax_link_ops = {
    .serve = ax_serve,
    .drop = drop,
    .finished = finished,
    .allocate = ax_receive_buffer_allocate,
    .copied = ax_receive_buffer_copied,
    .freed = ax_binding_free,
};

/* ---- life ---- */

/* The UTF-8 of a source without NUL; NULL for None. Valid as long as `object`. */
static bool read_source(PyObject *object, const char **source)
{
    char *bytes = NULL;

    if (object != Py_None && PyBytes_AsStringAndSize(object, &bytes, NULL) != 0)
        return false;
    *source = bytes;
    return true;
}

static bool read_config(PyObject *args, PyObject *kwargs, PyObject **owner, struct ax_session_config *config,
                        unsigned *spin_us)
{
    static char *names[] = {"owner",        "acceptor",  "minor",       "timeout_ms",
                            "handshake_ms", "bootstrap", "max_message", "refuse_requests",
                            "max_preamble", "spin_us",   NULL};
    int acceptor = 0;
    unsigned char minor = 2;
    unsigned int timeout_ms = 60000, handshake_ms = 60000;
    PyObject *source = Py_None;
    const char *bootstrap;

    unsigned long long max_message = 0;
    int refuse_requests = 0;
    unsigned int max_preamble = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$pbIIOKpII", names, owner, &acceptor, &minor, &timeout_ms,
                                     &handshake_ms, &source, &max_message, &refuse_requests, &max_preamble, spin_us) ||
        !read_source(source, &bootstrap))
        return false;
    *config = (struct ax_session_config){
        .role = acceptor != 0 ? AX_ACCEPTOR : AX_OPENER,
        .minor = minor,
        .timeout_ms = timeout_ms,
        .handshake_timeout_ms = handshake_ms,
        .features = AX_FEATURES_ALL,
        .bootstrap = bootstrap,
        .max_preamble = max_preamble,
        .refuse_requests = refuse_requests,
    };
    ax_limits_init(&config->limits);
    if (max_message != 0)
        config->limits.max_message = max_message;
    return true;
}

static int link_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    struct ax_link *self = (struct ax_link *)object;
    struct ax_module *module = PyType_GetModuleState(Py_TYPE(object));
    PyObject *owner;
    struct ax_session_config config;
    unsigned spin_us = AX_SPIN_DEFAULT_US;

    if (self->connection != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "A link is initialised once");
        return -1;
    }
    if (!read_config(args, kwargs, &owner, &config, &spin_us))
        return -1;
    struct ax_engine *engine = ax_engine_get();
    struct ax_binding *binding = ax_binding_new(module, config.bootstrap);
    if (engine == NULL || binding == NULL) {
        ax_binding_free(binding);
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    config.bootstrap = binding->bootstrap;
    self->connection = ax_connection_new(engine, &ax_link_ops, &config, binding);
    if (self->connection == NULL) {
        ax_binding_free(binding);
        if (errno == EINVAL)
            PyErr_SetString(PyExc_ValueError, "timeout_ms must be at most a day, minor 1 or 2");
        else
            PyErr_NoMemory();
        return -1;
    }
    ax_reader_set_spin(self->connection, spin_us);
    self->owner = Py_NewRef(owner);
    return 0;
}

static int link_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    struct ax_link *self = (struct ax_link *)object;
    Py_VISIT(self->owner);
    if (self->connection != NULL) {
        Py_VISIT(binding_of(self)->dumps);
        Py_VISIT(binding_of(self)->loads);
        Py_VISIT(binding_of(self)->end_error);
        Py_VISIT(binding_of(self)->error); /* once raised, it refers to frames, and through them perhaps to this link */
    }
    return 0;
}

static int link_clear(PyObject *object)
{
    struct ax_link *self = (struct ax_link *)object;

    Py_CLEAR(self->owner);
    if (self->connection != NULL) {
        Py_CLEAR(binding_of(self)->dumps);
        Py_CLEAR(binding_of(self)->loads);
        Py_CLEAR(binding_of(self)->end_error);
        Py_CLEAR(binding_of(self)->error);
    }
    return 0;
}

static void link_dealloc(PyObject *object)
{
    struct ax_link *self = (struct ax_link *)object;
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    link_clear(object);
    if (self->connection != NULL)
        ax_connection_unref(self->connection);
    type->tp_free(object);
    Py_DECREF(type);
}

/* ---- methods ---- */

struct ax_connection *ax_link_connection(struct ax_link *link)
{
    struct ax_connection *connection = link->connection;

    if (connection == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "The link was not initialised");
        return NULL;
    }
    if (ax_engine_is_past(connection->engine)) {
        ax_raise_disconnected(PyType_GetModuleState(Py_TYPE((PyObject *)link)), connection);
        return NULL;
    }
    return connection;
}

static struct ax_connection *usable(PyObject *object)
{
    return ax_link_connection((struct ax_link *)object);
}

static int duplicate(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

    return copy >= 0 ? copy : -errno;
}

static PyObject *raise_errno(int error)
{
    errno = -error;
    return PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *link_start(PyObject *object, PyObject *args)
{
    struct ax_connection *connection = usable(object);
    int in_fd, out_fd;

    if (connection == NULL || !PyArg_ParseTuple(args, "ii", &in_fd, &out_fd))
        return NULL;
    int in_copy = duplicate(in_fd);
    if (in_copy < 0)
        return raise_errno(in_copy);
    int out_copy = in_fd == out_fd ? in_copy : duplicate(out_fd);
    if (out_copy < 0) {
        close(in_copy);
        return raise_errno(out_copy);
    }
    ax_binding_pin((struct ax_link *)object);
    int error;
    Py_BEGIN_ALLOW_THREADS
    error = ax_connection_start(connection, in_copy, out_copy, NULL, 0);
    Py_END_ALLOW_THREADS
    if (error != 0)
        return raise_errno(error);
    Py_RETURN_NONE;
}

/* The message of an exception passed to fail() or fail_at_end(), and its UTF-8; NULL with an exception set. */
static PyObject *describe_failure(PyObject *object, PyObject *error, const char **reason)
{
    if (!PyExceptionInstance_Check(error)) {
        PyErr_SetString(PyExc_TypeError, "fail() and fail_at_end() take an exception");
        return NULL;
    }
    PyObject *text = ax_describe(PyType_GetModuleState(Py_TYPE(object)), error);
    *reason = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
    if (*reason == NULL)
        Py_CLEAR(text);
    return text;
}

static PyObject *link_fail(PyObject *object, PyObject *error)
{
    struct ax_connection *connection = usable(object);
    const char *reason;
    PyObject *text = connection != NULL ? describe_failure(object, error, &reason) : NULL;

    if (text == NULL)
        return NULL;
    struct ax_binding *binding = connection->above;
    ax_binding_pin((struct ax_link *)object);
    bool noted = binding->error == NULL;
    if (noted)
        binding->error = Py_NewRef(error);
    bool first;
    Py_BEGIN_ALLOW_THREADS
    first = ax_connection_fail(connection, 0, reason);
    Py_END_ALLOW_THREADS
    if (noted && !first && binding->error == error)
        Py_CLEAR(binding->error);
    Py_DECREF(text);
    Py_RETURN_NONE;
}

static PyObject *link_fail_at_end(PyObject *object, PyObject *error)
{
    struct ax_connection *connection = usable(object);
    const char *reason;
    PyObject *text = connection != NULL ? describe_failure(object, error, &reason) : NULL;

    if (text == NULL)
        return NULL;
    struct ax_binding *binding = connection->above;
    int code = 0;
    if (binding->end_error == NULL) {
        binding->end_error = Py_NewRef(error);
        Py_BEGIN_ALLOW_THREADS
        code = ax_connection_fail_at_end(connection, reason);
        Py_END_ALLOW_THREADS
    }
    Py_DECREF(text);
    if (code != 0)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

typedef PyObject *run_fn(struct ax_module *module, struct ax_connection *connection, PyObject *func, PyObject *args,
                         PyObject *kwargs);

static PyObject *run(run_fn *fn, PyObject *object, PyTypeObject *type, PyObject *const *args, Py_ssize_t count)
{
    struct ax_connection *connection = usable(object);

    if (connection == NULL)
        return NULL;
    if (count != 3 || !PyTuple_Check(args[1]) || !(PyDict_Check(args[2]) || args[2] == Py_None)) {
        PyErr_SetString(PyExc_TypeError, "A function, a tuple and a dict are needed");
        return NULL;
    }
    return fn(PyType_GetModuleState(type), connection, args[0], args[1], args[2] != Py_None ? args[2] : NULL);
}

static PyObject *link_apply(PyObject *object, PyTypeObject *type, PyObject *const *args, Py_ssize_t count,
                            PyObject *names)
{
    (void)names;
    return run(ax_call, object, type, args, count);
}

static PyObject *link_create(PyObject *object, PyTypeObject *type, PyObject *const *args, Py_ssize_t count,
                             PyObject *names)
{
    (void)names;
    return run(ax_create, object, type, args, count);
}

static PyObject *link_replicate(PyObject *object, PyObject *value)
{
    struct ax_connection *connection = usable(object);

    if (connection == NULL)
        return NULL;
    return ax_replicate(PyType_GetModuleState(Py_TYPE(object)), connection, value);
}

static PyObject *link_wait_ready(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct ax_connection *connection = usable(object);
    if (connection == NULL || ax_wait_phase(connection, AX_PHASE_RUNNING) != 0)
        return NULL;
    return PyBool_FromLong(atomic_load(&connection->was_running));
}

static PyObject *link_wait(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct ax_connection *connection = usable(object);
    if (connection == NULL || ax_wait_phase(connection, AX_PHASE_STOPPING) != 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *link_close(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct ax_connection *connection = usable(object);
    if (connection == NULL || ax_wait_phase(connection, AX_PHASE_RUNNING) != 0)
        return NULL;
    ax_binding_pin((struct ax_link *)object);
    Py_BEGIN_ALLOW_THREADS
    ax_connection_close(connection, NULL);
    Py_END_ALLOW_THREADS
    if (ax_wait_phase(connection, AX_PHASE_FINISHED) != 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *link_cancel(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct ax_connection *connection = usable(object);
    if (connection == NULL)
        return NULL;
    ax_binding_pin((struct ax_link *)object);
    Py_BEGIN_ALLOW_THREADS
    ax_connection_cancel(connection);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *link_connected(PyObject *object, void *closure)
{
    (void)closure;
    struct ax_connection *connection = ((struct ax_link *)object)->connection;
    return PyBool_FromLong(connection != NULL && ax_connection_phase(connection) < AX_PHASE_STOPPING);
}

static PyObject *link_error(PyObject *object, void *closure)
{
    (void)closure;
    struct ax_connection *connection = usable(object);
    if (connection == NULL)
        return NULL;
    return ax_fatal_error(PyType_GetModuleState(Py_TYPE(object)), connection);
}

static PyObject *link_owner(PyObject *object, void *closure)
{
    (void)closure;
    PyObject *owner = ((struct ax_link *)object)->owner;
    return Py_NewRef(owner != NULL ? owner : Py_None);
}

/* Replacements for pickle's functions: `closure` is the offset of one in the binding. */

static PyObject *link_function(PyObject *object, void *closure)
{
    struct ax_connection *connection = ((struct ax_link *)object)->connection;

    if (connection == NULL)
        Py_RETURN_NONE;
    PyObject *function = *(PyObject **)((char *)connection->above + (size_t)closure);
    return Py_NewRef(function != NULL ? function : Py_None);
}

static int link_set_function(PyObject *object, PyObject *value, void *closure)
{
    struct ax_connection *connection = usable(object);

    if (connection == NULL)
        return -1;
    if (value == NULL || (value != Py_None && !PyCallable_Check(value))) {
        PyErr_SetString(PyExc_TypeError, "dumps and loads must be functions or None");
        return -1;
    }
    PyObject **function = (PyObject **)((char *)connection->above + (size_t)closure);
    PyObject *old = *function;
    *function = value != Py_None ? Py_NewRef(value) : NULL;
    Py_XDECREF(old);
    return 0;
}

/* The handshake sets the version before it succeeds, and nothing changes it afterwards. */
static PyObject *link_minor(PyObject *object, void *closure)
{
    (void)closure;
    struct ax_connection *connection = ((struct ax_link *)object)->connection;
    if (connection == NULL || !atomic_load(&connection->was_running))
        Py_RETURN_NONE;
    return PyLong_FromLong(connection->session.config.minor);
}

static PyObject *link_operations(PyObject *object, void *closure)
{
    (void)closure;
    struct ax_connection *connection = ((struct ax_link *)object)->connection;
    return PyBool_FromLong(connection != NULL && atomic_load(&connection->was_running) &&
                           ax_has_operations(connection));
}

static PyObject *link_described(PyObject *object, void *closure)
{
    (void)closure;
    struct ax_connection *connection = ((struct ax_link *)object)->connection;
    return PyBool_FromLong(connection != NULL && atomic_load(&connection->was_running) &&
                           (connection->session.features & AX_FEATURE_DESCRIBED) != 0);
}

static PyObject *link_details(PyObject *object, void *closure)
{
    (void)closure;
    struct ax_connection *connection = ((struct ax_link *)object)->connection;
    return PyBool_FromLong(connection != NULL && atomic_load(&connection->was_running) &&
                           (connection->session.features & AX_FEATURE_DETAILS) != 0);
}

/* Constant once the handshake has ended. */
static PyObject *link_preamble(PyObject *object, void *closure)
{
    (void)closure;
    struct ax_connection *connection = ((struct ax_link *)object)->connection;
    if (connection == NULL || ax_connection_phase(connection) < AX_PHASE_RUNNING)
        return PyBytes_FromStringAndSize(NULL, 0);
    const struct ax_buffer *preamble = &connection->session.preamble;
    return PyBytes_FromStringAndSize((const char *)preamble->data, (Py_ssize_t)preamble->size);
}

static PyMethodDef link_methods[] = {
    {"start", link_start, METH_VARARGS, "Begins the handshake over two descriptors, which are duplicated."},
    {"fail", link_fail, METH_O, "Breaks the link because of an exception."},
    {"fail_at_end", link_fail_at_end, METH_O, "Says which exception the end of the stream will be due to."},
    {"apply", (PyCFunction)(void (*)(void))link_apply, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     "Runs a function at the peer and returns its value."},
    {"create", (PyCFunction)(void (*)(void))link_create, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     "Runs a function at the peer and returns a proxy for its value."},
    {"replicate", link_replicate, METH_O, "Copies an object to the peer and returns a proxy for the copy."},
    {"wait_ready", link_wait_ready, METH_NOARGS, "Blocks until the handshake has ended; whether it succeeded."},
    {"wait", link_wait, METH_NOARGS, "Blocks while the link is connected."},
    {"close", link_close, METH_NOARGS, "Closes the link and blocks until it has finished."},
    {"cancel", link_cancel, METH_NOARGS, "Breaks the link now, without blocking."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef link_getset[] = {
    {"connected", link_connected, NULL, "False once the link is closing, closed or broken.", NULL},
    {"error", link_error, NULL, "The fatal error, or None.", NULL},
    {"minor", link_minor, NULL, "The protocol version 0.minor, once the handshake has succeeded; else None.", NULL},
    {"operations", link_operations, NULL, "Whether handles can call and copy their objects.", NULL},
    {"described", link_described, NULL, "Whether the peer takes the descriptions of objects.", NULL},
    {"details", link_details, NULL, "Whether exceptions may carry details.", NULL},
    {"preamble", link_preamble, NULL, "What came before the peer's superblock, once the handshake has ended.", NULL},
    {"owner", link_owner, NULL, "The Connection.", NULL},
    {"dumps", link_function, link_set_function, "What pickles in place of pickle.dumps, or None.",
     (void *)offsetof(struct ax_binding, dumps)},
    {"loads", link_function, link_set_function, "What unpickles in place of pickle.loads, or None.",
     (void *)offsetof(struct ax_binding, loads)},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot link_slots[] = {
    {Py_tp_init, link_init},
    {Py_tp_dealloc, link_dealloc},
    {Py_tp_traverse, link_traverse},
    {Py_tp_clear, link_clear},
    {Py_tp_methods, link_methods},
    {Py_tp_getset, link_getset},
    {Py_tp_doc, "One connection, as the engine sees it."},
    {0, NULL},
};

PyType_Spec ax_link_spec = {
    .name = "across._across.Link",
    .basicsize = sizeof(struct ax_link),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = link_slots,
};
