import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { AnswerFile } from './answer-file.js';

const dir = mkdtempSync(join(tmpdir(), 'real-answers-'));
afterAll(() => {
  rmSync(dir, { recursive: true });
});
const answer = (id: string) => ({
  id,
  prompt: 'p',
  answer: 'ä\n',
  seq: 'pä\n',
  n_tokens: 2,
  no_eos: false,
});
function written(name: string, ...ids: string[]): string {
  const path = join(dir, name);
  const file = new AnswerFile(path);
  file.append(ids.map(answer));
  file.close();
  return path;
}

it('drops a torn line, in the middle of a character too, and goes on after the whole ones', () => {
  const path = written('torn.jsonl', 'a', 'b');
  const whole = readFileSync(path);
  for (const cut of [5, 1, whole.length / 2 - 1]) {
    writeFileSync(path, whole.subarray(0, whole.length - cut));
    const file = new AnswerFile(path);
    expect(file.ids).toEqual(['a']);
    file.append([answer('b')]);
    file.close();
    expect(readFileSync(path)).toEqual(whole);
  }
});

it('knows the answers of another dataset', () => {
  const file = new AnswerFile(written('other.jsonl', 'a', 'b'));
  file.checkAgainst(['a', 'b', 'c']);
  expect(() => {
    file.checkAgainst(['a', 'x']);
  }).toThrow(/other\.jsonl:2 answers id 'b', but prompt 2 of the dataset is 'x'/);
  expect(() => {
    file.checkAgainst(['a']);
  }).toThrow('the dataset has only 1 prompts');
  file.close();
});

it('names a line that is no answer', () => {
  const path = written('bad.jsonl', 'a');
  appendFileSync(path, '{"step":1}\n');
  expect(() => new AnswerFile(path)).toThrow(/bad\.jsonl:2 has no id/);
  appendFileSync(written('worse.jsonl'), 'x\n');
  expect(() => new AnswerFile(join(dir, 'worse.jsonl'))).toThrow(/worse\.jsonl:1 is not JSON/);
});
