/* SPDX-License-Identifier: MIT */
#include "embed/pickler.h"

#include <stdatomic.h>

#include "embed/engine.h"

/* From this size on, pickle passes the bytes of objects on without copying them (its FRAME_SIZE_TARGET). */
#define LARGE 65536

/* Objects that ax_may_be_large() inspects at most. */
#define INSPECTED_MAX 32

/* The opcodes of pickle that matter here. */
enum opcode {
    PROTO = 0x80,           /* and one byte */
    FRAME = 0x95,           /* and 8 bytes: the length of the frame */
    BINBYTES = 'B',         /* and 4 bytes: a length */
    BINBYTES8 = 0x8e,       /* and 8 bytes, likewise */
    BYTEARRAY8 = 0x96,      /* likewise */
    BINUNICODE = 'X',       /* and 4 bytes, likewise, of UTF-8 */
    BINUNICODE8 = 0x8d,     /* and 8 bytes, likewise */
    NEXT_BUFFER = 0x97,     /* loads the next out-of-band buffer */
    READONLY_BUFFER = 0x98, /* makes it read-only */
};

/* ---- looking for large objects ---- */

static bool is_small_container(PyObject *value, int *budget);

/* Whether the value certainly contains nothing large. Runs no user code. */
static bool is_small(PyObject *value, int *budget)
{
    if (--*budget < 0)
        return false;
    if (PyUnicode_CheckExact(value))
        return PyUnicode_GET_LENGTH(value) < LARGE / 4; /* a character may be four bytes */
    if (PyBytes_CheckExact(value))
        return PyBytes_GET_SIZE(value) < LARGE;
    if (value == Py_None || PyLong_CheckExact(value) || PyBool_Check(value) || PyFloat_CheckExact(value) ||
        PyFunction_Check(value) || PyCFunction_Check(value) || PyType_Check(value))
        return true; /* functions and classes are pickled by name */
    return is_small_container(value, budget);
}

static bool is_small_container(PyObject *value, int *budget)
{
    bool small = true;

    if (PyTuple_CheckExact(value)) {
        for (Py_ssize_t i = 0; small && i < PyTuple_GET_SIZE(value); i++)
            small = is_small(PyTuple_GET_ITEM(value, i), budget);
    } else if (PyList_CheckExact(value)) {
        for (Py_ssize_t i = 0; small && i < PyList_GET_SIZE(value); i++)
            small = is_small(PyList_GET_ITEM(value, i), budget);
    } else if (PyDict_CheckExact(value)) {
        Py_ssize_t at = 0;
        PyObject *key, *item;
        while (small && PyDict_Next(value, &at, &key, &item))
            small = is_small(key, budget) && is_small(item, budget);
    } else {
        small = false;
    }
    return small;
}

bool ax_may_be_large(PyObject *value)
{
    int budget = INSPECTED_MAX;

    return !is_small(value, &budget);
}

/* ---- segmented pickles ---- */

/* A contiguous part of the pickle, or an out-of-band buffer. */
struct segment {
    Py_buffer view; /* memory of an object; if view.obj is NULL: text[begin, end) */
    size_t begin;
    size_t end;
    bool out_of_band; /* sent behind the pickle, in a frame of its own */
    uint64_t kind;
};

struct ax_segmented_pickle {
    struct ax_job job; /* frees it, in a thread that may take the GIL */
    struct ax_engine *engine;
    atomic_size_t users;      /* references: buffers that are still to be sent, and the creator's */
    struct ax_buffer text;    /* copied bytes of the pickle */
    struct segment *segments; /* owned array */
    size_t count;
    size_t capacity;
    size_t out_of_band; /* number of out-of-band segments */
    size_t split;       /* text before this is in segments */
};

static void destroy(struct ax_segmented_pickle *pickle)
{
    for (size_t i = 0; i < pickle->count; i++)
        PyBuffer_Release(&pickle->segments[i].view);
    free(pickle->segments);
    ax_buffer_fini(&pickle->text);
    free(pickle);
}

static void run_destroy(struct ax_job *job)
{
    PyGILState_STATE gil = PyGILState_Ensure();

    destroy((struct ax_segmented_pickle *)job);
    PyGILState_Release(gil);
}

/* In any thread: a buffer was sent or dropped. */
static void release_buffer(void *owner)
{
    struct ax_segmented_pickle *pickle = owner;

    if (atomic_fetch_sub(&pickle->users, 1) == 1)
        ax_executor_submit_service(&pickle->engine->executor, &pickle->job);
}

void ax_segmented_pickle_free(struct ax_segmented_pickle *pickle)
{
    if (pickle != NULL && atomic_fetch_sub(&pickle->users, 1) == 1)
        destroy(pickle);
}

static struct segment *add_segment(struct ax_segmented_pickle *pickle)
{
    if (pickle->count == pickle->capacity) {
        size_t capacity = pickle->capacity > 0 ? pickle->capacity * 2 : 8;
        struct segment *segments = realloc(pickle->segments, capacity * sizeof *segments);
        if (segments == NULL)
            return NULL;
        pickle->segments = segments;
        pickle->capacity = capacity;
    }
    pickle->segments[pickle->count] = (struct segment){0};
    return &pickle->segments[pickle->count++];
}

