// Endpoint: one role in one channel. The package's classes choose which of its methods are theirs.
#include <math.h>
#include <time.h>

#include "shimmy_python.h"

enum { kStackBytes = 16384, kQuickBytes = 65536 };

// A call that spins hears of no signal, so it looks for them from time to time.
static const int64_t kSpinSliceNs = 50000000;

static EndpointObject* endpoint_of(PyObject* self) { return (EndpointObject*)self; }

// ---- life ----

static void link_to_client(EndpointObject* self) {
  ClientObject* client = self->client;
  self->next = client->first;
  if (self->next != NULL) self->next->previous = self;
  client->first = self;
}

static void unlink_from_client(EndpointObject* self) {
  if (self->previous != NULL) {
    self->previous->next = self->next;
  } else if (self->client->first == self) {
    self->client->first = self->next;
  }
  if (self->next != NULL) self->next->previous = self->previous;
  self->next = NULL;
  self->previous = NULL;
}

static PyObject* endpoint_new(PyTypeObject* type, PyObject* args, PyObject* keywords) {
  static char* names[] = {"client",          "topic",     "role",   "start",       "wait_mode",
                          "flags",           "kind",      "blocks", "block_bytes", "readers",
                          "time_to_live_ms", "max_loans", NULL};
  PyObject* given = NULL;
  struct shimmy_endpoint_options options = {.struct_size = sizeof options};
  struct shimmy_parameters* parameters = &options.parameters;
  if (!PyArg_ParseTupleAndKeywords(
          args, keywords, "O!sI|IIIIIIIII:Endpoint", names, shimmy_client_type, &given,
          &options.topic, &options.role, &options.start, &options.wait_mode, &options.flags,
          &parameters->kind, &parameters->blocks, &parameters->block_bytes, &parameters->readers,
          &parameters->time_to_live_ms, &parameters->max_loans)) {
    return NULL;
  }
  ClientObject* client = (ClientObject*)given;
  if (client->client == NULL || client->forks != shimmy_python_forks) {
    return shimmy_raise_closed("the client is closed");
  }
  allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
  EndpointObject* self = (EndpointObject*)allocate(type, 0);
  if (self == NULL) return NULL;
  self->client = (ClientObject*)Py_NewRef(given);
  self->forks = shimmy_python_forks;
  self->spins = options.wait_mode == SHIMMY_SPIN;
  int status = SHIMMY_OK;
  client->busy++;
  Py_BEGIN_ALLOW_THREADS;
  status = shimmy_attach(client->client, &options, &self->endpoint);
  Py_END_ALLOW_THREADS;
  client->busy--;
  if (status == SHIMMY_OK) {
    link_to_client(self);
    return (PyObject*)self;
  }
  shimmy_raise_last(status);
  Py_DECREF(self);
  return NULL;
}

bool shimmy_enter(EndpointObject* self) {
  if (self->endpoint == NULL || self->is_closing || self->forks != shimmy_python_forks) {
    shimmy_raise_closed("the endpoint is closed");
    return false;
  }
  self->busy++;
  return true;
}

void shimmy_leave(EndpointObject* self) { self->busy--; }

bool shimmy_close_endpoint(EndpointObject* self) {
  if (self->endpoint == NULL || self->is_closing) return true;
  if (self->forks != shimmy_python_forks) {
    self->endpoint = NULL;
    unlink_from_client(self);
    return true;
  }
  if (self->exports > 0) {
    PyErr_SetString(PyExc_BufferError, "cannot close an endpoint while views of its memory exist");
    return false;
  }
  self->is_closing = true;
  while (self->busy > 0) {
    (void)shimmy_interrupt(self->endpoint);
    Py_BEGIN_ALLOW_THREADS;
    (void)nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    Py_END_ALLOW_THREADS;
  }
  shimmy_endpoint* endpoint = self->endpoint;
  self->endpoint = NULL;
  Py_BEGIN_ALLOW_THREADS;
  shimmy_detach(endpoint);
  Py_END_ALLOW_THREADS;
  unlink_from_client(self);
  return true;
}

static PyObject* endpoint_close(PyObject* self, PyObject* ignored) {
  (void)ignored;
  if (!shimmy_close_endpoint(endpoint_of(self))) return NULL;
  Py_RETURN_NONE;
}

