// Starts Belfry with a configuration of its own on a free port.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { environment, start } from './process.mjs';
import { assertSchemaAccepts } from './schema.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));

export const binary = path.resolve(process.env.BELFRY_BIN ?? path.join(root, 'bin', 'belfry'));

/** The application of the default configuration. */
export const app = { id: '100001', key: 'app-key', secret: 'app-secret' };

/** A configuration with this app; settings are further lines of the app, server of the server. */
export const configuration = ({ port = 0, server = '', settings = '' } = {}) => `
server:
  listen: 127.0.0.1:${port}
  ${server}
apps:
  - id: ${app.id}
    key: ${app.key}
    secret: ${app.secret}
    ${settings}
`;

// Belfry names the address it really listens on when it does.
const listening = /\b127\.0\.0\.1:([1-9]\d*)/;

/** A directory of the test's own, with these files, gone when the test is. */
export async function directory(t, files = {}) {
  const made = await mkdtemp(path.join(tmpdir(), 'belfry-'));
  t.after(() => rm(made, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    await writeFile(path.join(made, name), text);
  }
  return made;
}

/** Resolves when `belfry serve` with these arguments listens on 127.0.0.1. */
export async function serve(args, options, program = binary) {
  const belfry = await start('belfry', program, ['serve', ...args], {
    env: environment(),
    ready: listening,
    ...options,
  });
  const port = Number(belfry.match[1]);
  return { ...belfry, url: `http://127.0.0.1:${port}`, host: '127.0.0.1', port };
}

/**
 * Resolves when Belfry listens: {url, host, port, output, exited, stop}. config
 * is the text of the configuration file, of which editors must think the same.
 */
export async function startBelfry({ config = configuration(), env = {} } = {}) {
  const made = await mkdtemp(path.join(tmpdir(), 'belfry-'));
  const file = path.join(made, 'config.yaml');
  await writeFile(file, config);
  try {
    assertSchemaAccepts(config);
    const belfry = await serve(['--config', file], { cwd: made, env: environment(env) });
    return {
      ...belfry,
      stop: async () => {
        const code = await belfry.stop();
        await rm(made, { recursive: true, force: true });
        return code;
      },
    };
  } catch (error) {
    await rm(made, { recursive: true });
    throw error;
  }
}