/* Makes a segment of the text that was copied since the last one. 0 or -1. */
static int split_text(struct ax_segmented_pickle *pickle)
{
    if (pickle->split == pickle->text.size)
        return 0;
    struct segment *segment = add_segment(pickle);
    if (segment == NULL)
        return -1;
    segment->begin = pickle->split;
    segment->end = pickle->split = pickle->text.size;
    return 0;
}

size_t ax_segmented_pickle_buffer_count(const struct ax_segmented_pickle *pickle)
{
    return pickle->count;
}

size_t ax_segmented_pickle_kind_count(const struct ax_segmented_pickle *pickle)
{
    return pickle->out_of_band;
}

static struct ax_buffer buffer_of(struct ax_segmented_pickle *pickle, const struct segment *segment)
{
    bool is_text = segment->view.obj == NULL;

    atomic_fetch_add(&pickle->users, 1);
    return (struct ax_buffer){
        .data = is_text ? pickle->text.data + segment->begin : segment->view.buf,
        .size = is_text ? segment->end - segment->begin : (size_t)segment->view.len,
        .release = release_buffer,
        .owner = pickle,
    };
}

void ax_segmented_pickle_fill(struct ax_segmented_pickle *pickle, struct ax_buffer *buffers, uint64_t *kinds)
{
    size_t segments = pickle->count - pickle->out_of_band, at = 0, out_of_band = 0;

    for (size_t i = 0; i < pickle->count; i++) {
        const struct segment *segment = &pickle->segments[i];
        if (segment->out_of_band) {
            buffers[segments + out_of_band] = buffer_of(pickle, segment);
            kinds[out_of_band++] = segment->kind;
        } else {
            buffers[at] = buffer_of(pickle, segment);
            buffers[at].continued = at + 1 < segments;
            at++;
        }
    }
}

/* ---- the sink ---- */

struct sink {
    PyObject_HEAD
    struct ax_segmented_pickle *pickle; /* NULL when the pickle is complete, or has failed */
    unsigned flags;
    bool begun;
    size_t header;      /* size of the opcode and length at the end of text if an object's bytes come next; or 0 */
    uint64_t announced; /* that length */
};