// Loans and rooms own their endpoint: there are none any more, and no views.
static void endpoint_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  EndpointObject* endpoint = endpoint_of(self);
  ClientObject* client = endpoint->client;
  (void)shimmy_close_endpoint(endpoint);
  freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
  release(self);
  Py_DECREF(type);
  Py_XDECREF((PyObject*)client);
}

// ---- waiting ----

struct wait {
  int64_t deadline;  // ns of CLOCK_MONOTONIC; -1: for ever
  int64_t timeout;   // of the next call
};

static int64_t now_ns(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

// Reads seconds, or None for ever. False: raised.
static bool wait_until(PyObject* timeout, struct wait* wait) {
  wait->deadline = -1;
  if (timeout == Py_None) return true;
  const double seconds = PyFloat_AsDouble(timeout);
  if (seconds == -1 && PyErr_Occurred() != NULL) return false;
  if (isnan(seconds) || seconds < 0) {
    PyErr_SetString(PyExc_ValueError, "timeout must not be negative; None waits without end");
    return false;
  }
  if (seconds < 1e9) wait->deadline = seconds > 0 ? now_ns() + (int64_t)(seconds * 1e9) : 0;
  return true;
}

static void next_slice(const EndpointObject* self, struct wait* wait) {
  wait->timeout = SHIMMY_FOREVER;
  if (wait->deadline >= 0) {
    wait->timeout = wait->deadline == 0 ? 0 : wait->deadline - now_ns();
    if (wait->timeout < 0) wait->timeout = 0;
  }
  const bool is_long = wait->timeout < 0 || wait->timeout > kSpinSliceNs;
  if (self->spins && is_long) wait->timeout = kSpinSliceNs;
}

// What became of a call: whether to call again.
enum Turn { kDone, kAgain, kRaised };

static enum Turn after(EndpointObject* self, const struct wait* wait, int status) {
  if (status == SHIMMY_OK) return kDone;
  if (self->is_closing) {
    shimmy_raise_closed("the endpoint was closed meanwhile");
    return kRaised;
  }
  const bool was_slice = status == SHIMMY_AGAIN && wait->deadline != 0 &&
                         (wait->deadline < 0 || now_ns() < wait->deadline);
  if (status == SHIMMY_AGAIN && !was_slice) {
    shimmy_raise(status, "SHIMMY_ERR_TIMEOUT", "there was no message, or no room, in time");
    return kRaised;
  }
  if (!was_slice && status != SHIMMY_INTERRUPTED) {
    shimmy_raise_last(status);
    return kRaised;
  }
  if (PyErr_CheckSignals() != 0) return kRaised;
  if (self->interrupts > 0 && status == SHIMMY_INTERRUPTED) {
    self->interrupts = 0;
    shimmy_raise(SHIMMY_INTERRUPTED, "SHIMMY_ERR_CLOSED", "the call was interrupted");
    return kRaised;
  }
  return kAgain;
}

// Calls of the library on one endpoint exclude one another, also while one waits. So only one
// thread waits in there, and lets others in when it is interrupted: those try, and then wait out
// here.
static const int64_t kNapNs = 100000;

static void nap(void) {
  Py_BEGIN_ALLOW_THREADS;
  (void)nanosleep(&(struct timespec){.tv_nsec = kNapNs}, NULL);
  Py_END_ALLOW_THREADS;
}

// The GIL is held if nobody else calls and little is copied: then it is quick.
int shimmy_run_now(EndpointObject* self, struct call* call) {
  int status = SHIMMY_OK;
  if (self->busy == 1 && call->bytes <= kQuickBytes) return call->run(self->endpoint, call, 0);
  self->urgent++;
  do {
    if (self->is_waiting) (void)shimmy_interrupt(self->endpoint);
    Py_BEGIN_ALLOW_THREADS;
    status = call->run(self->endpoint, call, 0);
    Py_END_ALLOW_THREADS;
    // It met the interruption that was for the one who waits.
  } while (status == SHIMMY_INTERRUPTED && !self->is_closing && self->interrupts == 0);
  self->urgent--;
  return status;
}

// Waits in the library for one slice.
static int wait_inside(EndpointObject* self, struct call* call, struct wait* wait) {
  next_slice(self, wait);
  self->is_waiting = true;
  int status = SHIMMY_OK;
  Py_BEGIN_ALLOW_THREADS;
  status = call->run(self->endpoint, call, wait->timeout);
  Py_END_ALLOW_THREADS;
  self->is_waiting = false;
  while (status == SHIMMY_INTERRUPTED && self->urgent > 0) nap();
  return status;
}

// Waits for the turn of waiting.
static int wait_outside(const EndpointObject* self, const struct wait* wait) {
  nap();
  if (wait->deadline >= 0 && now_ns() >= wait->deadline) return SHIMMY_AGAIN;
  return self->is_closing ? SHIMMY_CLOSED : SHIMMY_INTERRUPTED;
}

static bool perform(EndpointObject* self, struct call* call, PyObject* timeout) {
  struct wait wait = {0};
  if (!wait_until(timeout, &wait) || !shimmy_enter(self)) return false;
  int status = shimmy_run_now(self, call);
  while (status != SHIMMY_BUFFER_TOO_SMALL) {
    const enum Turn turn = after(self, &wait, status);
    if (turn != kAgain) {
      shimmy_leave(self);
      return turn == kDone;
    }
    status = self->is_waiting ? wait_outside(self, &wait) : wait_inside(self, call, &wait);
  }
  shimmy_leave(self);
  return true;
}

// ---- arguments ----

// One optional argument `timeout`, behind `count` others, by place or by name. NULL: raised.
static PyObject* timeout_of(PyObject* const* args, Py_ssize_t count, PyObject* names,
                            Py_ssize_t others) {
  const Py_ssize_t named = names == NULL ? 0 : PyTuple_Size(names);
  if (count < others || count + named > others + 1) {
    PyErr_SetString(PyExc_TypeError, "wrong number of arguments");
    return NULL;
  }
  if (named > 0 && PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, 0), "timeout") != 0) {
    PyErr_SetString(PyExc_TypeError, "the only argument by name is timeout");
    return NULL;
  }
  return count + named > others ? args[others] : Py_None;
}

