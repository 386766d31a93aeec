// Client: this process's connection to its node's agent.
#include "shimmy_python.h"

static PyObject* client_new(PyTypeObject* type, PyObject* args, PyObject* keywords) {
  static char* names[] = {"socket", "timeout", NULL};
  const char* socket = NULL;
  double timeout = 5;
  if (!PyArg_ParseTupleAndKeywords(args, keywords, "|zd:Client", names, &socket, &timeout)) {
    return NULL;
  }
  if (!(timeout > 0 && timeout < 1e9)) {
    PyErr_SetString(PyExc_ValueError, "timeout must be a positive number of seconds");
    return NULL;
  }
  allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
  ClientObject* self = (ClientObject*)allocate(type, 0);
  if (self == NULL) return NULL;
  self->forks = shimmy_python_forks;
  const struct shimmy_client_options options = {
      .struct_size = sizeof options, .socket = socket, .timeout = (int64_t)(timeout * 1e9)};
  int status = SHIMMY_OK;
  Py_BEGIN_ALLOW_THREADS;
  status = shimmy_client_open(&options, &self->client);
  Py_END_ALLOW_THREADS;
  if (status == SHIMMY_OK) return (PyObject*)self;
  shimmy_raise_last(status);
  Py_DECREF(self);
  return NULL;
}

// False: raised, and what is still open stays so.
static bool close_client(ClientObject* self) {
  if (self->client == NULL) return true;
  if (self->forks != shimmy_python_forks) {
    self->client = NULL;
    return true;
  }
  for (const EndpointObject* each = self->first; each != NULL; each = each->next) {
    if (each->exports == 0) continue;
    PyErr_SetString(PyExc_BufferError, "cannot close a client while views of its memory exist");
    return false;
  }
  if (self->busy > 0) {
    shimmy_raise(SHIMMY_MISUSE, "SHIMMY_ERR_INVALID_OPTION",
                 "the client is attaching in another thread");
    return false;
  }
  while (self->first != NULL) {
    EndpointObject* endpoint = (EndpointObject*)Py_NewRef((PyObject*)self->first);
    const bool is_closed = shimmy_close_endpoint(endpoint);
    Py_DECREF(endpoint);
    if (!is_closed) return false;
  }
  shimmy_client* client = self->client;
  self->client = NULL;
  if (client == NULL) return true;
  Py_BEGIN_ALLOW_THREADS;
  shimmy_client_close(client);
  Py_END_ALLOW_THREADS;
  return true;
}

static PyObject* client_close(PyObject* self, PyObject* ignored) {
  (void)ignored;
  if (!close_client((ClientObject*)self)) return NULL;
  Py_RETURN_NONE;
}

static PyObject* client_exit(PyObject* self, PyObject* args) {
  (void)args;
  return client_close(self, NULL);
}

static PyObject* client_enter(PyObject* self, PyObject* ignored) {
  (void)ignored;
  return Py_NewRef(self);
}

static PyObject* client_is_closed(PyObject* self, void* ignored) {
  (void)ignored;
  return PyBool_FromLong(((ClientObject*)self)->client == NULL);
}

// Endpoints own their client: there are none any more.
static void client_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  close_client((ClientObject*)self);
  freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
  release(self);
  Py_DECREF(type);
}

static PyMethodDef client_methods[] = {
    {"close", client_close, METH_NOARGS, NULL},
    {"__enter__", client_enter, METH_NOARGS, NULL},
    {"__exit__", client_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef client_properties[] = {
    {"is_closed", client_is_closed, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot client_slots[] = {
    {Py_tp_new, client_new},
    {Py_tp_dealloc, client_dealloc},
    {Py_tp_methods, client_methods},
    {Py_tp_getset, client_properties},
    {0, NULL},
};

PyType_Spec shimmy_client_spec = {
    .name = "shimmy_ipc._shimmy.Client",
    .basicsize = sizeof(ClientObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = client_slots,
};
