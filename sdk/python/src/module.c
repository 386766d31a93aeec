// The module itself: types, errors and helpers that the package registers.
#include <pthread.h>

#include "shimmy_python.h"

unsigned shimmy_python_forks;
PyTypeObject* shimmy_client_type;
PyTypeObject* shimmy_endpoint_type;
PyTypeObject* shimmy_loan_type;
PyTypeObject* shimmy_room_type;
PyTypeObject* shimmy_message_type;
PyTypeObject* shimmy_message_into_type;

static PyObject* make_error;  // (status, code, reason, message) -> exception
static PyObject* make_array;  // (buffer, dtype, shape) -> numpy.ndarray

static PyObject* raise_made(int status, const char* code, const char* reason, const char* message) {
  if (make_error == NULL) {
    PyErr_Format(PyExc_RuntimeError, "%s: %s", code, message);
    return NULL;
  }
  PyObject* made = PyObject_CallFunction(make_error, "isss", status, code, reason, message);
  if (made == NULL) return NULL;
  PyErr_SetObject((PyObject*)Py_TYPE(made), made);
  Py_DECREF(made);
  return NULL;
}

PyObject* shimmy_raise_last(int status) {
  struct shimmy_error error;
  shimmy_last_error(&error);
  return raise_made(status, error.code, error.reason, error.message);
}

PyObject* shimmy_raise(int status, const char* code, const char* message) {
  return raise_made(status, code, "", message);
}

PyObject* shimmy_raise_closed(const char* what) {
  return raise_made(SHIMMY_CLOSED, "SHIMMY_ERR_CLOSED", "", what);
}

PyObject* shimmy_missed(uint64_t missed) {
  if (missed == SHIMMY_MISSED_UNKNOWN) Py_RETURN_NONE;
  return PyLong_FromUnsignedLongLong(missed);
}

PyObject* shimmy_array(PyObject* self, PyObject* args, PyObject* keywords) {
  static char* names[] = {"dtype", "shape", NULL};
  PyObject* dtype = NULL;
  PyObject* shape = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|O:array", names, &dtype, &shape)) return NULL;
  return PyObject_CallFunctionObjArgs(make_array, self, dtype, shape, NULL);
}

static PyObject* register_helpers(PyObject* module, PyObject* args) {
  (void)module;
  PyObject* error = NULL;
  PyObject* array = NULL;
  if (!PyArg_ParseTuple(args, "OO", &error, &array)) return NULL;
  Py_XDECREF(make_error);
  Py_XDECREF(make_array);
  make_error = Py_NewRef(error);
  make_array = Py_NewRef(array);
  Py_RETURN_NONE;
}

static void count_fork(void) { shimmy_python_forks++; }

static PyMethodDef functions[] = {
    {"register", register_helpers, METH_VARARGS, "Sets who makes errors and arrays."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "shimmy_ipc._shimmy",
    .m_doc = "Shimmy's channels, over libshimmy.so.1.",
    .m_size = -1,
    .m_methods = functions,
};

static PyStructSequence_Field message_fields[] = {
    {"data", "The message's bytes."},
    {"sequence", "Grows; in a lock-free channel by one with each message of one publisher."},
    {"generation", "Of the writer's ring: another one after each restart of a writer."},
    {"missed", "How many were missed just before this one; None: not known how many."},
    {NULL, NULL},
};
static PyStructSequence_Desc message_desc = {
    .name = "shimmy_ipc.Message",
    .doc = "A message that was taken, with its bytes in an object of its own.",
    .fields = message_fields,
    .n_in_sequence = 4,
};

static PyStructSequence_Field message_into_fields[] = {
    {"bytes", "How many bytes of the buffer it takes."},
    {"sequence", "As of a Message."},
    {"generation", "As of a Message."},
    {"missed", "As of a Message."},
    {NULL, NULL},
};
static PyStructSequence_Desc message_into_desc = {
    .name = "shimmy_ipc.MessageInto",
    .doc = "A message that was taken into a buffer of the caller's.",
    .fields = message_into_fields,
    .n_in_sequence = 4,
};

static bool add_type(PyObject* module, PyTypeObject** type, const char* name, PyTypeObject* made) {
  *type = made;
  return made != NULL && PyModule_AddObjectRef(module, name, (PyObject*)made) == 0;
}

static PyTypeObject* from_spec(PyType_Spec* spec) { return (PyTypeObject*)PyType_FromSpec(spec); }

PyMODINIT_FUNC PyInit__shimmy(void);

PyMODINIT_FUNC PyInit__shimmy(void) {
  static bool is_registered;
  if (!is_registered && pthread_atfork(NULL, NULL, count_fork) != 0) return PyErr_NoMemory();
  is_registered = true;
  PyObject* module = PyModule_Create(&definition);
  if (module == NULL) return NULL;
  if (add_type(module, &shimmy_client_type, "Client", from_spec(&shimmy_client_spec)) &&
      add_type(module, &shimmy_endpoint_type, "Endpoint", from_spec(&shimmy_endpoint_spec)) &&
      add_type(module, &shimmy_loan_type, "Loan", from_spec(&shimmy_loan_spec)) &&
      add_type(module, &shimmy_room_type, "Room", from_spec(&shimmy_room_spec)) &&
      add_type(module, &shimmy_message_type, "Message", PyStructSequence_NewType(&message_desc)) &&
      add_type(module, &shimmy_message_into_type, "MessageInto",
               PyStructSequence_NewType(&message_into_desc)) &&
      PyModule_AddStringConstant(module, "version", shimmy_version()) == 0) {
    return module;
  }
  Py_DECREF(module);
  return NULL;
}
