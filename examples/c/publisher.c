/*
 * Tells all subscribers a number of readings: publisher TOPIC COUNT SUBSCRIBERS
 *   cc publisher.c $(pkg-config --cflags --libs shimmy)
 */
#include <shimmy.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int fail(const char* what) {
  struct shimmy_error error;
  shimmy_last_error(&error);
  (void)fprintf(stderr, "%s: %s: %s\n", what, error.code, error.message);
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  shimmy_client* client = NULL;
  if (shimmy_client_open(NULL, &client) != SHIMMY_OK) return fail("open");

  /* A reading is told for 2 s at least; later it may give way to new ones. */
  const struct shimmy_endpoint_options options = {
      .struct_size = sizeof options,
      .topic = argv[1],
      .role = SHIMMY_PUBLISHER,
      .flags = SHIMMY_CREATE,
      .parameters = {.kind = SHIMMY_LOCK_FREE, .time_to_live_ms = 2000}};
  shimmy_endpoint* publisher = NULL;
  if (shimmy_attach(client, &options, &publisher) != SHIMMY_OK) return fail("attach");

  struct shimmy_info info = {.struct_size = sizeof info};
  do {
    const struct timespec nap = {.tv_nsec = 10000000};
    (void)nanosleep(&nap, NULL);
    if (shimmy_describe(publisher, &info) != SHIMMY_OK) return fail("describe");
  } while (info.peers < strtoul(argv[3], NULL, 10));

  for (long i = 0; i < strtol(argv[2], NULL, 10); i++) {
    const double reading = (double)i / 2;
    if (shimmy_publish(publisher, &reading, sizeof reading, SHIMMY_FOREVER) != SHIMMY_OK) {
      return fail("publish");
    }
  }
  if (shimmy_end(publisher) != SHIMMY_OK) return fail("end");
  shimmy_detach(publisher);
  shimmy_client_close(client);
  return 0;
}