static bool at_once(PyObject** timeout) {
  *timeout = PyLong_FromLong(0);
  return *timeout != NULL;
}

// Turns a timeout of a call that does not wait into false, 1; other errors stay.
static bool was_nothing(void) {
  if (PyErr_ExceptionMatches(PyExc_TimeoutError) == 0) return false;
  PyErr_Clear();
  return true;
}

// ---- writers ----

static int run_publish(shimmy_endpoint* endpoint, struct call* call, int64_t timeout) {
  return shimmy_publish(endpoint, call->data, call->bytes, timeout);
}

static bool publish(PyObject* self, PyObject* data, PyObject* timeout) {
  Py_buffer buffer;
  if (PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE) != 0) return false;
  struct call call = {.run = run_publish, .data = buffer.buf, .bytes = (size_t)buffer.len};
  if (call.data == NULL) call.data = "";
  const bool is_done = perform(endpoint_of(self), &call, timeout);
  PyBuffer_Release(&buffer);
  return is_done;
}

static PyObject* endpoint_publish(PyObject* self, PyObject* const* args, Py_ssize_t count,
                                  PyObject* names) {
  PyObject* timeout = timeout_of(args, count, names, 1);
  if (timeout == NULL || !publish(self, args[0], timeout)) return NULL;
  Py_RETURN_NONE;
}

static PyObject* endpoint_try_publish(PyObject* self, PyObject* data) {
  PyObject* timeout = NULL;
  if (!at_once(&timeout)) return NULL;
  const bool is_done = publish(self, data, timeout);
  Py_DECREF(timeout);
  if (!is_done && !was_nothing()) return NULL;
  return PyBool_FromLong(is_done);
}

static int run_reserve(shimmy_endpoint* endpoint, struct call* call, int64_t timeout) {
  return shimmy_reserve(endpoint, call->bytes, timeout, &call->room);
}

