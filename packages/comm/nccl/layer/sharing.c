/* Exportable memory: buffers and allocations of sharing devices, and how an application finds and exports them. */
#include "internal.h"

#define BUCKETS 4096u
static Memory *memories[BUCKETS];
static Buffer *buffers[BUCKETS];
static uint64_t last_serial, live_buffers, live_memories;

static unsigned bucket(uint64_t handle) {
  return (unsigned)((handle * 0x9e3779b97f4a7c15ull) >> 52);
}

/* ---- tables; callers hold the lock -------------------------------------------------------------------------- */

static Buffer **find_buffer(Device *d, VkBuffer handle) {
  Buffer **p = &buffers[bucket((uint64_t)handle)];
  while (*p && ((*p)->handle != handle || (*p)->device != d)) p = &(*p)->next;
  return p;
}

static Memory **find_memory(Device *d, VkDeviceMemory handle) {
  Memory **p = &memories[bucket((uint64_t)handle)];
  while (*p && ((*p)->handle != handle || (*p)->device != d)) p = &(*p)->next;
  return p;
}

static Memory *memory_by_serial(uint64_t serial) {
  for (unsigned i = 0; i < BUCKETS; i++)
    for (Memory *m = memories[i]; m; m = m->next)
      if (m->serial == serial) return m;
  return NULL;
}

static const VkBaseInStructure *in_chain(const void *chain, VkStructureType type) {
  const VkBaseInStructure *s = chain;
  while (s && s->sType != type) s = s->pNext;
  return s;
}

void forget_device(Device *d) {
  for (unsigned i = 0; i < BUCKETS; i++) {
    for (Buffer **b = &buffers[i]; *b;) {
      Buffer *gone = *b;
      if (gone->device != d) {
        b = &gone->next;
        continue;
      }
      *b = gone->next;
      live_buffers--;
      free(gone);
    }
    for (Memory **m = &memories[i]; *m;) {
      Memory *gone = *m;
      if (gone->device != d) {
        m = &gone->next;
        continue;
      }
      *m = gone->next;
      live_memories--;
      free(gone);
    }
  }
}

/* ---- memory and buffers --------------------------------------------------------------------------------------- */

VKAPI_ATTR VkResult VKAPI_CALL AllocateMemory(VkDevice device, const VkMemoryAllocateInfo *info,
                                                    const VkAllocationCallbacks *a, VkDeviceMemory *out) {
  Device *d = device_of(KEY(device));
  int local = info->memoryTypeIndex < 32 && (d->local_types >> info->memoryTypeIndex & 1u);
  if (!d->share || !local || in_chain(info->pNext, VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO) ||
      in_chain(info->pNext, VK_STRUCTURE_TYPE_IMPORT_MEMORY_FD_INFO_KHR))
    return d->allocate(device, info, a, out);
  VkExportMemoryAllocateInfo chain = {
      .sType = VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO, .pNext = info->pNext, .handleTypes = FD};
  VkMemoryAllocateInfo mine = *info;
  mine.pNext = &chain;
  VkResult r = d->allocate(device, &mine, a, out);
  int exportable = r == VK_SUCCESS;
  if (!exportable) r = d->allocate(device, info, a, out);
  if (r != VK_SUCCESS) return r;
  const VkMemoryDedicatedAllocateInfo *own = (const VkMemoryDedicatedAllocateInfo *)in_chain(
      info->pNext, VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO);
  Memory *m = calloc(1, sizeof *m);
  if (!m) return r; /* only not shareable */
  m->device = d;
  m->handle = *out;
  m->size = info->allocationSize;
  m->exportable = exportable;
  m->dedicated = own && (own->buffer || own->image);
  LOCK();
  m->serial = ++last_serial;
  Memory **p = &memories[bucket((uint64_t)*out)];
  m->next = *p;
  *p = m;
  live_memories++;
  UNLOCK();
  return r;
}

VKAPI_ATTR void VKAPI_CALL FreeMemory(VkDevice device, VkDeviceMemory memory, const VkAllocationCallbacks *a) {
  Device *d = device_of(KEY(device));
  if (d->share && memory) {
    LOCK();
    Memory **p = find_memory(d, memory), *gone = *p;
    if (gone) {
      *p = gone->next;
      live_memories--;
    }
    UNLOCK();
    free(gone);
  }
  d->free(device, memory, a);
}

VKAPI_ATTR VkResult VKAPI_CALL CreateBuffer(VkDevice device, const VkBufferCreateInfo *info,
                                                  const VkAllocationCallbacks *a, VkBuffer *out) {
  Device *d = device_of(KEY(device));
  if (!d->share || info->flags || in_chain(info->pNext, VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO))
    return d->create_buffer(device, info, a, out);
  VkExternalMemoryBufferCreateInfo chain = {
      .sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO, .pNext = info->pNext, .handleTypes = FD};
  VkBufferCreateInfo mine = *info;
  mine.pNext = &chain;
  VkResult r = d->create_buffer(device, &mine, a, out);
  if (r != VK_SUCCESS) return d->create_buffer(device, info, a, out);
  Buffer *b = calloc(1, sizeof *b);
  if (!b) return r;
  b->device = d;
  b->handle = *out;
  b->size = info->size;
  LOCK();
  Buffer **p = &buffers[bucket((uint64_t)*out)];
  b->next = *p;
  *p = b;
  live_buffers++;
  UNLOCK();
  return r;
}

