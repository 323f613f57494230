/* SPDX-License-Identifier: MIT */
#include "embed/host.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "embed/arenas.h"
#include "embed/binding.h"
#include "embed/engine.h"
#include "embed/fork.h"
#include "embed/link.h"
#include "embed/reader.h"

/*
 * The first code that the interpreter runs. The module across._across is built in, and is put where the package imports
 * it. Garbage collection is off meanwhile: it would find nothing, and take one twelfth of the time until the first
 * call.
 */
static const char start_source[] =
    "import gc, importlib.machinery, importlib.util, sys\n"
    "collects = gc.isenabled()\n"
    "gc.disable()\n"
    "sys.path.insert(0, package_dir)\n"
    "spec = importlib.machinery.ModuleSpec('across._across', importlib.machinery.BuiltinImporter)\n"
    "engine = importlib.util.module_from_spec(spec)\n"
    "sys.modules[spec.name] = engine\n"
    "spec.loader.exec_module(engine)\n"
    "import across.serving.host as host\n"
    "if collects:\n"
    "    gc.enable()\n"
    "host.start(preload, accept_exports)\n"
    "if forks:\n"
    "    host.prepare_to_fork()\n";

static struct ax_host_config host_config;
static PyThreadState *main_thread; /* saved while it does not hold the GIL */
static struct ax_module *host_module;
static PyObject *host_functions; /* the module across.serving.host */

/* ---- the interpreter ---- */

static int start_interpreter(const char *python)
{
    PyConfig config;

    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0; /* the daemon handles signals */
    config.parse_argv = 0;
    config.buffered_stdio = 0; /* output appears at once, and is not lost when a worker dies */
    PyStatus status = PyConfig_SetBytesString(&config, &config.program_name, python);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (!PyStatus_Exception(status))
        return 0;
    fprintf(stderr, "acrossd: cannot start the interpreter %s: %s\n", python,
            status.err_msg != NULL ? status.err_msg : "it asked to exit");
    return -1;
}

static PyObject *preload_list(const char *const *names)
{
    PyObject *list = PyList_New(0);

    for (; list != NULL && names != NULL && *names != NULL; names++) {
        PyObject *name = PyUnicode_DecodeFSDefault(*names);
        if (name == NULL || PyList_Append(list, name) != 0)
            Py_CLEAR(list);
        Py_XDECREF(name);
    }
    return list;
}

static int run_start_source(const struct ax_host_config *config)
{
    PyObject *result = NULL;
    PyObject *package_dir = PyUnicode_DecodeFSDefault(config->package_dir);
    PyObject *preload = preload_list(config->preload);
    PyObject *scope = PyDict_New();

    if (package_dir != NULL && preload != NULL && scope != NULL &&
        PyDict_SetItemString(scope, "__builtins__", PyEval_GetBuiltins()) == 0 &&
        PyDict_SetItemString(scope, "package_dir", package_dir) == 0 &&
        PyDict_SetItemString(scope, "preload", preload) == 0 &&
        PyDict_SetItemString(scope, "accept_exports", config->accept_exports ? Py_True : Py_False) == 0 &&
        PyDict_SetItemString(scope, "forks", config->forks ? Py_True : Py_False) == 0)
        result = PyRun_String(start_source, Py_file_input, scope, scope);
    PyObject *engine = result != NULL ? PyDict_GetItemString(scope, "engine") : NULL;
    if (engine != NULL) {
        host_module = ax_module_state(engine); /* kept alive by sys.modules */
        host_functions = Py_NewRef(PyDict_GetItemString(scope, "host"));
        host_module->out_of_memory = config->out_of_memory;
    }
    Py_XDECREF(package_dir);
    Py_XDECREF(preload);
    Py_XDECREF(scope);
    Py_XDECREF(result);
    return engine != NULL ? 0 : -1;
}

/*
 * Warns of threads that preloaded modules have started: workers are forked without these threads, but with the locks
 * that they hold. Libraries that support forking, such as OpenBLAS, end their threads at the first fork, so fork once
 * before counting.
 */
static void warn_of_threads(void (*warn)(const char *text))
{
    PyObject *found = PyObject_CallMethod(host_functions, "has_threads", NULL);
    bool has_threads = found == Py_True;

    Py_XDECREF(found);
    if (!has_threads)
        return;
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    PyObject *text = PyObject_CallMethod(host_functions, "describe_threads", NULL);
    const char *utf8 = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
    if (utf8 != NULL && utf8[0] != '\0')
        warn(utf8);
    Py_XDECREF(text);
}

int ax_host_init(const struct ax_host_config *config)
{
    host_config = *config;
    ax_engine_set_max_threads(config->max_threads);
    if (config->forks)
        ax_arenas_begin();
    if (PyImport_AppendInittab("across._across", PyInit__across) != 0 || start_interpreter(config->python) != 0)
        return -1;
    if (run_start_source(config) != 0) {
        PyErr_Print();
        return -1;
    }
    if (config->forks && config->warn != NULL)
        warn_of_threads(config->warn);
    if (PyErr_Occurred())
        PyErr_Print();
    if (!config->forks) {
        main_thread = PyEval_SaveThread();
        return 0;
    }
    ax_arenas_end();
    PyOS_BeforeFork(); /* once for all forks: no Python runs in this process any more */
    return 0;
}

