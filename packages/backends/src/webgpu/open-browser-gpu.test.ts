/** What a page is told where it gets no device; tools/src/compose trains in a real one. */
import { DeviceError } from '@realhf/api';
import { expect, test } from 'vitest';

import { openBrowserGpu } from './open-browser-gpu.js';

test('no WebGPU, no adapter, no f16: one line that says what to do', async () => {
  await expect(openBrowserGpu()).rejects.toThrow(/no WebGPU; use a browser that has/);
  const none = { requestAdapter: () => Promise.resolve(null) } as unknown as GPU;
  await expect(openBrowserGpu({ gpu: none })).rejects.toThrow(/found no adapter; look at/);
  const info = { device: '', description: 'a card', vendor: 'v' };
  const adapter = { info, features: new Set<string>(), limits: {} };
  const plain = { requestAdapter: () => Promise.resolve(adapter) } as unknown as GPU;
  const asked = openBrowserGpu({ gpu: plain, f16: true });
  await expect(asked).rejects.toThrow(/a card has no shader-f16/);
  await expect(asked).rejects.toSatisfy((e) => DeviceError.is(e));
});
