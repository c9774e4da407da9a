/** The commands of `real`, in the order of `real --help`. */
import { doctorCommand } from './doctor/command.js';
import { dpoCommand } from './experiments/dpo.js';
import { genCommand } from './experiments/gen.js';
import { grpoCommand } from './experiments/grpo.js';
import { ppoCommand } from './experiments/ppo.js';
import { rwCommand } from './experiments/rw.js';
import { sftCommand } from './experiments/sft.js';
import {
  logsCommand,
  pauseCommand,
  psCommand,
  resumeCommand,
  stopCommand,
} from './lifecycle/commands.js';
import { graphCommand } from './graph/command.js';
import type { Command } from './options/command.js';
import { planCommand } from './plan/command.js';
import { quickstartCommand } from './quickstart/command.js';
import { serveCommand } from './serve/command.js';
import { verifyCommand } from './verify/command.js';

export const commands: readonly Command[] = [
  quickstartCommand,
  sftCommand,
  rwCommand,
  ppoCommand,
  grpoCommand,
  dpoCommand,
  genCommand,
  serveCommand,
  psCommand,
  pauseCommand,
  resumeCommand,
  stopCommand,
  logsCommand,
  planCommand,
  graphCommand,
  doctorCommand,
  verifyCommand,
];
