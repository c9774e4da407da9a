/** The commands of `real`, in the order of `real --help`. */
import { doctorCommand } from './doctor/command.js';
import type { Command } from './options/command.js';

export const commands: readonly Command[] = [doctorCommand];
