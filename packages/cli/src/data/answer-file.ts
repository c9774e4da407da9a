/**
 * AnswerFile: the output of `real gen`, one JSON line per prompt in the order of the dataset, so that its length is the
 * position of the run. A line torn by a kill is dropped when the file is opened again.
 */
import { closeSync, fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { DataError } from '@realhf/api';

/** A generated answer, as a line of the output file. */
export interface Answer {
  readonly id: string;
  readonly prompt: string;
  readonly answer: string;
  /** prompt ‖ answer. */
  readonly seq: string;
  /** Tokens sampled, EOS included. */
  readonly n_tokens: number;
  /** True where max_new_tokens ended the answer, not EOS. */
  readonly no_eos: boolean;
}

/** Generated answers as JSONL; goes on after the last whole line. */
export class AnswerFile {
  readonly path: string;
  /** Ids of the answers that were there when it was opened. */
  readonly ids: readonly string[];
  private readonly fd: number;

  /** Opens or makes it. Throws DataError naming the first line that is no answer. */
  constructor(path: string) {
    this.path = path;
    this.fd = openSync(path, 'a+');
    try {
      const bytes = readFileSync(this.fd);
      const whole = bytes.lastIndexOf(10) + 1;
      this.ids = bytes
        .toString('utf8', 0, whole)
        .split('\n')
        .slice(0, -1)
        .map((line, i) => idOf(line, `${path}:${i + 1}`));
      if (whole < bytes.length) ftruncateSync(this.fd, whole);
    } catch (error) {
      closeSync(this.fd);
      throw error;
    }
  }

  /** Throws DataError unless the answers there are those of the first prompts of `ids`. */
  checkAgainst(ids: readonly string[]): void {
    const i = this.ids.findIndex((id, k) => id !== ids[k]);
    if (i < 0) return;
    const want = ids[i];
    throw new DataError(
      `${this.path}:${i + 1} answers id '${this.ids[i]!}', but ${want === undefined ? `the dataset has only ${ids.length} prompts` : `prompt ${i + 1} of the dataset is '${want}'`}; go on with the dataset of that run, or choose another trial_name`,
    );
  }

  /** On disk when it returns. */
  append(answers: readonly Answer[]): void {
    const bytes = Buffer.from(answers.map((a) => `${JSON.stringify(a)}\n`).join(''));
    for (let at = 0; at < bytes.length;) at += writeSync(this.fd, bytes, at);
    fsyncSync(this.fd);
  }
  close(): void {
    closeSync(this.fd);
  }
}

function idOf(line: string, where: string): string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new DataError(`${where} is not JSON; repair the file or move it away`, { cause });
  }
  const id =
    typeof value === 'object' && value !== null ? (value as { readonly id?: unknown }).id : null;
  if (typeof id !== 'string')
    throw new DataError(`${where} has no id, so it is no answer; repair the file or move it away`);
  return id;
}
