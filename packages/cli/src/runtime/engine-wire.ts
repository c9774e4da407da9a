/** What a master asks of a replica's engine and what comes back, as frames: JSON first, then one of raw bytes per array. */
import {
  CommError,
  type CallOptions,
  type Engine,
  type GenerateOptions,
  type GenerateOutput,
  type GenerationHyperparameters,
  type ModelName,
  type SequenceSample,
} from '@realhf/api';

/** A method of Engine with all its arguments but the sample. */
export type EngineCall =
  | {
      readonly method: 'logProbs';
      readonly options: CallOptions & { readonly temperature?: number; readonly maskKey?: string };
    }
  | { readonly method: 'values'; readonly options: CallOptions }
  | {
      readonly method: 'generate';
      readonly gconfig: GenerationHyperparameters;
      readonly options: GenerateOptions;
    };

export interface EngineRequest {
  readonly model: ModelName;
  readonly call: EngineCall;
  /** Others take part and answer with nothing. */
  readonly isHead: boolean;
}

/** Of `generate` the second. */
export type EngineAnswer = Float32Array | GenerateOutput;

/** Calls the engine; what it throws is thrown. */
export function runEngineCall(
  engine: Engine,
  call: EngineCall,
  input: SequenceSample,
): Promise<EngineAnswer> {
  if (call.method === 'generate') return engine.generate(input, call.gconfig, call.options);
  if (call.method === 'values') return engine.values(input, call.options);
  return engine.logProbs(input, call.options);
}

interface Head {
  /** Absent: one array of values. */
  readonly noEos?: readonly boolean[];
  readonly masks?: boolean;
}

const bytesOf = (a: ArrayBufferView) => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);

/** Arrays are not copied. */
export function encodeAnswer(answer: EngineAnswer): (string | Uint8Array)[] {
  if (answer instanceof Float32Array) return [JSON.stringify({} satisfies Head), bytesOf(answer)];
  const { tokens, logProbs, masks, noEos } = answer;
  const head: Head = { noEos, masks: masks !== undefined };
  return [JSON.stringify(head), ...[...tokens, ...logProbs, ...(masks ?? [])].map(bytesOf)];
}

/** Throws CommError where the frames do not fit each other. */
export function decodeAnswer(frames: readonly Uint8Array[]): EngineAnswer {
  const [first, ...arrays] = frames;
  if (!first)
    throw new CommError("an engine's answer has no frames; both ends must be of one version");
  const { noEos, masks } = JSON.parse(new TextDecoder().decode(first)) as Head;
  const n = noEos?.length ?? 0;
  const wanted = noEos ? n * (masks ? 3 : 2) : 1;
  if (arrays.length !== wanted)
    throw new CommError(
      `an engine's answer of ${wanted} arrays came in ${arrays.length} frames; both ends must be of one version`,
    );
  // Copied: a frame may begin at any byte, and its memory is the socket's.
  const bytes = arrays.map((a) => Uint8Array.from(a));
  if (!noEos) return new Float32Array(bytes[0]!.buffer);
  return {
    tokens: bytes.slice(0, n).map((b) => new Int32Array(b.buffer)),
    logProbs: bytes.slice(n, 2 * n).map((b) => new Float32Array(b.buffer)),
    ...(masks ? { masks: bytes.slice(2 * n) } : {}),
    noEos,
  };
}