static PyObject* reserve(PyObject* self, PyObject* size, PyObject* timeout) {
  const Py_ssize_t bytes = PyNumber_AsSsize_t(size, PyExc_OverflowError);
  if (bytes == -1 && PyErr_Occurred() != NULL) return NULL;
  if (bytes < 0) {
    PyErr_SetString(PyExc_ValueError, "a room has at least 0 bytes");
    return NULL;
  }
  struct call call = {.run = run_reserve, .bytes = (size_t)bytes};
  if (!perform(endpoint_of(self), &call, timeout)) return NULL;
  PyObject* room = shimmy_room_new(endpoint_of(self), &call.room);
  if (room == NULL) (void)shimmy_cancel(endpoint_of(self)->endpoint, &call.room);
  return room;
}

static PyObject* endpoint_reserve(PyObject* self, PyObject* const* args, Py_ssize_t count,
                                  PyObject* names) {
  PyObject* timeout = timeout_of(args, count, names, 1);
  return timeout == NULL ? NULL : reserve(self, args[0], timeout);
}

static PyObject* endpoint_try_reserve(PyObject* self, PyObject* size) {
  PyObject* timeout = NULL;
  if (!at_once(&timeout)) return NULL;
  PyObject* room = reserve(self, size, timeout);
  Py_DECREF(timeout);
  if (room != NULL || !was_nothing()) return room;
  Py_RETURN_NONE;
}

static int run_end(shimmy_endpoint* endpoint, struct call* call, int64_t timeout) {
  (void)call;
  (void)timeout;
  return shimmy_end(endpoint);
}

static PyObject* endpoint_end(PyObject* self, PyObject* ignored) {
  (void)ignored;
  struct call call = {.run = run_end};
  if (!perform(endpoint_of(self), &call, Py_None)) return NULL;
  Py_RETURN_NONE;
}

static int run_drain(shimmy_endpoint* endpoint, struct call* call, int64_t timeout) {
  (void)call;
  return shimmy_drain(endpoint, timeout);
}

static PyObject* endpoint_drain(PyObject* self, PyObject* const* args, Py_ssize_t count,
                                PyObject* names) {
  PyObject* timeout = timeout_of(args, count, names, 0);
  struct call call = {.run = run_drain};
  if (timeout == NULL || !perform(endpoint_of(self), &call, timeout)) return NULL;
  Py_RETURN_NONE;
}

// ---- readers ----

static int run_take(shimmy_endpoint* endpoint, struct call* call, int64_t timeout) {
  return shimmy_take(endpoint, call->to, call->bytes, timeout, &call->message);
}

// Steals `first`.
static PyObject* marked(PyTypeObject* type, PyObject* first, const struct shimmy_message* message) {
  PyObject* made = first == NULL ? NULL : PyStructSequence_New(type);
  if (made == NULL) {
    Py_XDECREF(first);
    return NULL;
  }
  PyStructSequence_SetItem(made, 0, first);
  PyStructSequence_SetItem(made, 1, PyLong_FromUnsignedLongLong(message->sequence));
  PyStructSequence_SetItem(made, 2, PyLong_FromUnsignedLongLong(message->generation));
  PyStructSequence_SetItem(made, 3, shimmy_missed(message->missed));
  if (PyErr_Occurred() == NULL) return made;
  Py_DECREF(made);
  return NULL;
}

static bool is_too_small(const struct call* call) { return call->message.bytes > call->bytes; }

static PyObject* take(PyObject* self, PyObject* timeout) {
  unsigned char small[kStackBytes];
  struct call call = {.run = run_take, .to = small, .bytes = sizeof small};
  if (!perform(endpoint_of(self), &call, timeout)) return NULL;
  if (!is_too_small(&call)) {
    PyObject* data = PyBytes_FromStringAndSize((const char*)small, (Py_ssize_t)call.message.bytes);
    return marked(shimmy_message_type, data, &call.message);
  }
  // Another thread may take it meanwhile, and the next one be of another size.
  for (;;) {
    const size_t bytes = call.message.bytes;
    PyObject* data = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)bytes);
    if (data == NULL) return NULL;
    call = (struct call){.run = run_take, .to = PyBytes_AsString(data), .bytes = bytes};
    if (!perform(endpoint_of(self), &call, timeout)) {
      Py_DECREF(data);
      return NULL;
    }
    if (call.message.bytes == bytes) return marked(shimmy_message_type, data, &call.message);
    if (!is_too_small(&call)) {
      PyObject* part =
          PyBytes_FromStringAndSize(PyBytes_AsString(data), (Py_ssize_t)call.message.bytes);
      Py_DECREF(data);
      return marked(shimmy_message_type, part, &call.message);
    }
    Py_DECREF(data);
  }
}

