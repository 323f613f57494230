/* SPDX-License-Identifier: MIT */
#include "embed/crossing.h"

#include "embed/engine.h"
#include "embed/failure.h"

/* ---- out ---- */

/* Calls the connection's own function, which may return anything and, when it runs, be replaced. */
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

int ax_pickle(struct ax_module *module, struct ax_connection *connection, PyObject *value, struct ax_pickled *pickled)
{
    PyObject *args[] = {value, module->protocol};
    struct ax_binding *binding = connection->above;
    ax_scope_enter(&pickled->scope, connection, AX_SCOPE_PICKLE);
    if (binding->dumps == NULL)
        pickled->bytes = PyObject_Vectorcall(module->dumps, args, 1, module->protocol_kw);
    else
        pickled->bytes = dump_with(module, binding->dumps, args);
    ax_scope_leave(&pickled->scope);
    if (pickled->bytes != NULL)
        return 0;
    PyObject *error = ax_error_take();
    ax_pickled_fini(pickled, false);
    ax_error_restore(error);
    return -1;
}

/* A bytes object that the session sends from, and that only a thread with the GIL can drop. */
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

static void keep_nothing(void *owner)
{
    (void)owner;
}

int ax_pickled_buffer(struct ax_pickled *pickled, struct ax_connection *connection, struct ax_buffer *buffer)
{
    size_t size = (size_t)PyBytes_GET_SIZE(pickled->bytes);
    *buffer = (struct ax_buffer){
        .data = (unsigned char *)PyBytes_AS_STRING(pickled->bytes),
        .size = size,
        .capacity = size,
        .release = keep_nothing, /* the session copies what is small */
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

void ax_pickled_fini(struct ax_pickled *pickled, bool sent)
{
    for (size_t i = 0; !sent && i < pickled->scope.count; i++)
        ax_unregister(pickled->scope.connection, pickled->scope.ids[i]);
    ax_scope_fini(&pickled->scope);
    Py_CLEAR(pickled->bytes);
}

/* ---- in ---- */

/* The connection's own function makes the exception of a record, too: a record is not for pickle.loads() there. It may,
 * when it runs, be replaced. */
static PyObject *load_with(PyObject *loads, PyObject *payload, bool as_error)
{
    Py_INCREF(loads);
    PyObject *value = PyObject_CallFunctionObjArgs(loads, payload, as_error ? Py_True : Py_False, NULL);
    Py_DECREF(loads);
    return value;
}

static PyObject *load_error(struct ax_module *module, PyObject *record)
{
    PyObject *error = record != NULL ? PyObject_CallFunctionObjArgs(module->load_error, record, NULL) : NULL;
    Py_XDECREF(record);
    return error;
}

/* An object of the peer: its id, and the names of its methods. */
static PyObject *load_reference(struct ax_module *module, const struct ax_message *message)
{
    const struct ax_buffer *names = &message->buffers[0];
    struct ax_ids ids = message->ids;
    uint64_t id = 0;
    ax_ids_next(&ids, &id);
    return PyObject_CallFunction(module->make_proxy, "Ky#", (unsigned long long)id, (const char *)names->data,
                                 (Py_ssize_t)names->size);
}

static PyObject *load(struct ax_module *module, struct ax_binding *binding, struct ax_message *message)
{
    bool as_error = message->type == AX_RESULT && message->kind == AX_RESULT_ERROR;
    if (message->type == AX_RESULT && message->kind == AX_RESULT_REFERENCE)
        return load_reference(module, message);
    PyObject *payload = ax_payload_new(module, &message->buffers[0]);
    if (payload == NULL)
        return NULL;
    PyObject *value;
    if (binding->loads != NULL) {
        value = load_with(binding->loads, payload, as_error);
    } else {
        value = PyObject_CallFunctionObjArgs(module->loads, payload, NULL);
        if (as_error)
            value = load_error(module, value);
    }
    Py_DECREF(payload);
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
    struct ax_idmap claimed;
    ax_idmap_init(&claimed);
    /* When memory is short an id may be missing here, and is released although it is in use: better than never. */
    for (size_t i = 0; i < scope->count; i++)
        if (ax_idmap_get(&claimed, scope->ids[i]) == NULL)
            ax_idmap_put(&claimed, scope->ids[i], scope);
    ax_connection_release_unclaimed(connection, message, &claimed);
    ax_idmap_fini(&claimed);
}

PyObject *ax_unpickle(struct ax_module *module, struct ax_connection *connection, struct ax_message *message)
{
    struct ax_scope scope;
    ax_scope_enter(&scope, connection, AX_SCOPE_UNPICKLE);
    PyObject *value = load(module, connection->above, message);
    ax_scope_leave(&scope);
    release_unclaimed(connection, message, &scope);
    ax_scope_fini(&scope);
    return value;
}

/* ---- objects ---- */

int ax_register(struct ax_module *module, struct ax_connection *connection, PyObject *object, uint64_t *id)
{
    int error = ax_objects_put(&connection->objects, object, id);
    if (error == 0) {
        Py_INCREF(object); /* the table's */
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
    PyObject *object = ax_objects_get(&connection->objects, id);
    if (object != NULL)
        return Py_NewRef(object);
    if (ax_connection_phase(connection) >= AX_PHASE_STOPPING) /* they all are gone */
        return ax_raise_disconnected(module, connection);
    PyObject *key = PyLong_FromUnsignedLongLong(id);
    if (key != NULL)
        PyErr_SetObject(PyExc_KeyError, key);
    Py_XDECREF(key);
    return NULL;
}

void ax_unregister(struct ax_connection *connection, uint64_t id)
{
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
