/**
 * Devices for tests: SwiftShader (from npm, everywhere) and lavapipe (where a Mesa is installed that Dawn accepts), one
 * Recorder each, opened once per test file. `REALHF_TEST_ADAPTERS=swiftshader` narrows the list.
 */
import { afterAll, beforeAll, describe } from 'vitest';

import { openGpu, testAdapters } from '../node/open-gpu.js';
import { Recorder } from '../webgpu/recorder.js';

const names = { swiftshader: 'swiftshader', 'system-software': 'lavapipe' } as const;
const wanted = process.env.REALHF_TEST_ADAPTERS?.split(',');
const adapters = (await testAdapters()).filter((a) => wanted?.includes(names[a]) ?? true);

/** Runs `suite` once per adapter that is here; `r()` is valid inside tests. */
export function onAdapters(suite: (r: () => Recorder, name: string) => void): void {
  for (const adapter of adapters) {
    describe(names[adapter], () => {
      let recorder: Recorder | undefined;
      beforeAll(async () => {
        const gpu = await openGpu({ adapter });
        recorder = new Recorder({ device: gpu.device, adapter: gpu.adapterName, isCpu: true });
      });
      afterAll(() => {
        recorder?.destroy();
      });
      suite(() => recorder!, names[adapter]);
    });
  }
}
