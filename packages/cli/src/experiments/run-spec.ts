/** Runs an experiment where its options say: on one device in this process, or on many workers. */
import type { RunContext } from '../options/command.js';
import { runWorkers } from '../runtime/run-workers.js';
import { requireOneDevice } from './layout.js';
import { withOps, type OpenedOps } from './open-ops.js';
import { runExperiment } from './run-experiment.js';
import type { ExperimentResult } from './run-steps.js';
import type { ExperimentSpec } from './spec.js';

/** `command`: the name by which workers find the experiment. Throws what a step throws. */
export async function runSpec(
  command: string,
  spec: ExperimentSpec,
  context: RunContext,
  opened?: OpenedOps,
): Promise<ExperimentResult> {
  const { n_nodes: nodes, n_gpus_per_node: gpus } = spec.config;
  const many = nodes * gpus > 1;
  if (!many) requireOneDevice(spec.calls);
  // Before the device: a bad record is told at once.
  const data = await spec.openData();
  return many
    ? runWorkers({ command, spec, data, context })
    : withOps(opened, spec.config, ({ ops }) => runExperiment(spec, data, ops, context));
}
