/**
 * A worker process: `real worker CONFIG RANK`, started by a run and by nobody else. It opens its device, joins the
 * world's communicator, builds its replicas, says hello and serves until it is told to exit. It ends at once when its
 * parent is gone, so that no worker outlives its run.
 */
import { readFile } from 'node:fs/promises';

import { ConfigError, modelKey, type Model, type SequenceSample } from '@realhf/api';
import { socketCommunicator } from '@realhf/comm/node';
import { ModelWorker } from '@realhf/dataflow';

import { movedRoles, MovedParams } from '../checkpoint/moved-params.js';
import { loadShards, readParams, saveShards, type TrainedPart } from '../checkpoint/shards.js';
import { originalParams, saveParams } from '../experiments/load-model.js';
import { makeSpec } from '../experiments/specs.js';
import { stamped } from '../lifecycle/run-logs.js';
import { externalModel } from '../rewards/external-model.js';
import { registerAllInterfaces } from '../user-code/interfaces.js';
import { loadUserModule } from '../user-code/load.js';
import { roleConfigs } from './allocate.js';
import { buildReplicas } from './build-replicas.js';
import { runEngineCall, type EngineRequest } from './engine-wire.js';
import { WorkerHooks } from './hooks.js';
import { formatRunKeys, keysVariable, parseRunKeys } from './keys.js';
import type { RuntimeReply, RuntimeRequest } from './messages.js';
import { controlKey, openNames, sampleKey, tensorPrefix, worldPrefix } from './names.js';
import { loadNccl } from './nccl-package.js';
import { SamplePuller, serveSamples } from './sample-plane.js';
import { openTensorWorld } from './tensor-world.js';
import { workerConfigSchema, workerName } from './worker-config.js';
import { openWorkerGpu } from './worker-gpu.js';
import { connectWorker } from './zmq-worker.js';

/** Serves one run, then ends the process. What start-up throws goes to the log; failures of requests are replies. */
export async function workerMain(words: readonly string[]): Promise<void> {
  endWithParent();
  try {
    await work(words);
    process.exit(0);
  } catch (error) {
    say(error instanceof Error ? (error.stack ?? error.message) : String(error));
    process.exit(1);
  }
}

