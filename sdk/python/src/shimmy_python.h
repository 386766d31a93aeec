// The extension module shimmy_ipc._shimmy: clients, endpoints, loans and rooms over libshimmy.so.1.
//
//   P1  the GIL is held wherever fields of these objects are used, and is not while a call may wait
//   P2  `busy` counts calls under way; an endpoint is detached at 0 only, so none uses it after
//   that P3  `exports` counts views of shared memory; nothing is given back while there are any P4
//   loans and rooms own their endpoint, endpoints own their client: memory outlives its views P5 in
//   a child of fork() nothing reaches the library, for it shares all with the parent
#ifndef SHIMMY_PYTHON_H_
#define SHIMMY_PYTHON_H_

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000  // 3.11: the first with buffers
#endif
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>

#include "shimmy.h"

typedef struct EndpointObject EndpointObject;

typedef struct {
  PyObject_HEAD shimmy_client* client;  // NULL: closed
  unsigned forks;                       // P5
  int busy;                             // P2: attaches under way
  EndpointObject* first;                // its open endpoints
} ClientObject;

struct EndpointObject {
  PyObject_HEAD shimmy_endpoint* endpoint;  // NULL: closed
  ClientObject* client;
  EndpointObject* next;  // of the client's
  EndpointObject* previous;
  unsigned forks;
  bool is_closing;
  bool spins;
  bool is_waiting;  // a call waits in the library
  int busy;
  int urgent;          // calls that want in before it waits again
  int interrupts;      // asked for by interrupt(), not yet raised
  Py_ssize_t exports;  // P3
};

typedef struct {
  PyObject_HEAD EndpointObject* endpoint;
  struct shimmy_message message;  // .loan is 0: released
  Py_ssize_t exports;
} LoanObject;

typedef struct {
  PyObject_HEAD EndpointObject* endpoint;
  struct shimmy_room room;  // .id is 0: committed or cancelled
  Py_ssize_t exports;
} RoomObject;

// How many times this process has forked, as its children count.
extern unsigned shimmy_python_forks;

// Types of the module; made when it is imported.
extern PyTypeObject* shimmy_client_type;
extern PyTypeObject* shimmy_endpoint_type;
extern PyTypeObject* shimmy_loan_type;
extern PyTypeObject* shimmy_room_type;
extern PyTypeObject* shimmy_message_type;
extern PyTypeObject* shimmy_message_into_type;

extern PyType_Spec shimmy_client_spec;
extern PyType_Spec shimmy_endpoint_spec;
extern PyType_Spec shimmy_loan_spec;
extern PyType_Spec shimmy_room_spec;

// Raise; return NULL.
PyObject* shimmy_raise_last(int status);
PyObject* shimmy_raise_closed(const char* what);
PyObject* shimmy_raise(int status, const char* code, const char* message);

// loan.array(dtype, shape) by the package's helper.
PyObject* shimmy_array(PyObject* self, PyObject* args, PyObject* keywords);

// One call with all that it needs.
struct call {
  int (*run)(shimmy_endpoint* endpoint, struct call* call, int64_t timeout);
  const void* data;
  void* to;
  size_t bytes;
  struct shimmy_message message;
  struct shimmy_room room;
};

// Makes a call that does not wait, also while another thread waits. Between enter and leave.
int shimmy_run_now(EndpointObject* self, struct call* call);

// Counts a call in, if the endpoint is open (else raises, and false); and out.
bool shimmy_enter(EndpointObject* self);
void shimmy_leave(EndpointObject* self);

// Detaches. False: raised, for there are views.
bool shimmy_close_endpoint(EndpointObject* self);

PyObject* shimmy_loan_new(EndpointObject* endpoint, const struct shimmy_message* message);
PyObject* shimmy_room_new(EndpointObject* endpoint, const struct shimmy_room* room);

// None for SHIMMY_MISSED_UNKNOWN.
PyObject* shimmy_missed(uint64_t missed);

#endif  // SHIMMY_PYTHON_H_
