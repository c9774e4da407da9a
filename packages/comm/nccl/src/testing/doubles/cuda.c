/*
 * A double of libcuda on the CPU: device memory is memory, an imported fd is mapped (lavapipe's memory fds begin with
 * a header that says where the data starts), a stream is a thread with a queue. What is copied is really copied.
 */
#define _GNU_SOURCE
#include "cuda.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Work {
  struct Work *next;
  void (*run)(void *);
  void *argument;
} Work;

typedef struct {
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  Work *first, **last;
  int busy, stop;
} Stream;

typedef struct {
  uint8_t *base, *data;
  size_t mapped;
  uint64_t size;
} External;

static void *stream_main(void *p) {
  Stream *s = p;
  pthread_mutex_lock(&s->lock);
  for (;;) {
    while (!s->first && !s->stop) pthread_cond_wait(&s->changed, &s->lock);
    Work *w = s->first;
    if (!w) break;
    s->first = w->next;
    if (!s->first) s->last = &s->first;
    s->busy = 1;
    pthread_mutex_unlock(&s->lock);
    w->run(w->argument);
    free(w);
    pthread_mutex_lock(&s->lock);
    s->busy = 0;
    pthread_cond_broadcast(&s->changed);
  }
  pthread_mutex_unlock(&s->lock);
  return NULL;
}

void double_stream_push(void *stream, void (*run)(void *), void *argument) {
  Stream *s = stream;
  Work *w = calloc(1, sizeof *w);
  *w = (Work){NULL, run, argument};
  pthread_mutex_lock(&s->lock);
  *s->last = w;
  s->last = &w->next;
  pthread_cond_broadcast(&s->changed);
  pthread_mutex_unlock(&s->lock);
}

#define API(name) \
  do { \
    int code_ = injected(name); \
    if (code_) return code_; \
  } while (0)

int cuInit(unsigned flags) { API("cuInit"); return flags ? INVALID_VALUE : SUCCESS; }
int cuDriverGetVersion(int *v) { const char *e = getenv("REALHF_DOUBLE_CUDA"); *v = e ? atoi(e) : 12040; return SUCCESS; }
int cuDeviceGetCount(int *n) { API("cuDeviceGetCount"); *n = 1; return SUCCESS; }
int cuDeviceGet(int *d, int i) { *d = i; return i == 0 ? SUCCESS : 101; }
int cuDeviceGetName(char *name, int n, int d) { (void)d; snprintf(name, n, "double of a GPU"); return SUCCESS; }
int cuDeviceGetPCIBusId(char *id, int n, int d) { (void)d; snprintf(id, n, "0000:00:00.0"); return SUCCESS; }
int cuDeviceTotalMem_v2(size_t *n, int d) { (void)d; *n = 1ull << 30; return SUCCESS; }
/* REALHF_DOUBLE_UUID: 32 hexadecimal digits. */
int cuDeviceGetUuid_v2(uint8_t *uuid, int d) {
  (void)d;
  const char *e = getenv("REALHF_DOUBLE_UUID");
  for (int i = 0; i < 16; i++) {
    unsigned byte = 0;
    if (e && sscanf(e + 2 * i, "%2x", &byte) != 1) return INVALID_VALUE;
    uuid[i] = (uint8_t)byte;
  }
  return SUCCESS;
}
int cuDevicePrimaryCtxRetain(void **c, int d) { (void)d; API("cuDevicePrimaryCtxRetain"); *c = (void *)1; return SUCCESS; }
int cuDevicePrimaryCtxRelease_v2(int d) { (void)d; return SUCCESS; }
int cuCtxSetCurrent(void *c) { (void)c; return SUCCESS; }
int cuGetErrorName(int e, const char **s) {
  *s = e == INVALID_VALUE ? "CUDA_ERROR_INVALID_VALUE" : e == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_UNKNOWN";
  return SUCCESS;
}
int cuGetErrorString(int e, const char **s) { (void)e; *s = "as the double was told"; return SUCCESS; }

