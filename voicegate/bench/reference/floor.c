/* What a processor's own lateness is: sleeps to an absolute schedule and sees how late it wakes up.

     floor PERIOD_SECONDS

   It prints {} when it is ready; for each line of its standard input, which is a number of seconds, it sleeps
   that long, period by period, and prints {"wakes": count, "p50":, "p99":, "p999":, "max": seconds late}. It
   ends with its standard input. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

static int compare(const void *one, const void *two) {
  double a = *(const double *)one, b = *(const double *)two;
  return (a > b) - (a < b);
}

int main(int count, char **arguments) {
  double period = count == 2 ? atof(arguments[1]) : 0, seconds;
  if (period <= 0) return 2;
  puts("{}");
  fflush(stdout);
  while (scanf("%lf", &seconds) == 1) {
    size_t wakes = seconds / period;
    double *late = calloc(wakes + 1, sizeof *late), begin = now();
    if (!wakes || !late) return 2;
    for (size_t i = 0; i < wakes; i++) {
      double due = begin + (i + 1) * period;
      struct timespec time = {.tv_sec = due, .tv_nsec = (due - (time_t)due) * 1e9};
      clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
      late[i] = now() - due;
    }
    qsort(late, wakes, sizeof *late, compare);
    printf("{\"wakes\": %zu, \"p50\": %.7f, \"p99\": %.7f, \"p999\": %.7f, \"max\": %.7f}\n", wakes,
           late[wakes / 2], late[(size_t)(wakes * 0.99)], late[(size_t)(wakes * 0.999)], late[wakes - 1]);
    fflush(stdout);
    free(late);
  }
}
