// Loan and Room: shared memory as Python's buffers.
#include "shimmy_python.h"

#define VOID_LOAN "the loan was released"
#define VOID_ROOM "the room was committed or cancelled"

static void free_object(PyObject* self, EndpointObject* endpoint) {
  PyTypeObject* type = Py_TYPE(self);
  freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
  release(self);
  Py_DECREF(type);
  Py_XDECREF((PyObject*)endpoint);
}

static bool is_usable(const EndpointObject* endpoint) {
  return endpoint->endpoint != NULL && !endpoint->is_closing &&
         endpoint->forks == shimmy_python_forks;
}

// What is freed may meet an exception on its way; and there is nobody to tell of another.
static void keep_exception(bool is_begin, PyObject* kept[3]) {
  if (is_begin) {
    PyErr_Fetch(&kept[0], &kept[1], &kept[2]);
  } else {
    PyErr_Clear();
    PyErr_Restore(kept[0], kept[1], kept[2]);
  }
}

static PyObject* enter(PyObject* self, PyObject* ignored) {
  (void)ignored;
  return Py_NewRef(self);
}

static PyObject* view(PyObject* self, void* ignored) {
  (void)ignored;
  return PyMemoryView_FromObject(self);
}

static bool has_views(Py_ssize_t exports) {
  if (exports == 0) return false;
  PyErr_SetString(PyExc_BufferError, "views of it exist: delete or release them first");
  return true;
}

// ---- loans ----

static LoanObject* loan_of(PyObject* self) { return (LoanObject*)self; }

static bool is_open_loan(const LoanObject* self) {
  return self->message.loan != 0 && is_usable(self->endpoint);
}

PyObject* shimmy_loan_new(EndpointObject* endpoint, const struct shimmy_message* message) {
  allocfunc allocate = (allocfunc)PyType_GetSlot(shimmy_loan_type, Py_tp_alloc);
  LoanObject* self = (LoanObject*)allocate(shimmy_loan_type, 0);
  if (self == NULL) return NULL;
  self->endpoint = (EndpointObject*)Py_NewRef((PyObject*)endpoint);
  self->message = *message;
  return (PyObject*)self;
}

static int run_release(shimmy_endpoint* endpoint, struct call* call, int64_t timeout) {
  (void)timeout;
  return shimmy_release(endpoint, &call->message);
}

static bool give_back(LoanObject* self) {
  if (!shimmy_enter(self->endpoint)) return false;
  struct call call = {.run = run_release, .message = self->message};
  self->message.loan = 0;
  const int status = shimmy_run_now(self->endpoint, &call);
  shimmy_leave(self->endpoint);
  // That the channel is over meanwhile does not matter to who gives back.
  if (status == SHIMMY_OK || status == SHIMMY_CLOSED) return true;
  shimmy_raise_last(status);
  return false;
}

static PyObject* loan_release(PyObject* self, PyObject* ignored) {
  (void)ignored;
  LoanObject* loan = loan_of(self);
  if (has_views(loan->exports)) return NULL;
  if (!is_open_loan(loan)) return shimmy_raise_closed(VOID_LOAN);
  if (!give_back(loan)) return NULL;
  Py_RETURN_NONE;
}

static PyObject* loan_exit(PyObject* self, PyObject* args) {
  (void)args;
  if (!is_open_loan(loan_of(self))) Py_RETURN_NONE;
  return loan_release(self, NULL);
}

static void loan_dealloc(PyObject* self) {
  LoanObject* loan = loan_of(self);
  PyObject* kept[3];
  keep_exception(true, kept);
  if (is_open_loan(loan)) give_back(loan);
  keep_exception(false, kept);
  free_object(self, loan->endpoint);
}

static int loan_buffer(PyObject* self, Py_buffer* buffer, int flags) {
  LoanObject* loan = loan_of(self);
  if (!is_open_loan(loan)) {
    buffer->obj = NULL;
    shimmy_raise_closed(VOID_LOAN);
    return -1;
  }
  // The pointer is not written through: buffers know no other kind.
  union {
    const void* shared;
    void* plain;
  } data = {.shared = loan->message.data};
  if (PyBuffer_FillInfo(buffer, self, data.plain, (Py_ssize_t)loan->message.bytes, 1, flags) != 0) {
    return -1;
  }
  loan->exports++;
  loan->endpoint->exports++;
  return 0;
}

