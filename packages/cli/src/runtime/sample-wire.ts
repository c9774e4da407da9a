/** SequenceSamples between workers: frames of JSON metadata and of raw tensors, in the order of the keys. */
import { CommError, SequenceSample, type HostArray, type SampleDType } from '@realhf/api';
import { decodeMeta, encodeMeta, type EncodedMeta } from '@realhf/dataflow';

const arrays: Readonly<Record<SampleDType, (bytes: ArrayBuffer) => HostArray>> = {
  f32: (b) => new Float32Array(b),
  i32: (b) => new Int32Array(b),
  u32: (b) => new Uint32Array(b),
  u8: (b) => new Uint8Array(b),
};

/** One frame of metadata, then one per key that has a tensor; tensors are not copied. */
export function encodeSample(sample: SequenceSample): (string | Uint8Array)[] {
  const here = Object.entries(sample.data ?? {}).flatMap(([key, data]) =>
    data ? [{ key, data }] : [],
  );
  const head = { meta: encodeMeta(sample), tensors: here.map((t) => t.key) };
  const bytes = here.map(
    ({ data }) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  );
  return [JSON.stringify(head), ...bytes];
}

/** Throws CommError or DataError where the frames do not fit each other. */
export function decodeSample(frames: readonly Uint8Array[]): SequenceSample {
  const [head, ...tensors] = frames;
  if (!head) throw new CommError('a sample without frames; both ends must be of one version');
  const { meta, tensors: keys } = JSON.parse(new TextDecoder().decode(head)) as {
    meta: EncodedMeta;
    tensors: readonly string[];
  };
  if (keys.length !== tensors.length)
    throw new CommError(`a sample of ${keys.length} tensors came in ${tensors.length} frames`);
  const data: Record<string, HostArray> = {};
  keys.forEach((key, i) => {
    // Copied: a frame may begin at any byte, and its memory is the socket's.
    const bytes = Uint8Array.from(tensors[i]!).buffer;
    data[key] = arrays[meta.dtypes[key] ?? 'u8'](bytes);
  });
  const { ids, seqlens, dtypes, trailingShapes, metadata } = decodeMeta(meta);
  return new SequenceSample({ ids, seqlens, dtypes, trailingShapes, metadata, data });
}
