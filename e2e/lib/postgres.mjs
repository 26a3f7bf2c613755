// A PostgreSQL of the test's own.

import { chown, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { freePort } from './ports.mjs';
import { run, start } from './process.mjs';
import { eventually } from './wait.mjs';

/** The directory of the newest version that Debian has installed. */
async function programs() {
  const versions = await readdir('/usr/lib/postgresql');
  return path.join('/usr/lib/postgresql', versions.sort((a, b) => b - a)[0], 'bin');
}

/** Who runs it: it refuses to be root. */
async function user() {
  if (process.getuid() !== 0) {
    return {};
  }
  const { stdout } = await run('id', ['-u', 'postgres']);
  return { uid: Number(stdout), gid: Number((await run('id', ['-g', 'postgres'])).stdout) };
}

/**
 * Resolves when a server listens with an empty database: {url, port, query, stop, pause,
 * resume}. query runs SQL as the superuser; pause ends the server, and resume starts it with
 * the same data on the same port.
 */
export async function startPostgres() {
  const bin = await programs();
  const as = await user();
  const directory = await mkdtemp(path.join(tmpdir(), 'belfry-postgres-'));
  if (as.uid) {
    await chown(directory, as.uid, as.gid);
  }
  const data = path.join(directory, 'data');
  const options = { cwd: directory, ...as };
  const { code, stderr } = await run(path.join(bin, 'initdb'), ['-D', data, '-U', 'postgres', '--auth=trust', '--no-sync', '-E', 'UTF8'], options);
  if (code !== 0) {
    throw new Error(`initdb: ${stderr}`);
  }
  const port = await freePort();
  const args = ['-D', data, '-p', String(port), '-k', directory, '-c', 'listen_addresses=127.0.0.1', '-c', 'fsync=off'];
  const begin = () => start('postgres', path.join(bin, 'postgres'), args, { ready: /ready to accept connections/, ...options });
  let server = await begin();
  const query = async (sql) => {
    const ran = await run(path.join(bin, 'psql'), ['-h', directory, '-p', String(port), '-U', 'postgres', '-v', 'ON_ERROR_STOP=1', '-c', sql]);
    if (ran.code !== 0) {
      throw new Error(ran.stderr);
    }
    return ran.stdout;
  };
  await eventually('PostgreSQL answers', () => query('SELECT 1').then(() => true, () => false));
  return {
    port,
    url: `postgres://postgres@127.0.0.1:${port}/postgres?sslmode=disable`,
    query,
    pause: () => (server.signal('SIGQUIT'), server.exited),
    resume: async () => void (server = await begin()),
    async stop() {
      server.signal('SIGQUIT'); // at once, whoever is connected
      await server.exited;
      await rm(directory, { recursive: true });
    },
  };
}
