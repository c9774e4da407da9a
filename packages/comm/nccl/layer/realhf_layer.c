/*
 * A Vulkan layer with two jobs, each off unless the environment asks for it when the instance is made:
 *   REALHF_VULKAN_SHARE=1        buffers and device-local memory of new devices can be exported as opaque fds, and a
 *                                buffer is found by a number in its debug name ("...realhf-share:<number>").
 *   REALHF_VULKAN_DEVICE=<which> only one physical device is seen: an index, a UUID or a PCI address (dddd:bb:dd.f).
 * Every table is behind one lock; calls down the chain are made outside it. Several instances and devices may live.
 */
#include "realhf_layer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

#define EXPORT __attribute__((visibility("default")))
#define FD VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT
#define LOCK() pthread_mutex_lock(&lock)
#define UNLOCK() pthread_mutex_unlock(&lock)
/* Dispatchable handles of one instance or device begin with the same pointer. */
#define KEY(handle) (*(void **)(handle))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

typedef struct Instance {
  struct Instance *next;
  void *key;
  VkInstance handle;
  PFN_vkGetInstanceProcAddr gipa;
  int share;
  char select[96];
  /* Asked for once, while the instance is made: later some loaders answer with the top of the chain. */
  PFN_vkDestroyInstance destroy;
  PFN_vkEnumeratePhysicalDevices enumerate;
  PFN_vkEnumeratePhysicalDeviceGroups groups, groups_khr;
  PFN_vkEnumerateDeviceExtensionProperties extensions;
  PFN_vkGetPhysicalDeviceProperties properties;
  PFN_vkGetPhysicalDeviceProperties2 properties2;
  PFN_vkGetPhysicalDeviceMemoryProperties memory_properties;
  PFN_vkGetPhysicalDeviceExternalBufferProperties external_buffers;
} Instance;

typedef struct Device {
  struct Device *next;
  void *key;
  VkDevice handle;
  PFN_vkGetDeviceProcAddr gdpa;
  int share;
  uint32_t local_types; /* bit per memory type */
  uint8_t uuid[16];
  PFN_vkDestroyDevice destroy;
  PFN_vkAllocateMemory allocate;
  PFN_vkFreeMemory free;
  PFN_vkCreateBuffer create_buffer;
  PFN_vkDestroyBuffer destroy_buffer;
  PFN_vkBindBufferMemory bind;
  PFN_vkBindBufferMemory2 bind2;
  PFN_vkGetMemoryFdKHR get_fd;
  PFN_vkSetDebugUtilsObjectNameEXT set_name;
} Device;

typedef struct Memory {
  struct Memory *next;
  Device *device;
  VkDeviceMemory handle;
  uint64_t serial, size;
  uint32_t dedicated;
  int exportable;
} Memory;

typedef struct Buffer {
  struct Buffer *next;
  Device *device;
  VkBuffer handle;
  uint64_t size, offset, memory; /* memory: serial, 0 = not bound */
  uint64_t tag;                  /* 0 = none */
} Buffer;

#define BUCKETS 4096u
static Instance *instances;
static Device *devices;
static Memory *memories[BUCKETS];
static Buffer *buffers[BUCKETS];
static uint64_t last_serial, live_buffers, live_memories;
static RealhfDevice seen[64];
static uint32_t seen_count;

static unsigned bucket(uint64_t handle) {
  return (unsigned)((handle * 0x9e3779b97f4a7c15ull) >> 52);
}

/* ---- tables; callers of the find_ functions on handles hold the lock -------------------------------------- */

static Instance *instance_of(void *key) {
  LOCK();
  Instance *i = instances;
  while (i && i->key != key) i = i->next;
  UNLOCK();
  return i;
}

static Device *device_of(void *key) {
  LOCK();
  Device *d = devices;
  while (d && d->key != key) d = d->next;
  UNLOCK();
  return d;
}

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

/* ---- which physical devices are seen ------------------------------------------------------------------- */

static int has_extension(Instance *in, VkPhysicalDevice pd, const char *name) {
  PFN_vkEnumerateDeviceExtensionProperties f = in->extensions;
  uint32_t n = 0;
  if (!f || f(pd, NULL, &n, NULL) != VK_SUCCESS || n == 0) return 0;
  VkExtensionProperties *all = calloc(n, sizeof *all);
  int found = 0;
  if (all && f(pd, NULL, &n, all) >= 0)
    for (uint32_t i = 0; i < n && !found; i++) found = !strcmp(all[i].extensionName, name);
  free(all);
  return found;
}

