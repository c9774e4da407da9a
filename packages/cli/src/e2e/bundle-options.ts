/** How the real command and its like become one file each, from the sources; packages in `external` stay outside. */
import type { BuildOptions } from 'esbuild';

export const bundleOptions = (external: string[]) =>
  ({
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    conditions: ['@realhf/source'],
    loader: { '.wgsl': 'text' },
    external,
    banner: {
      js: "import * as nodeModule from 'node:module'; const require = nodeModule.createRequire(import.meta.url);",
    },
    logLevel: 'error',
  }) satisfies BuildOptions;
