import { readFileSync } from 'node:fs';
import { defineConfig } from 'vitest/config';

const wgsl = {
  name: 'wgsl',
  enforce: 'pre' as const,
  load(id: string) {
    if (id.endsWith('.wgsl')) return `export default ${JSON.stringify(readFileSync(id, 'utf8'))}`;
    return undefined;
  },
};

const shared = {
  plugins: [wgsl],
  resolve: { conditions: ['@realhf/source'] },
  ssr: { resolve: { conditions: ['@realhf/source'] } },
};

export default defineConfig({
  test: {
    maxWorkers: 2,
    projects: [
      {
        ...shared,
        test: {
          name: 'fast',
          include: ['packages/{*,comm/nccl}/src/**/*.test.ts', 'tools/src/**/*.test.ts'],
          exclude: ['**/*.slow.test.ts', '**/*.full.test.ts'],
          testTimeout: 60_000,
        },
      },
      {
        ...shared,
        test: {
          name: 'slow',
          include: ['packages/{*,comm/nccl}/src/**/*.slow.test.ts', 'tools/src/**/*.slow.test.ts'],
          testTimeout: 600_000,
        },
      },
      {
        // Not part of `npm test`: only `npm run test:full` runs it.
        ...shared,
        test: {
          name: 'full',
          include: ['packages/{*,comm/nccl}/src/**/*.full.test.ts', 'tools/src/**/*.full.test.ts'],
          testTimeout: 3_600_000,
        },
      },
    ],
  },
});
