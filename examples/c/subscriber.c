/*
 * Adds readings up until there are no more, in an event loop: subscriber TOPIC
 *   cc subscriber.c $(pkg-config --cflags --libs shimmy)
 */
#include <poll.h>
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

  const struct shimmy_endpoint_options options = {
      .struct_size = sizeof options,
      .topic = argv[1],
      .role = SHIMMY_SUBSCRIBER,
      .start = SHIMMY_OLDEST,
      .flags = SHIMMY_CREATE,
      .parameters = {.kind = SHIMMY_LOCK_FREE, .time_to_live_ms = 2000}};
  shimmy_endpoint* subscriber = NULL;
  if (shimmy_attach(client, &options, &subscriber) != SHIMMY_OK) return fail("attach");

  double sum = 0;
  unsigned long count = 0;
  for (;;) {
    double reading = 0;
    struct shimmy_message message;
    const int status = shimmy_take(subscriber, &reading, sizeof reading, 0, &message);
    if (status == SHIMMY_END) break;
    if (status == SHIMMY_OK) {
      if (message.missed != 0) (void)fprintf(stderr, "some were missed\n");
      sum += reading;
      count++;
      continue;
    }
    if (status != SHIMMY_AGAIN) return fail("take");
    /* Armed, the descriptor tells when it is worth while to try again. */
    struct pollfd polled = {.fd = shimmy_fd(subscriber), .events = POLLIN};
    if (shimmy_arm(subscriber, 0) == SHIMMY_AGAIN) (void)poll(&polled, 1, -1);
  }
  (void)printf("%lu readings, sum %g\n", count, sum);
  shimmy_detach(subscriber);
  shimmy_client_close(client);
  return 0;
}
