/* SPDX-License-Identifier: MIT */
#include "embed/marshal.h"

#include <stdlib.h>

#include "embed/engine.h"
#include "embed/failure.h"
#include "embed/receive_buffer.h"
#include "embed/pickler.h"

/* ---- out ---- */

/* Calls the connection's own function, which may return anything, and may be replaced while it runs. */
static PyObject *dump_with(struct ax_module *module, PyObject *dumps, PyObject *const *args)
{
    Py_INCREF(dumps);
    PyObject *bytes = PyObject_Vectorcall(dumps, args, 1, module->protocol_kw);
    if (bytes != NULL && !PyBytes_Check(bytes)) {
        PyErr_Format(PyExc_TypeError, "The pickler returned %s, not bytes", Py_TYPE(bytes)->tp_name);
        Py_CLEAR(bytes);
    }
    Py_DECREF(dumps);
    return bytes;
}

static struct ax_segmented_pickle *pack(struct ax_module *module, struct ax_connection *connection, PyObject *value,
                                        bool waits)
{
    unsigned flags = waits ? AX_PICKLE_LOCKS_BYTEARRAYS : 0;

    if ((connection->session.features & AX_FEATURE_BUFFERS) != 0)
        flags |= AX_PICKLE_OUT_OF_BAND;
    return ax_segmented_pickle_new(module, connection->engine, value, flags);
}

int ax_pickle(struct ax_module *module, struct ax_connection *connection, PyObject *value, bool waits,
              struct ax_pickled *pickled)
{
    PyObject *args[] = {value, module->protocol};
    struct ax_binding *binding = connection->above;

    pickled->bytes = NULL;
    pickled->segmented = NULL;
    pickled->buffers = NULL;
    pickled->buffer_count = 0;
    pickled->kinds = NULL;
    ax_scope_enter(&pickled->scope, connection, AX_SCOPE_PICKLE);
    if (binding->dumps != NULL)
        pickled->bytes = dump_with(module, binding->dumps, args);
    else if (ax_may_be_large(value))
        pickled->segmented = pack(module, connection, value, waits);
    else
        pickled->bytes = PyObject_Vectorcall(module->dumps, args, 1, module->protocol_kw);
    ax_scope_leave(&pickled->scope);
    if (pickled->bytes != NULL || pickled->segmented != NULL)
        return 0;
    PyObject *error = ax_error_take();
    ax_pickled_fini(pickled, false);
    ax_error_restore(error);
    return -1;
}

/* A bytes object that the session sends from its memory; dropping it needs the GIL. */
struct kept {
    struct ax_job job;
    struct ax_engine *engine;
    PyObject *bytes;
};

static void drop_kept(struct ax_job *job)
{
    struct kept *kept = (struct kept *)job;
    PyGILState_STATE gil = PyGILState_Ensure();

    Py_DECREF(kept->bytes);
    PyGILState_Release(gil);
    free(kept);
}

static void release_kept(void *owner)
{
    struct kept *kept = owner;

    ax_executor_submit_service(&kept->engine->executor, &kept->job);
}

static void release_nothing(void *owner)
{
    (void)owner;
}

/* Sends from the bytes object itself. */
static int fill_one(struct ax_pickled *pickled, struct ax_connection *connection)
{
    struct ax_buffer *buffer = pickled->buffers = &pickled->one;

    pickled->buffer_count = 1;
    size_t size = (size_t)PyBytes_GET_SIZE(pickled->bytes);
    *buffer = (struct ax_buffer){
        .data = (unsigned char *)PyBytes_AS_STRING(pickled->bytes),
        .size = size,
        .capacity = size,
        .release = release_nothing, /* small buffers are copied by the session */
    };
    if (size <= AX_OUTPUT_COPY_MAX)
        return 0;
    struct kept *kept = malloc(sizeof *kept);
    if (kept == NULL)
        return AX_ENOMEM;
    *kept = (struct kept){.job.run = drop_kept, .engine = connection->engine, .bytes = Py_NewRef(pickled->bytes)};
    buffer->release = release_kept;
    buffer->owner = kept;
    return 0;
}

static int fill_many(struct ax_pickled *pickled)
{
    size_t count = ax_segmented_pickle_buffer_count(pickled->segmented);
    size_t kinds = ax_segmented_pickle_kind_count(pickled->segmented);

    pickled->buffers = count > 1 ? calloc(count, sizeof *pickled->buffers) : &pickled->one;
    pickled->kinds = kinds > 0 ? calloc(kinds, sizeof *pickled->kinds) : NULL;
    if (pickled->buffers == NULL || (kinds > 0 && pickled->kinds == NULL))
        return AX_ENOMEM;
    pickled->buffer_count = count;
    ax_segmented_pickle_fill(pickled->segmented, pickled->buffers, pickled->kinds);
    return 0;
}

