/** A page bundled by Vite, opened in headless Chromium with WebGPU on SwiftShader. */
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join } from 'node:path';

import { chromium } from 'playwright-core';
import { build } from 'vite';

/** Debian's Chromium; `$CHROMIUM` names another. */
export const chromiumPath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const types: Readonly<Record<string, string>> = { '.html': 'text/html', '.js': 'text/javascript' };

/** Bundles `folder`/index.html to `out`. @returns bytes of its JavaScript. */
export async function bundle(folder: string, out: string): Promise<number> {
  const result = await build({
    root: folder,
    configFile: false,
    logLevel: 'error',
    build: { outDir: out, emptyOutDir: true },
  });
  const outputs = 'output' in result ? result.output : [];
  return outputs.reduce((n, o) => n + (o.type === 'chunk' ? Buffer.byteLength(o.code) : 0), 0);
}

/** Opens `folder`/index.html and waits until its title is 'done' or 'failed'. @returns the text of the page. */
export async function openPage(folder: string): Promise<string> {
  const server = createServer((request, response) => {
    const path = join(folder, request.url === '/' ? 'index.html' : (request.url ?? ''));
    if (!existsSync(path)) return void response.writeHead(404).end();
    response.setHeader('content-type', types[extname(path)] ?? 'application/octet-stream');
    response.end(readFileSync(path));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const browser = await chromium.launch({
    executablePath: chromiumPath,
    args: ['--no-sandbox', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'],
  });
  try {
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on('pageerror', (e) => errors.push(String(e)));
    page.on('console', (m) => m.type() === 'error' && errors.push(m.text()));
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    await page
      .waitForFunction("['done', 'failed'].includes(document.title)", null, { timeout: 120_000 })
      .catch((e: unknown) => errors.push(String(e)));
    return [await page.innerText('body'), ...errors].join('\n');
  } finally {
    await browser.close();
    server.closeAllConnections();
    server.close();
  }
}