static void describe(Instance *in, VkPhysicalDevice pd, RealhfDevice *out) {
  memset(out, 0, sizeof *out);
  for (int i = 0; i < 4; i++) out->pci[i] = -1;
  if (!in->properties2) {
    VkPhysicalDeviceProperties p;
    in->properties(pd, &p);
    snprintf(out->name, sizeof out->name, "%s", p.deviceName);
    out->vendor = p.vendorID;
    out->type = p.deviceType;
    out->driver = p.driverVersion;
    return;
  }
  VkPhysicalDevicePCIBusInfoPropertiesEXT pci = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PCI_BUS_INFO_PROPERTIES_EXT};
  VkPhysicalDeviceDriverProperties driver = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES};
  VkPhysicalDeviceIDProperties id = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES};
  VkPhysicalDeviceProperties2 p = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &id};
  int has_pci = has_extension(in, pd, "VK_EXT_pci_bus_info");
  if (has_extension(in, pd, "VK_KHR_driver_properties")) id.pNext = &driver;
  if (has_pci) {
    pci.pNext = id.pNext;
    id.pNext = &pci;
  }
  in->properties2(pd, &p);
  snprintf(out->name, sizeof out->name, "%s", p.properties.deviceName);
  snprintf(out->driver_info, sizeof out->driver_info, "%s", driver.driverInfo);
  out->vendor = p.properties.vendorID;
  out->type = p.properties.deviceType;
  out->driver = p.properties.driverVersion;
  memcpy(out->uuid, id.deviceUUID, 16);
  if (has_pci) {
    out->pci[0] = (int32_t)pci.pciDomain;
    out->pci[1] = (int32_t)pci.pciBus;
    out->pci[2] = (int32_t)pci.pciDevice;
    out->pci[3] = (int32_t)pci.pciFunction;
  }
}

/* Whether `select` means this device: "GPU-" and dashes of a UUID don't count, nor does upper case. */
static int selected(const char *select, uint32_t index, const RealhfDevice *d) {
  char *end;
  unsigned long n = strtoul(select, &end, 10);
  if (*select && !*end && strlen(select) < 8) return n == index;
  unsigned dom, bus, dev, fun;
  int parts = sscanf(select, "%x:%x:%x.%x", &dom, &bus, &dev, &fun);
  if (parts != 4) parts = (dom = 0, sscanf(select, "%x:%x.%x", &bus, &dev, &fun) == 3) ? 4 : 0;
  if (parts == 4)
    return d->pci[1] >= 0 && dom == (unsigned)d->pci[0] && bus == (unsigned)d->pci[1] &&
           dev == (unsigned)d->pci[2] && fun == (unsigned)d->pci[3];
  char want[33] = {0}, have[33] = {0};
  const char *s = strncasecmp(select, "GPU-", 4) ? select : select + 4;
  for (size_t k = 0; *s && k < 32; s++)
    if (*s != '-') want[k++] = *s;
  for (int i = 0; i < 16; i++) snprintf(have + 2 * i, 3, "%02x", d->uuid[i]);
  return !strcasecmp(want, have);
}

/* All devices of the instance and which are shown; the caller frees. NULL and *n = 0 when there are none. */
static VkPhysicalDevice *shown_devices(Instance *in, uint32_t *n, VkResult *result) {
  PFN_vkEnumeratePhysicalDevices f = in->enumerate;
  *n = 0;
  uint32_t count = 0;
  *result = f(in->handle, &count, NULL);
  if (*result != VK_SUCCESS || count == 0) return NULL;
  VkPhysicalDevice *all = calloc(count, sizeof *all);
  if (!all) {
    *result = VK_ERROR_OUT_OF_HOST_MEMORY;
    return NULL;
  }
  *result = f(in->handle, &count, all);
  if (*result < 0) {
    free(all);
    return NULL;
  }
  *result = VK_SUCCESS;
  RealhfDevice list[64];
  uint32_t kept = 0, told = 0;
  for (uint32_t i = 0; i < count; i++) {
    RealhfDevice d;
    describe(in, all[i], &d);
    d.shown = !in->select[0] || selected(in->select, i, &d);
    if (told < 64) list[told++] = d;
    if (d.shown) all[kept++] = all[i];
  }
  LOCK();
  memcpy(seen, list, told * sizeof *list);
  seen_count = told;
  UNLOCK();
  *n = kept;
  return all;
}

