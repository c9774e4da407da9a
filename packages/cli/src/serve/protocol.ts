/**
 * What OpenAI's API asks and answers, as far as a base model without tools can follow. A parameter that cannot be honoured
 * is refused by name, never ignored. Unknown fields are left out.
 */
import { DataError, generationSchema } from '@realhf/api';
import { z } from 'zod';

/** A failure that the client is told of, in OpenAI's shape. */
export class RequestError extends DataError {
  readonly status: number;
  readonly type: string;
  readonly param: string | null;
  readonly code: string | null;

  constructor(
    status: number,
    message: string,
    more: { readonly type?: string; readonly param?: string; readonly code?: string } = {},
  ) {
    super(message);
    this.status = status;
    this.type = more.type ?? 'invalid_request_error';
    this.param = more.param ?? null;
    this.code = more.code ?? null;
  }

  body(): object {
    const { message, type, param, code } = this;
    return { error: { message, type, param, code } };
  }
}

const common = z.object({
  model: z.string(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  n: z.int().min(1).max(128).nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
  stop: z.union([z.string().min(1), z.array(z.string().min(1)).max(4)]).nullish(),
  seed: z.int().nullish(),
  max_tokens: z.int().positive().nullish(),
  user: z.string().nullish(),
  presence_penalty: z.number().nullish(),
  frequency_penalty: z.number().nullish(),
  logit_bias: z.record(z.string(), z.number()).nullish(),
  // Extensions, spelled as other servers spell them.
  top_k: z.int().positive().nullish(),
  min_tokens: z.int().nonnegative().nullish(),
  stop_token_ids: z.array(z.int().nonnegative()).max(7).nullish(),
});

export const completionRequest = common.extend({
  prompt: z.union([
    z.string(),
    z.array(z.string()).min(1),
    z.array(z.int().nonnegative()).min(1),
    z.array(z.array(z.int().nonnegative()).min(1)).min(1),
  ]),
  logprobs: z.int().min(0).max(1).nullish(),
  echo: z.boolean().nullish(),
  best_of: z.int().nullish(),
  suffix: z.string().nullish(),
});
export type CompletionRequest = z.infer<typeof completionRequest>;

const textPart = z.object({ type: z.literal('text'), text: z.string() });
export const chatRequest = common.extend({
  messages: z
    .array(
      z.object({
        role: z.string().min(1),
        content: z.union([z.string(), z.array(textPart)]),
      }),
    )
    .min(1),
  max_completion_tokens: z.int().positive().nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(1).nullish(),
  tools: z.array(z.unknown()).max(0, 'tools are not supported').nullish(),
});

/** Parses a body; RequestError 400 that names the first parameter at fault. */
export function parseRequest<S extends z.ZodType>(schema: S, body: unknown): z.output<S> {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const param = issue.path.join('.');
  throw new RequestError(400, param === '' ? issue.message : `${param}: ${issue.message}`, {
    ...(param === '' ? {} : { param }),
  });
}

/** Refuses what would be ignored. */
export function refuseUnsupported(
  request: z.infer<typeof common> & Partial<Pick<CompletionRequest, 'echo' | 'suffix' | 'best_of'>>,
): void {
  const refuse = (param: string, why: string) => {
    throw new RequestError(400, `${param}: ${why}`, { param });
  };
  for (const param of ['presence_penalty', 'frequency_penalty'] as const)
    if ((request[param] ?? 0) !== 0) refuse(param, 'penalties are not supported; leave it out');
  if (Object.keys(request.logit_bias ?? {}).length > 0)
    refuse('logit_bias', 'is not supported; leave it out');
  if (request.echo) refuse('echo', 'the prompt is not repeated; leave it out');
  if (request.suffix) refuse('suffix', 'insertion is not supported; leave it out');
  if ((request.best_of ?? request.n ?? 1) !== (request.n ?? 1))
    refuse('best_of', 'must equal n or be left out');
}

/** Options of generation from those of a request. */
export function generationOf(request: z.infer<typeof common>, maxNewTokens: number) {
  return generationSchema.parse({
    max_new_tokens: maxNewTokens,
    min_new_tokens: Math.min(request.min_tokens ?? 0, maxNewTokens),
    temperature: request.temperature ?? 1,
    top_p: request.top_p ?? 1,
    top_k: request.top_k ?? 2 ** 30,
    force_no_logits_mask: true,
  });
}
