// Signed-in users with pusher-js and the backend's library: events to a user,
// watchlists, presence by sign-in, terminated connections.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { configuration, startBelfry } from './lib/belfry.mjs';
import { authorizer, connect, errorsOf, messagesOf, newBackend, settled, state, subscribe } from './lib/clients.mjs';
import { Inbox } from './lib/wait.mjs';

let belfry;
let backend;

before(async () => {
  belfry = await startBelfry();
  backend = newBackend(belfry);
});

after(() => belfry.stop());

/** pusher-js options of a client whose application knows it as this user. */
const as = (user, options) => ({
  userAuthentication: {
    customHandler: ({ socketId }, callback) => callback(null, backend.authenticateUser(socketId, user)),
  },
  channelAuthorization: authorizer(backend, undefined),
  ...options,
});

/** Resolves when the client has signed in. */
async function signIn(client) {
  client.signin();
  await client.user.signinDonePromise;
  assert.ok(client.user.user_data, 'the client is signed in');
}

/** A client signed in as this user. */
async function connectAs(t, user, server = belfry) {
  const client = await connect(t, server, as(user));
  await signIn(client);
  return client;
}

/** What the user is sent from now on, as [event, data]. */
function eventsOfUser(client) {
  const events = new Inbox('events of the user');
  client.user.bind_global((event, data) => events.add([event, data]));
  return events;
}

/** Who of the watchlist comes and goes from now on, as [event, ids]. */
function watched(client) {
  const events = new Inbox('watchlist events');
  for (const name of ['online', 'offline']) {
    client.user.watchlist.bind(name, ({ user_ids: ids }) => events.add([name, [...ids].sort()]));
  }
  return events;
}

test('an event for a user reaches all of its connections and nobody else', async (t) => {
  const one = await connectAs(t, { id: 'ann', user_info: { name: 'Ann "A"' } });
  assert.deepEqual(one.user.user_data, { id: 'ann', user_info: { name: 'Ann "A"' } });
  const two = await connectAs(t, { id: 'ann' });
  const bob = await connectAs(t, { id: 'bob' });
  const stranger = await connect(t, belfry, as({ id: 'ann' })); // has not signed in
  const inboxes = [one, two, bob].map(eventsOfUser);
  const strangers = messagesOf(stranger);
  stranger.send_event('pusher:subscribe', { channel: '#server-to-user-ann', auth: '' });

  await backend.sendToUser('ann', 'greeting', { text: 'hello' });
  assert.deepEqual(await inboxes[0].next(), ['greeting', { text: 'hello' }]);
  assert.deepEqual(await inboxes[1].next(), ['greeting', { text: 'hello' }]);
  await backend.sendToUser('bob', 'greeting', { text: 'bob' });
  assert.deepEqual(await inboxes[2].next(), ['greeting', { text: 'bob' }]);
  assert.equal((await strangers.next()).event, 'pusher:subscription_error');
  assert.equal((await strangers.next()).data.code, 4009);
  await settled(stranger);
  assert.deepEqual(
    strangers.drain().filter(({ event }) => event === 'greeting'),
    [],
  );
  assert.deepEqual(inboxes[0].drain(), []);
});

test('signing in is refused with a signature of another secret', async (t) => {
  const impostor = newBackend(belfry, { id: '100001', key: 'app-key', secret: 'wrong' });
  const client = await connect(t, belfry, {
    userAuthentication: {
      customHandler: ({ socketId }, callback) => callback(null, impostor.authenticateUser(socketId, { id: 'ann' })),
    },
  });
  const errors = errorsOf(client);
  client.signin();
  const error = await errors.next();
  assert.equal(error.data.code, 4009);
  assert.match(error.data.message, /signature/);
  await settled(client); // the connection stays
});

