/** Status files, the commands that read them, and merged logs; no run behind them. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, expect, test } from 'vitest';

import { RunLock } from '../checkpoint/lock.js';
import { runCli } from '../run-cli.js';
import { logsCommand, pauseCommand, psCommand, resumeCommand, stopCommand } from './commands.js';
import { appendLog, followLogs, tailLogs } from './run-logs.js';
import { readStatus, StatusFile, takeCommand } from './run-status.js';

const root = mkdtempSync(join(tmpdir(), 'real-lifecycle-'));
const locks: RunLock[] = [];
afterAll(() => {
  for (const lock of locks) lock.release();
  rmSync(root, { recursive: true });
});

/** A run that this process seems to drive. */
function liveRun(name: string): { dir: string; file: StatusFile } {
  const dir = join(root, name);
  mkdirSync(dir, { recursive: true });
  locks.push(new RunLock(dir));
  const file = new StatusFile(dir);
  file.set({
    state: 'RUNNING',
    step: 2,
    steps: 9,
    workers: [{ name: 'model_worker/0', pid: 41, state: 'READY' }],
  });
  return { dir, file };
}

async function real(...words: string[]): Promise<string> {
  let text = '';
  const output = { write: (part: string) => (text += part) };
  const commands = [psCommand, pauseCommand, resumeCommand, stopCommand, logsCommand];
  const code = await runCli(commands, [...words, `fileroot=${root}`], {
    stdout: output,
    stderr: output,
    env: {},
    signal: new AbortController().signal,
    version: '0',
  });
  return `${text}exit ${code}`;
}

test('workers share the state of a live run, a run without its process is lost, its end is kept', () => {
  const { dir, file } = liveRun('a/states');
  expect(readStatus(dir)).toMatchObject({ state: 'RUNNING', workers: [{ state: 'RUNNING' }] });
  file.set({ state: 'PAUSED' });
  expect(readStatus(dir)).toMatchObject({ state: 'PAUSED', workers: [{ state: 'PAUSED' }] });
  locks.pop()!.release();
  expect(readStatus(dir)).toMatchObject({ state: 'LOST', workers: [{ state: 'LOST' }] });
  file.set({ state: 'COMPLETED', step: 9 });
  expect(readStatus(dir)).toMatchObject({ state: 'COMPLETED', step: 9 });
});

test('ps lists live runs, and with --all those that ended', async () => {
  const { file } = liveRun('b/one');
  liveRun('b/two');
  file.set({ state: 'ERROR', error: 'worker model_worker/0 ended by signal SIGKILL' });
  const live = await real('ps');
  expect(live).toMatch(
    /b\/two {2}RUNNING {2}step 2\/9 .*\n {2}model_worker\/0 {2}RUNNING {2}process 41/,
  );
  expect(live).not.toContain('b/one');
  expect(await real('ps', '--all', 'true')).toMatch(/b\/one {2}ERROR .* ended by signal SIGKILL/);
});

test('pause, resume and stop reach the live trial; others are refused with what there is', async () => {
  const { dir, file } = liveRun('c/trial');
  for (const command of ['pause', 'resume', 'stop'] as const) {
    expect(await real(command, 'c')).toContain(`c/trial: ${command} after the step that runs`);
    expect(takeCommand(dir)).toBe(command);
    expect(takeCommand(dir)).toBeUndefined();
  }
  liveRun('c/twin');
  expect(await real('stop', 'c')).toMatch(/2 runs of 'c' go on: .*name the trial\nexit 2/);
  file.set({ state: 'COMPLETED' });
  expect(await real('stop', 'c/trial')).toContain('c/trial is COMPLETED, nothing is there to stop');
  expect(await real('pause', 'nobody')).toMatch(/no run 'nobody' below .*exit 2/s);
});

test('logs of all processes are merged by time; lines without one stay with theirs', async () => {
  const { dir } = liveRun('d/logs');
  mkdirSync(join(dir, 'logs'));
  const at = (second: number, text: string) => `2026-01-01T00:00:0${second}.000Z ${text}\n`;
  writeFileSync(join(dir, 'logs/model_worker-0.log'), `${at(1, 'begin')}a stack\n${at(4, 'end')}`);
  writeFileSync(join(dir, 'logs/model_worker-1.log'), at(2, 'begin'));
  writeFileSync(join(dir, 'logs/master.log'), at(3, 'saved'));
  expect(tailLogs(dir, 4)).toEqual([
    'model_worker-0: a stack',
    'model_worker-1: 2026-01-01T00:00:02.000Z begin',
    'master: 2026-01-01T00:00:03.000Z saved',
    'model_worker-0: 2026-01-01T00:00:04.000Z end',
  ]);
  expect(await real('logs', 'd', '--lines', '1')).toBe(
    'model_worker-0: 2026-01-01T00:00:04.000Z end\nexit 0',
  );
  const stop = new AbortController();
  const lines: string[] = [];
  const following = followLogs(
    dir,
    stop.signal,
    (line) => {
      lines.push(line);
      stop.abort();
    },
    1,
  );
  appendLog(dir, 'master', 'next');
  await following;
  expect(lines).toEqual([expect.stringMatching(/^master: .*Z next$/)]);
  expect(readFileSync(join(dir, 'logs/master.log'), 'utf8')).toContain('next');
});
