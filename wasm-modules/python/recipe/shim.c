// The exports of the reactor around libpython, and its one door to the host.
//
// Life of an instance: _initialize, then py_boot once (the host snapshots the memory after it), then py_run in an
// instance started from that snapshot. Text goes in through a buffer: py_buffer(n) gives room for n bytes, the host
// writes them, and the next call says how many there are.
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdlib.h>
#include <string.h>

#define IMPORT(name) __attribute__((import_module("sandbox"), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name), visibility("default")))

// host_call hands a request over and returns the length of the reply; host_take copies that reply.
IMPORT("call") extern int32_t host_call(const void *request, int32_t length);
IMPORT("take") extern void host_take(void *reply, int32_t capacity);

// Results of py_boot and py_run.
enum { OK = 0, BAD_CALL = -1, NO_MEMORY = -2, NO_INTERPRETER = -3, RAISED = -4 };

static char *buffer;
static size_t capacity;
static PyObject *run;

static PyObject *door_call(PyObject *self, PyObject *request) {
    (void)self;
    char *bytes;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(request, &bytes, &length) < 0)
        return NULL;
    int32_t n = host_call(bytes, (int32_t)length);
    if (n < 0)
        return PyErr_Format(PyExc_RuntimeError, "the host refused the call");
    PyObject *reply = PyBytes_FromStringAndSize(NULL, n);
    if (reply)
        host_take(PyBytes_AS_STRING(reply), n);
    return reply;
}

static PyMethodDef door_methods[] = {
    {"call", door_call, METH_O, "call(bytes) -> bytes: one request to the host"},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef door = {
    PyModuleDef_HEAD_INIT, "_sandbox", NULL, -1, door_methods, NULL, NULL, NULL, NULL,
};
static PyObject *door_init(void) { return PyModule_Create(&door); }

EXPORT("py_buffer") char *py_buffer(int32_t n) {
    if (n < 0)
        return NULL;
    if ((size_t)n + 1 > capacity) {
        free(buffer);
        capacity = (size_t)n + 1 < 65536 ? 65536 : (size_t)n + 1;
        buffer = malloc(capacity);
        if (!buffer)
            capacity = 0;
    }
    return buffer;
}

static int failure(void) {
    int status = PyErr_ExceptionMatches(PyExc_MemoryError) ? NO_MEMORY : RAISED;
    PyErr_Print();
    return status;
}

// py_boot starts an isolated interpreter and imports the module named in the buffer; its function "run" serves py_run.
EXPORT("py_boot") int32_t py_boot(int32_t n) {
    if (!buffer || n < 0 || (size_t)n >= capacity)
        return BAD_CALL;
    buffer[n] = 0;
    PyImport_AppendInittab("_sandbox", door_init);
    PyPreConfig pre;
    PyPreConfig_InitIsolatedConfig(&pre);
    pre.utf8_mode = 1;
    if (PyStatus_Exception(Py_PreInitialize(&pre)))
        return NO_INTERPRETER;
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.write_bytecode = 0;
    config.install_signal_handlers = 0;
    config.pathconfig_warnings = 0;
    config.use_hash_seed = 1; // sets keep their order from run to run
    config.hash_seed = 0;
    config.parse_argv = 0;
    config.module_search_paths_set = 1;
    PyConfig_SetString(&config, &config.program_name, L"python");
    PyConfig_SetString(&config, &config.executable, L"");
    PyConfig_SetString(&config, &config.home, L"/");
    PyWideStringList_Append(&config.module_search_paths, L"/lib");
    PyStatus status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) {
        fprintf(stderr, "%s\n", status.err_msg ? status.err_msg : "the interpreter did not start");
        return NO_INTERPRETER;
    }
    PyObject *guest = PyImport_ImportModule(buffer);
    if (!guest)
        return failure();
    run = PyObject_GetAttrString(guest, "run");
    Py_DECREF(guest);
    if (!run)
        return failure();
    memset(buffer, 0, capacity);
    return OK;
}

// py_run hands the text in the buffer to the guest module, which reports through the door.
EXPORT("py_run") int32_t py_run(int32_t n) {
    if (!buffer || n < 0 || (size_t)n >= capacity)
        return BAD_CALL;
    PyObject *request = PyUnicode_DecodeUTF8(buffer, n, "strict");
    if (!request)
        return failure();
    PyObject *done = PyObject_CallOneArg(run, request);
    Py_DECREF(request);
    if (!done)
        return failure();
    Py_DECREF(done);
    return OK;
}
