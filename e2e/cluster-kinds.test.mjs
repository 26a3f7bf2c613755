// Three Belfrys on a Redis Cluster, and on a Redis that Sentinels watch.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { configuration, startBelfry } from './lib/belfry.mjs';
import { authorizer, connect, newBackend, subscribe } from './lib/clients.mjs';
import { run } from './lib/process.mjs';
import { startRedisCluster, startSentinels } from './lib/redis.mjs';
import { eventually } from './lib/wait.mjs';

const ready = (node) => eventually('the node is ready', async () => (await fetch(`${node.url}/ready`)).status === 200);

async function startNodes(t, url) {
  const config = `${configuration()}
cluster:
  driver: redis
  redis:
    url: ${url}
`;
  const nodes = await Promise.all([0, 1, 2].map(() => startBelfry({ config })));
  t.after(() => Promise.all(nodes.map((node) => node.stop())));
  await Promise.all(nodes.map(ready));
  return nodes;
}

/** Subscribes a user on each node to each of many channels, which are on all shards, and publishes. */
async function checkAll(t, nodes) {
  const backends = nodes.map((node) => newBackend(node));
  const clients = await Promise.all(
    nodes.map((node, i) =>
      connect(t, node, { channelAuthorization: authorizer(backends[i], { user_id: `user-${i}` }) }),
    ),
  );
  for (let i = 0; i < 10; i++) {
    const name = `presence-${i}-${Date.now()}`;
    const subscribed = [];
    for (const client of clients) {
      subscribed.push(await subscribe(client, name));
    }
    assert.equal(subscribed[2].channel.members.count, 3);
    await backends[i % 3].trigger(name, 'posted', i);
    for (const { events } of subscribed) {
      const all = await events.until(([event]) => event === 'posted');
      assert.deepEqual(all.at(-1), ['posted', i]);
    }
    const answer = await backends[(i + 1) % 3].get({ path: `/channels/${name}`, params: { info: 'user_count' } });
    assert.deepEqual(await answer.json(), { occupied: true, user_count: 3 });
  }
  return { backends, clients };
}

test('on a Redis Cluster', async (t) => {
  const redis = await startRedisCluster();
  t.after(() => redis.stop());
  await checkAll(t, await startNodes(t, redis.url));
});

test('a failover inside a Redis Cluster', async (t) => {
  const redis = await startRedisCluster(1);
  t.after(() => redis.stop());
  const replicated = async () => {
    const answers = await Promise.all(redis.servers.map(({ port }) => run('redis-cli', ['-p', String(port), 'info', 'replication'])));
    return answers.filter(({ stdout }) => stdout.includes('master_link_status:up')).length === 3;
  };
  await eventually('the replicas are in step', replicated);
  const nodes = await startNodes(t, redis.url);
  const { clients } = await checkAll(t, nodes);
  const [master] = redis.servers; // redis-cli makes masters of the first three
  master.signal('SIGKILL');
  await master.exited;
  // Until a replica has taken over, and all nodes know, what was the master's is refused.
  await Promise.all(nodes.map(ready));
  await eventually('all channels are served again', () => checkAll(t, nodes).then(() => true, () => false));
  for (const client of clients) {
    assert.equal(client.connection.state, 'connected');
  }
});

test('a failover by Sentinels', async (t) => {
  const redis = await startSentinels();
  t.after(() => redis.stop());
  const nodes = await startNodes(t, redis.url);
  const { backends, clients } = await checkAll(t, nodes);
  const { events } = await subscribe(clients[1], 'after');
  redis.master.signal('SIGKILL');
  await eventually('the nodes notice', async () =>
    (await Promise.all(nodes.map((node) => fetch(`${node.url}/ready`)))).some(({ status }) => status === 503),
  );
  await Promise.all(nodes.map(ready));
  await backends[0].trigger('after', 'posted', 'failover');
  const since = await events.until(([name]) => name === 'posted');
  assert.deepEqual(since, [
    ['pusher:subscription_succeeded', {}], // something may have been missed
    ['posted', 'failover'],
  ]);
  for (const client of clients) {
    assert.equal(client.connection.state, 'connected');
  }
  await checkAll(t, nodes);
});
