/* SPDX-License-Identifier: MIT */
#include "embed/binding.h"

struct payload {
    PyObject_HEAD
    struct ax_buffer buffer;
    bool readonly;
};

PyObject *ax_payload_new(struct ax_module *module, struct ax_buffer *buffer, bool readonly)
{
    struct payload *self = (struct payload *)module->payload_type->tp_alloc(module->payload_type, 0);
    if (self != NULL) {
        self->buffer = ax_buffer_take(buffer);
        self->readonly = readonly;
    }
    return (PyObject *)self;
}

static void payload_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    ax_buffer_fini(&((struct payload *)object)->buffer);
    type->tp_free(object);
    Py_DECREF(type);
}

static int payload_getbuffer(PyObject *object, Py_buffer *view, int flags)
{
    struct payload *self = (struct payload *)object;
    /* An empty one has no memory, which not everybody who builds upon it takes. */
    void *data = self->buffer.data != NULL ? self->buffer.data : (unsigned char *)"";
    return PyBuffer_FillInfo(view, object, data, (Py_ssize_t)self->buffer.size, self->readonly, flags);
}

static PyType_Slot payload_slots[] = {
    {Py_tp_dealloc, payload_dealloc},
    {Py_bf_getbuffer, payload_getbuffer},
    {Py_tp_doc, "Bytes that came in; a buffer."},
    {0, NULL},
};

PyType_Spec ax_payload_spec = {
    .name = "across._across.Payload",
    .basicsize = sizeof(struct payload),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = payload_slots,
};
