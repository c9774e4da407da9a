/**
 * A model's chat template, in Jinja, from chat_template.jinja or tokenizer_config.json (a string, or a list of named
 * ones, of which `default` is taken).
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Template } from '@huggingface/jinja';
import { DataError, type Tokenizer } from '@realhf/api';

const specialTokens = ['bos_token', 'eos_token', 'pad_token', 'unk_token'] as const;

/** undefined if the folder has no template. Throws DataError if it has one that is not Jinja. */
export function chatTemplate(
  dir: string,
  tokenizerConfig: Readonly<Record<string, unknown>>,
  textOf: (token: (typeof specialTokens)[number]) => string | undefined,
): Tokenizer['applyChatTemplate'] {
  const path = join(dir, 'chat_template.jinja');
  const source = existsSync(path)
    ? readFileSync(path, 'utf8')
    : defaultTemplate(tokenizerConfig.chat_template);
  if (source === undefined) return undefined;
  let template: Template;
  try {
    template = new Template(source);
  } catch (cause) {
    throw new DataError(
      `${dir}: its chat template is not valid Jinja: ${(cause as Error).message}`,
      {
        cause,
      },
    );
  }
  const tokens = Object.fromEntries(specialTokens.map((t) => [t, textOf(t) ?? '']));
  return (messages, { addGenerationPrompt = false } = {}) => {
    try {
      return template.render({
        ...tokens,
        messages: messages.map((m) => ({ ...m })),
        add_generation_prompt: addGenerationPrompt,
      });
    } catch (cause) {
      // Templates raise exceptions of their own, e.g. on roles that do not alternate.
      throw new DataError(`the chat template refuses the messages: ${(cause as Error).message}`, {
        cause,
      });
    }
  };
}

function defaultTemplate(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return undefined;
  const named = value as readonly { name?: unknown; template?: unknown }[];
  const found = named.find((t) => t.name === 'default') ?? named[0];
  return typeof found?.template === 'string' ? found.template : undefined;
}
