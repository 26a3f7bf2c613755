// Every kind of channel with pusher-js and the pusher library: subscribe,
// receive, cache, encryption.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { startBelfry } from './lib/belfry.mjs';
import { authorizer, connect, eventsOf, messagesOf, newBackend, settled, subscribe } from './lib/clients.mjs';

const kinds = [
  '',
  'private-',
  'presence-',
  'private-encrypted-',
  'cache-',
  'private-cache-',
  'presence-cache-',
  'private-encrypted-cache-',
];
const cacheKinds = kinds.filter((kind) => kind.includes('cache-'));
const nameOf = (kind) => kind.replace(/-$/, '') || 'public';

let belfry;
let backend;

before(async () => {
  belfry = await startBelfry();
  backend = newBackend(belfry);
});

after(() => belfry.stop());

let members = 0;
const connectMember = (t) =>
  connect(t, belfry, {
    channelAuthorization: authorizer(backend, { user_id: `u${++members}`, user_info: { name: 'Ann' } }),
  });

/** The event with which a subscription succeeds, without what depends on the kind. */
async function succeeded(events) {
  const [event] = await events.next();
  assert.equal(event, 'pusher:subscription_succeeded');
}

const occupied = async (channel) => (await (await backend.get({ path: `/channels/${channel}` })).json()).occupied;

for (const kind of kinds) {
  test(`${nameOf(kind)}: subscribers receive what the backend publishes`, async (t) => {
    const name = `${kind}news`;
    const one = await connectMember(t);
    const two = await connectMember(t);
    const a = await subscribe(one, name);
    const b = await subscribe(two, name);
    // Whatever came for the cache and of each other is not of interest here.
    const published = (events) => events.until(([event]) => event === 'posted');

    await backend.trigger(name, 'posted', { id: 1, text: 'Grüße, 世界 🎉' });
    for (const { events } of [a, b]) {
      assert.deepEqual((await published(events)).at(-1), ['posted', { id: 1, text: 'Grüße, 世界 🎉' }]);
    }

    one.unsubscribe(name);
    const again = eventsOf(one.subscribe(name));
    await succeeded(again);
    await backend.trigger(name, 'posted', { id: 2 });
    assert.deepEqual((await b.events.until(([event]) => event === 'posted')).at(-1), ['posted', { id: 2 }]);
    // A cache channel replays the first event to who subscribes again.
    const replay = kind.includes('cache-') ? [['posted', { id: 1, text: 'Grüße, 世界 🎉' }]] : [];
    const received = await again.until(([event, data]) => event === 'posted' && data.id === 2);
    assert.deepEqual(
      received.filter(([event]) => event === 'posted'),
      [...replay, ['posted', { id: 2 }]],
    );
  });
}

for (const kind of kinds.filter((kind) => kind !== '' && kind !== 'cache-')) {
  test(`${nameOf(kind)}: nobody subscribes without a signature`, async (t) => {
    const client = await connect(t, belfry, {
      channelAuthorization: {
        customHandler: (_, callback) =>
          callback(null, { auth: '', channel_data: '{"user_id":"1"}', shared_secret: 'AAAA' }),
      },
    });
    const name = `${kind}closed`;
    const events = eventsOf(client.subscribe(name));
    const [event, { type, status }] = await events.next();
    assert.deepEqual([event, type, status], ['pusher:subscription_error', 'AuthError', 401]);
    assert.equal(await occupied(name), false);
  });
}

for (const kind of cacheKinds) {
  test(`${nameOf(kind)}: a subscriber gets the last event, or a cache miss`, async (t) => {
    const name = `${kind}scores`;
    const first = eventsOf((await connectMember(t)).subscribe(name));
    await succeeded(first);
    assert.equal((await first.next())[0], 'pusher:cache_miss');

    await backend.trigger(name, 'goal', { score: '1:0' });
    await backend.trigger(name, 'goal', { score: '2:0' });
    assert.deepEqual(await first.take(2), [
      ['goal', { score: '1:0' }],
      ['goal', { score: '2:0' }],
    ]);

    const second = eventsOf((await connectMember(t)).subscribe(name));
    await succeeded(second);
    assert.deepEqual(await second.next(), ['goal', { score: '2:0' }]);

    // Only the new subscriber gets the replay.
    await backend.trigger(name, 'end', {});
    const others = kind.startsWith('presence-') ? ['pusher:member_added'] : [];
    assert.deepEqual(
      (await first.until(([event]) => event === 'end')).map(([event]) => event),
      [...others, 'end'],
    );
    assert.deepEqual(await second.next(), ['end', {}]);
  });

  test(`${nameOf(kind)}: the last event is kept while the channel is empty`, async (t) => {
    const name = `${kind}weather`;
    assert.equal(await occupied(name), false);
    await backend.trigger(name, 'changed', { rain: false });

    const client = await connectMember(t);
    const events = eventsOf(client.subscribe(name));
    await succeeded(events);
    assert.deepEqual(await events.next(), ['changed', { rain: false }]);
    await backend.trigger(name, 'changed', { rain: true });
    assert.deepEqual(await events.next(), ['changed', { rain: true }]);

    client.unsubscribe(name);
    const other = await connectMember(t);
    await settled(client);
    assert.equal(await occupied(name), false);
    const later = eventsOf(other.subscribe(name));
    await succeeded(later);
    assert.deepEqual(await later.next(), ['changed', { rain: true }]);
  });
}

