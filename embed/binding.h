/* SPDX-License-Identifier: MIT */
/*
 * What ties connections to Python: the state of the module across._across, and the Python side of each connection.
 *
 * Everything here is guarded by the GIL. The module's functions are described in docs/engine.md.
 */
#ifndef AX_EMBED_BINDING_H
#define AX_EMBED_BINDING_H

#include "embed/compat.h"

#include "embed/connection.h"
#include "embed/connection_calls.h"
#include "embed/connection_releases.h"

/* What the package gives to install(): where it is kept, and its name there. docs/engine.md says what each is. */
#define AX_HOOKS(X)                                                                                                    \
    X(operation_error, "OperationError")                                                                               \
    X(disconnect_error, "DisconnectError")                                                                             \
    X(protocol_error, "ProtocolError")                                                                                 \
    X(dump_error, "dump_error")                                                                                        \
    X(load_error, "load_error")                                                                                        \
    X(rescue_error, "rescue_error")                                                                                    \
    X(describe_error, "describe_error")                                                                                \
    X(make_connection, "make_connection")                                                                              \
    X(run_call, "run_call")                                                                                            \
    X(run_method, "run_method")                                                                                        \
    X(list_methods, "list_methods")                                                                                    \
    X(make_proxy, "make_proxy")                                                                                        \
    X(lend, "lend")                                                                                                    \
    X(advise, "advise")                                                                                                \
    X(describe_failure, "describe_failure")                                                                            \
    X(same_object, "same_object")                                                                                      \
    X(create_by_name, "create_by_name")                                                                                \
    X(replicate_by_name, "replicate_by_name")

/* Strong references all. */
struct ax_module {
    PyTypeObject *link_type;
    PyTypeObject *handle_type;
    PyTypeObject *buffer_type;
    PyTypeObject *sink_type;
    PyObject *dumps; /* pickle's */
    PyObject *loads;
    PyObject *pickler;
    PyObject *no_kwargs;   /* an empty dict that nobody changes */
    PyObject *protocol;    /* the int 4: what plain peers are sure to read */
    PyObject *protocol_kw; /* ("protocol",) */
    PyObject *protocol_5;  /* the int 5: for peers that take buffers beside a pickle */
    PyObject *buffers_kw;  /* ("buffers",) */
    PyObject *dump_name;
    PyObject *finished_name;
    PyObject *iter_name;     /* "__iter__" */
    PyObject *reversed_name; /* "__reversed__" */
#define X(field, name) PyObject *field;
    AX_HOOKS(X)
#undef X
    void (*out_of_memory)(void); /* see struct ax_host_config; or NULL */
};

/* The module's definition, for PyImport_AppendInittab() and the extension's entry point. */
PyObject *PyInit__across(void);

struct ax_module *ax_module_state(PyObject *module);

/* The Python side of a connection; connection->above. Freed with it. */
struct ax_binding {
    struct ax_module *module; /* borrowed: the link's type keeps it alive */
    PyObject *link;           /* strong from start to finish, so that a connection in use is not collected; else NULL */
    bool finished;            /* the link may not be pinned again */
    PyObject *error;          /* the fatal error, once somebody wanted it; strong; only where there is a link */
    PyObject *end_error; /* what the end of the stream will be due to; strong; only where there is a link; or NULL */
    PyObject *dumps;     /* what pickles in place of pickle's own; strong; only where there is a link; or NULL */
    PyObject *loads;     /* what unpickles, values and exception records alike; strong; likewise; or NULL */
    char *bootstrap;     /* source for a bare Python; owned; or NULL */
    void (*ended)(void *arg, const char *reason); /* for connections that the daemon added (host.h), or NULL */
    void *ended_arg;
};

/* From the heap. NULL when memory is short. */
struct ax_binding *ax_binding_new(struct ax_module *module, const char *bootstrap);

/* ax_connection_ops.freed. NULL is fine. */
void ax_binding_free(void *binding);

/* The Link type: one connection. */
struct ax_link {
    PyObject_HEAD
    struct ax_connection *connection; /* a reference; NULL before __init__ */
    PyObject *owner;                  /* strong; the across.Connection */
};

/* Keeps the link, once it is used, from being collected until its connection has finished. */
void ax_binding_pin(struct ax_link *link);

/* The link of a connection, made on first use where the daemon added it, and its owner with it. Borrowed; NULL with an
 * exception set. */
struct ax_link *ax_binding_link(struct ax_connection *connection);

/* The Handle type: one object of the peer. */
extern PyType_Spec ax_handle_spec;
PyObject *ax_handle_new(struct ax_module *module, struct ax_link *link, uint64_t id);

/*
 * The Buffer type: bytes that came in, as a buffer that pickle reads from, or that a value is built upon, without a
 * copy. Takes the memory over.
 */
extern PyType_Spec ax_buffer_object_spec;
PyObject *ax_buffer_object_new(struct ax_module *module, struct ax_buffer *buffer, bool readonly);

#endif
