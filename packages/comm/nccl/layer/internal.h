/* What the layer's three files share. All tables are behind `lock`. */
#ifndef REALHF_INTERNAL_H
#define REALHF_INTERNAL_H
#include "realhf_layer.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

#define EXPORT __attribute__((visibility("default")))
#define FD VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT
#define LOCK() pthread_mutex_lock(&lock)
#define UNLOCK() pthread_mutex_unlock(&lock)
/* Dispatchable handles of one instance or device begin with the same pointer. */
#define KEY(handle) (*(void **)(handle))

extern pthread_mutex_t lock;

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

extern Device *devices;

Instance *instance_of(void *key);
Device *device_of(void *key);

/* choice.c */
int has_extension(Instance *in, VkPhysicalDevice pd, const char *name);
void describe(Instance *in, VkPhysicalDevice pd, RealhfDevice *out);
VKAPI_ATTR VkResult VKAPI_CALL EnumeratePhysicalDevices(VkInstance, uint32_t *, VkPhysicalDevice *);
VKAPI_ATTR VkResult VKAPI_CALL EnumerateGroups(VkInstance, uint32_t *, VkPhysicalDeviceGroupProperties *);
VKAPI_ATTR VkResult VKAPI_CALL EnumerateGroupsKHR(VkInstance, uint32_t *, VkPhysicalDeviceGroupProperties *);

/* sharing.c; forget_device is called with the lock held. */
void forget_device(Device *d);
VKAPI_ATTR VkResult VKAPI_CALL AllocateMemory(VkDevice, const VkMemoryAllocateInfo *, const VkAllocationCallbacks *,
                                              VkDeviceMemory *);
VKAPI_ATTR void VKAPI_CALL FreeMemory(VkDevice, VkDeviceMemory, const VkAllocationCallbacks *);
VKAPI_ATTR VkResult VKAPI_CALL CreateBuffer(VkDevice, const VkBufferCreateInfo *, const VkAllocationCallbacks *, VkBuffer *);
VKAPI_ATTR void VKAPI_CALL DestroyBuffer(VkDevice, VkBuffer, const VkAllocationCallbacks *);
VKAPI_ATTR VkResult VKAPI_CALL BindBufferMemory(VkDevice, VkBuffer, VkDeviceMemory, VkDeviceSize);
VKAPI_ATTR VkResult VKAPI_CALL BindBufferMemory2(VkDevice, uint32_t, const VkBindBufferMemoryInfo *);
VKAPI_ATTR VkResult VKAPI_CALL SetObjectName(VkDevice, const VkDebugUtilsObjectNameInfoEXT *);
#endif