static void loan_buffer_done(PyObject* self, Py_buffer* buffer) {
  (void)buffer;
  loan_of(self)->exports--;
  loan_of(self)->endpoint->exports--;
}

static Py_ssize_t loan_length(PyObject* self) { return (Py_ssize_t)loan_of(self)->message.bytes; }

static PyObject* loan_sequence(PyObject* self, void* ignored) {
  (void)ignored;
  return PyLong_FromUnsignedLongLong(loan_of(self)->message.sequence);
}

static PyObject* loan_generation(PyObject* self, void* ignored) {
  (void)ignored;
  return PyLong_FromUnsignedLongLong(loan_of(self)->message.generation);
}

static PyObject* loan_missed(PyObject* self, void* ignored) {
  (void)ignored;
  return shimmy_missed(loan_of(self)->message.missed);
}

static PyObject* loan_is_released(PyObject* self, void* ignored) {
  (void)ignored;
  return PyBool_FromLong(!is_open_loan(loan_of(self)));
}

static PyMethodDef loan_methods[] = {
    {"release", loan_release, METH_NOARGS, NULL},
    {"array", (PyCFunction)(void (*)(void))shimmy_array, METH_VARARGS | METH_KEYWORDS, NULL},
    {"__enter__", enter, METH_NOARGS, NULL},
    {"__exit__", loan_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef loan_properties[] = {
    {"data", view, NULL, NULL, NULL},
    {"sequence", loan_sequence, NULL, NULL, NULL},
    {"generation", loan_generation, NULL, NULL, NULL},
    {"missed", loan_missed, NULL, NULL, NULL},
    {"is_released", loan_is_released, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot loan_slots[] = {
    {Py_tp_dealloc, loan_dealloc},
    {Py_tp_methods, loan_methods},
    {Py_tp_getset, loan_properties},
    {Py_sq_length, loan_length},
    {Py_bf_getbuffer, loan_buffer},
    {Py_bf_releasebuffer, loan_buffer_done},
    {0, NULL},
};

PyType_Spec shimmy_loan_spec = {
    .name = "shimmy_ipc.Loan",
    .basicsize = sizeof(LoanObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = loan_slots,
};

// ---- rooms ----

static RoomObject* room_of(PyObject* self) { return (RoomObject*)self; }

static bool is_open_room(const RoomObject* self) {
  return self->room.id != 0 && is_usable(self->endpoint);
}

PyObject* shimmy_room_new(EndpointObject* endpoint, const struct shimmy_room* room) {
  allocfunc allocate = (allocfunc)PyType_GetSlot(shimmy_room_type, Py_tp_alloc);
  RoomObject* self = (RoomObject*)allocate(shimmy_room_type, 0);
  if (self == NULL) return NULL;
  self->endpoint = (EndpointObject*)Py_NewRef((PyObject*)endpoint);
  self->room = *room;
  return (PyObject*)self;
}

static int run_commit(shimmy_endpoint* endpoint, struct call* call, int64_t timeout) {
  (void)timeout;
  return shimmy_commit(endpoint, &call->room, call->bytes);
}

static int run_cancel(shimmy_endpoint* endpoint, struct call* call, int64_t timeout) {
  (void)timeout;
  return shimmy_cancel(endpoint, &call->room);
}

// Commits `bytes`, or cancels for -1. A call that fails leaves the room as it is.
static bool finish(RoomObject* self, Py_ssize_t bytes) {
  if (!shimmy_enter(self->endpoint)) return false;
  struct call call = {.run = bytes < 0 ? run_cancel : run_commit, .room = self->room};
  if (bytes > 0) call.bytes = (size_t)bytes;
  const uint64_t id = self->room.id;
  self->room.id = 0;  // nobody else finishes it meanwhile
  const int status = shimmy_run_now(self->endpoint, &call);
  shimmy_leave(self->endpoint);
  if (status == SHIMMY_OK) return true;
  if (status == SHIMMY_MISUSE) self->room.id = id;
  shimmy_raise_last(status);
  return false;
}

static PyObject* room_commit(PyObject* self, PyObject* args) {
  RoomObject* room = room_of(self);
  PyObject* given = Py_None;
  if (!PyArg_ParseTuple(args, "|O:commit", &given)) return NULL;
  if (has_views(room->exports)) return NULL;
  if (!is_open_room(room)) return shimmy_raise_closed(VOID_ROOM);
  Py_ssize_t bytes = (Py_ssize_t)room->room.bytes;
  if (given != Py_None) {
    bytes = PyNumber_AsSsize_t(given, PyExc_OverflowError);
    if (bytes == -1 && PyErr_Occurred() != NULL) return NULL;
  }
  if (bytes < 0 || bytes > (Py_ssize_t)room->room.bytes) {
    return shimmy_raise(SHIMMY_MISUSE, "SHIMMY_ERR_INVALID_OPTION",
                        "a room cannot be committed with more bytes than it has");
  }
  if (!finish(room, bytes)) return NULL;
  Py_RETURN_NONE;
}

static PyObject* room_cancel(PyObject* self, PyObject* ignored) {
  (void)ignored;
  RoomObject* room = room_of(self);
  if (has_views(room->exports)) return NULL;
  if (!is_open_room(room)) return shimmy_raise_closed(VOID_ROOM);
  if (!finish(room, -1)) return NULL;
  Py_RETURN_NONE;
}

static PyObject* room_exit(PyObject* self, PyObject* args) {
  (void)args;
  if (!is_open_room(room_of(self))) Py_RETURN_NONE;
  return room_cancel(self, NULL);
}

static void room_dealloc(PyObject* self) {
  RoomObject* room = room_of(self);
  PyObject* kept[3];
  keep_exception(true, kept);
  if (is_open_room(room)) finish(room, -1);
  keep_exception(false, kept);
  free_object(self, room->endpoint);
}

static int room_buffer(PyObject* self, Py_buffer* buffer, int flags) {
  RoomObject* room = room_of(self);
  if (!is_open_room(room)) {
    buffer->obj = NULL;
    shimmy_raise_closed(VOID_ROOM);
    return -1;
  }
  const Py_ssize_t bytes = (Py_ssize_t)room->room.bytes;
  if (PyBuffer_FillInfo(buffer, self, room->room.data, bytes, 0, flags) != 0) return -1;
  room->exports++;
  room->endpoint->exports++;
  return 0;
}

static void room_buffer_done(PyObject* self, Py_buffer* buffer) {
  (void)buffer;
  room_of(self)->exports--;
  room_of(self)->endpoint->exports--;
}

static Py_ssize_t room_length(PyObject* self) { return (Py_ssize_t)room_of(self)->room.bytes; }

static PyObject* room_is_finished(PyObject* self, void* ignored) {
  (void)ignored;
  return PyBool_FromLong(!is_open_room(room_of(self)));
}

static PyMethodDef room_methods[] = {
    {"commit", room_commit, METH_VARARGS, NULL},
    {"cancel", room_cancel, METH_NOARGS, NULL},
    {"array", (PyCFunction)(void (*)(void))shimmy_array, METH_VARARGS | METH_KEYWORDS, NULL},
    {"__enter__", enter, METH_NOARGS, NULL},
    {"__exit__", room_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef room_properties[] = {
    {"data", view, NULL, NULL, NULL},
    {"is_finished", room_is_finished, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot room_slots[] = {
    {Py_tp_dealloc, room_dealloc},
    {Py_tp_methods, room_methods},
    {Py_tp_getset, room_properties},
    {Py_sq_length, room_length},
    {Py_bf_getbuffer, room_buffer},
    {Py_bf_releasebuffer, room_buffer_done},
    {0, NULL},
};

PyType_Spec shimmy_room_spec = {
    .name = "shimmy_ipc.Room",
    .basicsize = sizeof(RoomObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = room_slots,
};
