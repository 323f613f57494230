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

/* The functions that the package passes to install(): field and name of each. docs/engine.md describes them. */
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

/* All references are strong. */
struct ax_module {
    PyTypeObject *link_type;
    PyTypeObject *handle_type;
    PyTypeObject *buffer_type;
    PyTypeObject *sink_type;
    PyObject *dumps; /* pickle's */
    PyObject *loads;
    PyObject *pickler;
    PyObject *no_kwargs;   /* an empty dict, never changed */
    PyObject *protocol;    /* the int 4: any peer can read it */
    PyObject *protocol_kw; /* ("protocol",) */
    PyObject *protocol_5;  /* the int 5: for peers that support out-of-band buffers */
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
    PyObject *error;          /* the fatal error, made when first asked for; strong; only where there is a link */
    PyObject *end_error;      /* why the stream is about to end; strong; only where there is a link; or NULL */
    PyObject *dumps;          /* replacement for pickle.dumps; strong; only where there is a link; or NULL */
    PyObject *loads; /* replacement for pickle.loads, for values and exception records; strong; likewise; or NULL */
    char *bootstrap; /* bootstrap source for a bare Python; owned; or NULL */
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

/* Keeps a link that is in use from being collected until its connection has finished. */
void ax_binding_pin(struct ax_link *link);

/*
 * The link of a connection; where the daemon added the connection, made on first use together with its owner. Borrowed;
 * NULL with an exception set.
 */
struct ax_link *ax_binding_link(struct ax_connection *connection);

/* The Handle type: one object of the peer. */
extern PyType_Spec ax_handle_spec;
PyObject *ax_handle_new(struct ax_module *module, struct ax_link *link, uint64_t id);

/*
 * The Buffer type: exports received bytes, which pickle reads or a value is built on, without a copy. Takes ownership
 * of the memory.
 */
extern PyType_Spec ax_buffer_object_spec;
PyObject *ax_buffer_object_new(struct ax_module *module, struct ax_buffer *buffer, bool readonly);

#endif