static VKAPI_ATTR VkResult VKAPI_CALL EnumeratePhysicalDevices(VkInstance instance, uint32_t *count,
                                                              VkPhysicalDevice *out) {
  Instance *in = instance_of(KEY(instance));
  uint32_t n;
  VkResult r;
  VkPhysicalDevice *all = shown_devices(in, &n, &r);
  if (r == VK_SUCCESS) {
    if (!out) {
      *count = n;
    } else {
      if (*count < n) r = VK_INCOMPLETE;
      else *count = n;
      if (*count) memcpy(out, all, *count * sizeof *out);
    }
  }
  free(all);
  return r;
}

static VkResult groups(Instance *in, PFN_vkEnumeratePhysicalDeviceGroups f, uint32_t *count,
                       VkPhysicalDeviceGroupProperties *out) {
  VkInstance instance = in->handle;
  if (!in->select[0]) return f(instance, count, out);
  uint32_t n, m = 0, kept = 0;
  VkResult r;
  VkPhysicalDevice *shown = shown_devices(in, &n, &r);
  if (r == VK_SUCCESS) r = f(instance, &m, NULL);
  VkPhysicalDeviceGroupProperties *all = calloc(m ? m : 1, sizeof *all);
  for (uint32_t i = 0; all && i < m; i++) all[i].sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_GROUP_PROPERTIES;
  if (!all) r = VK_ERROR_OUT_OF_HOST_MEMORY;
  if (r == VK_SUCCESS && m) r = f(instance, &m, all);
  for (uint32_t i = 0; r >= 0 && i < m; i++) {
    uint32_t k = 0;
    for (uint32_t j = 0; j < all[i].physicalDeviceCount; j++)
      for (uint32_t s = 0; s < n; s++)
        if (all[i].physicalDevices[j] == shown[s]) {
          all[i].physicalDevices[k++] = shown[s];
          break;
        }
    if (!k) continue;
    all[i].physicalDeviceCount = k;
    if (k == 1) all[i].subsetAllocation = VK_FALSE;
    if (out && kept < *count) {
      void *next = out[kept].pNext;
      out[kept] = all[i];
      out[kept].pNext = next;
    }
    kept++;
  }
  if (r >= 0) {
    r = out && *count < kept ? VK_INCOMPLETE : VK_SUCCESS;
    if (!out || *count > kept) *count = kept;
  }
  free(all);
  free(shown);
  return r;
}

static VKAPI_ATTR VkResult VKAPI_CALL EnumerateGroups(VkInstance i, uint32_t *n, VkPhysicalDeviceGroupProperties *p) {
  Instance *in = instance_of(KEY(i));
  return groups(in, in->groups, n, p);
}
static VKAPI_ATTR VkResult VKAPI_CALL EnumerateGroupsKHR(VkInstance i, uint32_t *n, VkPhysicalDeviceGroupProperties *p) {
  Instance *in = instance_of(KEY(i));
  return groups(in, in->groups_khr, n, p);
}

/* ---- instances and devices --------------------------------------------------------------------------------- */

