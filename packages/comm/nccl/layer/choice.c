/* Which physical devices an application sees, and what they are. */
#include "internal.h"

#include <stdio.h>
#include <strings.h>

static RealhfDevice seen[64];
static uint32_t seen_count;

int has_extension(Instance *in, VkPhysicalDevice pd, const char *name) {
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

void describe(Instance *in, VkPhysicalDevice pd, RealhfDevice *out) {
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

VKAPI_ATTR VkResult VKAPI_CALL EnumeratePhysicalDevices(VkInstance instance, uint32_t *count,
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

VKAPI_ATTR VkResult VKAPI_CALL EnumerateGroups(VkInstance i, uint32_t *n, VkPhysicalDeviceGroupProperties *p) {
  Instance *in = instance_of(KEY(i));
  return groups(in, in->groups, n, p);
}
VKAPI_ATTR VkResult VKAPI_CALL EnumerateGroupsKHR(VkInstance i, uint32_t *n, VkPhysicalDeviceGroupProperties *p) {
  Instance *in = instance_of(KEY(i));
  return groups(in, in->groups_khr, n, p);
}

/* Physical device `index` of those that the last enumeration met, shown or not; 0 when there is none. */
EXPORT int realhf_layer_device(uint32_t index, RealhfDevice *out) {
  LOCK();
  int ok = index < seen_count;
  if (ok) *out = seen[index];
  UNLOCK();
  return ok;
}
