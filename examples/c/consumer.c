/*
 * Does jobs until there are no more: consumer TOPIC
 *   cc consumer.c $(pkg-config --cflags --libs shimmy)
 */
#include <shimmy.h>
#include <stdio.h>

static int fail(const char* what) {
  struct shimmy_error error;
  shimmy_last_error(&error);
  (void)fprintf(stderr, "%s: %s: %s\n", what, error.code, error.message);
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  shimmy_client* client = NULL;
  if (shimmy_client_open(NULL, &client) != SHIMMY_OK) return fail("open");

  const struct shimmy_endpoint_options options = {.struct_size = sizeof options,
                                                  .topic = argv[1],
                                                  .role = SHIMMY_CONSUMER,
                                                  .flags = SHIMMY_CREATE,
                                                  .parameters = {.kind = SHIMMY_LOCK_BASED}};
  shimmy_endpoint* consumer = NULL;
  if (shimmy_attach(client, &options, &consumer) != SHIMMY_OK) return fail("attach");

  for (;;) {
    /* Read in place. Should we die before the release, our successor gets the job again. */
    struct shimmy_message message;
    const int status = shimmy_loan(consumer, SHIMMY_FOREVER, &message);
    if (status == SHIMMY_END) break;
    if (status == SHIMMY_INTERRUPTED) continue;
    if (status != SHIMMY_OK) return fail("loan");
    (void)printf("%.*s\n", (int)message.bytes, (const char*)message.data);
    if (shimmy_release(consumer, &message) != SHIMMY_OK) return fail("release");
  }
  shimmy_detach(consumer);
  shimmy_client_close(client);
  return 0;
}
