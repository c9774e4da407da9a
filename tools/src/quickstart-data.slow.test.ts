/** The committed quickstart data is what its script writes, byte for byte. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

it('quickstart-data/make.mjs writes the committed files', () => {
  const made = mkdtempSync(join(tmpdir(), 'quickstart-data-'));
  try {
    execFileSync(process.execPath, [here('../quickstart-data/make.mjs'), made]);
    const committed = here('../../packages/cli/assets/quickstart');
    expect(readdirSync(made).sort()).toEqual(readdirSync(committed).sort());
    for (const name of readdirSync(made)) {
      expect(readFileSync(join(made, name)).equals(readFileSync(join(committed, name))), name).toBe(
        true,
      );
    }
  } finally {
    rmSync(made, { recursive: true });
  }
});