static PyObject* endpoint_take(PyObject* self, PyObject* const* args, Py_ssize_t count,
                               PyObject* names) {
  PyObject* timeout = timeout_of(args, count, names, 0);
  return timeout == NULL ? NULL : take(self, timeout);
}

static PyObject* without_wait(PyObject* self, PyObject* (*run)(PyObject*, PyObject*)) {
  PyObject* timeout = NULL;
  if (!at_once(&timeout)) return NULL;
  PyObject* result = run(self, timeout);
  Py_DECREF(timeout);
  if (result != NULL || !was_nothing()) return result;
  Py_RETURN_NONE;
}

static PyObject* endpoint_try_take(PyObject* self, PyObject* ignored) {
  (void)ignored;
  return without_wait(self, take);
}

static PyObject* take_into(PyObject* self, PyObject* to, PyObject* timeout) {
  Py_buffer buffer;
  if (PyObject_GetBuffer(to, &buffer, PyBUF_WRITABLE) != 0) return NULL;
  unsigned char none[1];
  struct call call = {.run = run_take, .to = buffer.buf, .bytes = (size_t)buffer.len};
  if (call.to == NULL) call.to = none;
  const bool is_done = perform(endpoint_of(self), &call, timeout);
  PyBuffer_Release(&buffer);
  if (!is_done) return NULL;
  if (is_too_small(&call)) return shimmy_raise_last(SHIMMY_BUFFER_TOO_SMALL);
  return marked(shimmy_message_into_type, PyLong_FromSize_t(call.message.bytes), &call.message);
}

static PyObject* endpoint_take_into(PyObject* self, PyObject* const* args, Py_ssize_t count,
                                    PyObject* names) {
  PyObject* timeout = timeout_of(args, count, names, 1);
  return timeout == NULL ? NULL : take_into(self, args[0], timeout);
}

static int run_loan(shimmy_endpoint* endpoint, struct call* call, int64_t timeout) {
  return shimmy_loan(endpoint, timeout, &call->message);
}

static PyObject* loan(PyObject* self, PyObject* timeout) {
  struct call call = {.run = run_loan};
  if (!perform(endpoint_of(self), &call, timeout)) return NULL;
  PyObject* made = shimmy_loan_new(endpoint_of(self), &call.message);
  if (made == NULL) (void)shimmy_release(endpoint_of(self)->endpoint, &call.message);
  return made;
}

static PyObject* endpoint_loan(PyObject* self, PyObject* const* args, Py_ssize_t count,
                               PyObject* names) {
  PyObject* timeout = timeout_of(args, count, names, 0);
  return timeout == NULL ? NULL : loan(self, timeout);
}

static PyObject* endpoint_try_loan(PyObject* self, PyObject* ignored) {
  (void)ignored;
  return without_wait(self, loan);
}

// ---- event loops, and what is known ----

static PyObject* endpoint_fileno(PyObject* self, PyObject* ignored) {
  (void)ignored;
  if (!shimmy_enter(endpoint_of(self))) return NULL;
  const int fd = shimmy_fd(endpoint_of(self)->endpoint);
  shimmy_leave(endpoint_of(self));
  return PyLong_FromLong(fd);
}

static int run_arm(shimmy_endpoint* endpoint, struct call* call, int64_t timeout) {
  (void)timeout;
  return shimmy_arm(endpoint, call->bytes);
}

// True: try now; false: when the descriptor is readable.
static PyObject* endpoint_arm(PyObject* self, PyObject* args) {
  Py_ssize_t bytes = 0;
  if (!PyArg_ParseTuple(args, "|n:arm", &bytes) || !shimmy_enter(endpoint_of(self))) return NULL;
  struct call call = {.run = run_arm, .bytes = (size_t)bytes};
  const int status = shimmy_run_now(endpoint_of(self), &call);
  shimmy_leave(endpoint_of(self));
  // Whatever else it says, the next call says too, and raises.
  return PyBool_FromLong(status != SHIMMY_AGAIN);
}