test('channels that are no cache replay nothing', async (t) => {
  for (const kind of kinds.filter((kind) => !cacheKinds.includes(kind))) {
    const name = `${kind}ticker`;
    await backend.trigger(name, 'before', {});
    const { events } = await subscribe(await connectMember(t), name);
    await backend.trigger(name, 'after', {});
    assert.deepEqual(await events.next(), ['after', {}], name);
  }
});

test('only what is on the wire is encrypted: the server never has the plaintext', async (t) => {
  const name = 'private-encrypted-cache-salaries';
  const plaintext = 'forty-two thousand';
  const client = await connectMember(t);
  const messages = messagesOf(client);
  const { events } = await subscribe(client, name);
  await backend.trigger(name, 'raised', { to: plaintext });

  assert.deepEqual(await events.until(([event]) => event === 'raised'), [
    ['pusher:cache_miss', {}],
    ['raised', { to: plaintext }],
  ]);
  const sent = (await messages.until(({ event }) => event === 'raised')).at(-1);
  assert.deepEqual(Object.keys(sent.data).sort(), ['ciphertext', 'nonce']);
  assert.ok(!JSON.stringify(sent).includes(plaintext));

  const { cache } = await (await backend.get({ path: `/channels/${name}`, params: { info: 'cache' } })).json();
  assert.deepEqual(JSON.parse(cache.data), sent.data);
});

test('an encrypted event of another key is not shown', async (t) => {
  const name = 'private-encrypted-letters';
  const client = await connectMember(t);
  const { events } = await subscribe(client, name);
  const stranger = newBackend(belfry, undefined, { encryptionMasterKeyBase64: Buffer.alloc(32).toString('base64') });
  await stranger.trigger(name, 'forged', { text: 'not for you' });
  await backend.trigger(name, 'posted', { text: 'for you' });
  assert.deepEqual(await events.next(), ['posted', { text: 'for you' }]);
});

test('a channel that was left gets nothing more', async (t) => {
  const client = await connectMember(t);
  const messages = messagesOf(client);
  await subscribe(client, 'left-alone');
  await subscribe(client, 'kept');
  client.unsubscribe('left-alone');
  await settled(client);
  await backend.trigger('left-alone', 'missed', {});
  await backend.trigger('kept', 'marker', {});
  const received = await messages.until(({ event }) => event === 'marker');
  assert.deepEqual(
    received.filter(({ event }) => event === 'missed'),
    [],
  );
});

test('events of several channels reach a client on the right one', async (t) => {
  const client = await connectMember(t);
  const names = kinds.map((kind) => `${kind}same`);
  const subscriptions = await Promise.all(names.map((name) => subscribe(client, name)));
  for (const name of names) {
    await backend.trigger(name, 'to', name);
  }
  for (const [i, name] of names.entries()) {
    const received = await subscriptions[i].events.until(([event]) => event === 'to');
    assert.deepEqual(
      received.filter(([event]) => event === 'to'),
      [['to', name]],
    );
  }
});

test('a large channel: everybody gets everything in order, whoever comes and goes meanwhile', async (t) => {
  const name = 'private-stadium';
  const clients = await Promise.all(Array.from({ length: 150 }, () => connectMember(t)));
  const seats = await Promise.all(clients.slice(0, 130).map((client) => subscribe(client, name)));
  const restless = clients.slice(130);

  const visits = [];
  const visiting = Promise.all(
    restless.map(async (client) => {
      for (let visit = 0; visit < 10; visit++) {
        const { events } = await subscribe(client, name);
        visits.push([...(await events.take(3)), ...events.drain()]);
        client.unsubscribe(name);
        await settled(client); // what was on its way is not for the next visit
      }
    }),
  );
  let last = 0;
  let visited = false;
  visiting.finally(() => (visited = true)).catch(() => {}); // awaited below
  while (!visited) {
    await backend.trigger(name, 'tick', { i: ++last });
  }
  await visiting;

  const ticks = (events) => events.filter(([event]) => event === 'tick').map(([, { i }]) => i);
  const all = Array.from({ length: last }, (_, i) => i + 1);
  for (const { events } of seats) {
    assert.deepEqual(ticks(await events.take(last)), all);
  }
  for (const visit of visits) {
    const seen = ticks(visit);
    assert.deepEqual(seen, all.slice(seen[0] - 1, seen[0] - 1 + seen.length));
  }
});
