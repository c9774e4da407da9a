/** For tests: opens a device with the layer in the chain and prints, as one line of JSON, what the layer says. */
import { readSync } from 'node:fs';

import { VulkanLayer, type BufferPlace } from '../vulkan-layer.js';
import { bytesOf, fill, openDevice, plain } from './test-device.js';

const { env } = process;
const layer = new VulkanLayer();

/** Where lavapipe's memory fds keep the data: behind a page. */
const headerBytes = 4096;

/** A word of a buffer, as another process would see it through the fd. */
function peek(place: BufferPlace, at: number): number {
  const word = new Uint32Array(1);
  layer.withFd(
    place,
    (fd) => readSync(fd, word, 0, 4, headerBytes + place.offset + at),
    () => false,
  );
  return word[0]!;
}

async function main(): Promise<object> {
  const options = {
    share: env.SHARE !== '0',
    ...(env.GPU === undefined ? {} : { device: env.GPU }),
  };
  const device = await openDevice(options);
  if (env.CHOOSE) return { adapter: device.adapterInfo.description };
  const live = () => layer.live().buffers;
  const sizes = [256, 4096, 65536, 5 << 20];
  const tensors = sizes.map((size) => plain(device, size / 4, 'u32'));
  for (const [k, t] of tensors.entries()) fill(device, t, new Int32Array(t.size).fill(k + 1));
  await device.queue.onSubmittedWorkDone();
  const found = tensors.map((t, k) => {
    t.buffer.label = 'mine';
    const place = layer.find(t.buffer);
    const last = t.size * 4 - 4;
    return {
      offset: place.offset,
      bytes: place.bytes,
      read: peek(place, 0) === k + 1 && peek(place, last) === k + 1,
      other: t.buffer.label === 'mine' && layer.isAlive(place.memory),
    };
  });
  const before = live();
  const many = Array.from({ length: 64 }, () => plain(device, 64, 'u32'));
  const during = live();
  for (const t of many) t.buffer.destroy();
  // Dawn lets go of Vulkan's buffers once later work is done.
  for (let i = 0; i < 3; i++) await bytesOf(device, tensors[0]!);
  return { found, live: [before, during, live()], unlabelled: await missing() };
}

/** A device without the label toggle: its buffers can't be told apart, and that is said. */
async function missing(): Promise<string> {
  const device = await openDevice({}, []);
  try {
    layer.find(plain(device, 64).buffer);
    return 'found';
  } catch (e) {
    return String(e);
  }
}

main().then(
  (report) => {
    finish(report);
  },
  (e: unknown) => {
    finish({ error: String(e) });
  },
);

function finish(report: object): void {
  const { buffers } = layer.live();
  console.log(
    JSON.stringify({ live: [buffers, buffers, buffers], ...report, devices: layer.devices() }),
  );
  process.exit(0);
}