static VKAPI_ATTR VkResult VKAPI_CALL CreateInstance(const VkInstanceCreateInfo *info, const VkAllocationCallbacks *a,
                                                    VkInstance *out) {
  VkLayerInstanceCreateInfo *link = (VkLayerInstanceCreateInfo *)info->pNext;
  while (link && !(link->sType == VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO && link->function == VK_LAYER_LINK_INFO))
    link = (VkLayerInstanceCreateInfo *)link->pNext;
  if (!link) return VK_ERROR_INITIALIZATION_FAILED;
  PFN_vkGetInstanceProcAddr gipa = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;
  VkResult r = ((PFN_vkCreateInstance)gipa(NULL, "vkCreateInstance"))(info, a, out);
  if (r != VK_SUCCESS) return r;
  Instance *in = calloc(1, sizeof *in);
  if (!in) {
    ((PFN_vkDestroyInstance)gipa(*out, "vkDestroyInstance"))(*out, a);
    return VK_ERROR_OUT_OF_HOST_MEMORY;
  }
  const char *share = getenv("REALHF_VULKAN_SHARE"), *select = getenv("REALHF_VULKAN_DEVICE");
  in->key = KEY(*out);
  in->handle = *out;
  in->gipa = gipa;
#define NEXT(field, type, name) in->field = (type)gipa(*out, name)
  NEXT(destroy, PFN_vkDestroyInstance, "vkDestroyInstance");
  NEXT(enumerate, PFN_vkEnumeratePhysicalDevices, "vkEnumeratePhysicalDevices");
  NEXT(groups, PFN_vkEnumeratePhysicalDeviceGroups, "vkEnumeratePhysicalDeviceGroups");
  NEXT(groups_khr, PFN_vkEnumeratePhysicalDeviceGroups, "vkEnumeratePhysicalDeviceGroupsKHR");
  NEXT(extensions, PFN_vkEnumerateDeviceExtensionProperties, "vkEnumerateDeviceExtensionProperties");
  NEXT(properties, PFN_vkGetPhysicalDeviceProperties, "vkGetPhysicalDeviceProperties");
  NEXT(properties2, PFN_vkGetPhysicalDeviceProperties2, "vkGetPhysicalDeviceProperties2");
  if (!in->properties2)
    NEXT(properties2, PFN_vkGetPhysicalDeviceProperties2, "vkGetPhysicalDeviceProperties2KHR");
  NEXT(memory_properties, PFN_vkGetPhysicalDeviceMemoryProperties, "vkGetPhysicalDeviceMemoryProperties");
  NEXT(external_buffers, PFN_vkGetPhysicalDeviceExternalBufferProperties, "vkGetPhysicalDeviceExternalBufferProperties");
  if (!in->external_buffers)
    NEXT(external_buffers, PFN_vkGetPhysicalDeviceExternalBufferProperties,
         "vkGetPhysicalDeviceExternalBufferPropertiesKHR");
#undef NEXT
  in->share = share && !strcmp(share, "1");
  if (select) snprintf(in->select, sizeof in->select, "%s", select);
  LOCK();
  in->next = instances;
  instances = in;
  UNLOCK();
  return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL DestroyInstance(VkInstance instance, const VkAllocationCallbacks *a) {
  if (!instance) return;
  void *key = KEY(instance);
  LOCK();
  Instance **p = &instances;
  while (*p && (*p)->key != key) p = &(*p)->next;
  Instance *in = *p;
  if (in) *p = in->next;
  UNLOCK();
  if (!in) return;
  in->destroy(instance, a);
  free(in);
}

/* Whether storage buffers of this device can be exported without a dedicated allocation. */
static int can_export(Instance *in, VkPhysicalDevice pd) {
  if (!has_extension(in, pd, "VK_KHR_external_memory_fd")) return 0;
  if (!in->external_buffers) return 0;
  VkPhysicalDeviceExternalBufferInfo ask = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_BUFFER_INFO,
      .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
      .handleType = FD};
  VkExternalBufferProperties got = {.sType = VK_STRUCTURE_TYPE_EXTERNAL_BUFFER_PROPERTIES};
  in->external_buffers(pd, &ask, &got);
  VkExternalMemoryFeatureFlags features = got.externalMemoryProperties.externalMemoryFeatures;
  return (features & VK_EXTERNAL_MEMORY_FEATURE_EXPORTABLE_BIT) &&
         !(features & VK_EXTERNAL_MEMORY_FEATURE_DEDICATED_ONLY_BIT);
}

