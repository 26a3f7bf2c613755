// Presence channels with pusher-js: who is there, who comes, who goes.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { startBelfry } from './lib/belfry.mjs';
import { authorizer, connect, eventsOf, messagesOf, newBackend, settled, subscribe } from './lib/clients.mjs';
import { eventually } from './lib/wait.mjs';

let belfry;
let backend;

before(async () => {
  belfry = await startBelfry();
  backend = newBackend(belfry);
});

after(() => belfry.stop());

const ann = { user_id: 'ann', user_info: { name: 'Ann' } };
const bob = { user_id: 'bob', user_info: { name: 'Bob' } };
const cem = { user_id: 'cem', user_info: { name: 'Cem' } };

const connectAs = (t, member) => connect(t, belfry, { channelAuthorization: authorizer(backend, member) });

const get = async (path, params) => (await backend.get({ path, params })).json();

/** What has happened on a channel until now, as a marker that follows it shows. */
async function happened({ channel, events }) {
  await backend.trigger(channel.name, 'marker', {});
  return (await events.until(([event]) => event === 'marker')).slice(0, -1);
}

test('two users see each other come and go', async (t) => {
  const name = 'presence-room';
  const one = await subscribe(await connectAs(t, ann), name);
  assert.deepEqual(one.channel.members.members, { ann: { name: 'Ann' } });
  assert.equal(one.channel.members.count, 1);

  const client = await connectAs(t, bob);
  const two = await subscribe(client, name);
  assert.deepEqual(two.channel.members.members, { ann: { name: 'Ann' }, bob: { name: 'Bob' } });
  assert.equal(two.channel.members.count, 2);
  assert.deepEqual(two.channel.members.me, { id: 'bob', info: { name: 'Bob' } });

  assert.deepEqual(await one.events.next(), ['pusher:member_added', { id: 'bob', info: { name: 'Bob' } }]);
  assert.equal(one.channel.members.count, 2);
  assert.deepEqual(one.channel.members.me, { id: 'ann', info: { name: 'Ann' } });

  client.unsubscribe(name);
  assert.deepEqual(await one.events.next(), ['pusher:member_removed', { id: 'bob', info: { name: 'Bob' } }]);
  assert.deepEqual(one.channel.members.members, { ann: { name: 'Ann' } });

  await subscribe(client, name);
  assert.deepEqual(await one.events.next(), ['pusher:member_added', { id: 'bob', info: { name: 'Bob' } }]);
  client.disconnect();
  assert.deepEqual(await one.events.next(), ['pusher:member_removed', { id: 'bob', info: { name: 'Bob' } }]);
  assert.deepEqual(await happened(one), []);
});

test('who joins is not told of itself', async (t) => {
  const joined = await subscribe(await connectAs(t, ann), 'presence-alone');
  assert.deepEqual(await happened(joined), []);
});

test('a second tab of a user is neither added nor, until the last one goes, removed', async (t) => {
  const name = 'presence-tabs';
  const observer = await subscribe(await connectAs(t, bob), name);
  const first = await connectAs(t, ann);
  await subscribe(first, name);
  assert.deepEqual(await happened(observer), [['pusher:member_added', { id: 'ann', info: { name: 'Ann' } }]]);

  const second = await connectAs(t, ann);
  const tab = await subscribe(second, name);
  assert.equal(tab.channel.members.count, 2);
  assert.deepEqual(Object.keys(tab.channel.members.members).sort(), ['ann', 'bob']);
  const third = await connectAs(t, ann);
  await subscribe(third, name);
  assert.deepEqual(await happened(observer), []);
  assert.equal(observer.channel.members.count, 2);
  assert.deepEqual(await get(`/channels/${name}`, { info: 'user_count' }), { occupied: true, user_count: 2 });

  // One tab leaves the channel, one is closed: Ann is still there.
  first.unsubscribe(name);
  await settled(first);
  const { connections } = await get('/connections');
  second.disconnect();
  await eventually('one connection less', async () => (await get('/connections')).connections === connections - 1);
  assert.deepEqual(await happened(observer), []);

  third.disconnect();
  assert.deepEqual(await observer.events.next(), ['pusher:member_removed', { id: 'ann', info: { name: 'Ann' } }]);
  assert.deepEqual(await happened(observer), []);
  assert.equal(observer.channel.members.count, 1);
});