int ax_pickled_payload(struct ax_pickled *pickled, struct ax_connection *connection, struct ax_payload *payload)
{
    int error = pickled->segmented != NULL ? fill_many(pickled) : fill_one(pickled, connection);

    *payload = (struct ax_payload){
        .refs = pickled->scope.ids,
        .ref_count = pickled->scope.count,
        .buffers = pickled->buffers,
        .buffer_count = pickled->buffer_count,
        .kinds = pickled->kinds,
        .kind_count = pickled->segmented != NULL ? ax_segmented_pickle_kind_count(pickled->segmented) : 0,
    };
    return error;
}

void ax_pickled_fini(struct ax_pickled *pickled, bool sent)
{
    for (size_t i = 0; !sent && i < pickled->scope.count; i++)
        ax_unregister(pickled->scope.connection, pickled->scope.ids[i]);
    ax_scope_fini(&pickled->scope);
    for (size_t i = 0; !sent && i < pickled->buffer_count; i++)
        ax_buffer_fini(&pickled->buffers[i]);
    if (pickled->buffers != &pickled->one)
        free(pickled->buffers);
    free(pickled->kinds);
    ax_segmented_pickle_free(pickled->segmented);
    Py_CLEAR(pickled->bytes);
}

/* ---- in ---- */

/* The object for an out-of-band buffer. */
static PyObject *open_buffer(struct ax_module *module, struct ax_buffer *buffer, uint64_t kind)
{
    PyObject *received = ax_receive_buffer_take(buffer);

    if (received != NULL)
        return received;
    switch (kind) {
    case AX_BUFFER_BYTES:
        return PyBytes_FromStringAndSize((char *)buffer->data, (Py_ssize_t)buffer->size);
    case AX_BUFFER_BYTEARRAY:
        return PyByteArray_FromStringAndSize((char *)buffer->data, (Py_ssize_t)buffer->size);
    default:
        return ax_buffer_object_new(module, buffer, false);
    }
}

/* All out-of-band buffers, as a list. */
static PyObject *open_buffers(struct ax_module *module, struct ax_message *message)
{
    PyObject *list = PyList_New((Py_ssize_t)message->buffer_count - 1);
    struct ax_ids kinds = message->kinds;

    for (uint32_t i = 1; list != NULL && i < message->buffer_count; i++) {
        uint64_t kind = AX_BUFFER_MEMORY;
        ax_ids_next(&kinds, &kind);
        PyObject *object = open_buffer(module, &message->buffers[i], kind);
        ax_buffer_fini(&message->buffers[i]);
        if (object == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i - 1, object);
    }
    return list;
}

/*
 * Calls the connection's own function, also for exception records, which pickle.loads() must not load there. It may be
 * replaced while it runs.
 */
static PyObject *load_with(struct ax_module *module, PyObject *loads, PyObject *pickle, bool as_error,
                           PyObject *buffers)
{
    PyObject *args[] = {pickle, as_error ? Py_True : Py_False, buffers};

    Py_INCREF(loads);
    PyObject *value = PyObject_Vectorcall(loads, args, 2, buffers != NULL ? module->buffers_kw : NULL);
    Py_DECREF(loads);
    return value;
}

static PyObject *load_error(struct ax_module *module, PyObject *record)
{
    PyObject *error = record != NULL ? PyObject_CallFunctionObjArgs(module->load_error, record, NULL) : NULL;

    Py_XDECREF(record);
    return error;
}

/*
 * Makes as much as possible of the exception of a record that could not be loaded, from the same bytes. The exception
 * that is set tells why; it stays set if this fails, too.
 */
static PyObject *rescue_error(struct ax_module *module, PyObject *pickle, PyObject *buffers)
{
    PyObject *why = ax_error_take();
    PyObject *error =
        PyObject_CallFunctionObjArgs(module->rescue_error, why, pickle, buffers != NULL ? buffers : Py_None, NULL);

    if (error == NULL && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_Clear();
        ax_error_restore(why);
    } else {
        Py_DECREF(why);
    }
    return error;
}

/*
 * A reference to an object of the peer: its id, and the names of its methods, of which there may be none (NULL would
 * become None).
 */
static PyObject *load_reference(struct ax_module *module, const struct ax_message *message)
{
    const struct ax_buffer *names = &message->buffers[0];
    struct ax_ids ids = message->ids;
    uint64_t id = 0;

    ax_ids_next(&ids, &id);
    const char *text = names->size > 0 ? (const char *)names->data : "";
    return PyObject_CallFunction(module->make_proxy, "Ky#", (unsigned long long)id, text, (Py_ssize_t)names->size);
}

