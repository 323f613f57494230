/* SPDX-License-Identifier: MIT */
#include "embed/binding.h"

struct buffer_object {
    PyObject_HEAD
    struct ax_buffer buffer;
    bool readonly;
};

PyObject *ax_buffer_object_new(struct ax_module *module, struct ax_buffer *buffer, bool readonly)
{
    struct buffer_object *self = (struct buffer_object *)module->buffer_type->tp_alloc(module->buffer_type, 0);

    if (self != NULL) {
        self->buffer = ax_buffer_take(buffer);
        self->readonly = readonly;
    }
    return (PyObject *)self;
}

static void buffer_object_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    ax_buffer_fini(&((struct buffer_object *)object)->buffer);
    type->tp_free(object);
    Py_DECREF(type);
}

static int buffer_object_getbuffer(PyObject *object, Py_buffer *view, int flags)
{
    struct buffer_object *self = (struct buffer_object *)object;

    /* An empty buffer has no memory, and not every consumer accepts a null pointer. */
    void *data = self->buffer.data != NULL ? self->buffer.data : (unsigned char *)"";
    return PyBuffer_FillInfo(view, object, data, (Py_ssize_t)self->buffer.size, self->readonly, flags);
}

static PyType_Slot buffer_object_slots[] = {
    {Py_tp_dealloc, buffer_object_dealloc},
    {Py_bf_getbuffer, buffer_object_getbuffer},
    {Py_tp_doc, "Bytes that came in; a buffer."},
    {0, NULL},
};

PyType_Spec ax_buffer_object_spec = {
    .name = "across._across.Buffer",
    .basicsize = sizeof(struct buffer_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = buffer_object_slots,
};