static VKAPI_ATTR VkResult VKAPI_CALL CreateDevice(VkPhysicalDevice pd, const VkDeviceCreateInfo *info,
                                                  const VkAllocationCallbacks *a, VkDevice *out) {
  VkLayerDeviceCreateInfo *link = (VkLayerDeviceCreateInfo *)info->pNext;
  while (link && !(link->sType == VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO && link->function == VK_LAYER_LINK_INFO))
    link = (VkLayerDeviceCreateInfo *)link->pNext;
  Instance *in = instance_of(KEY(pd));
  if (!link || !in) return VK_ERROR_INITIALIZATION_FAILED;
  PFN_vkGetInstanceProcAddr gipa = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
  PFN_vkGetDeviceProcAddr gdpa = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;
  PFN_vkCreateDevice create = (PFN_vkCreateDevice)gipa(in->handle, "vkCreateDevice");

  int share = in->share && can_export(in, pd);
  VkDeviceCreateInfo mine = *info;
  const char **names = NULL;
  if (share) {
    names = malloc((info->enabledExtensionCount + 2) * sizeof *names);
    if (!names) return VK_ERROR_OUT_OF_HOST_MEMORY;
    const char *needed[] = {"VK_KHR_external_memory_fd", "VK_KHR_external_memory"};
    uint32_t n = info->enabledExtensionCount;
    memcpy(names, info->ppEnabledExtensionNames, n * sizeof *names);
    for (int k = 0; k < 2; k++) {
      int have = 0;
      for (uint32_t i = 0; i < n && !have; i++) have = !strcmp(names[i], needed[k]);
      if (!have && has_extension(in, pd, needed[k])) names[n++] = needed[k];
    }
    mine.enabledExtensionCount = n;
    mine.ppEnabledExtensionNames = names;
  }
  VkResult r = create(pd, &mine, a, out);
  free(names);
  if (r != VK_SUCCESS) return r;

  Device *d = calloc(1, sizeof *d);
  if (!d) {
    ((PFN_vkDestroyDevice)gdpa(*out, "vkDestroyDevice"))(*out, a);
    return VK_ERROR_OUT_OF_HOST_MEMORY;
  }
  d->key = KEY(*out);
  d->handle = *out;
  d->gdpa = gdpa;
  d->share = share;
#define NEXT(field, type, name) d->field = (type)gdpa(*out, name)
  NEXT(destroy, PFN_vkDestroyDevice, "vkDestroyDevice");
  NEXT(allocate, PFN_vkAllocateMemory, "vkAllocateMemory");
  NEXT(free, PFN_vkFreeMemory, "vkFreeMemory");
  NEXT(create_buffer, PFN_vkCreateBuffer, "vkCreateBuffer");
  NEXT(destroy_buffer, PFN_vkDestroyBuffer, "vkDestroyBuffer");
  NEXT(bind, PFN_vkBindBufferMemory, "vkBindBufferMemory");
  NEXT(bind2, PFN_vkBindBufferMemory2, "vkBindBufferMemory2");
  if (!d->bind2) NEXT(bind2, PFN_vkBindBufferMemory2, "vkBindBufferMemory2KHR");
  NEXT(get_fd, PFN_vkGetMemoryFdKHR, "vkGetMemoryFdKHR");
  NEXT(set_name, PFN_vkSetDebugUtilsObjectNameEXT, "vkSetDebugUtilsObjectNameEXT");
  RealhfDevice what;
  describe(in, pd, &what);
  memcpy(d->uuid, what.uuid, 16);
  VkPhysicalDeviceMemoryProperties types;
  in->memory_properties(pd, &types);
  for (uint32_t i = 0; i < types.memoryTypeCount; i++)
    if (types.memoryTypes[i].propertyFlags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT) d->local_types |= 1u << i;
  LOCK();
  d->next = devices;
  devices = d;
  UNLOCK();
  return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL DestroyDevice(VkDevice device, const VkAllocationCallbacks *a) {
  if (!device) return;
  void *key = KEY(device);
  LOCK();
  Device **p = &devices;
  while (*p && (*p)->key != key) p = &(*p)->next;
  Device *d = *p;
  if (d) *p = d->next;
  for (unsigned i = 0; d && i < BUCKETS; i++) {
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
  UNLOCK();
  if (!d) return;
  d->destroy(device, a);
  free(d);
}

/* ---- memory and buffers --------------------------------------------------------------------------------------- */

static VKAPI_ATTR VkResult VKAPI_CALL AllocateMemory(VkDevice device, const VkMemoryAllocateInfo *info,
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

static VKAPI_ATTR void VKAPI_CALL FreeMemory(VkDevice device, VkDeviceMemory memory, const VkAllocationCallbacks *a) {
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

static VKAPI_ATTR VkResult VKAPI_CALL CreateBuffer(VkDevice device, const VkBufferCreateInfo *info,
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

static VKAPI_ATTR void VKAPI_CALL DestroyBuffer(VkDevice device, VkBuffer buffer, const VkAllocationCallbacks *a) {
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

static VKAPI_ATTR VkResult VKAPI_CALL BindBufferMemory(VkDevice device, VkBuffer buffer, VkDeviceMemory memory,
                                                      VkDeviceSize offset) {
  Device *d = device_of(KEY(device));
  VkResult r = d->bind(device, buffer, memory, offset);
  if (r == VK_SUCCESS) bound(d, buffer, memory, offset);
  return r;
}

static VKAPI_ATTR VkResult VKAPI_CALL BindBufferMemory2(VkDevice device, uint32_t n, const VkBindBufferMemoryInfo *binds) {
  Device *d = device_of(KEY(device));
  VkResult r = d->bind2(device, n, binds);
  for (uint32_t i = 0; r == VK_SUCCESS && i < n; i++)
    bound(d, binds[i].buffer, binds[i].memory, binds[i].memoryOffset);
  return r;
}

static VKAPI_ATTR VkResult VKAPI_CALL SetObjectName(VkDevice device, const VkDebugUtilsObjectNameInfoEXT *info) {
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

/* Physical device `index` of those that the last enumeration met, shown or not; 0 when there is none. */
EXPORT int realhf_layer_device(uint32_t index, RealhfDevice *out) {
  LOCK();
  int ok = index < seen_count;
  if (ok) *out = seen[index];
  UNLOCK();
  return ok;
}

/* ---- the chain ------------------------------------------------------------------------------------------------------ */

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL GetDeviceProcAddr(VkDevice device, const char *name);

#define HOOK(vk, mine) \
  if (!strcmp(name, vk)) return (PFN_vkVoidFunction)mine

static PFN_vkVoidFunction device_hook(const char *name) {
  HOOK("vkGetDeviceProcAddr", GetDeviceProcAddr);
  HOOK("vkDestroyDevice", DestroyDevice);
  HOOK("vkAllocateMemory", AllocateMemory);
  HOOK("vkFreeMemory", FreeMemory);
  HOOK("vkCreateBuffer", CreateBuffer);
  HOOK("vkDestroyBuffer", DestroyBuffer);
  HOOK("vkBindBufferMemory", BindBufferMemory);
  HOOK("vkBindBufferMemory2", BindBufferMemory2);
  HOOK("vkBindBufferMemory2KHR", BindBufferMemory2);
  HOOK("vkSetDebugUtilsObjectNameEXT", SetObjectName);
  return NULL;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL GetDeviceProcAddr(VkDevice device, const char *name) {
  Device *d = device_of(KEY(device));
  PFN_vkVoidFunction hook = device_hook(name);
  PFN_vkVoidFunction next = d ? d->gdpa(device, name) : NULL;
  /* What the driver hasn't isn't invented, but for names of objects, which a layer may take alone. */
  if (hook && (next || hook == (PFN_vkVoidFunction)SetObjectName || !d)) return hook;
  return next;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL GetInstanceProcAddr(VkInstance instance, const char *name) {
  HOOK("vkGetInstanceProcAddr", GetInstanceProcAddr);
  HOOK("vkCreateInstance", CreateInstance);
  HOOK("vkDestroyInstance", DestroyInstance);
  HOOK("vkEnumeratePhysicalDevices", EnumeratePhysicalDevices);
  HOOK("vkCreateDevice", CreateDevice);
  Instance *in = instance ? instance_of(KEY(instance)) : NULL;
  if (in && in->groups) HOOK("vkEnumeratePhysicalDeviceGroups", EnumerateGroups);
  if (in && in->groups_khr) HOOK("vkEnumeratePhysicalDeviceGroupsKHR", EnumerateGroupsKHR);
  PFN_vkVoidFunction hook = device_hook(name);
  if (hook) return hook;
  return in ? in->gipa(instance, name) : NULL;
}

EXPORT VKAPI_ATTR VkResult VKAPI_CALL vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *v) {
  if (v->loaderLayerInterfaceVersion < 2) return VK_ERROR_INITIALIZATION_FAILED;
  v->loaderLayerInterfaceVersion = 2;
  v->pfnGetInstanceProcAddr = GetInstanceProcAddr;
  v->pfnGetDeviceProcAddr = GetDeviceProcAddr;
  v->pfnGetPhysicalDeviceProcAddr = NULL;
  return VK_SUCCESS;
}
