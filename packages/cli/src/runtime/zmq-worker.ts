/** The worker's end of the control plane: handles requests one at a time, in the order of their arrival. */
import type { SequenceSample } from '@realhf/api';
import { errorReply, decodeMessage, encodeMessage, type Request } from '@realhf/dataflow';
import type { RequestHandler } from '@realhf/dataflow';
import { Dealer } from 'zeromq';

import { encodeAnswer, type EngineAnswer, type EngineRequest } from './engine-wire.js';
import { clientOptions, type RunKeys } from './keys.js';
import type { RuntimeReply, RuntimeRequest } from './messages.js';
import { decodeSample } from './sample-wire.js';

export interface WorkerHandlers {
  readonly flow: RequestHandler;
  run(request: RuntimeRequest): Promise<RuntimeReply<RuntimeRequest>>;
  engine(request: EngineRequest, input: SequenceSample): Promise<EngineAnswer>;
}

export interface WorkerSocket {
  /** Says hello, then serves until an `exit` request was answered or the socket is closed. */
  serve(handlers: WorkerHandlers): Promise<void>;
  close(): void;
}

/** Connects as worker `name` to the master's address. */
export function connectWorker(name: string, address: string, keys: RunKeys): WorkerSocket {
  const socket = new Dealer({ ...clientOptions(keys), routingId: name, linger: 2000 });
  socket.connect(address);
  return {
    async serve(handlers) {
      await socket.send(['hello']);
      for await (const [what, number, head, ...tensors] of socket) {
        const kind = String(what);
        const id = String(number);
        const text = String(head);
        if (kind === 'engine') {
          await socket.send([kind, id, ...(await answerCall(handlers, text, tensors))]);
          continue;
        }
        if (kind === 'run') {
          await socket.send([kind, id, await answer(handlers, JSON.parse(text) as RuntimeRequest)]);
          continue;
        }
        const request = decodeMessage(text) as Request;
        await socket.send(['flow', id, encodeMessage(await handlers.flow.handle(request))]);
        if (request.type === 'exit') break;
      }
    },
    close() {
      socket.close();
    },
  };
}

async function answer(handlers: WorkerHandlers, request: RuntimeRequest): Promise<string> {
  try {
    return JSON.stringify({ value: await handlers.run(request) });
  } catch (e) {
    const { name, message } = errorReply(e);
    return JSON.stringify({ error: { name, message } });
  }
}

async function answerCall(
  handlers: WorkerHandlers,
  text: string,
  tensors: readonly Uint8Array[],
): Promise<(string | Uint8Array)[]> {
  try {
    const request = JSON.parse(text) as EngineRequest;
    return ['{}', ...encodeAnswer(await handlers.engine(request, decodeSample(tensors)))];
  } catch (e) {
    const { name, message } = errorReply(e);
    return [JSON.stringify({ error: { name, message } })];
  }
}
