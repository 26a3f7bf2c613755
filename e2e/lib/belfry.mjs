// Starts Belfry with a configuration of its own on a free port.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { start } from './process.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));

export const binary = process.env.BELFRY_BIN ?? path.join(root, 'bin', 'belfry');

/** The application of the default configuration. */
export const app = { id: 'app-id', key: 'app-key', secret: 'app-secret' };

const defaultConfig = `
server:
  listen: 127.0.0.1:0
apps:
  - id: ${app.id}
    key: ${app.key}
    secret: ${app.secret}
`;

// Belfry names the address it really listens on when it does.
const listening = /\b127\.0\.0\.1:([1-9]\d*)/;

/**
 * Resolves when Belfry listens: {url, host, port, output, stop}. config is the
 * text of the configuration file; it has to listen on 127.0.0.1:0.
 */
export async function startBelfry({ config = defaultConfig, env = {} } = {}) {
  const directory = await mkdtemp(path.join(tmpdir(), 'belfry-'));
  const file = path.join(directory, 'config.yaml');
  await writeFile(file, config);
  try {
    const belfry = await start('belfry', binary, ['serve', '--config', file], {
      ready: listening,
      cwd: directory,
      env: { ...process.env, ...env },
    });
    const port = Number(belfry.match[1]);
    return {
      url: `http://127.0.0.1:${port}`,
      host: '127.0.0.1',
      port,
      output: belfry.output,
      stop: async () => {
        await belfry.stop();
        await rm(directory, { recursive: true });
      },
    };
  } catch (error) {
    await rm(directory, { recursive: true });
    throw error;
  }
}
