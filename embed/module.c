/* SPDX-License-Identifier: MIT */
/* The module across._across; docs/engine.md describes its functions. */
#include "embed/binding.h"
#include "embed/marshal.h"
#include "embed/engine.h"
#include "embed/failure.h"
#include "embed/link.h"
#include "embed/pickler.h"
#include "embed/scope.h"

struct ax_module *ax_module_state(PyObject *module)
{
    return PyModule_GetState(module);
}

/* ---- threads of the engine and the interpreter ---- */

/*
 * A thread of the engine keeps its thread state from its first job to its last, so that threading.local works as users
 * expect.
 */
static _Thread_local PyGILState_STATE attached;
static _Thread_local PyThreadState *detached;

static void thread_start(void)
{
    attached = PyGILState_Ensure();
    detached = PyEval_SaveThread();
}

static void thread_end(void)
{
    PyEval_RestoreThread(detached);
    PyGILState_Release(attached);
}

/*
 * Removes the record that `threading` keeps of this thread, which it did not start: it is found by the thread id, which
 * stays the same.
 */
static void forget_thread(void)
{
    PyObject *threading = PyImport_AddModule("threading"); /* borrowed; the package has imported it */
    PyObject *active = threading != NULL ? PyObject_GetAttrString(threading, "_active") : NULL;
    PyObject *ident = PyLong_FromUnsignedLong(PyThread_get_thread_ident());

    if (active != NULL && ident != NULL && PyDict_Check(active) && PyDict_GetItemWithError(active, ident) != NULL)
        PyDict_DelItem(active, ident);
    PyErr_Clear();
    Py_XDECREF(ident);
    Py_XDECREF(active);
}

/* Replaces the thread state: a new one has no threading.local, and no context variables of its own. */
static void thread_renew(void)
{
    PyEval_RestoreThread(detached);
    forget_thread();
    PyGILState_Release(attached);
    thread_start();
}

/* ---- functions ---- */

static const struct {
    const char *name;
    size_t offset;
} hooks[] = {
#define X(field, name) {name, offsetof(struct ax_module, field)},
    AX_HOOKS(X)
#undef X
};

#define HOOK_COUNT (sizeof hooks / sizeof hooks[0])

static PyObject **hook(struct ax_module *module, size_t i)
{
    return (PyObject **)((char *)module + hooks[i].offset);
}

static PyObject *install(PyObject *self, PyObject *args, PyObject *kwargs)
{
    struct ax_module *module = ax_module_state(self);

    if (PyTuple_GET_SIZE(args) != 0 || kwargs == NULL || PyDict_GET_SIZE(kwargs) != (Py_ssize_t)HOOK_COUNT)
        return PyErr_Format(PyExc_TypeError, "install() takes %zu keyword arguments", HOOK_COUNT);
    for (size_t i = 0; i < HOOK_COUNT; i++) {
        PyObject *value = PyDict_GetItemString(kwargs, hooks[i].name);
        if (value == NULL)
            return PyErr_Format(PyExc_TypeError, "install() misses %s", hooks[i].name);
        Py_XSETREF(*hook(module, i), Py_NewRef(value));
    }
    Py_RETURN_NONE;
}

/* The scope of this thread, if its mode is one of these; else NULL with RuntimeError set. */
static struct ax_scope *scope_in(unsigned modes, const char *where)
{
    struct ax_scope *scope = ax_scope_current();

    if (scope == NULL || (modes & (1u << scope->mode)) == 0) {
        PyErr_Format(PyExc_RuntimeError, "Only possible while a connection %s", where);
        return NULL;
    }
    return scope;
}

static PyObject *owner_of(struct ax_scope *scope)
{
    if (scope == NULL)
        Py_RETURN_NONE;
    struct ax_link *link = ax_binding_link(scope->connection);
    return link != NULL ? Py_NewRef(link->owner) : NULL;
}

static PyObject *current(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    return owner_of(ax_scope_current());
}

static PyObject *pickling(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    struct ax_scope *scope = ax_scope_current();
    return owner_of(scope != NULL && scope->mode == AX_SCOPE_PICKLE ? scope : NULL);
}

