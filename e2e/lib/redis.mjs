// A Redis of the test's own: one server, a cluster, or watched by Sentinels.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { freePort } from './ports.mjs';
import { run, start } from './process.mjs';
import { eventually } from './wait.mjs';

/** Resolves when a redis-server listens on that port: {port, url, stop, signal, exited}. */
export async function startRedis(port, more = []) {
  const directory = await mkdtemp(path.join(tmpdir(), 'belfry-redis-'));
  const args = ['--port', port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', directory, ...more];
  const redis = await start('redis-server', 'redis-server', args.map(String), { ready: /Ready to accept connections/ });
  return {
    ...redis,
    port,
    url: `redis://127.0.0.1:${port}/0`,
    stop: () => end(redis, directory),
  };
}

/** A Redis Cluster of three masters, each with as many replicas: {url, servers, stop}. */
export async function startRedisCluster(replicas = 0) {
  const servers = [];
  for (let i = 0; i < 3 * (1 + replicas); i++) {
    const options = ['--cluster-enabled', 'yes', '--cluster-port', await freePort(), '--cluster-node-timeout', 2000];
    servers.push(await startRedis(await freePort(), [...options, '--repl-diskless-sync-delay', 0]));
  }
  const addresses = servers.map(({ port }) => `127.0.0.1:${port}`);
  const options = ['--cluster-replicas', String(replicas), '--cluster-yes'];
  const made = await run('redis-cli', ['--cluster', 'create', ...addresses, ...options]);
  if (made.code !== 0) {
    throw new Error(`redis-cli: ${made.stdout}${made.stderr}`);
  }
  for (const { port } of servers) {
    await eventually('the Redis Cluster is ready', async () =>
      (await run('redis-cli', ['-p', String(port), 'cluster', 'info'])).stdout.includes('cluster_state:ok'),
    );
  }
  return {
    url: `redis://${addresses[0]}?addr=${addresses[1]}&addr=${addresses[2]}`,
    servers,
    stop: () => Promise.all(servers.map((server) => server.stop())),
  };
}

/** A master, a replica and three Sentinels: {url, master, stop}. */
export async function startSentinels() {
  const master = await startRedis(await freePort());
  const replica = await startRedis(await freePort(), ['--replicaof', '127.0.0.1', master.port, '--repl-diskless-sync-delay', '0']);
  await eventually('the replica is in step', async () =>
    (await run('redis-cli', ['-p', String(replica.port), 'info', 'replication'])).stdout.includes('master_link_status:up'),
  );
  const sentinels = [];
  for (let i = 0; i < 3; i++) {
    sentinels.push(await startSentinel(master.port));
  }
  for (const { port } of sentinels) {
    await eventually('the Sentinels know each other', async () => {
      const { stdout } = await run('redis-cli', ['-p', String(port), 'sentinel', 'master', 'main']);
      return /num-other-sentinels\n2\n/.test(stdout) && /num-slaves\n1\n/.test(stdout);
    });
  }
  const [first, ...others] = sentinels.map(({ port }) => `127.0.0.1:${port}`);
  return {
    url: `redis://${first}?${others.map((address) => `addr=${address}&`).join('')}master_set=main`,
    master,
    stop: () => Promise.all([...sentinels, replica, master].map((server) => server.stop())),
  };
}

async function startSentinel(master) {
  const port = await freePort();
  const directory = await mkdtemp(path.join(tmpdir(), 'belfry-sentinel-'));
  const file = path.join(directory, 'sentinel.conf');
  await writeFile(
    file,
    `port ${port}
bind 127.0.0.1
dir ${directory}
sentinel monitor main 127.0.0.1 ${master} 2
sentinel down-after-milliseconds main 500
sentinel failover-timeout main 5000
`,
  );
  const sentinel = await start('redis-sentinel', 'redis-server', [file, '--sentinel'], { ready: /\+monitor master/ });
  return { ...sentinel, port, stop: () => end(sentinel, directory) };
}

async function end(server, directory) {
  server.signal('SIGKILL');
  await server.exited;
  await rm(directory, { recursive: true, force: true });
}
