/*
 * A double of libnccl between processes: every communicator is a piece of POSIX shared memory with a slot for each
 * rank and a pipe for each pair. It works on streams of the double of libcuda, sums in rank order, and sees a dead peer
 * by its process number. -DWITHOUT_GROUP leaves a symbol out.
 */
#define _GNU_SOURCE
#include "cuda.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { NCCL_OK = 0, NCCL_CUDA = 1, NCCL_SYSTEM = 2, NCCL_INTERNAL = 3, NCCL_ARGUMENT = 4, NCCL_USAGE = 5, NCCL_REMOTE = 6, NCCL_PROGRESS = 7 };
enum { MAX_RANKS = 8, SLOT = 256 * 1024, PIPE = 64 * 1024 };
enum { BROADCAST, ALL_REDUCE, ALL_GATHER, REDUCE_SCATTER, SEND, RECV };

typedef struct { char internal[128]; } ncclUniqueId;
typedef struct { size_t size; unsigned magic, version; int blocking; } Config;

typedef struct {
  int joined, arrived;
  unsigned generation;
  int pid[MAX_RANKS];
  uint64_t written[MAX_RANKS * MAX_RANKS], read[MAX_RANKS * MAX_RANKS];
  uint8_t slot[MAX_RANKS][SLOT];
  uint8_t pipe[MAX_RANKS * MAX_RANKS][PIPE];
} Shared;

typedef struct {
  Shared *m;
  int rank, size, state, aborted, pending;
  ncclUniqueId id;
} Comm;

typedef struct {
  int kind, peer, type;
  const uint8_t *from;
  uint8_t *to;
  size_t count, done;
} Op;

typedef struct Batch {
  struct Batch *next;
  Comm *comm;
  void *stream;
  int n;
  Op ops[64];
} Batch;

static __thread int depth;
static __thread Batch *open_batches;
static char last_error[256] = "";

#define LOAD(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define STORE(x, v) __atomic_store_n(&(x), v, __ATOMIC_RELEASE)

/* Called in every wait: 0 when it must end. */
static int go_on(Comm *c, unsigned *turn) {
  if (LOAD(c->aborted)) return 0;
  if (++*turn < 200) {
    sched_yield();
    return 1;
  }
  struct timespec t = {0, 100000};
  nanosleep(&t, NULL);
  if (*turn % 16 == 0)
    for (int r = 0; r < c->size; r++) {
      int pid = LOAD(c->m->pid[r]);
      if (pid > 0 && kill(pid, 0) && errno == ESRCH) {
        snprintf(last_error, sizeof last_error, "a peer's process is gone");
        STORE(c->state, NCCL_REMOTE);
        return 0;
      }
    }
  return 1;
}

static int barrier(Comm *c) {
  Shared *m = c->m;
  unsigned generation = LOAD(m->generation), turn = 0;
  if (__atomic_add_fetch(&m->arrived, 1, __ATOMIC_ACQ_REL) == c->size) {
    STORE(m->arrived, 0);
    __atomic_add_fetch(&m->generation, 1, __ATOMIC_ACQ_REL);
    return 1;
  }
  while (LOAD(m->generation) == generation)
    if (!go_on(c, &turn)) return 0;
  return 1;
}

static size_t width(int type) { return type == 6 ? 2 : type == 0 || type == 1 ? 1 : type == 8 || type == 4 || type == 5 ? 8 : 4; }

static float from_half(uint16_t h) {
  union { uint32_t u; float f; } x, magic = {.u = 113u << 23};
  uint32_t e = h & 0x7c00u;
  x.u = (uint32_t)(h & 0x7fffu) << 13;
  if (e == 0x7c00u) x.u += (255u - 31u) << 23;
  else if (e) x.u += 112u << 23;
  else { x.u += 113u << 23; x.f -= magic.f; }
  x.u |= (uint32_t)(h & 0x8000u) << 16;
  return x.f;
}
static uint16_t to_half(float f) {
  _Float16 h = (_Float16)f;
  uint16_t u;
  memcpy(&u, &h, 2);
  return u;
}

static void sum(Comm *c, uint8_t *to, size_t offset, size_t n, int type) {
  for (size_t i = 0; i < n; i++) {
    size_t at = offset + i * width(type);
    if (type == 6) {
      float s = 0;
      for (int r = 0; r < c->size; r++) { uint16_t h; memcpy(&h, c->m->slot[r] + at, 2); s += from_half(h); }
      uint16_t h = to_half(s);
      memcpy(to + i * 2, &h, 2);
    } else if (type == 7) {
      float s, x;
      memcpy(&s, c->m->slot[0] + at, 4);
      for (int r = 1; r < c->size; r++) { memcpy(&x, c->m->slot[r] + at, 4); s += x; }
      memcpy(to + i * 4, &s, 4);
    } else {
      uint32_t s = 0, x;
      for (int r = 0; r < c->size; r++) { memcpy(&x, c->m->slot[r] + at, 4); s += x; }
      memcpy(to + i * 4, &s, 4);
    }
  }
}

