/**
 * The data plane: workers take tensors of items straight from each other. Each worker serves reads on a ROUTER socket
 * beside its requests (never behind them: two workers that want something of each other must not wait for each
 * other's calls) and asks others over one DEALER each. CURVE with the run's keys.
 */
import { CommError, type SequenceSample } from '@realhf/api';
import { errorOf, errorReply, type Pull } from '@realhf/dataflow';
import { Dealer, Router } from 'zeromq';

import { clientOptions, serverOptions, type RunKeys } from './keys.js';
import { decodeSample, encodeSample } from './sample-wire.js';

type Read = (ids: readonly string[], keys: readonly string[]) => SequenceSample;

/** Serves `read` on a free port until `close`. */
export async function serveSamples(
  keys: RunKeys,
  read: Read,
): Promise<{ address: string; close(): void }> {
  const socket = new Router({ ...serverOptions(keys), linger: 0, sendHighWaterMark: 0 });
  await socket.bind('tcp://127.0.0.1:*');
  const serve = async () => {
    for await (const [peer, id, ask] of socket) {
      if (!peer || !id || !ask) continue;
      await socket.send([peer, id, ...answer(read, String(ask))]);
    }
  };
  void serve();
  return {
    address: socket.lastEndpoint ?? '',
    close: () => {
      socket.close();
    },
  };
}

function answer(read: Read, ask: string): (string | Uint8Array)[] {
  try {
    const { ids, keys } = JSON.parse(ask) as { ids: readonly string[]; keys: readonly string[] };
    return ['ok', ...encodeSample(read(ids, keys))];
  } catch (e) {
    const { name, message } = errorReply(e);
    return ['error', JSON.stringify({ name, message })];
  }
}

interface Waiting {
  resolve(frames: readonly Uint8Array[]): void;
  reject(error: Error): void;
}

/** Asks other workers; `addressOf` is asked once per worker. */
export class SamplePuller {
  private readonly peers = new Map<string, Promise<Peer>>();
  private readonly keys: RunKeys;
  private readonly addressOf: (worker: string) => Promise<string>;

  constructor(keys: RunKeys, addressOf: (worker: string) => Promise<string>) {
    this.keys = keys;
    this.addressOf = addressOf;
  }

  /** Rejects with the error of the other end, or CommError when closed. */
  async pull({ from, ids, keys }: Pull): Promise<SequenceSample> {
    let peer = this.peers.get(from);
    if (!peer) {
      peer = this.addressOf(from).then((address) => new Peer(address, this.keys));
      this.peers.set(from, peer);
    }
    const [verdict, ...frames] = await (await peer).ask(JSON.stringify({ ids, keys }));
    if (String(verdict) === 'ok') return decodeSample(frames);
    const { name, message } = JSON.parse(String(frames[0])) as { name: string; message: string };
    throw errorOf(name, `${from}: ${message}`);
  }

  async close(): Promise<void> {
    for (const peer of this.peers.values()) (await peer).close();
  }
}

class Peer {
  private readonly socket: Dealer;
  private readonly waiting = new Map<string, Waiting>();
  private sending: Promise<void> = Promise.resolve();
  private count = 0;

  constructor(address: string, keys: RunKeys) {
    this.socket = new Dealer({ ...clientOptions(keys), linger: 0 });
    this.socket.connect(address);
    void this.listen();
  }

  ask(text: string): Promise<readonly Uint8Array[]> {
    const id = String(this.count++);
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.sending = this.sending
        .then(() => this.socket.send([id, text]))
        .catch((cause: unknown) => {
          reject(new CommError('could not ask another worker for tensors', { cause }));
        });
    });
  }

  close(): void {
    for (const w of this.waiting.values()) w.reject(new CommError('the data plane was closed'));
    this.socket.close();
  }

  private async listen(): Promise<void> {
    for await (const [id, ...frames] of this.socket) {
      const waiting = this.waiting.get(String(id));
      this.waiting.delete(String(id));
      waiting?.resolve(frames);
    }
  }
}