test('a tab that comes back in time is no arrival for the others', async (t) => {
  const name = 'presence-back';
  const observer = await subscribe(await connectAs(t, bob), name);
  const first = await connectAs(t, ann);
  const second = await connectAs(t, ann);
  await subscribe(first, name);
  await subscribe(second, name);
  first.unsubscribe(name);
  await subscribe(first, name);
  assert.deepEqual(
    (await happened(observer)).map(([event]) => event),
    ['pusher:member_added'],
  );
});

test('user_info is any JSON, and arrives as it was given', async (t) => {
  const infos = {
    object: { name: 'Zoë 🎉', tags: ['a', 'b'], nested: { deep: [1, 2.5, null, true] } },
    array: [1, 'two', { three: 3 }],
    string: 'just a name \\ "quoted"',
    number: 42.25,
    zero: 0,
    true: true,
    false: false,
    null: null,
    empty: {},
  };
  const name = 'presence-infos';
  const observer = await subscribe(await connectAs(t, bob), name);
  for (const [id, info] of Object.entries(infos)) {
    const joined = await subscribe(await connectAs(t, { user_id: id, user_info: info }), name);
    assert.deepEqual(await observer.events.next(), ['pusher:member_added', { id, info }]);
    assert.deepEqual(joined.channel.members.me, { id, info });
    assert.deepEqual(joined.channel.members.get('bob'), { id: 'bob', info: { name: 'Bob' } });
  }
  const last = await subscribe(await connectAs(t, cem), name);
  assert.deepEqual(last.channel.members.members, { ...infos, bob: { name: 'Bob' }, cem: { name: 'Cem' } });
});

test('user_info may be left out', async (t) => {
  const name = 'presence-anonymous';
  const observer = await subscribe(await connectAs(t, bob), name);
  const client = await connectAs(t, { user_id: 'ghost' });
  const joined = await subscribe(client, name);
  assert.deepEqual(joined.channel.members.members, { bob: { name: 'Bob' }, ghost: null });
  assert.deepEqual(joined.channel.members.me, { id: 'ghost', info: null });
  const [event, { id, info }] = await observer.events.next();
  assert.deepEqual([event, id], ['pusher:member_added', 'ghost']);
  assert.ok(info === undefined || info === null);
  client.disconnect();
  assert.equal((await observer.events.next())[0], 'pusher:member_removed');
  assert.equal(observer.channel.members.get('ghost'), null);
});

test('a numeric user_id is a string on the wire', async (t) => {
  const name = 'presence-numbers';
  const client = await connectAs(t, bob);
  const messages = messagesOf(client);
  const observer = await subscribe(client, name);
  const number = await connectAs(t, { user_id: 7, user_info: { name: 'Seven' } });
  const joined = await subscribe(number, name);
  assert.deepEqual(joined.channel.members.me, { id: 7, info: { name: 'Seven' } }); // the id that the backend gave it
  assert.deepEqual(joined.channel.members.get('7'), { id: '7', info: { name: 'Seven' } });
  assert.deepEqual(await observer.events.next(), ['pusher:member_added', { id: '7', info: { name: 'Seven' } }]);

  // The same user by its other spelling is the same member.
  const spelled = await connectAs(t, { user_id: '7', user_info: { name: 'Seven' } });
  const own = messagesOf(spelled);
  await subscribe(spelled, name);
  assert.deepEqual(await happened(observer), []);
  const { data } = (await own.until(({ event }) => event === 'pusher_internal:subscription_succeeded')).at(-1);
  assert.equal(data.presence.count, 2);
  assert.deepEqual([...data.presence.ids].sort(), ['7', 'bob']);

  spelled.disconnect();
  number.disconnect();
  await observer.events.until(([event]) => event === 'pusher:member_removed');
  const ids = (await messages.until(({ event }) => event.endsWith('member_removed')))
    .filter(({ event }) => event.startsWith('pusher_internal:member_'))
    .map(({ data }) => data.user_id);
  assert.deepEqual(ids, ['7', '7']);
});

