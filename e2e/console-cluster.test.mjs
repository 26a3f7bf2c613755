// The console on two nodes of a cluster: what is of the node that is asked, and what is of
// all; and a Redis that goes away while somebody looks.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { startBelfry } from './lib/belfry.mjs';
import { launchBrowser } from './lib/browser.mjs';
import { connect, newBackend, subscribe } from './lib/clients.mjs';
import { consoleConfiguration, openConsole } from './lib/console.mjs';
import { freePort } from './lib/ports.mjs';
import { startRedis } from './lib/redis.mjs';
import { eventually } from './lib/wait.mjs';

test('a console on each node of a cluster', { timeout: 120_000 }, async (t) => {
  const redis = await startRedis(await freePort());
  t.after(() => redis.stop());
  const config = `${consoleConfiguration()}
cluster:
  driver: redis
  redis: {url: "${redis.url}", prefix: console}
`;
  const nodes = [];
  for (let i = 0; i < 2; i++) {
    const node = await startBelfry({ config });
    t.after(() => node.stop());
    await eventually('the node is ready', async () => (await fetch(`${node.url}/ready`)).status === 200);
    nodes.push(node);
  }
  for (const node of nodes) {
    await subscribe(await connect(t, node), 'news');
  }
  const browser = await launchBrowser();
  t.after(() => browser.close());
  const { page, go } = await openConsole(t, browser, nodes[0]);
  const ask = (path) => page.evaluate(async (to) => (await fetch(to)).json(), path);

  await t.test('both nodes are listed, with their addresses and connections', async () => {
    await go('node');
    const listed = await eventually('both nodes have said who they are', async () => {
      const answer = await ask('api/node');
      return answer.nodes.filter(({ host, connections }) => host && connections === 1).length === 2 && answer;
    });
    assert.deepEqual(listed.nodes.map(({ self }) => self).sort(), [false, true]);
    assert.deepEqual(listed.nodes.map(({ host }) => host.split(':').at(-1)).sort(), nodes.map(({ port }) => String(port)).sort());
    await page.getByText(`:${nodes[1].port}`).first().waitFor();
  });

  await t.test('a channel has the subscribers of this node, and the total of all', async () => {
    const channel = await ask('api/channel?app=100001&name=news');
    assert.deepEqual([channel.subscriptions, channel.total_subscriptions], [1, 2]);
    await go('channels');
    await page.getByText('of this node').first().waitFor();
  });

  await t.test('an event that the other node has published is delivered here', async () => {
    await go('live');
    await page.getByText('Following').waitFor();
    await newBackend(nodes[1]).trigger('news', 'posted', { n: 1 });
    const row = page.getByRole('listitem').filter({ hasText: 'posted' }).first();
    await row.waitFor();
    assert.match(await row.textContent(), /delivery.*1 recipient/s);
  });

  await t.test('while Redis is away, the page says so and the node is still there', async () => {
    await redis.stop();
    await eventually('the console knows', async () => !(await ask('api/server')).cluster.ready);
    assert.equal((await ask('api/node')).nodes.length, 1);
    const channel = await ask('api/channel?app=100001&name=news');
    assert.equal(channel.subscriptions, 1);
    assert.match(channel.error, /cluster/);
    await page.getByText('This node is not connected to its cluster').waitFor();
  });
});
