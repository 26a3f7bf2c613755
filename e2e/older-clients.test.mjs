// Clients of years past, as applications still ship them: pusher-js 3 to 8.0
// over every transport they have, and Laravel Echo 1.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, describe, test } from 'node:test';

import { app, startBelfry } from './lib/belfry.mjs';
import { state } from './lib/clients.mjs';
import { startLaravel } from './lib/laravel.mjs';
import { Inbox, within } from './lib/wait.mjs';

const require = createRequire(import.meta.url);

/** A version's build for Node; package.json has each under a name of its own. */
const pusherJs = (name) => require(`${name}/dist/node/pusher.js`);
const echo = (name) => require(name).default ?? require(name);

let belfry;
let laravel;

before(async () => {
  belfry = await startBelfry();
  laravel = await startLaravel(belfry);
});

after(async () => {
  await laravel.stop();
  await belfry.stop();
});

/** Options that every version understands; it authorises as the user of the token. */
const options = (token, transport = 'ws') => ({
  cluster: 'mt1',
  wsHost: belfry.host,
  wsPort: belfry.port,
  httpHost: belfry.host,
  httpPort: belfry.port,
  encrypted: false, // before 4.1
  forceTLS: false, // since
  enabledTransports: [transport],
  disableStats: true, // before 6; else they report to pusher.com
  authEndpoint: `${laravel.url}/broadcasting/auth`,
  auth: { headers: { Authorization: `Bearer ${token}` } },
});

/** A connected client of this version. */
async function connect(t, Pusher, token, transport) {
  const client = new Pusher(app.key, options(token, transport));
  t.after(() => client.disconnect());
  await state(client, 'connected');
  return client;
}

/** A subscribed channel: {channel, told}, told being what its subscription was answered. */
async function subscribe(client, name) {
  const channel = client.subscribe(name);
  const answered = new Promise((resolve, reject) => {
    channel.bind('pusher:subscription_succeeded', resolve);
    channel.bind('pusher:subscription_error', (error) => reject(new Error(`${name}: ${JSON.stringify(error)}`)));
  });
  const told = await within(answered, () => `subscription of ${name}`);
  return { channel, told };
}

/** What is emitted for an event of a channel from now on. */
function inbox(channel, event) {
  const received = new Inbox(`${event} on ${channel.name}`);
  channel.bind(event, (data) => received.add(data));
  return received;
}

for (const version of ['3', '4', '5', '6', '7', '8.0']) {
  const Pusher = pusherJs(`pusher-js-${version}`);

  for (const transport of ['ws', 'xhr_streaming', 'xhr_polling']) {
    describe(`pusher-js ${version} over ${transport}`, () => {
      test('is authorised, receives events and sends client events', async (t) => {
        // Of this test alone: members of another may not have left yet.
        const room = `presence-room.${version}.${transport}`;
        const ann = await connect(t, Pusher, 'token-ann', transport);
        const bob = await connect(t, Pusher, 'token-bob', transport);
        const orders = await subscribe(ann, 'private-orders.1');
        const annsRoom = await subscribe(ann, room);
        assert.equal(annsRoom.told.count, 1);
        const joined = inbox(annsRoom.channel, 'pusher:member_added');
        const left = inbox(annsRoom.channel, 'pusher:member_removed');
        const bobsRoom = await subscribe(bob, room);
        assert.deepEqual(bobsRoom.told.members, { 1: { id: 1, name: 'Ann' }, 2: { id: 2, name: 'Bob' } });
        assert.deepEqual(bobsRoom.told.me.info, { id: 2, name: 'Bob' });
        assert.deepEqual(await joined.next(), { id: '2', info: { id: 2, name: 'Bob' } });

        const shipped = inbox(orders.channel, 'App\\Events\\OrderShipped');
        await laravel.backend.trigger('private-orders.1', 'App\\Events\\OrderShipped', { order: { id: 1, note: 'Grüße 🎉' } });
        assert.deepEqual(await shipped.next(), { order: { id: 1, note: 'Grüße 🎉' } });

        const typing = inbox(annsRoom.channel, 'client-typing');
        bobsRoom.channel.trigger('client-typing', { name: 'Bob' });
        assert.deepEqual(await typing.next(), { name: 'Bob' });

        bob.unsubscribe(room);
        assert.deepEqual(await left.next(), { id: '2', info: { id: 2, name: 'Bob' } });
      });

      test('is told of a channel that the application refuses', async (t) => {
        const ann = await connect(t, Pusher, 'token-ann', transport);
        await assert.rejects(subscribe(ann, 'private-forbidden'), /403/);
      });
    });
  }
}

for (const [version, pusher] of [['1.11', 'pusher-js-7'], ['1.16', 'pusher-js-8.0']]) {
  const Echo = echo(`laravel-echo-${version}`);

  test(`Laravel Echo ${version} listens, joins and whispers`, async (t) => {
    const Pusher = pusherJs(pusher);
    /** Echo of this user, connected. */
    async function open(token) {
      const page = new Echo({ broadcaster: 'pusher', client: new Pusher(app.key, options(token)) });
      t.after(() => page.disconnect());
      await state(page.connector.pusher, 'connected');
      return page;
    }
    const ann = await open('token-ann');
    const bob = await open('token-bob');
    const seen = new Inbox('events of Ann');
    const subscribed = (channel) => within(new Promise((resolve) => channel.subscribed(resolve)), () => channel.name);

    await subscribed(ann.private('orders.1').listen('OrderShipped', ({ order }) => seen.add(['shipped', order.id])));
    await laravel.backend.trigger('private-orders.1', 'App\\Events\\OrderShipped', { order: { id: 1 } });
    assert.deepEqual(await seen.next(), ['shipped', 1]);

    ann
      .join(`room.${version}`)
      .here((users) => seen.add(['here', ...users.map(({ name }) => name)]))
      .joining(({ name }) => seen.add(['joining', name]))
      .leaving(({ name }) => seen.add(['leaving', name]))
      .listenForWhisper('typing', ({ name }) => seen.add(['typing', name]));
    assert.deepEqual(await seen.next(), ['here', 'Ann']);
    const bobs = bob.join(`room.${version}`);
    await subscribed(bobs);
    assert.deepEqual(await seen.next(), ['joining', 'Bob']);
    bobs.whisper('typing', { name: 'Bob' });
    assert.deepEqual(await seen.next(), ['typing', 'Bob']);
    bob.leave(`room.${version}`);
    assert.deepEqual(await seen.next(), ['leaving', 'Bob']);

    const refused = new Promise((resolve) => ann.private('forbidden.1').error(resolve));
    assert.equal((await within(refused, () => 'the refusal')).status, 403);
  });
}
