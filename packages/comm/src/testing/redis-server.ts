/** A real `redis-server` for tests: on a free port of this machine, with nothing on disk. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';

export interface RedisServer {
  readonly url: string;
  stop(): Promise<void>;
}

const program = 'redis-server';

/** Throws where redis-server isn't installed, or doesn't start on one of several ports. */
export async function startRedis(): Promise<RedisServer> {
  let said = '';
  for (let attempt = 0; attempt < 5; attempt++) {
    const port = await freePort();
    const args = ['--bind', '127.0.0.1', '--port', String(port), '--save', '', '--dir', tmpdir()];
    const server = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    said = await readiness(server);
    if (said.includes('Ready to accept connections'))
      return { url: `redis://127.0.0.1:${port}`, stop: () => stop(server) };
  }
  throw new Error(`redis-server did not start; it said: ${said}`);
}

/** What the server said until it was ready or ended. */
function readiness(server: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = '';
    server.once('error', (cause) => {
      const why = `redis-server can't be run: ${cause.message}`;
      reject(new Error(`${why}; install it (Debian: apt-get install redis-server)`, { cause }));
    });
    server.once('exit', () => {
      resolve(said);
    });
    server.stdout!.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes('Ready to accept connections')) resolve(said);
    });
  });
}

async function stop(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const ended = once(server, 'exit');
  server.kill('SIGKILL');
  await ended;
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}
