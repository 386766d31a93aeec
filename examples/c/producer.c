/*
 * Writes jobs for one consumer: producer TOPIC COUNT
 *   cc producer.c $(pkg-config --cflags --libs shimmy)
 */
#include <shimmy.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(const char* what) {
  struct shimmy_error error;
  shimmy_last_error(&error);
  (void)fprintf(stderr, "%s: %s: %s\n", what, error.code, error.message);
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  shimmy_client* client = NULL;
  if (shimmy_client_open(NULL, &client) != SHIMMY_OK) return fail("open");

  /* Whoever comes first makes the channel. What is 0 has its default. */
  const struct shimmy_endpoint_options options = {.struct_size = sizeof options,
                                                  .topic = argv[1],
                                                  .role = SHIMMY_PRODUCER,
                                                  .flags = SHIMMY_CREATE,
                                                  .parameters = {.kind = SHIMMY_LOCK_BASED}};
  shimmy_endpoint* producer = NULL;
  if (shimmy_attach(client, &options, &producer) != SHIMMY_OK) return fail("attach");

  for (long i = 0; i < strtol(argv[2], NULL, 10); i++) {
    /* Written where the consumer reads it: nothing is copied. */
    struct shimmy_room room;
    if (shimmy_reserve(producer, 100, SHIMMY_FOREVER, &room) != SHIMMY_OK) return fail("reserve");
    const int length = snprintf(room.data, room.bytes, "job %ld", i);
    if (shimmy_commit(producer, &room, (size_t)length) != SHIMMY_OK) return fail("commit");
  }
  if (shimmy_end(producer) != SHIMMY_OK) return fail("end");
  /* A producer that leaves earlier loses nothing while the agent is there. */
  if (shimmy_drain(producer, SHIMMY_FOREVER) != SHIMMY_OK) return fail("drain");
  shimmy_detach(producer);
  shimmy_client_close(client);
  return 0;
}