test('the API lists and counts the members', async (t) => {
  const name = 'presence-office';
  assert.deepEqual(await get(`/channels/${name}/users`), { users: [] });
  await subscribe(await connectAs(t, ann), name);
  await subscribe(await connectAs(t, ann), name);
  await subscribe(await connectAs(t, { user_id: 7 }), name);
  await subscribe(await connectAs(t, bob), 'presence-elsewhere');

  const { users } = await get(`/channels/${name}/users`);
  assert.deepEqual(users.map(({ id }) => id).sort(), ['7', 'ann']);
  assert.deepEqual(await get(`/channels/${name}`, { info: 'user_count' }), { occupied: true, user_count: 2 });
  const { channels } = await get('/channels', { filter_by_prefix: 'presence-', info: 'user_count' });
  assert.deepEqual(channels[name], { user_count: 2 });
  assert.deepEqual(channels['presence-elsewhere'], { user_count: 1 });
});

test('a presence channel without a user is refused', async (t) => {
  const cases = {
    'no user_id': '{"user_info":{"name":"Ann"}}',
    'an empty user_id': '{"user_id":""}',
    'a user_id that is an object': '{"user_id":{}}',
    'no JSON': 'Ann',
  };
  const name = 'presence-strict';
  for (const [what, channelData] of Object.entries(cases)) {
    const client = await connect(t, belfry);
    const messages = messagesOf(client);
    const auth = `app-key:${backend.config.token.sign(`${client.connection.socket_id}:${name}:${channelData}`)}`;
    client.send_event('pusher:subscribe', { channel: name, auth, channel_data: channelData });
    const { event, channel, data } = await messages.next();
    assert.deepEqual([event, channel, data.status], ['pusher:subscription_error', name, 400], what);
    await settled(client); // the connection stays
  }
  assert.deepEqual(await get(`/channels/${name}/users`), { users: [] });
});

test('channel_data that was not signed is refused', async (t) => {
  const name = 'presence-signed';
  const client = await connect(t, belfry, {
    channelAuthorization: {
      customHandler: ({ socketId, channelName }, callback) => {
        const { auth } = backend.authorizeChannel(socketId, channelName, ann);
        callback(null, { auth, channel_data: JSON.stringify(bob) });
      },
    },
  });
  const events = eventsOf(client.subscribe(name));
  const [event, { status }] = await events.next();
  assert.deepEqual([event, status], ['pusher:subscription_error', 401]);
  assert.deepEqual(await get(`/channels/${name}/users`), { users: [] });
});

test('thirty users who come at once all see thirty', async (t) => {
  const name = 'presence-crowd';
  const size = 30;
  const clients = await Promise.all(
    Array.from({ length: size }, (_, i) => connectAs(t, { user_id: `u${i}`, user_info: { i } })),
  );
  const joined = await Promise.all(clients.map((client) => subscribe(client, name)));
  await backend.trigger(name, 'marker', {});
  for (const { channel, events } of joined) {
    await events.until(([event]) => event === 'marker');
    assert.equal(channel.members.count, size);
    assert.equal(Object.keys(channel.members.members).length, size);
  }
  for (const client of clients.slice(1)) {
    client.disconnect();
  }
  const [first] = joined;
  const gone = await first.events.take(size - 1);
  assert.deepEqual(new Set(gone.map(([event]) => event)), new Set(['pusher:member_removed']));
  assert.equal(new Set(gone.map(([, { id }]) => id)).size, size - 1);
  assert.deepEqual(await happened(first), []);
  assert.equal(first.channel.members.count, 1);
  assert.deepEqual((await get(`/channels/${name}/users`)).users, [{ id: 'u0' }]);
});