VKAPI_ATTR void VKAPI_CALL DestroyBuffer(VkDevice device, VkBuffer buffer, const VkAllocationCallbacks *a) {
  Device *d = device_of(KEY(device));
  if (d->share && buffer) {
    LOCK();
    Buffer **p = find_buffer(d, buffer), *gone = *p;
    if (gone) {
      *p = gone->next;
      live_buffers--;
    }
    UNLOCK();
    free(gone);
  }
  d->destroy_buffer(device, buffer, a);
}

static void bound(Device *d, VkBuffer buffer, VkDeviceMemory memory, uint64_t offset) {
  if (!d->share) return;
  LOCK();
  Buffer *b = *find_buffer(d, buffer);
  Memory *m = *find_memory(d, memory);
  if (b) {
    b->memory = m ? m->serial : 0;
    b->offset = offset;
  }
  UNLOCK();
}

VKAPI_ATTR VkResult VKAPI_CALL BindBufferMemory(VkDevice device, VkBuffer buffer, VkDeviceMemory memory,
                                                      VkDeviceSize offset) {
  Device *d = device_of(KEY(device));
  VkResult r = d->bind(device, buffer, memory, offset);
  if (r == VK_SUCCESS) bound(d, buffer, memory, offset);
  return r;
}

VKAPI_ATTR VkResult VKAPI_CALL BindBufferMemory2(VkDevice device, uint32_t n, const VkBindBufferMemoryInfo *binds) {
  Device *d = device_of(KEY(device));
  VkResult r = d->bind2(device, n, binds);
  for (uint32_t i = 0; r == VK_SUCCESS && i < n; i++)
    bound(d, binds[i].buffer, binds[i].memory, binds[i].memoryOffset);
  return r;
}

VKAPI_ATTR VkResult VKAPI_CALL SetObjectName(VkDevice device, const VkDebugUtilsObjectNameInfoEXT *info) {
  Device *d = device_of(KEY(device));
  if (d->share && info->objectType == VK_OBJECT_TYPE_BUFFER) {
    const char *mark = info->pObjectName ? strstr(info->pObjectName, "realhf-share:") : NULL;
    uint64_t tag = mark ? strtoull(mark + 13, NULL, 10) : 0;
    LOCK();
    Buffer *b = *find_buffer(d, (VkBuffer)info->objectHandle);
    if (b) b->tag = tag;
    UNLOCK();
  }
  return d->set_name ? d->set_name(device, info) : VK_SUCCESS;
}

/* ---- what applications call ------------------------------------------------------------------------------------- */

EXPORT uint32_t realhf_layer_version(void) { return REALHF_LAYER_VERSION; }

/* The buffer whose debug name carries `tag`. */
EXPORT int realhf_layer_find(uint64_t tag, RealhfBuffer *out) {
  int r = REALHF_NO_BUFFER;
  LOCK();
  for (unsigned i = 0; tag && r == REALHF_NO_BUFFER && i < BUCKETS; i++)
    for (Buffer *b = buffers[i]; b; b = b->next) {
      if (b->tag != tag) continue;
      Memory *m = b->memory ? memory_by_serial(b->memory) : NULL;
      r = !m ? REALHF_NOT_BOUND : m->exportable ? REALHF_OK : REALHF_NOT_EXPORTABLE;
      memset(out, 0, sizeof *out);
      out->size = b->size;
      out->offset = b->offset;
      out->memory = b->memory;
      if (m) {
        out->allocation = m->size;
        out->dedicated = m->dedicated;
      }
      memcpy(out->device, b->device->uuid, 16);
      break;
    }
  UNLOCK();
  return r;
}

/* A new fd of an allocation; the caller owns it. Not to be called while its device is being destroyed. */
EXPORT int realhf_layer_export(uint64_t memory, int *fd) {
  LOCK();
  Memory *m = memory_by_serial(memory);
  Device *d = m ? m->device : NULL;
  int ok = m && m->exportable && d->get_fd;
  VkMemoryGetFdInfoKHR info = {.sType = VK_STRUCTURE_TYPE_MEMORY_GET_FD_INFO_KHR,
                               .memory = m ? m->handle : VK_NULL_HANDLE,
                               .handleType = FD};
  UNLOCK();
  *fd = -1;
  if (!m) return REALHF_NO_MEMORY;
  if (!ok) return REALHF_NOT_EXPORTABLE;
  return d->get_fd(d->handle, &info, fd);
}

EXPORT int realhf_layer_alive(uint64_t memory) {
  LOCK();
  int alive = memory_by_serial(memory) != NULL;
  UNLOCK();
  return alive;
}

/* How many buffers and allocations of sharing devices live. */
EXPORT void realhf_layer_live(uint64_t *n_buffers, uint64_t *n_memories) {
  LOCK();
  *n_buffers = live_buffers;
  *n_memories = live_memories;
  UNLOCK();
}

/* Whether a device with this UUID was made with sharing on. */
EXPORT int realhf_layer_shares(const uint8_t *uuid) {
  LOCK();
  Device *d = devices;
  while (d && !(d->share && !memcmp(d->uuid, uuid, 16))) d = d->next;
  UNLOCK();
  return d != NULL;
}
