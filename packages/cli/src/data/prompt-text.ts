/** The text of a record's prompt: its `prompt`, or its conversation as the model's chat template writes it. */
import { ConfigError, DataError, type ChatMessage, type Tokenizer } from '@realhf/api';
import { describeValue, stringField, type DataRecord } from './records/fields.js';

export type PromptTemplate = NonNullable<Tokenizer['applyChatTemplate']>;

/** Throws ConfigError if a template is asked for and the tokenizer has none. */
export function templateOf(tokenizer: Tokenizer, asked: boolean): PromptTemplate | undefined {
  if (!asked) return undefined;
  if (tokenizer.applyChatTemplate) return tokenizer.applyChatTemplate;
  throw new ConfigError(
    'dataset.chat_template=true, but the model has no chat template (chat_template in tokenizer_config.json, or chat_template.jinja); leave it out',
  );
}

/** With a template: `messages` if the record has them, else `prompt` as the user's turn. Throws DataError. */
export function promptText(record: DataRecord, template: PromptTemplate | undefined): string {
  if (!template) return stringField(record, 'prompt');
  const name = record.names.messages ?? 'messages';
  const value = record.fields[name];
  const messages =
    value === undefined
      ? [{ role: 'user', content: stringField(record, 'prompt') }]
      : messagesOf(record, name, value);
  try {
    return template(messages, { addGenerationPrompt: true });
  } catch (cause) {
    throw new DataError(`${record.where}: ${(cause as Error).message}`, { cause });
  }
}

function messagesOf(record: DataRecord, name: string, value: unknown): ChatMessage[] {
  const bad = (what: string, found: unknown) =>
    new DataError(
      `${record.where}: '${what}' is ${describeValue(found)}, expected {role, content}`,
    );
  if (!Array.isArray(value) || value.length === 0) throw bad(name, value);
  return value.map((m: unknown, i) => {
    const { role, content } = (m ?? {}) as { role?: unknown; content?: unknown };
    if (typeof role !== 'string' || typeof content !== 'string') throw bad(`${name}[${i}]`, m);
    return { role, content };
  });
}