async function work(words: readonly string[]): Promise<void> {
  const keys = parseRunKeys(process.env[keysVariable]);
  // Children of this process, if a user's module starts any, have no use for it.
  Reflect.deleteProperty(process.env, keysVariable);
  const [path, rankText] = words;
  const rank = Number(rankText);
  if (path === undefined || !Number.isInteger(rank))
    throw new ConfigError('real worker CONFIG RANK is started by a run, not by hand');
  const config = workerConfigSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  const { namePrefix: prefix, startTimeoutMs: timeoutMs } = config;
  const name = workerName(rank);

  registerAllInterfaces();
  for (const module of config.modules) await loadUserModule(module);
  const names = await openNames(config.names);
  const spec = await makeSpec(config.command, config.options);
  const { comm, gpus } = spec.config;
  const nccl = await loadNccl();
  const { ops, gpu, choice } = await openWorkerGpu({
    nccl: typeof nccl === 'string' ? undefined : nccl,
    local: rank % config.gpusPerNode,
    perNode: config.gpusPerNode,
    gpus,
    precision: spec.config,
  });
  say(`${name} (process ${process.pid}) on ${[ops.adapter, choice].filter(Boolean).join(', ')}`);
  const world =
    config.size === 1
      ? undefined
      : await socketCommunicator({
          rank,
          size: config.size,
          nameResolve: names,
          prefix: worldPrefix(prefix),
          secret: formatRunKeys(keys),
          timeoutMs: config.callTimeoutMs,
        });
  const { placements, totalSteps } = config;
  const tensorWorld =
    world &&
    (await openTensorWorld({
      comm,
      nccl,
      ops,
      device: gpu.device,
      world,
      names,
      key: tensorPrefix(prefix),
      callTimeoutMs: config.callTimeoutMs,
      say,
    }));
  if (tensorWorld) say(tensorWorld.choice);
  const replicas = await buildReplicas({
    spec,
    placements,
    rank,
    world,
    tensorWorld,
    ops,
    totalSteps,
  });

  const opened = once(() => spec.openData());
  const pullers = new SamplePuller(keys, (worker) =>
    names.wait(sampleKey(prefix, worker), { timeoutMs }),
  );
  const configs = await roleConfigs(spec);
  const external = placements.flatMap(({ model, ranks }): Model[] => {
    const asked = spec.roles.some((r) => r.role === model.role && r.external);
    return asked && ranks.includes(rank) ? [externalModel(model, spec, configs[model.role]!)] : [];
  });
  const local = replicas.map((r): Model => ({
    name: r.placement.model,
    engine: r.trained ?? r,
    tokenizer: spec.tokenizer,
    version: { epoch: 0, epochStep: 0, globalStep: 0 },
    seed: spec.config.seed,
  }));
  const flow = new ModelWorker({
    models: [...local, ...external],
    ...(config.dataRanks.includes(rank) ? { data: (await opened()).train } : {}),
    evalData: async function* () {
      yield* (await opened()).valid ?? [];
    },
    hooks: new WorkerHooks({
      rank,
      ops,
      world,
      tensors: tensorWorld?.tensors,
      placements,
      replicas,
      configs,
      nodeOf: (r) => Math.floor(r / config.gpusPerNode),
    }),
    pull: (pull) => pullers.pull(pull),
  });
  const samples = await serveSamples(keys, (ids, wanted) => flow.read(ids, wanted));
  await names.add(sampleKey(prefix, name), samples.address);

  const moved = movedRoles(spec.mfcs);
  const parts = replicas.map((r): TrainedPart => ({
    trained:
      r.trained ??
      (moved.has(r.placement.model.role) ? new MovedParams(() => r.network()) : undefined),
    config: r.config,
    placement: r.placement,
    maxTensorBytes: r.maxTensorBytes,
    lora: r.lora,
  }));

  const run = async (request: RuntimeRequest): Promise<RuntimeReply<RuntimeRequest>> => {
    switch (request.type) {
      case 'save_shards':
        await saveShards(request.dir, rank, parts);
        return null;
      case 'load_shards':
        await loadShards(request.dir, rank, parts);
        return null;
      case 'export': {
        const replica = replicas.find((r) => r.trained && r.placement.model.role === request.role);
        if (!replica)
          throw new ConfigError(`${name} does not train '${request.role}' and can't export it`);
        const getParam = await readParams(request.shards, request.role, replica);
        const { config, lora, tokenizerDir } = replica;
        const role = spec.roles.find((r) => r.role === request.role)!;
        const baseParams = () => originalParams({ ...role, role: role.key });
        await saveParams(
          { config, lora, tokenizerDir, getParam, baseParams },
          request.dir,
          spec.config.save,
        );
        return null;
      }
      case 'usage':
        return {
          adapter: ops.adapter,
          comm: tensorWorld?.choice ?? '',
          deviceBytes: ops.memory().peak,
          residentBytes: process.memoryUsage.rss(),
        };
    }
  };
  const engine = async ({ model, call, isHead }: EngineRequest, input: SequenceSample) => {
    const found = local.find((m) => modelKey(m.name) === modelKey(model));
    if (!found) throw new ConfigError(`${name} has no model ${modelKey(model)}`);
    const answer = await runEngineCall(found.engine, call, input);
    return isHead ? answer : new Float32Array();
  };
  const address = await names.wait(controlKey(prefix), { timeoutMs });
  const socket = connectWorker(name, address, keys);
  say(`ready: ${replicas.map((r) => modelKey(r.placement.model)).join(', ')}`);
  await socket.serve({ flow, run, engine });

  samples.close();
  await pullers.close();
  socket.close();
  await tensorWorld?.close();
  await world?.close();
  await names.close();
  ops.destroy();
}

/** Standard output is this worker's log. */
function say(text: string): void {
  process.stdout.write(`${stamped(text)}\n`);
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

/** A worker has nothing to save and nobody to tell: it ends hard, whatever the device is doing. */
function endWithParent(): void {
  const end = () => process.kill(process.pid, 'SIGKILL');
  process.on('disconnect', end);
  // The parent may have gone while this process was loading its modules.
  if ('connected' in process && !process.connected) end();
  // Ctrl-C reaches the whole process group; the master decides what it means.
  process.on('SIGINT', () => undefined);
}
