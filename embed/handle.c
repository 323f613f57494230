/* SPDX-License-Identifier: MIT */

#include "embed/binding.h"
#include "embed/call.h"
#include "embed/link.h"

struct handle {
    PyObject_HEAD
    struct ax_link *link;       /* strong */
    struct ax_release *release; /* owned; allocated in advance, so that dropping a handle cannot fail */
};

PyObject *ax_handle_new(struct ax_module *module, struct ax_link *link, uint64_t id)
{
    struct ax_release *release = malloc(sizeof *release);

    if (release == NULL)
        return PyErr_NoMemory();
    release->id = id;
    struct handle *self = (struct handle *)module->handle_type->tp_alloc(module->handle_type, 0);
    if (self == NULL) {
        free(release);
        return NULL;
    }
    self->link = (struct ax_link *)Py_NewRef((PyObject *)link);
    self->release = release;
    return (PyObject *)self;
}

static int handle_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((struct handle *)object)->link);
    return 0;
}

/* May run anywhere, also in the garbage collector: must not lock, run Python code or block. */
static void handle_dealloc(PyObject *object)
{
    struct handle *self = (struct handle *)object;
    PyTypeObject *type = Py_TYPE(object);

    PyObject_GC_UnTrack(object);
    ax_connection_release(self->link->connection, self->release);
    Py_DECREF((PyObject *)self->link);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *handle_owner(PyObject *object, void *closure)
{
    (void)closure;
    PyObject *owner = ((struct handle *)object)->link->owner;
    return Py_NewRef(owner != NULL ? owner : Py_None);
}

static PyObject *handle_id(PyObject *object, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLongLong(((struct handle *)object)->release->id);
}

/* The connection, if it may be used in this process. Borrowed; NULL with an exception set. */
static struct ax_connection *usable(PyObject *object)
{
    return ax_link_connection(((struct handle *)object)->link);
}

static PyObject *handle_copy(PyObject *object, PyObject *unused)
{
    (void)unused;
    struct ax_connection *connection = usable(object);
    if (connection == NULL)
        return NULL;
    return ax_copy(PyType_GetModuleState(Py_TYPE(object)), connection, ((struct handle *)object)->release->id);
}

static PyObject *handle_invoke(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    struct ax_connection *connection = usable(object);

    if (connection == NULL)
        return NULL;
    if (count != 3 || !PyUnicode_Check(args[0]) || !PyTuple_Check(args[1]) || !PyDict_Check(args[2])) {
        PyErr_SetString(PyExc_TypeError, "A name, a tuple and a dict are needed");
        return NULL;
    }
    struct ax_module *module = PyType_GetModuleState(Py_TYPE(object));
    return ax_invoke(module, connection, ((struct handle *)object)->release->id, args[0], args[1], args[2]);
}

static PyMethodDef handle_methods[] = {
    {"copy", handle_copy, METH_NOARGS, "Fetches a copy of the object."},
    {"invoke", (PyCFunction)(void (*)(void))handle_invoke, METH_FASTCALL, "Calls a method of the object."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef handle_getset[] = {
    {"owner", handle_owner, NULL, "The Connection whose peer has the object.", NULL},
    {"id", handle_id, NULL, "The object's id in the peer's table.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot handle_slots[] = {
    {Py_tp_dealloc, handle_dealloc},
    {Py_tp_traverse, handle_traverse},
    {Py_tp_methods, handle_methods},
    {Py_tp_getset, handle_getset},
    {Py_tp_doc, "One object of the peer, which is released when its handle is dropped."},
    {0, NULL},
};

PyType_Spec ax_handle_spec = {
    .name = "across._across.Handle",
    .basicsize = sizeof(struct handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = handle_slots,
};