/* With the GIL. Exceptions of the function are printed. */
static void call_host_function(const char *name)
{
    PyObject *result = PyObject_CallMethod(host_functions, name, NULL);

    if (result == NULL)
        PyErr_Print();
    Py_XDECREF(result);
}

void ax_host_set_stats(struct ax_call_stats *calls)
{
    ax_engine_set_stats(calls);
}

void ax_host_keep_private(int fd)
{
    ax_fork_keep_private(fd);
}

/* Python reseeds its own random generators after a fork; numpy does not reseed its global one. */
static void reseed(void)
{
    PyObject *numpy = PyDict_GetItemString(PyImport_GetModuleDict(), "numpy.random"); /* borrowed */
    PyObject *result = numpy != NULL ? PyObject_CallMethod(numpy, "seed", NULL) : NULL;

    if (numpy != NULL && result == NULL)
        PyErr_Print();
    Py_XDECREF(result);
}

pid_t ax_host_fork(void (*first)(pid_t parent))
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid == 0) {
        first(parent);
        PyOS_AfterFork_Child();
        reseed();
        main_thread = PyEval_SaveThread();
    }
    return pid;
}

void ax_host_fini(void)
{
    PyEval_RestoreThread(main_thread);
    call_host_function("end");
    PyEval_SaveThread();
}

/* ---- readiness ---- */

/* In a thread of the engine. */
static void warm_up(struct ax_job *job)
{
    (void)job;
    PyGILState_STATE gil = PyGILState_Ensure();
    call_host_function("warm_up");
    PyGILState_Release(gil);
}

int ax_host_warm_up(void)
{
    static struct ax_job job = {.run = warm_up};
    struct ax_engine *engine = ax_engine_get();

    if (engine == NULL)
        return -1;
    ax_executor_submit_service(&engine->executor, &job);
    return 0;
}

/* ---- the environment ---- */

static PyObject *variables_dict(const char *const *variables)
{
    PyObject *dict = PyDict_New();

    for (; dict != NULL && *variables != NULL; variables += 2) {
        PyObject *value = PyUnicode_DecodeFSDefault(variables[1]);
        if (value == NULL || PyDict_SetItemString(dict, variables[0], value) != 0)
            Py_CLEAR(dict);
        Py_XDECREF(value);
    }
    return dict;
}

void ax_host_set_variables(const char *const *variables)
{
    PyEval_RestoreThread(main_thread);
    PyObject *dict = variables_dict(variables);
    PyObject *result = dict != NULL ? PyObject_CallMethod(host_functions, "set_variables", "O", dict) : NULL;
    if (result == NULL)
        PyErr_Print();
    Py_XDECREF(result);
    Py_XDECREF(dict);
    main_thread = PyEval_SaveThread();
}

/* ---- connections ---- */

static void close_both(const struct ax_host_offer *offer)
{
    close(offer->in_fd);
    if (offer->out_fd != offer->in_fd)
        close(offer->out_fd);
}

int ax_host_add(const struct ax_host_offer *offer)
{
    struct ax_session_config config = {
        .role = AX_ACCEPTOR,
        .timeout_ms = host_config.timeout_ms,
        .handshake_timeout_ms = offer->handshake_ms > 0 ? offer->handshake_ms : host_config.handshake_timeout_ms,
        .features = AX_FEATURES_ALL,
    };

    ax_limits_init(&config.limits);
    if (host_config.max_message != 0)
        config.limits.max_message = host_config.max_message;

    struct ax_engine *engine = ax_engine_get();
    struct ax_binding *binding = engine != NULL ? ax_binding_new(host_module, NULL) : NULL;
    struct ax_connection *connection =
        binding != NULL ? ax_connection_new(engine, &ax_link_ops, &config, binding) : NULL;
    if (connection == NULL) {
        int error = errno != 0 ? -errno : -ENOMEM;
        if (binding != NULL)
            ax_binding_free(binding);
        close_both(offer);
        return error;
    }
    binding->ended = offer->ended;
    binding->ended_arg = offer->arg;
    connection->wire = offer->wire;
    ax_reader_set_spin(connection, host_config.spin_us);
    int error = ax_connection_start(connection, offer->in_fd, offer->out_fd, offer->received, offer->size);
    ax_connection_unref(connection); /* the engine holds a reference once it has started */
    return error;
}

void ax_host_count(struct ax_host_counts *counts)
{
    struct ax_engine *engine = ax_engine_get();

    *counts = (struct ax_host_counts){0};
    if (engine == NULL)
        return;
    pthread_mutex_lock(&engine->lock);
    counts->connections = engine->connection_count;
    counts->calls_running = engine->calls_running;
    counts->calls_done = engine->calls_done;
    pthread_mutex_unlock(&engine->lock);
}

bool ax_host_wait_idle(uint32_t timeout_ms)
{
    struct ax_engine *engine = ax_engine_get();

    return engine == NULL || ax_engine_wait_quiet(engine, timeout_ms);
}

static void close_one(struct ax_member *member, void *reason)
{
    ax_connection_close(ax_connection_of(member), reason);
}

void ax_host_close_all(const char *reason)
{
    struct ax_engine *engine = ax_engine_get();

    if (engine != NULL)
        ax_engine_for_each(engine, close_one, (void *)reason);
}