static uint64_t little_endian(const unsigned char *bytes, int count)
{
    uint64_t value = 0;

    for (int i = count - 1; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

/* Shorter data has no frame around it (pickle's FRAME_SIZE_MIN, less one). */
#define UNFRAMED_MAX 3

static bool is_header(unsigned char opcode, size_t size)
{
    if (size == 5)
        return opcode == BINBYTES || opcode == BINUNICODE;
    return opcode == BINBYTES8 || opcode == BINUNICODE8 || opcode == BYTEARRAY8;
}

/*
 * Finds the header of an object at the end of a chunk that pickle has written. Behind its frames there may be a few
 * bytes, too few for a frame, and an opcode with a length if an object's bytes come next. No user data can be there, so
 * nothing can be mistaken for a header.
 */
static void find_header(struct sink *sink, const unsigned char *data, size_t size)
{
    size_t at = !sink->begun && size >= 2 && data[0] == PROTO ? 2 : 0;

    while (size - at >= 9 && data[at] == FRAME && little_endian(data + at + 1, 8) <= size - at - 9)
        at += 9 + (size_t)little_endian(data + at + 1, 8);
    size_t rest = size - at;
    size_t header = rest >= 9 ? 9 : 5;
    const unsigned char *end = data + size;
    sink->header = 0;
    if (rest < header || rest > header + UNFRAMED_MAX || !is_header(end[-(ptrdiff_t)header], header))
        return;
    sink->header = header;
    sink->announced = little_endian(end - header + 1, (int)header - 1);
}

static int add_text(struct ax_segmented_pickle *pickle, const void *data, size_t size)
{
    return ax_buffer_append(&pickle->text, data, size) == 0 ? 0 : -1;
}

/* Sends the bytes of an object out of band, and replaces its header in the pickle by opcodes. 0 or -1. */
static int put_out_of_band(struct sink *sink, PyObject *object, struct segment *segment)
{
    struct ax_segmented_pickle *pickle = sink->pickle;
    unsigned char opcode = pickle->text.data[pickle->text.size - sink->header];
    unsigned char opcodes[2] = {NEXT_BUFFER, READONLY_BUFFER};
    bool is_memory = PyPickleBuffer_Check(object);

    segment->out_of_band = true;
    segment->kind = is_memory ? AX_BUFFER_MEMORY : opcode == BYTEARRAY8 ? AX_BUFFER_BYTEARRAY : AX_BUFFER_BYTES;
    pickle->out_of_band++;
    pickle->text.size -= sink->header;
    return add_text(pickle, opcodes, is_memory && opcode != BYTEARRAY8 ? 2 : 1);
}

/* Whether the bytes that follow may be sent out of band. Not those of a str, which belong to no buffer. */
static bool may_be_out_of_band(const struct sink *sink, uint64_t size)
{
    const struct ax_segmented_pickle *pickle = sink->pickle;
    unsigned char opcode = pickle->text.data[pickle->text.size - sink->header];

    return (sink->flags & AX_PICKLE_OUT_OF_BAND) != 0 && opcode != BINUNICODE && opcode != BINUNICODE8 &&
           sink->announced == size && pickle->out_of_band < AX_PICKLE_OUT_OF_BAND_MAX;
}

/*
 * Exports the memory of a large object. A bytearray cannot be resized while it is exported, so it may have to be
 * copied. 0 or -1.
 */
static int export(struct sink *sink, PyObject *object, Py_buffer *view)
{
    if (!PyByteArray_Check(object) || (sink->flags & AX_PICKLE_LOCKS_BYTEARRAYS) != 0)
        return PyObject_GetBuffer(object, view, PyBUF_ANY_CONTIGUOUS);
    PyObject *copy = PyBytes_FromObject(object);
    if (copy == NULL)
        return -1;
    int error = PyObject_GetBuffer(copy, view, PyBUF_SIMPLE);
    Py_DECREF(copy);
    return error;
}

/* Adds the bytes of an object as a segment of their own. 0; or -1 with or without an exception set. */
static int add_object(struct sink *sink, PyObject *object, uint64_t size)
{
    struct ax_segmented_pickle *pickle = sink->pickle;
    bool out_of_band = may_be_out_of_band(sink, size);

    if (!out_of_band && split_text(pickle) != 0)
        return -1;
    struct segment *segment = add_segment(pickle);
    if (segment == NULL || export(sink, object, &segment->view) != 0)
        return -1;
    return out_of_band ? put_out_of_band(sink, object, segment) : 0;
}

/* Adds what pickle writes. Returns None; the pickler ignores it. */
static PyObject *sink_write(PyObject *self, PyObject *object)
{
    struct sink *sink = (struct sink *)self;
    Py_buffer view;

    if (sink->pickle == NULL) {
        PyErr_SetString(PyExc_ValueError, "The pickle is complete");
        return NULL;
    }
    if (PyObject_GetBuffer(object, &view, PyBUF_ANY_CONTIGUOUS) != 0)
        return NULL;
    int error;
    if (sink->header > 0 && view.len >= LARGE) {
        error = add_object(sink, object, (uint64_t)view.len);
        sink->header = 0;
    } else {
        error = add_text(sink->pickle, view.buf, (size_t)view.len);
        find_header(sink, view.buf, (size_t)view.len);
    }
    sink->begun = true;
    PyBuffer_Release(&view);
    if (error == 0)
        Py_RETURN_NONE;
    return PyErr_Occurred() ? NULL : PyErr_NoMemory();
}

static void sink_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef sink_methods[] = {
    {"write", sink_write, METH_O, "Takes the next part of a pickle."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot sink_slots[] = {
    {Py_tp_dealloc, sink_dealloc},
    {Py_tp_methods, sink_methods},
    {Py_tp_doc, "The file that a pickle is written to."},
    {0, NULL},
};

PyType_Spec ax_sink_spec = {
    .name = "across._across.Sink",
    .basicsize = sizeof(struct sink),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = sink_slots,
};

/* ---- pickling ---- */

/* Pickles a value into the sink. 0 or -1. */
static int dump(struct ax_module *module, struct sink *sink, PyObject *value)
{
    PyObject *protocol = (sink->flags & AX_PICKLE_OUT_OF_BAND) != 0 ? module->protocol_5 : module->protocol;
    PyObject *pickler = PyObject_CallFunctionObjArgs(module->pickler, (PyObject *)sink, protocol, NULL);

    if (pickler == NULL)
        return -1;
    PyObject *done = PyObject_CallMethodOneArg(pickler, module->dump_name, value);
    Py_DECREF(pickler);
    Py_XDECREF(done);
    if (done == NULL)
        return -1;
    if (split_text(sink->pickle) == 0)
        return 0;
    PyErr_NoMemory();
    return -1;
}

struct ax_segmented_pickle *ax_segmented_pickle_new(struct ax_module *module, struct ax_engine *engine, PyObject *value,
                                                    unsigned flags)
{
    struct sink *sink = (struct sink *)module->sink_type->tp_alloc(module->sink_type, 0);

    if (sink == NULL)
        return NULL;
    struct ax_segmented_pickle *pickle = calloc(1, sizeof *pickle);
    if (pickle == NULL) {
        PyErr_NoMemory();
    } else {
        *pickle = (struct ax_segmented_pickle){.job.run = run_destroy, .engine = engine};
        atomic_init(&pickle->users, 1);
        sink->pickle = pickle;
        sink->flags = flags;
        if (dump(module, sink, value) != 0) {
            destroy(pickle);
            pickle = NULL;
        }
        sink->pickle = NULL;
    }
    Py_DECREF(sink);
    return pickle;
}
