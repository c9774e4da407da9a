/* What the layer exports beside Vulkan's entry points. Kept plain: a foreign-function library calls it. */
#ifndef REALHF_LAYER_H
#define REALHF_LAYER_H
#include <stdint.h>

#define REALHF_LAYER_VERSION 1u

/* Return codes; a negative VkResult is passed through as it is. */
#define REALHF_OK 0
#define REALHF_NO_BUFFER (-100001)     /* no live buffer has this tag */
#define REALHF_NOT_BOUND (-100002)     /* the buffer has no memory yet */
#define REALHF_NOT_EXPORTABLE (-100003) /* its memory can't be exported, or sharing is off for its device */
#define REALHF_NO_MEMORY (-100004)     /* this memory was freed */

typedef struct {
  uint64_t memory;      /* serial number of the allocation, never used twice */
  uint64_t allocation;  /* bytes of the allocation */
  uint64_t offset;      /* where the buffer starts in it */
  uint64_t size;        /* bytes of the buffer */
  uint8_t device[16];   /* UUID of the physical device */
  uint32_t dedicated;   /* 1: the allocation is dedicated to one buffer */
  uint32_t reserved;
} RealhfBuffer;

typedef struct {
  char name[256];
  uint8_t uuid[16];
  uint32_t vendor;
  uint32_t type;        /* VkPhysicalDeviceType */
  int32_t pci[4];       /* domain, bus, device, function; -1 where the driver doesn't tell */
  uint32_t driver;      /* vendor's own version number */
  uint32_t shown;       /* 1: the application sees it, 0: filtered out */
  char driver_info[256];
} RealhfDevice;
#endif