static PyObject* endpoint_interrupt(PyObject* self, PyObject* ignored) {
  (void)ignored;
  if (!shimmy_enter(endpoint_of(self))) return NULL;
  endpoint_of(self)->interrupts++;
  (void)shimmy_interrupt(endpoint_of(self)->endpoint);
  shimmy_leave(endpoint_of(self));
  Py_RETURN_NONE;
}

static PyObject* endpoint_describe(PyObject* self, PyObject* ignored) {
  (void)ignored;
  if (!shimmy_enter(endpoint_of(self))) return NULL;
  struct shimmy_info info = {.struct_size = sizeof info};
  const int status = shimmy_describe(endpoint_of(self)->endpoint, &info);
  shimmy_leave(endpoint_of(self));
  if (status != SHIMMY_OK) return shimmy_raise_last(status);
  const struct shimmy_parameters* parameters = &info.parameters;
  return Py_BuildValue("sKIIIIIIIIK", info.topic, (unsigned long long)info.channel,
                       parameters->kind, parameters->blocks, parameters->block_bytes,
                       parameters->readers, parameters->time_to_live_ms, parameters->max_loans,
                       info.state, info.peers, (unsigned long long)info.max_bytes);
}

static PyObject* endpoint_counters(PyObject* self, PyObject* ignored) {
  (void)ignored;
  if (!shimmy_enter(endpoint_of(self))) return NULL;
  struct shimmy_counters counters = {.struct_size = sizeof counters};
  const int status = shimmy_counters(endpoint_of(self)->endpoint, &counters);
  shimmy_leave(endpoint_of(self));
  if (status != SHIMMY_OK) return shimmy_raise_last(status);
  return Py_BuildValue("KKKKKKKKKKK", (unsigned long long)counters.messages,
                       (unsigned long long)counters.bytes, (unsigned long long)counters.missed,
                       (unsigned long long)counters.missed_unknown,
                       (unsigned long long)counters.expired, (unsigned long long)counters.wakes,
                       (unsigned long long)counters.bells, (unsigned long long)counters.sleeps,
                       (unsigned long long)counters.links, (unsigned long long)counters.rings,
                       (unsigned long long)counters.dropped_peers);
}

static PyObject* endpoint_is_closed(PyObject* self, void* ignored) {
  (void)ignored;
  const EndpointObject* endpoint = endpoint_of(self);
  return PyBool_FromLong(endpoint->endpoint == NULL || endpoint->is_closing ||
                         endpoint->forks != shimmy_python_forks);
}

#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef endpoint_methods[] = {
    {"_publish", FAST(endpoint_publish), NULL},
    {"_try_publish", endpoint_try_publish, METH_O, NULL},
    {"_reserve", FAST(endpoint_reserve), NULL},
    {"_try_reserve", endpoint_try_reserve, METH_O, NULL},
    {"_end", endpoint_end, METH_NOARGS, NULL},
    {"_drain", FAST(endpoint_drain), NULL},
    {"_take", FAST(endpoint_take), NULL},
    {"_try_take", endpoint_try_take, METH_NOARGS, NULL},
    {"_take_into", FAST(endpoint_take_into), NULL},
    {"_loan", FAST(endpoint_loan), NULL},
    {"_try_loan", endpoint_try_loan, METH_NOARGS, NULL},
    {"_close", endpoint_close, METH_NOARGS, NULL},
    {"_describe", endpoint_describe, METH_NOARGS, NULL},
    {"_counters", endpoint_counters, METH_NOARGS, NULL},
    {"fileno", endpoint_fileno, METH_NOARGS, NULL},
    {"arm", endpoint_arm, METH_VARARGS, NULL},
    {"interrupt", endpoint_interrupt, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef endpoint_properties[] = {
    {"is_closed", endpoint_is_closed, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot endpoint_slots[] = {
    {Py_tp_new, endpoint_new},
    {Py_tp_dealloc, endpoint_dealloc},
    {Py_tp_methods, endpoint_methods},
    {Py_tp_getset, endpoint_properties},
    {0, NULL},
};

PyType_Spec shimmy_endpoint_spec = {
    .name = "shimmy_ipc._shimmy.Endpoint",
    .basicsize = sizeof(EndpointObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = endpoint_slots,
};
