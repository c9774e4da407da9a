/**
 * For a machine with f16 matrices: the cases of decode-checks.ts. Bundled and run as the checks of matmul are
 * (ops/matmul/f16.gpu-check.ts). Prints what decode.gpu-check.json keeps.
 */
import { openGpu } from '../../node/open-gpu.js';
import { wgslHash, type GpuProof } from '../../testing/wgsl-hash.js';
import { Recorder } from '../../webgpu/recorder.js';
import { checkDecoder, decodeCases } from './decode-checks.js';

const gpu = await openGpu();
const r = new Recorder({
  device: gpu.device,
  adapter: gpu.adapterName,
  isCpu: false,
  matmulPrecision: 'f16',
  fusedDecode: true,
  adapterInfo: gpu.info,
});
let failures = 0;
const checked: string[] = [];
for (const c of decodeCases) {
  const { ok, what } = await checkDecoder(r, c);
  if (!ok) failures++;
  checked.push(what);
  console.log(ok ? 'ok  ' : 'FAIL', what);
}
const proof: GpuProof = {
  date: new Date().toISOString().slice(0, 10),
  adapter: gpu.adapterName,
  driver: gpu.driver,
  wgsl: await wgslHash('decode_'),
  failures,
  checked,
};
console.log(`PROOF ${JSON.stringify(proof)}`);
r.destroy();
process.exit(failures === 0 ? 0 : 1);