static PyObject *load_parts(struct ax_module *module, struct ax_binding *binding, PyObject *pickle, PyObject *buffers,
                            bool as_error)
{
    if (binding->loads != NULL)
        return load_with(module, binding->loads, pickle, as_error, buffers);
    PyObject *args[] = {pickle, buffers};
    PyObject *value = PyObject_Vectorcall(module->loads, args, 1, buffers != NULL ? module->buffers_kw : NULL);
    if (!as_error)
        return value;
    PyObject *error = load_error(module, value);
    return error != NULL || !PyErr_ExceptionMatches(PyExc_Exception) ? error : rescue_error(module, pickle, buffers);
}

static PyObject *load(struct ax_module *module, struct ax_connection *connection, struct ax_message *message)
{
    bool as_error = message->type == AX_RESULT && message->kind == AX_RESULT_ERROR;

    if (message->type == AX_RESULT && message->kind == AX_RESULT_REFERENCE)
        return load_reference(module, message);
    bool has_more = message->buffer_count > 1 && (connection->session.features & AX_FEATURE_BUFFERS) != 0;
    PyObject *value = NULL;
    PyObject *pickle = ax_buffer_object_new(module, &message->buffers[0], true);
    PyObject *buffers = has_more ? open_buffers(module, message) : NULL;
    if (pickle != NULL && (buffers != NULL || !has_more))
        value = load_parts(module, connection->above, pickle, buffers, as_error);
    Py_XDECREF(buffers);
    Py_XDECREF(pickle);
    if (as_error && value != NULL && !PyExceptionInstance_Check(value)) {
        PyErr_Format(PyExc_TypeError, "The exception record holds %s, which is no exception", Py_TYPE(value)->tp_name);
        Py_CLEAR(value);
    }
    return value;
}

static void release_unclaimed(struct ax_connection *connection, struct ax_message *message, struct ax_scope *scope)
{
    if (message->ids.count == 0)
        return;
    /* Sorted rather than hashed: the peer chooses the ids, and could provoke collisions. */
    if (scope->count > 1)
        qsort(scope->ids, scope->count, sizeof *scope->ids, ax_compare_ids);
    ax_connection_release_unclaimed(connection, message, scope->ids, scope->count);
}

PyObject *ax_unpickle(struct ax_module *module, struct ax_connection *connection, struct ax_message *message)
{
    struct ax_scope scope;

    ax_scope_enter(&scope, connection, AX_SCOPE_UNPICKLE);
    PyObject *value = load(module, connection, message);
    ax_scope_leave(&scope);
    release_unclaimed(connection, message, &scope);
    ax_scope_fini(&scope);
    return value;
}

/* ---- objects ---- */

int ax_register(struct ax_module *module, struct ax_connection *connection, PyObject *object, uint64_t *id)
{
    if (ax_engine_is_past(connection->engine)) {
        ax_raise_disconnected(module, connection);
        return -1;
    }
    int error = ax_objects_put(&connection->objects, object, id);
    if (error == 0) {
        Py_INCREF(object); /* owned by the table */
        return 0;
    }
    if (error == AX_EFULL)
        PyErr_Format(module->operation_error, "The peer holds %d objects already, which is the limit", AX_OBJECTS_MAX);
    else
        PyErr_NoMemory();
    return -1;
}

PyObject *ax_look_up(struct ax_module *module, struct ax_connection *connection, uint64_t id)
{
    bool is_past = ax_engine_is_past(connection->engine);
    PyObject *object = is_past ? NULL : ax_objects_get(&connection->objects, id);

    if (object != NULL)
        return Py_NewRef(object);
    if (ax_connection_phase(connection) >= AX_PHASE_STOPPING) /* the table is being cleared */
        return ax_raise_disconnected(module, connection);
    PyObject *key = PyLong_FromUnsignedLongLong(id);
    if (key != NULL)
        PyErr_SetObject(PyExc_KeyError, key);
    Py_XDECREF(key);
    return NULL;
}

void ax_unregister(struct ax_connection *connection, uint64_t id)
{
    if (ax_engine_is_past(connection->engine))
        return;
    struct ax_object *object = ax_objects_take_id(&connection->objects, id);
    if (object != NULL)
        object->next = NULL;
    ax_drop_objects(object);
}

void ax_drop_objects(struct ax_object *objects)
{
    while (objects != NULL) {
        struct ax_object *next = objects->next;
        Py_DECREF((PyObject *)objects->value);
        free(objects);
        objects = next;
    }
}