static int collective(Comm *c, Op *o) {
  size_t w = width(o->type), window = SLOT / MAX_RANKS / w;
  for (size_t at = 0; at < o->count; at += window) {
    size_t n = o->count - at < window ? o->count - at : window, pieces = o->kind == REDUCE_SCATTER ? (size_t)c->size : 1;
    if (o->kind != BROADCAST || c->rank == o->peer)
      for (size_t p = 0; p < pieces; p++) memcpy(c->m->slot[c->rank] + p * n * w, o->from + (p * o->count + at) * w, n * w);
    if (!barrier(c)) return 0;
    if (o->kind == BROADCAST) memmove(o->to + at * w, c->m->slot[o->peer], n * w);
    if (o->kind == ALL_REDUCE) sum(c, o->to + at * w, 0, n, o->type);
    if (o->kind == REDUCE_SCATTER) sum(c, o->to + at * w, c->rank * n * w, n, o->type);
    if (o->kind == ALL_GATHER)
      for (int r = 0; r < c->size; r++) memcpy(o->to + (r * o->count + at) * w, c->m->slot[r], n * w);
    if (!barrier(c)) return 0;
  }
  return 1;
}

/* Moves what can be moved; 1 when the operation is done. */
static int step(Comm *c, Op *o) {
  Shared *m = c->m;
  size_t bytes = o->count * width(o->type);
  int k = o->kind == SEND ? c->rank * MAX_RANKS + o->peer : o->peer * MAX_RANKS + c->rank;
  uint64_t written = LOAD(m->written[k]), read = LOAD(m->read[k]);
  size_t room = o->kind == SEND ? PIPE - (written - read) : written - read;
  size_t at = (o->kind == SEND ? written : read) % PIPE, n = bytes - o->done;
  if (n > room) n = room;
  if (n > PIPE - at) n = PIPE - at;
  if (o->kind == SEND) {
    memcpy(m->pipe[k] + at, o->from + o->done, n);
    STORE(m->written[k], written + n);
  } else {
    memcpy(o->to + o->done, m->pipe[k] + at, n);
    STORE(m->read[k], read + n);
  }
  o->done += n;
  /* Like NCCL's large messages: a send ends when all of it was taken. */
  return o->done == bytes && (o->kind == RECV || LOAD(m->read[k]) >= LOAD(m->written[k]));
}

static void run(void *p) {
  Batch *b = p;
  Comm *c = b->comm;
  unsigned turn = 0;
  int ok = LOAD(c->state) != NCCL_REMOTE;
  while (LOAD(c->m->joined) < c->size && ok) ok = go_on(c, &turn);
  int left = 0;
  for (int i = 0; i < b->n && ok; i++)
    if (b->ops[i].kind >= SEND) left++;
    else ok = collective(c, &b->ops[i]);
  char finished[64] = {0};
  while (left && ok) {
    int moved = 0;
    for (int i = 0; i < b->n; i++) {
      /* In order for each direction of a pair: an earlier one that isn't done holds this one back. */
      if (b->ops[i].kind < SEND || finished[i]) continue;
      int blocked = 0;
      for (int j = 0; j < i; j++)
        blocked |= !finished[j] && b->ops[j].kind == b->ops[i].kind && b->ops[j].peer == b->ops[i].peer;
      if (blocked) continue;
      size_t before = b->ops[i].done;
      if (step(c, &b->ops[i])) {
        finished[i] = 1;
        left--;
        moved = 1;
      }
      moved |= b->ops[i].done != before;
    }
    if (moved) turn = 0;
    else if (left) ok = go_on(c, &turn);
  }
  __atomic_sub_fetch(&c->pending, 1, __ATOMIC_ACQ_REL);
  free(b);
}

static void launch(Batch *b) {
  __atomic_add_fetch(&b->comm->pending, 1, __ATOMIC_ACQ_REL);
  double_stream_push(b->stream, run, b);
}

static int add(Op o, Comm *c, void *stream, const char *name) {
  int code = injected(name);
  if (code) {
    snprintf(last_error, sizeof last_error, "%s fails as the double was told", name);
    return code;
  }
  if (!c || o.peer < 0 || o.peer >= c->size) return NCCL_ARGUMENT;
  Batch *b = open_batches;
  while (b && (b->comm != c || b->n == 64)) b = b->next;
  if (!b) {
    b = calloc(1, sizeof *b);
    b->comm = c;
    b->stream = stream;
    if (depth) {
      b->next = open_batches;
      open_batches = b;
    }
  }
  b->ops[b->n++] = o;
  if (!depth) launch(b);
  return NCCL_OK;
}

int ncclGetVersion(int *v) {
  const char *e = getenv("REALHF_DOUBLE_NCCL");
  *v = e ? atoi(e) : 22800;
  return NCCL_OK;
}
const char *ncclGetErrorString(int r) { return r == NCCL_INTERNAL ? "internal error" : r == NCCL_REMOTE ? "remote process exited or there was a network error" : "error of the double"; }
const char *ncclGetLastError(void *c) { (void)c; return last_error; }