test('a client that reconnects signs in again by itself', async (t) => {
  // 4200 closes with the word to come back at once.
  const server = await startBelfry({ config: configuration({ settings: 'terminate_code: 4200' }) });
  t.after(() => server.stop());
  const there = newBackend(server);
  const client = await connectAs(t, { id: 'ann' }, server);
  const before = client.connection.socket_id;
  const back = new Promise((resolve) => client.connection.bind('connected', resolve));
  await there.terminateUserConnections('ann');
  await back;
  assert.notEqual(client.connection.socket_id, before);
  await client.user.signinDonePromise;
  const events = eventsOfUser(client);
  await there.sendToUser('ann', 'greeting', 'again');
  assert.deepEqual(await events.next(), ['greeting', 'again']);
});

test('a watchlist tells who comes and goes', async (t) => {
  await connectAs(t, { id: 'w-bob' });
  const ann = await connect(t, belfry, as({ id: 'w-ann', watchlist: ['w-bob', 'w-cem'] }));
  const events = watched(ann);
  await signIn(ann);
  assert.deepEqual(await events.take(2), [
    ['online', ['w-bob']],
    ['offline', ['w-cem']],
  ]);
  const cem = await connectAs(t, { id: 'w-cem' });
  assert.deepEqual(await events.next(), ['online', ['w-cem']]);
  const second = await connectAs(t, { id: 'w-cem' });
  cem.disconnect();
  await settled(second);
  second.disconnect();
  assert.deepEqual(await events.next(), ['offline', ['w-cem']]);
  assert.deepEqual(events.drain(), []);
});

test('a signed-in user is a presence member without channel_data', async (t) => {
  const room = 'presence-signed-in';
  const ann = await subscribe(await connectAs(t, { id: 'ann', user_info: { name: 'Ann' } }), room);
  assert.deepEqual(ann.channel.members.members, { ann: { name: 'Ann' } });
  assert.deepEqual(ann.channel.members.me, { id: 'ann', info: { name: 'Ann' } });
  const bob = await subscribe(await connectAs(t, { id: 'bob' }), room);
  assert.deepEqual(bob.channel.members.members, { ann: { name: 'Ann' }, bob: null });
  assert.deepEqual(await ann.events.next(), ['pusher:member_added', { id: 'bob', info: undefined }]);
});

test('terminating a user closes its connections for good', async (t) => {
  const [one, two] = [await connectAs(t, { id: 'kicked' }), await connectAs(t, { id: 'kicked' })];
  const other = await connectAs(t, { id: 'stays' });
  const errors = errorsOf(one);
  const answer = await backend.terminateUserConnections('kicked');
  assert.equal(answer.status, 200);
  assert.deepEqual(await answer.json(), {});
  await state(one, 'disconnected');
  await state(two, 'disconnected');
  assert.equal((await errors.next()).data.code, 4009);
  await settled(other);
});

test('a connection that must sign in and does not is closed', async (t) => {
  const strict = await startBelfry({ config: configuration({ settings: 'require_signin: 1s' }) });
  t.after(() => strict.stop());
  const signedIn = await connectAs(t, { id: 'ann' }, strict);
  const subscribed = await connect(t, strict, as({ id: 'bob' }));
  await subscribe(subscribed, 'private-room');
  const stranger = await connect(t, strict);
  const errors = errorsOf(stranger);
  await state(stranger, 'disconnected');
  assert.equal((await errors.next()).data.code, 4009);
  assert.equal(signedIn.connection.state, 'connected');
  assert.equal(subscribed.connection.state, 'connected');
});

test('subscribers are told how many they are', async (t) => {
  const counting = await startBelfry({ config: configuration({ settings: 'subscription_count: true' }) });
  t.after(() => counting.stop());
  const client = await connect(t, counting);
  const one = client.subscribe('counted');
  const counts = new Inbox('subscription counts');
  one.bind('pusher:subscription_count', ({ subscription_count: count }) => counts.add(count));
  assert.equal(await counts.next(), 1);
  const other = await connect(t, counting);
  await subscribe(other, 'counted');
  assert.equal(await counts.next(), 2);
  assert.equal(one.subscriptionCount, 2);
  other.disconnect();
  assert.equal(await counts.next(), 1);
});
