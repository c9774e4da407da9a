/* The part of CUDA's driver interface that the doubles play, and what the doubles share among themselves. */
#ifndef DOUBLES_CUDA_H
#define DOUBLES_CUDA_H
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_READY = 600 };

/* REALHF_DOUBLE_FAIL="name:code[:after]": that function returns code, from its call number `after` (0 first) on. */
static inline int injected(const char *name) {
  const char *spec = getenv("REALHF_DOUBLE_FAIL");
  size_t n = strlen(name);
  if (!spec || strncmp(spec, name, n) || spec[n] != ':') return 0;
  char *end;
  long code = strtol(spec + n + 1, &end, 10), after = *end == ':' ? strtol(end + 1, NULL, 10) : 0;
  static long calls;
  return __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED) >= after ? (int)code : 0;
}

/* A stream runs its work in order on a thread of its own. */
void double_stream_push(void *stream, void (*work)(void *), void *argument);
#endif