static PyObject *register_object(PyObject *self, PyObject *object)
{
    struct ax_scope *scope = scope_in(1u << AX_SCOPE_PICKLE, "pickles");

    if (scope == NULL)
        return NULL;
    uint64_t id;
    if (ax_register(ax_module_state(self), scope->connection, object, &id) != 0)
        return NULL;
    if (ax_scope_add(scope, id) != 0) {
        ax_unregister(scope->connection, id);
        return PyErr_NoMemory();
    }
    return PyLong_FromUnsignedLongLong(id);
}

static PyObject *lookup(PyObject *self, PyObject *argument)
{
    struct ax_scope *scope =
        scope_in(1u << AX_SCOPE_CALL | 1u << AX_SCOPE_PICKLE | 1u << AX_SCOPE_UNPICKLE, "is in use by this thread");

    if (scope == NULL)
        return NULL;
    unsigned long long id = PyLong_AsUnsignedLongLong(argument);
    if (id == (unsigned long long)-1 && PyErr_Occurred())
        return NULL;
    return ax_look_up(ax_module_state(self), scope->connection, id);
}

static PyObject *claim(PyObject *self, PyObject *argument)
{
    struct ax_scope *scope = scope_in(1u << AX_SCOPE_UNPICKLE, "unpickles");

    if (scope == NULL)
        return NULL;
    unsigned long long id = PyLong_AsUnsignedLongLong(argument);
    if (id == (unsigned long long)-1 && PyErr_Occurred())
        return NULL;
    struct ax_link *link = ax_binding_link(scope->connection);
    if (link == NULL)
        return NULL;
    if (ax_scope_add(scope, id) != 0)
        return PyErr_NoMemory();
    PyObject *handle = ax_handle_new(ax_module_state(self), link, id);
    if (handle == NULL)
        scope->count--; /* not claimed: it is released with the others */
    return handle;
}

struct spawned {
    struct ax_job job;
    struct ax_engine *engine;
    PyObject *func;
};

static void run_spawned(struct ax_job *job)
{
    struct spawned *spawned = (struct spawned *)job;
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *value = PyObject_CallNoArgs(spawned->func);

    if (value == NULL)
        PyErr_WriteUnraisable(spawned->func);
    Py_XDECREF(value);
    Py_DECREF(spawned->func);
    if (ax_engine_is_past(spawned->engine))
        ax_fork_end();
    PyGILState_Release(gil);
    free(spawned);
}

static PyObject *spawn(PyObject *self, PyObject *func)
{
    (void)self;
    struct ax_engine *engine = ax_engine_get();
    struct spawned *spawned = malloc(sizeof *spawned);
    if (engine == NULL || spawned == NULL) {
        free(spawned);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    *spawned = (struct spawned){.job.run = run_spawned, .engine = engine, .func = Py_NewRef(func)};
    ax_executor_submit_background(&engine->executor, &spawned->job);
    Py_RETURN_NONE;
}

static PyObject *shut_down(PyObject *self, PyObject *unused)
{
    (void)self, (void)unused;
    Py_BEGIN_ALLOW_THREADS
    ax_engine_quiesce();
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"install", (PyCFunction)(void (*)(void))install, METH_VARARGS | METH_KEYWORDS,
     "Names what the engine needs from the package."},
    {"current", current, METH_NOARGS, "The connection that this thread works for, or None."},
    {"pickling", pickling, METH_NOARGS, "The connection that this thread pickles for, or None."},
    {"register", register_object, METH_O, "Enters an object into the table; its id."},
    {"lookup", lookup, METH_O,
     "The object with this id. KeyError: there is none; DisconnectError: the link has ended."},
    {"claim", claim, METH_O, "A handle for the peer's object with this id."},
    {"spawn", spawn, METH_O, "Runs a function in a thread of the engine."},
    {"shut_down", shut_down, METH_NOARGS, "Ends threads that have no work, before the interpreter ends."},
    {NULL, NULL, 0, NULL},
};

/* ---- the module ---- */

static PyTypeObject *add_type(PyObject *self, PyType_Spec *spec, bool constructible)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(self, spec, NULL);

    if (type == NULL)
        return NULL;
    if (!constructible)
        type->tp_new = NULL;
    if (PyModule_AddType(self, type) != 0)
        Py_CLEAR(type);
    return type;
}

static int import_pickle(struct ax_module *module)
{
    PyObject *pickle = PyImport_ImportModule("pickle");

    if (pickle == NULL)
        return -1;
    module->dumps = PyObject_GetAttrString(pickle, "dumps");
    module->loads = PyObject_GetAttrString(pickle, "loads");
    module->pickler = PyObject_GetAttrString(pickle, "Pickler");
    Py_DECREF(pickle);
    return module->dumps != NULL && module->loads != NULL && module->pickler != NULL ? 0 : -1;
}

