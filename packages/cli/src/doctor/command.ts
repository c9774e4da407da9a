/** The `real doctor` command. */
import { adapterChoices } from '@realhf/backends/node';
import { z } from 'zod';

import { defineCommand } from '../options/command.js';
import { doctor } from './doctor.js';

export const doctorCommand = defineCommand({
  name: 'doctor',
  summary: 'shows the WebGPU adapter, measures it, and says what to install for more',
  schema: z.object({
    json: z.boolean().default(false).describe('print one JSON object'),
    adapter: z
      .enum(adapterChoices)
      .optional()
      .describe('adapter to open; default $REALHF_ADAPTER, else the best there is'),
  }),
  flags: ['json', 'adapter'],
  examples: ['real doctor', 'real doctor json=true', 'real doctor adapter=swiftshader'],
  async run({ json, adapter }, { stdout }) {
    await doctor({ json, write: (text) => stdout.write(text), ...(adapter ? { adapter } : {}) });
  },
});