int cuStreamCreate(void **out, unsigned flags) {
  (void)flags;
  API("cuStreamCreate");
  Stream *s = calloc(1, sizeof *s);
  s->last = &s->first;
  pthread_mutex_init(&s->lock, NULL);
  pthread_cond_init(&s->changed, NULL);
  if (pthread_create(&s->thread, NULL, stream_main, s)) return OUT_OF_MEMORY;
  *out = s;
  return SUCCESS;
}
int cuStreamQuery(void *p) {
  API("cuStreamQuery");
  Stream *s = p;
  pthread_mutex_lock(&s->lock);
  int busy = s->busy || s->first;
  pthread_mutex_unlock(&s->lock);
  return busy ? NOT_READY : SUCCESS;
}
int cuStreamSynchronize(void *p) {
  API("cuStreamSynchronize");
  Stream *s = p;
  pthread_mutex_lock(&s->lock);
  while (s->busy || s->first) pthread_cond_wait(&s->changed, &s->lock);
  pthread_mutex_unlock(&s->lock);
  return SUCCESS;
}
int cuStreamDestroy_v2(void *p) {
  Stream *s = p;
  pthread_mutex_lock(&s->lock);
  s->stop = 1;
  pthread_cond_broadcast(&s->changed);
  pthread_mutex_unlock(&s->lock);
  pthread_join(s->thread, NULL);
  free(s);
  return SUCCESS;
}

/* Own allocations start 256 bytes into a page; a mapping of external memory, on which free does nothing, at 0. */
int cuMemAlloc_v2(uint64_t *p, size_t n) {
  API("cuMemAlloc_v2");
  uint8_t *m = aligned_alloc(4096, (n + 256 + 4095) / 4096 * 4096);
  *p = (uint64_t)(uintptr_t)(m + 256);
  return m ? SUCCESS : OUT_OF_MEMORY;
}
int cuMemFree_v2(uint64_t p) {
  API("cuMemFree_v2");
  if (p % 4096 == 256) free((void *)(uintptr_t)(p - 256));
  return SUCCESS;
}
int cuMemAllocHost_v2(void **p, size_t n) { API("cuMemAllocHost_v2"); *p = malloc(n); return *p ? SUCCESS : OUT_OF_MEMORY; }
int cuMemGetInfo_v2(size_t *free_bytes, size_t *total) { *free_bytes = *total = 1ull << 30; return SUCCESS; }
int cuMemFreeHost(void *p) { free(p); return SUCCESS; }

typedef struct { void *to; const void *from; size_t n; } Copy;
static void copy(void *p) {
  Copy *c = p;
  memmove(c->to, c->from, c->n);
  free(c);
}
static int push_copy(uint64_t to, uint64_t from, size_t n, void *stream) {
  Copy *c = malloc(sizeof *c);
  *c = (Copy){(void *)(uintptr_t)to, (void *)(uintptr_t)from, n};
  double_stream_push(stream, copy, c);
  return SUCCESS;
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t n, void *s) { API("cuMemcpyHtoDAsync_v2"); return push_copy(to, (uintptr_t)from, n, s); }
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t n, void *s) { API("cuMemcpyDtoHAsync_v2"); return push_copy((uintptr_t)to, from, n, s); }
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t n, void *s) { API("cuMemcpyDtoDAsync_v2"); return push_copy(to, from, n, s); }

/* CUDA_EXTERNAL_MEMORY_HANDLE_DESC: type at 0 (1 = opaque fd), fd at 8, size at 24. The fd is ours afterwards. */
int cuImportExternalMemory(void **out, const uint8_t *desc) {
  API("cuImportExternalMemory");
  int32_t type, fd;
  uint64_t size, header[2];
  struct stat st;
  memcpy(&type, desc, 4);
  memcpy(&fd, desc + 8, 4);
  memcpy(&size, desc + 24, 8);
  if (type != 1 || fstat(fd, &st) || st.st_size < (off_t)size || pread(fd, header, 16, 0) != 16) return INVALID_VALUE;
  uint64_t start = header[1] == 4096 && (uint64_t)st.st_size >= size + header[1] ? header[1] : 0;
  External *e = calloc(1, sizeof *e);
  e->base = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (e->base == MAP_FAILED) {
    free(e);
    return INVALID_VALUE;
  }
  e->mapped = st.st_size;
  e->data = e->base + start;
  e->size = size;
  close(fd);
  *out = e;
  return SUCCESS;
}
/* CUDA_EXTERNAL_MEMORY_BUFFER_DESC: offset at 0, size at 8. */
int cuExternalMemoryGetMappedBuffer(uint64_t *p, void *external, const uint8_t *desc) {
  API("cuExternalMemoryGetMappedBuffer");
  External *e = external;
  uint64_t offset, size;
  memcpy(&offset, desc, 8);
  memcpy(&size, desc + 8, 8);
  if (offset + size > e->size) return INVALID_VALUE;
  *p = (uint64_t)(uintptr_t)(e->data + offset);
  return SUCCESS;
}
int cuDestroyExternalMemory(void *external) {
  External *e = external;
  munmap(e->base, e->mapped);
  free(e);
  return SUCCESS;
}
