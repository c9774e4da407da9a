/*
 * A Vulkan layer with two jobs, each off unless the environment asks for it when the instance is made:
 *   REALHF_VULKAN_SHARE=1        buffers and device-local memory of new devices can be exported as opaque fds, and a
 *                                buffer is found by a number in its debug name ("...realhf-share:<number>").
 *   REALHF_VULKAN_DEVICE=<which> only one physical device is seen: an index, a UUID or a PCI address (dddd:bb:dd.f).
 * Every table is behind one lock; calls down the chain are made outside it. Several instances and devices may live.
 */

#include "internal.h"

#include <stdio.h>


pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Instance *instances;
Device *devices;

Instance *instance_of(void *key) {
  LOCK();
  Instance *i = instances;
  while (i && i->key != key) i = i->next;
  UNLOCK();
  return i;
}

Device *device_of(void *key) {
  LOCK();
  Device *d = devices;
  while (d && d->key != key) d = d->next;
  UNLOCK();
  return d;
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
  if (d) forget_device(d);
  UNLOCK();
  if (!d) return;
  d->destroy(device, a);
  free(d);
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
