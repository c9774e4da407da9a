/**
 * What the examples on toy tasks share: a llama of 30 thousand parameters over single characters, a folder for its runs,
 * the real command in this process, and what a run leaves behind.
 */
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';

import { commands, runCli } from '@realhf/cli';

import { writeCharacterFolder } from './character-folder.js';

/** A folder of this program's own, for data, models and runs. */
export const dir = mkdtempSync(join(tmpdir(), 'real-example-'));

/** A model of characters without weights, with room for longer texts; the folder's path. */
export function writeCharacterModel(characters: string): string {
  const model = join(dir, 'model');
  writeCharacterFolder(model, characters, { positions: 32, initStd: 0.05 });
  return model;
}

/** Writes records as JSONL; the file's path. */
export function writeRecords(name: string, records: readonly unknown[]): string {
  const path = join(dir, `${name}.jsonl`);
  writeFileSync(path, records.map((r) => `${JSON.stringify(r)}\n`).join(''));
  return path;
}

/** The lines of a JSONL file. */
export function readRecords<T = Record<string, string>>(path: string): T[] {
  const lines = readFileSync(path, 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line) as T);
}

/** The items in an order that looks like chance and is always the same. */
export function shuffled<T>(items: readonly T[]): T[] {
  const order = items.map((item, i) => ({ item, key: Math.imul(i + 1, 0x9e3779b1) >>> 0 }));
  return order.sort((a, b) => a.key - b.key).map(({ item }) => item);
}

/** One command line, `real name …`, as a run of that name; the run's folder. Throws if it fails. */
export async function real(name: string, words: readonly string[], run = name): Promise<string> {
  const common = [`fileroot=${dir}`, `experiment_name=${run}`, 'trial_name=run'];
  const code = await runCli(commands, [name, ...words, ...common], {
    ...{ stdout: process.stdout, stderr: process.stderr, env: process.env, version: '' },
    signal: new AbortController().signal,
  });
  if (code !== 0) throw new Error(`real ${name} ended with ${code}`);
  return join(dir, run, 'run');
}

/** Hugging Face directory of a role in the newest checkpoint of a run. */
export function trained(run: string, role: string): string {
  const steps = readdirSync(join(run, 'checkpoints')).filter((f) => f.startsWith('step-'));
  return join(run, 'checkpoints', steps.sort().at(-1)!, 'models', role);
}

/** A stat of a call at every step of a run. */
export function statsOf(run: string, call: string, stat: string): number[] {
  interface Line {
    stats: Record<string, Record<string, number>>;
  }
  return readRecords<Line>(join(run, 'metrics.jsonl')).map((l) => l.stats[call]![stat]!);
}

export const mean = (xs: readonly number[]): number => xs.reduce((a, b) => a + b, 0) / xs.length;
