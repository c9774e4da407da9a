/**
 * A registry on this machine that has the packed packages of this repository and nothing else, so that a user's words
 * work before anything is published: `npm install @realhf/packing`. Other packages come from where npm gets them.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, join } from 'node:path';

import { publicPackages } from '../check/tarballs.js';

/** Serves the tarballs in `packed`, as packAll wrote them. @returns the address, and what ends it. */
export async function serveRegistry(
  root: string,
  packed: string,
): Promise<{ url: string; close: () => void }> {
  const files = new Map<string, Buffer>();
  const documents = new Map<string, (url: string) => unknown>();
  for (const { folder, name } of publicPackages(root)) {
    const manifest = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as {
      version: string;
    };
    const { version } = manifest;
    const file = `${name.slice(1).replace('/', '-')}-${version}.tgz`;
    const bytes = readFileSync(join(packed, file));
    const integrity = `sha512-${createHash('sha512').update(bytes).digest('base64')}`;
    files.set(file, bytes);
    documents.set(name, (url) => ({
      name,
      'dist-tags': { latest: version },
      versions: { [version]: { ...manifest, dist: { tarball: `${url}/-/${file}`, integrity } } },
    }));
  }
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? '').slice(1);
    const bytes = files.get(basename(path));
    const document = documents.get(path);
    // Nothing may stay in npm's cache: the next run has other tarballs of the same version.
    response.setHeader('cache-control', 'no-store');
    if (bytes) response.end(bytes);
    else if (document) response.end(JSON.stringify(document(url)));
    else response.writeHead(404).end('{}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
