/** The `real serve` command: a model behind OpenAI's HTTP API. */
import { basename, resolve } from 'node:path';

import { GenerationEngine } from '@realhf/model';
import { z } from 'zod';

import { loadModel, roleText } from '../experiments/load-model.js';
import { withOps, type OpenedOps } from '../experiments/open-ops.js';
import { defineCommand, type RunContext } from '../options/command.js';
import { checks, commonShape } from '../options/schemas/common.js';
import { checkModel, frozenModelSchema } from '../options/schemas/model.js';
import { startServer } from './server.js';

const positive = (what: string) => z.number().int().positive().describe(what);

const serveObject = z.object({
  model: frozenModelSchema.prefault({}).describe('the model that answers'),
  model_name: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .describe('name that clients ask for; null: the name of its directory'),
  add_bos: z
    .boolean()
    .default(false)
    .describe(
      'text completions: the BOS token before the prompt (chats have it in their template)',
    ),
  host: z.string().min(1).default('127.0.0.1').describe('address to listen on; 0.0.0.0: all'),
  port: z.number().int().min(0).max(65535).default(8000).describe('0: any free one'),
  seed: commonShape.seed.describe('of random weights; draws are seeded by requests'),
  matmul_precision: commonShape.matmul_precision,
  deterministic: commonShape.deterministic,
  kv_gib: z
    .number()
    .positive()
    .default(1)
    .describe('GiB of keys and values; sequences beyond it wait'),
  page_size: z
    .number()
    .int()
    .refine((n) => n > 0 && (n & (n - 1)) === 0, 'expected a power of two')
    .default(16)
    .describe('tokens of a page of keys and values'),
  max_sequences: positive('sequences that are decoded at once').default(64),
  max_queued: z
    .number()
    .int()
    .nonnegative()
    .default(256)
    .describe('sequences that may wait besides; more are turned away with status 429'),
  prefill_tokens: positive('prompt tokens that run between two decode steps').default(1024),
  steps_per_read: positive('decode steps between two looks at the results').default(4),
  max_tokens: positive('of an answer in a chat that does not say').default(1024),
});
export type ServeConfig = z.infer<typeof serveObject>;

export const serveSchema = serveObject.superRefine(
  checks<ServeConfig>((config, report) => {
    checkModel(config.model, 'model', false, report);
  }),
);

/** Serves until the signal; `onListen` gets the address. */
export async function runServe(
  config: ServeConfig,
  context: RunContext,
  opened?: OpenedOps,
  onListen: (url: string) => void = () => undefined,
): Promise<void> {
  const { tokenizer, limits } = await roleText(config.model, 'model');
  await withOps(opened, config, async ({ ops }) => {
    const options = { role: 'model', options: config.model, isCritic: false, seed: config.seed };
    const { model, tokenizerDir } = await loadModel(ops, options);
    const engine = new GenerationEngine(model, {
      kvBytes: config.kv_gib * 2 ** 30,
      pageSize: config.page_size,
      maxSequences: config.max_sequences,
      prefillTokens: config.prefill_tokens,
      stepsPerRead: config.steps_per_read,
      // New prompts don't hold up running answers for longer than a chunk.
      chunksPerRound: 1,
      padTokenId: tokenizer.padTokenId ?? tokenizer.eosTokenId ?? 0,
      decode: (ids) => tokenizer.decode(ids),
    });
    const name = config.model_name ?? basename(resolve(tokenizerDir));
    const served = {
      engine,
      tokenizer,
      name,
      context: limits.context,
      maxTokens: config.max_tokens,
      addBos: config.add_bos,
    };
    try {
      const server = await startServer(served, {
        host: config.host,
        port: config.port,
        maxSequences: config.max_sequences + config.max_queued,
        onError: (message) => context.stderr.write(`error: ${message}\n`),
      });
      context.stderr.write(
        `serving '${name}' on ${server.url}/v1, ${Math.round(engine.kvBytes / 2 ** 20)} MiB of keys and values; ctrl-c ends it\n`,
      );
      onListen(server.url);
      await aborted(context.signal);
      await server.close();
    } finally {
      engine.free();
      model.free();
    }
  });
}

const aborted = (signal: AbortSignal) =>
  new Promise<void>((resolveAborted) => {
    if (signal.aborted) resolveAborted();
    signal.addEventListener('abort', () => {
      resolveAborted();
    });
  });

export const serveCommand = defineCommand({
  name: 'serve',
  summary: "a model behind OpenAI's HTTP API: completions, chats, streams",
  schema: serveSchema,
  examples: ['real serve model.path=./sft', 'real serve model.path=./sft port=9000 kv_gib=8'],
  run: async (config, context) => {
    await runServe(config, context);
  },
});