/* Threads of the engine, and its connections, belong to the main interpreter. 0; or -1 with ImportError set. */
static int check_interpreter(void)
{
    if (PyInterpreterState_Get() == PyInterpreterState_Main())
        return 0;
    PyErr_SetString(
        PyExc_ImportError,
        "across works in the main interpreter alone, and this is a subinterpreter: import it in the main one");
    return -1;
}

#ifndef NDEBUG
static bool holds_gil(void)
{
    PyThreadState *holder = ax_current_thread_state();

    return holder != NULL && holder == PyGILState_GetThisThreadState();
}
#endif

static int module_exec(PyObject *self)
{
    struct ax_module *module = ax_module_state(self);
    static const struct ax_executor_hooks thread_hooks = {
        .thread_start = thread_start, .thread_end = thread_end, .thread_renew = thread_renew};

    if (check_interpreter() != 0)
        return -1;
    static bool configured;
    if (!configured) { /* the engine belongs to the process, not to the module */
        ax_engine_set_hooks(&thread_hooks);
#ifndef NDEBUG
        ax_connection_forbid_lock(holds_gil);
#endif
        ax_fork_watch();
        configured = true;
    }
    module->link_type = add_type(self, &ax_link_spec, true);
    module->handle_type = add_type(self, &ax_handle_spec, false);
    module->buffer_type = add_type(self, &ax_buffer_object_spec, false);
    module->sink_type = add_type(self, &ax_sink_spec, false);
    module->no_kwargs = PyDict_New();
    module->protocol = PyLong_FromLong(4);
    module->protocol_kw = Py_BuildValue("(s)", "protocol");
    module->protocol_5 = PyLong_FromLong(5);
    module->buffers_kw = Py_BuildValue("(s)", "buffers");
    module->dump_name = PyUnicode_InternFromString("dump");
    module->finished_name = PyUnicode_InternFromString("_link_finished");
    module->iter_name = PyUnicode_InternFromString("__iter__");
    module->reversed_name = PyUnicode_InternFromString("__reversed__");
    if (module->link_type == NULL || module->handle_type == NULL || module->buffer_type == NULL ||
        module->sink_type == NULL || module->no_kwargs == NULL || module->protocol == NULL ||
        module->protocol_kw == NULL || module->protocol_5 == NULL || module->buffers_kw == NULL ||
        module->dump_name == NULL || module->finished_name == NULL || module->iter_name == NULL ||
        module->reversed_name == NULL || import_pickle(module) != 0)
        return -1;
    return PyModule_AddStringConstant(self, "name", "native");
}

static int module_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct ax_module *module = ax_module_state(self);

    Py_VISIT(module->link_type);
    Py_VISIT(module->handle_type);
    Py_VISIT(module->buffer_type);
    Py_VISIT(module->sink_type);
    for (size_t i = 0; i < HOOK_COUNT; i++)
        Py_VISIT(*hook(module, i));
    return 0;
}

static int module_clear(PyObject *self)
{
    struct ax_module *module = ax_module_state(self);

    Py_CLEAR(module->link_type);
    Py_CLEAR(module->handle_type);
    Py_CLEAR(module->buffer_type);
    Py_CLEAR(module->sink_type);
    Py_CLEAR(module->dumps);
    Py_CLEAR(module->loads);
    Py_CLEAR(module->pickler);
    Py_CLEAR(module->no_kwargs);
    Py_CLEAR(module->protocol);
    Py_CLEAR(module->protocol_kw);
    Py_CLEAR(module->protocol_5);
    Py_CLEAR(module->buffers_kw);
    Py_CLEAR(module->dump_name);
    Py_CLEAR(module->finished_name);
    Py_CLEAR(module->iter_name);
    Py_CLEAR(module->reversed_name);
    for (size_t i = 0; i < HOOK_COUNT; i++)
        Py_CLEAR(*hook(module, i));
    return 0;
}

static void module_free(void *self)
{
    module_clear(self);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "across._across",
    .m_doc = "The engine of across, in C.",
    .m_size = sizeof(struct ax_module),
    .m_methods = functions,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__across(void)
{
    return PyModuleDef_Init(&definition);
}
