import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect, it } from 'vitest';

import { CommError, ConfigError } from '@realhf/api';
import { memoryNameResolve } from '../name-resolve/memory.js';
import { breakConnections, secret, socketWorld } from '../testing/socket-world.js';
import { directoryNameResolve } from './name-resolve-directory.js';
import { socketCommunicator } from './socket-communicator.js';

const prefix = 'run/comm';

it('a rank with another secret is refused and told so; the others say who came', async () => {
  const nameResolve = memoryNameResolve();
  const options = { nameResolve, prefix, size: 2, timeoutMs: 300 };
  const right = socketCommunicator({ ...options, rank: 0, secret });
  const wrong = socketCommunicator({ ...options, rank: 1, secret: 'another secret of a run' });
  const outcomes = await Promise.allSettled([right, wrong]);
  for (const o of outcomes) {
    expect(o.status).toBe('rejected');
    expect((o as PromiseRejectedResult).reason).toBeInstanceOf(CommError);
    expect(String((o as PromiseRejectedResult).reason)).toMatch(
      /rank [01] of 2 connects: .*refused.*secret|of what came, one from .* refused: wrong secret/,
    );
  }
});

it('ranks that do not come are named, with what came instead', async () => {
  const nameResolve = memoryNameResolve();
  await nameResolve.add(`${prefix}/1`, 'tcp://127.0.0.1:1');
  const lone = socketCommunicator({ nameResolve, prefix, secret, rank: 0, size: 3, timeoutMs: 50 });
  await expect(lone).rejects.toThrow(
    /no connection with rank 1, 2 of 'run\/comm' in 50 ms; of what came, .*rank 1, can't be reached/,
  );
});

it('strangers get no further than the door', async () => {
  const nameResolve = memoryNameResolve();
  const options = { nameResolve, prefix, secret, size: 2 };
  const first = socketCommunicator({ ...options, rank: 0 });
  const { port } = new URL(await nameResolve.wait(`${prefix}/0`));
  const knock = async (bytes: Uint8Array) => {
    const socket = connect({ host: '127.0.0.1', port: Number(port) });
    let heard = 0;
    socket.on('error', () => undefined);
    socket.on('data', (d) => (heard += d.length));
    socket.write(bytes);
    await new Promise((resolve) => socket.on('close', resolve));
    return heard;
  };
  // Rubbish of the right length, and far too much of it: a challenge of 40 bytes, at most a refusal of 33, no more.
  expect(await knock(new Uint8Array(76).fill(1))).toBe(73);
  expect(await knock(new Uint8Array(5 << 20))).toBeLessThanOrEqual(73);
  const comms = await Promise.all([first, socketCommunicator({ ...options, rank: 1 })]);
  await Promise.all(comms.map((c) => c.barrier()));
  // Connected: the door is shut, and nobody's address is left behind.
  expect(await nameResolve.findSubtree(prefix)).toEqual([]);
  await expect(once(connect({ host: '127.0.0.1', port: Number(port) }), 'connect')).rejects.toThrow(
    'ECONNREFUSED',
  );
  await Promise.all(comms.map((c) => c.close()));
});

it('refuses bad options', async () => {
  const good = { nameResolve: memoryNameResolve(), prefix, secret, rank: 0, size: 1 };
  for (const bad of [{ rank: 1 }, { size: 0 }, { rank: -1 }, { secret: 'short' }])
    await expect(socketCommunicator({ ...good, ...bad })).rejects.toThrow(ConfigError);
  await expect(socketCommunicator({ ...good, host: '192.0.2.1' })).rejects.toThrow(
    /can't listen on '192.0.2.1'/,
  );
});

it('many small messages that nobody receives yet do not pile up without end', async () => {
  const [a, b] = await socketWorld(2, { nameResolve: memoryNameResolve() });
  const sends = Array.from({ length: 600 }, (_, i) => a!.send(1, new Int32Array(4000).fill(i)));
  await b!.send(0, new Int32Array(1));
  await a!.recv(1, new Int32Array(1));
  const into = new Int32Array(4000);
  for (let i = 0; i < 600; i++) {
    await b!.recv(0, into);
    expect([into[0], into[3999]]).toEqual([i, i]);
  }
  await Promise.all(sends);
  await Promise.all([a!.close(), b!.close()]);
});

it('a rank whose connections break is dead to the others', async () => {
  const [a, b] = await socketWorld(2, { nameResolve: memoryNameResolve() });
  const waiting = expect(b!.barrier()).rejects.toThrow(/rank 0 of 2 is gone/);
  breakConnections(a!);
  await waiting;
  await b!.close();
});

it('a process that is killed fails all others, whatever they wait for', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'comm-'));
  const nameResolve = directoryNameResolve(folder, { pollMs: 5 });
  const options = { nameResolve, prefix, secret, size: 3, timeoutMs: 20_000 };
  // A rank without our library: it answers the handshake and then says nothing.
  const child = spawn(process.execPath, ['--input-type=module', '-e', silentRank(folder)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const comms = await Promise.all([0, 1].map((rank) => socketCommunicator({ ...options, rank })));
  const large = new Float32Array(1_000_000);
  const waiting = Promise.allSettled([
    comms[0]!.barrier(),
    comms[0]!.recv(1, large),
    comms[1]!.send(2, large),
  ]);
  child.kill('SIGKILL');
  for (const r of await waiting)
    expect(String((r as PromiseRejectedResult).reason)).toMatch(/CommError: .*rank 2 of 3 is gone/);
  await Promise.all(comms.map((c) => c.close()));
  await rm(folder, { recursive: true });
});

/** Rank 2 of 3 in a few lines of plain Node, after the description in socket-handshake.ts. */
function silentRank(folder: string): string {
  return `
    import { createHmac, randomBytes } from 'node:crypto';
    import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
    import { connect, createServer } from 'node:net';
    const base = ${JSON.stringify(join(folder, ...prefix.split('/')))};
    const mac = (role, l, d, ranks) => createHmac('sha256', ${JSON.stringify(secret)})
      .update('realhf comm ' + role + '\\n').update(l).update(d).update(ranks)
      .update(${JSON.stringify(prefix)}).digest();
    const server = createServer((s) => {
      const nonce = randomBytes(32);
      s.write(Buffer.concat([Buffer.from('RHFCOMM1'), nonce]));
      s.once('data', (a) => {
        const ranks = a.subarray(0, 12);
        const theirs = a.subarray(12, 44);
        s.write(Buffer.concat([Buffer.of(1), mac('listener', nonce, theirs, ranks)]));
      });
    }).listen(0, '127.0.0.1', () => {
      mkdirSync(base + '/2', { recursive: true });
      const value = 'tcp://127.0.0.1:' + server.address().port;
      writeFileSync(base + '/2/draft', JSON.stringify({ id: 'x', value }));
      renameSync(base + '/2/draft', base + '/2/=entry');
    });
    for (const rank of [0, 1]) {
      const look = setInterval(() => {
        const path = base + '/' + rank + '/=entry';
        if (!existsSync(path)) return;
        clearInterval(look);
        const s = connect({ host: '127.0.0.1', port: Number(new URL(JSON.parse(readFileSync(path)).value).port) });
        s.once('data', (hello) => {
          const nonce = randomBytes(32);
          const ranks = Buffer.alloc(12);
          [3, 2, rank].forEach((v, i) => ranks.writeUInt32LE(v, 4 * i));
          s.write(Buffer.concat([ranks, nonce, mac('dialler', hello.subarray(8), nonce, ranks)]));
        });
      }, 5);
    }
  `;
}