int ncclGetUniqueId(ncclUniqueId *id) {
  static int n;
  int code = injected("ncclGetUniqueId");
  if (code) return code;
  memset(id, 0, sizeof *id);
  /* A NUL first, as a real id may have one anywhere. */
  snprintf(id->internal + 1, 100, "/realhf-nccl-%d-%d-%ld", getpid(), n++, (long)time(NULL));
  return NCCL_OK;
}

static void *join_all(void *p) {
  Comm *c = p;
  unsigned turn = 0;
  while (LOAD(c->m->joined) < c->size)
    if (!go_on(c, &turn)) break;
  if (LOAD(c->state) == NCCL_PROGRESS) STORE(c->state, LOAD(c->aborted) ? NCCL_SYSTEM : NCCL_OK);
  if (c->rank == 0) shm_unlink(c->id.internal + 1);
  __atomic_sub_fetch(&c->pending, 1, __ATOMIC_ACQ_REL);
  return NULL;
}

int ncclCommInitRankConfig(Comm **out, int size, ncclUniqueId id, int rank, const Config *config) {
  int code = injected("ncclCommInitRankConfig");
  if (code) {
    snprintf(last_error, sizeof last_error, "ncclCommInitRankConfig fails as the double was told");
    return code;
  }
  if (size < 1 || size > MAX_RANKS || config->magic != 0xcafebeef || config->blocking) return NCCL_ARGUMENT;
  int fd = shm_open(id.internal + 1, O_RDWR | O_CREAT, 0600);
  if (fd < 0 || ftruncate(fd, sizeof(Shared))) return NCCL_SYSTEM;
  Comm *c = calloc(1, sizeof *c);
  c->m = mmap(NULL, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (c->m == MAP_FAILED) return NCCL_SYSTEM;
  c->rank = rank;
  c->size = size;
  c->state = NCCL_PROGRESS;
  c->id = id;
  STORE(c->m->pid[rank], getpid());
  __atomic_add_fetch(&c->m->joined, 1, __ATOMIC_ACQ_REL);
  c->pending = 1;
  pthread_t t;
  if (pthread_create(&t, NULL, join_all, c)) return NCCL_SYSTEM;
  pthread_detach(t);
  *out = c;
  return NCCL_PROGRESS;
}

int ncclCommGetAsyncError(Comm *c, int *e) { *e = LOAD(c->state); return NCCL_OK; }
static void close_comm(Comm *c) {
  while (LOAD(c->pending)) usleep(100);
  munmap(c->m, sizeof(Shared));
  free(c);
}
int ncclCommAbort(Comm *c) { STORE(c->aborted, 1); close_comm(c); return NCCL_OK; }
int ncclCommDestroy(Comm *c) { close_comm(c); return NCCL_OK; }

#ifndef WITHOUT_GROUP
int ncclGroupStart(void) { depth++; return NCCL_OK; }
int ncclGroupEnd(void) {
  if (--depth) return NCCL_OK;
  Batch *list = open_batches, *reversed = NULL;
  open_batches = NULL;
  while (list) { Batch *next = list->next; list->next = reversed; reversed = list; list = next; }
  while (reversed) { Batch *next = reversed->next; launch(reversed); reversed = next; }
  return injected("ncclGroupEnd");
}
#endif

#define P(x) ((uint8_t *)(uintptr_t)(x))
int ncclBroadcast(uint64_t from, uint64_t to, size_t n, int type, int root, Comm *c, void *s) {
  return add((Op){BROADCAST, root, type, P(from), P(to), n, 0}, c, s, "ncclBroadcast");
}
int ncclAllReduce(uint64_t from, uint64_t to, size_t n, int type, int op, Comm *c, void *s) {
  return op ? NCCL_ARGUMENT : add((Op){ALL_REDUCE, 0, type, P(from), P(to), n, 0}, c, s, "ncclAllReduce");
}
int ncclAllGather(uint64_t from, uint64_t to, size_t n, int type, Comm *c, void *s) {
  return add((Op){ALL_GATHER, 0, type, P(from), P(to), n, 0}, c, s, "ncclAllGather");
}
int ncclReduceScatter(uint64_t from, uint64_t to, size_t n, int type, int op, Comm *c, void *s) {
  return op ? NCCL_ARGUMENT : add((Op){REDUCE_SCATTER, 0, type, P(from), P(to), n, 0}, c, s, "ncclReduceScatter");
}
int ncclSend(uint64_t from, size_t n, int type, int peer, Comm *c, void *s) {
  return add((Op){SEND, peer, type, P(from), NULL, n, 0}, c, s, "ncclSend");
}
int ncclRecv(uint64_t to, size_t n, int type, int peer, Comm *c, void *s) {
  return add((Op){RECV, peer, type, NULL, P(to), n, 0}, c, s, "ncclRecv");
}
