/** The commands of `real`, in the order of `real --help`. */
import { compareCommand } from './compare/command.js';
import { doctorCommand } from './doctor/command.js';
import { evalCommand } from './evaluate/command.js';
import { dpoCommand } from './experiments/dpo.js';
import { genCommand } from './experiments/gen.js';
import { grpoCommand } from './experiments/grpo.js';
import { ppoCommand } from './experiments/ppo.js';
import { ppoEmaCommand } from './experiments/ppo-ema.js';
import { profileCommand } from './experiments/profile.js';
import { raftCommand } from './experiments/raft.js';
import { reinforceCommand, remaxCommand } from './experiments/remax.js';
import { rlooCommand } from './experiments/rloo.js';
import { rwCommand } from './experiments/rw.js';
import { sftCommand } from './experiments/sft.js';
import { simpoCommand } from './experiments/simpo.js';
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
import { runCommand } from './user-code/run-command.js';
import { verifyCommand } from './verify/command.js';

/** All subcommands of `real`. */
export const commands: readonly Command[] = [
  quickstartCommand,
  sftCommand,
  rwCommand,
  ppoCommand,
  ppoEmaCommand,
  grpoCommand,
  rlooCommand,
  remaxCommand,
  reinforceCommand,
  raftCommand,
  dpoCommand,
  simpoCommand,
  runCommand,
  genCommand,
  evalCommand,
  serveCommand,
  psCommand,
  pauseCommand,
  resumeCommand,
  stopCommand,
  logsCommand,
  compareCommand,
  planCommand,
  profileCommand,
  graphCommand,
  doctorCommand,
  verifyCommand,
];
