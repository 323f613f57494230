/* SPDX-License-Identifier: MIT */
#include "embed/binding.h"

#include <stdlib.h>
#include <string.h>

/*
 * The bootstrap source is long, and the same for all links that the package makes: the first copy is kept, and shared.
 * Set with the GIL.
 */
static char *shared_source;

static char *copy_source(const char *source)
{
    if (source == NULL)
        return NULL;
    if (shared_source == NULL)
        return shared_source = strdup(source);
    return strcmp(shared_source, source) == 0 ? shared_source : strdup(source);
}

static void free_source(char *source)
{
    if (source != NULL && source != shared_source)
        free(source);
}

struct ax_binding *ax_binding_new(struct ax_module *module, const char *bootstrap)
{
    struct ax_binding *binding = calloc(1, sizeof *binding);

    if (binding == NULL)
        return NULL;
    binding->module = module;
    binding->bootstrap = copy_source(bootstrap);
    if (bootstrap != NULL && binding->bootstrap == NULL) {
        free(binding);
        return NULL;
    }
    return binding;
}

void ax_binding_pin(struct ax_link *link)
{
    struct ax_binding *binding = link->connection->above;

    if (binding->link == NULL && !binding->finished)
        binding->link = Py_NewRef((PyObject *)link);
}

/* Makes the link of a connection that the daemon added, and pins it. 0; or -1 with an exception set. */
static int make_link(struct ax_connection *connection)
{
    struct ax_binding *binding = connection->above;
    struct ax_link *link = (struct ax_link *)binding->module->link_type->tp_alloc(binding->module->link_type, 0);

    if (link == NULL)
        return -1;
    /*
     * The garbage collector may have run: another thread may have made the link meanwhile, or the connection finished.
     */
    if (binding->link == NULL && !binding->finished) {
        ax_connection_ref(connection);
        link->connection = connection;
        ax_binding_pin(link);
    }
    Py_DECREF((PyObject *)link);
    return 0;
}

struct ax_link *ax_binding_link(struct ax_connection *connection)
{
    struct ax_binding *binding = connection->above;

    if (binding->link == NULL && !binding->finished && make_link(connection) != 0)
        return NULL;
    struct ax_link *link = (struct ax_link *)binding->link;
    if (link == NULL) {
        PyErr_SetString(binding->module->disconnect_error, "Connection is closed");
        return NULL;
    }
    if (link->owner == NULL) {
        PyObject *owner = PyObject_CallFunctionObjArgs(binding->module->make_connection, link, NULL);
        if (owner == NULL)
            return NULL;
        if (link->owner == NULL) /* making it may have run another thread, which made one too */
            link->owner = Py_NewRef(owner);
        Py_DECREF(owner);
    }
    return link;
}

void ax_binding_free(void *above)
{
    struct ax_binding *binding = above;

    if (binding == NULL)
        return;
    free_source(binding->bootstrap);
    free(binding);
}
