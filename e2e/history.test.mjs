// Histories with the unchanged libraries: pusher-js takes no notice of serials, and the
// pusher library asks for a history. On a single server, and on two that share a Redis.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { configuration, startBelfry } from './lib/belfry.mjs';
import { authorizer, connect, newBackend, subscribe } from './lib/clients.mjs';
import { freePort } from './lib/ports.mjs';
import { startRedis } from './lib/redis.mjs';
import { eventually, Inbox } from './lib/wait.mjs';

const config = `${configuration()}
    history:
      - {channels: "private-chat.*", events: 3, age: 1h}
      - {channels: "presence-*"}
      - {channels: "private-cache-*"}
`;

const single = async (t) => {
  const belfry = await startBelfry({ config });
  t.after(() => belfry.stop());
  return [belfry, belfry];
};

const cluster = async (t) => {
  const redis = await startRedis(await freePort());
  t.after(() => redis.stop());
  const text = `${config}cluster: {driver: redis, redis: {url: "${redis.url}"}}\n`;
  const nodes = await Promise.all([0, 1].map(() => startBelfry({ config: text })));
  t.after(() => Promise.all(nodes.map((node) => node.stop())));
  for (const node of nodes) {
    await eventually('the node is ready', async () => (await fetch(`${node.url}/ready`)).status === 200);
  }
  return nodes;
};

/** The raw texts that a client is sent from now on. */
function textsOf(client) {
  const texts = new Inbox('texts of the connection');
  client.connection.connection.transport.bind('message', ({ data }) => texts.add(data));
  return texts;
}

for (const [name, start] of Object.entries({ 'single server': single, cluster })) {
  test(`history on a ${name}`, async (t) => {
    const [here, there] = await start(t);
    const backend = newBackend(here);
    const history = async (channel, params) =>
      (await newBackend(there).get({ path: `/channels/${channel}/history`, params })).json();
    const options = { channelAuthorization: authorizer(backend, { user_id: '1' }) };
    const clients = [await connect(t, here, options), await connect(t, there, options)];
    for (const channel of ['private-chat.7', 'presence-room', 'private-cache-last', 'private-other']) {
      const kept = channel !== 'private-other';
      const subscribed = [];
      for (const client of clients) {
        subscribed.push(await subscribe(client, channel));
      }
      const texts = textsOf(clients[1]);
      const posted = { id: 1, text: 'Grüße, 世界 🎉 </b>' };
      await backend.trigger(channel, 'posted', posted);
      await subscribed[0].events.until(([event]) => event === 'posted');
      subscribed[0].channel.trigger('client-typed', { id: 2 });
      const received = await subscribed[1].events.until(([event]) => event === 'client-typed');
      assert.deepEqual(
        received.filter(([event]) => event === 'posted' || event === 'client-typed'),
        [
          ['posted', posted],
          ['client-typed', { id: 2 }],
        ],
      );
      const messages = (await texts.until((text) => text.includes('client-typed')))
        .map((text) => JSON.parse(text))
        .filter(({ event }) => event === 'posted' || event === 'client-typed');
      if (!kept) {
        assert.ok(messages.every((message) => !('serial' in message)));
        const error = await history(channel).then(() => assert.fail('there is a history'), (error) => error);
        assert.equal(error.status, 404);
        assert.match(JSON.parse(error.body).error, /apps\[\]\.history/);
        continue;
      }
      const { events, complete } = await history(channel);
      assert.equal(complete, true);
      assert.deepEqual(
        events.map(({ serial, name, data }) => ({ serial, name, data: JSON.parse(data) })),
        messages.map(({ serial, event, data }) => ({ serial, name: event, data: JSON.parse(data) })),
      );
      assert.ok(events.every(({ time_ms }) => Math.abs(Date.now() - time_ms) < 3_600_000));
      const since = await history(channel, { since: events[0].serial, limit: 1 });
      assert.deepEqual(since, { events: [events[1]], complete: true });
    }
    const { events } = await history('private-chat.7');
    for (let id = 3; id < 6; id++) {
      await backend.trigger('private-chat.7', 'posted', { id });
    }
    const later = await history('private-chat.7', { since: events[1].serial });
    assert.deepEqual(later.events.map(({ data }) => JSON.parse(data).id), [3, 4, 5]);
    assert.equal(later.complete, true);
    assert.equal((await history('private-chat.7', { since: events[0].serial })).complete, false);
    await assert.rejects(history('private-chat.7', { since: 'x' }), { status: 400 });
    await assert.rejects(history('private-chat.7', { limit: 1001 }), { status: 400 });
  });
}
