// Client events: what one client sends straight to the other subscribers.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { app, configuration, startBelfry } from './lib/belfry.mjs';
import { authorizer, connect, errorsOf, newBackend, settled, subscribe } from './lib/clients.mjs';
import { Inbox } from './lib/wait.mjs';

const silent = { id: 'silent-id', key: 'silent-key', secret: 'silent-secret' };
const config = `${configuration()}
  - id: ${silent.id}
    key: ${silent.key}
    secret: ${silent.secret}
    client_events: none
`;

let belfry;
let backend;

before(async () => {
  belfry = await startBelfry({ config });
  backend = newBackend(belfry);
});

after(() => belfry.stop());

const connectAs = (t, userId) => connect(t, belfry, { channelAuthorization: authorizer(backend, { user_id: userId }) });

/** What has happened on a channel until now, as a marker that follows it shows. */
async function happened({ channel, events }, from = backend) {
  await from.trigger(channel.name, 'marker', {});
  return (await events.until(([event]) => event === 'marker')).slice(0, -1);
}

for (const kind of ['private-', 'presence-', 'private-cache-', 'presence-cache-']) {
  const name = `${kind}desk`;
  test(`${kind}: everybody else on the channel gets a client event`, async (t) => {
    const sender = await connectAs(t, 'same-user');
    const mine = await subscribe(sender, name);
    const others = [];
    for (const userId of ['same-user', 'another', 'third']) {
      const client = await connectAs(t, userId);
      const whispers = new Inbox(`whispers to ${userId}`);
      const subscription = await subscribe(client, name);
      subscription.channel.bind('client-typing', (...args) => whispers.add(args));
      others.push({ ...subscription, whispers });
    }
    const elsewhere = await subscribe(await connectAs(t, 'fourth'), `${kind}other-desk`);
    await backend.trigger(name, 'kept', {});
    const data = { text: 'Grüße 🎉 \\o/ "x"', list: [1, 2.5, null], nested: { empty: {} } };
    assert.equal(mine.channel.trigger('client-typing', data), true);

    for (const { whispers } of others) {
      const [received, metadata = {}] = await whispers.next();
      assert.deepEqual(received, data);
      assert.equal(metadata.user_id, kind.startsWith('presence-') ? 'same-user' : undefined);
    }
    const isWhisper = ([event]) => event === 'client-typing';

    // A cache channel keeps what the backend published, not what a client said.
    const late = await subscribe(await connectAs(t, 'late'), name);
    assert.deepEqual(await happened(late), kind.includes('cache-') ? [['kept', {}]] : []);
    assert.deepEqual((await happened(mine)).filter(isWhisper), [], 'the sender got its own event');
    assert.deepEqual((await happened(elsewhere)).filter(isWhisper), [], 'another channel got the event');
    for (const other of others) {
      assert.equal((await happened(other)).filter(isWhisper).length, 1, 'the event came more than once');
    }
  });
}

test('data of any JSON type arrives as it was sent', async (t) => {
  const name = 'private-types';
  const sender = await subscribe(await connectAs(t, 'a'), name);
  const receiver = await subscribe(await connectAs(t, 'b'), name);
  for (const data of [{}, [], [1, 'two'], 'plain text', '', 0, 12.5, true, false, null]) {
    sender.channel.trigger('client-data', data);
    assert.deepEqual(await receiver.events.next(), ['client-data', data]);
  }
});

/** Sends a client event that has to be refused: resolves to the error. */
async function refused(t, { client, name, event = 'client-typing', watch, from = backend }) {
  const errors = errorsOf(client);
  client.send_event(event, { text: 'psst' }, name);
  const error = await errors.next();
  assert.equal(error.type, 'PusherError');
  if (watch) {
    assert.deepEqual(await happened(watch, from), [], 'a refused event was delivered');
  }
  await settled(client); // the connection stays
  return error.data;
}

for (const kind of ['', 'cache-', 'private-encrypted-', 'private-encrypted-cache-']) {
  test(`${kind || 'public'}: refused`, async (t) => {
    const name = `${kind}lobby`;
    const client = await connectAs(t, 'a');
    await subscribe(client, name);
    const watch = await subscribe(await connectAs(t, 'b'), name);
    await happened(watch);
    const { code, message } = await refused(t, { client, name });
    assert.equal(code, 4301);
    assert.match(message, /private and presence channels only/);
    await backend.trigger(name, 'marker', {});
    const received = (await watch.events.until(([event]) => event === 'marker')).map(([event]) => event);
    assert.deepEqual(received, ['marker']);
  });
}

test('refused on a channel that the sender is not subscribed to', async (t) => {
  const name = 'private-members-only';
  const watch = await subscribe(await connectAs(t, 'b'), name);
  const client = await connectAs(t, 'a');
  const never = await refused(t, { client, name, watch });
  assert.equal(never.code, 4301);
  assert.match(never.message, /not subscribed/);

  await subscribe(client, name);
  client.unsubscribe(name);
  const left = await refused(t, { client, name, watch });
  assert.equal(left.code, 4301);
});

test('refused when client_events is none', async (t) => {
  const quiet = newBackend(belfry, silent);
  const connectSilent = () => connect(t, belfry, { key: silent.key, channelAuthorization: authorizer(quiet) });
  const name = 'private-quiet';
  const client = await connectSilent();
  await subscribe(client, name);
  const watch = await subscribe(await connectSilent(), name);
  const { code, message } = await refused(t, { client, name, watch, from: quiet });
  assert.equal(code, 4301);
  assert.match(message, /Client events are off for this app/);
});

test('an event that is the protocol’s, or has no client- prefix, is refused', async (t) => {
  const name = 'private-names';
  const client = await connectAs(t, 'a');
  await subscribe(client, name);
  const watch = await subscribe(await connectAs(t, 'b'), name);
  for (const event of [
    'typing',
    'App\\Events\\Paid',
    'pusher_internal:member_added',
    'pusher:error',
    'Client-typing',
  ]) {
    await refused(t, { client, name, event, watch });
  }
});

test('data over max_event_bytes is refused, exactly max_event_bytes is not', async (t) => {
  const name = 'private-sizes';
  const sender = await connectAs(t, 'a');
  const { channel } = await subscribe(sender, name);
  const receiver = await subscribe(await connectAs(t, 'b'), name);
  const most = 10_240;
  const errors = errorsOf(sender);
  channel.trigger('client-large', `x${'é'.repeat(most / 2)}`);
  const { data } = await errors.next();
  assert.equal(data.code, 4301);
  channel.trigger('client-large', 'é'.repeat(most / 2));
  assert.deepEqual(await receiver.events.next(), ['client-large', 'é'.repeat(most / 2)]);
});

test('more than ten at once are refused with 4301, and the connection stays', async (t) => {
  const name = 'private-storm';
  const sender = await connectAs(t, 'a');
  const errors = errorsOf(sender);
  const { channel, events } = await subscribe(sender, name);
  const receiver = await subscribe(await connectAs(t, 'b'), name);
  const bystander = await connectAs(t, 'c');
  const { channel: other } = await subscribe(bystander, name);

  const sent = 100; // at ten a second, this takes until well after the last one
  for (let i = 1; i <= sent; i++) {
    channel.trigger('client-storm', { i });
  }
  await settled(sender);
  const refusals = errors.drain();
  const delivered = (await happened(receiver)).filter(([event]) => event === 'client-storm').map(([, { i }]) => i);

  assert.deepEqual(delivered.slice(0, 10), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.deepEqual(
    delivered,
    [...delivered].sort((a, b) => a - b),
  );
  assert.ok(refusals.length > 0, 'none of 100 was refused');
  assert.equal(delivered.length + refusals.length, sent);
  for (const { type, data } of refusals) {
    assert.deepEqual([type, data.code], ['PusherError', 4301]);
  }

  assert.equal(sender.connection.state, 'connected');
  assert.ok((await events.until(([event]) => event === 'marker')).length > 0);
  // The allowance is each connection's own.
  other.trigger('client-calm', {});
  assert.deepEqual(await receiver.events.next(), ['client-calm', {}]);
});

test('client events do not cross to another app’s channel of the same name', async (t) => {
  const name = 'private-shared-name';
  const quiet = newBackend(belfry, silent);
  const client = await connect(t, belfry, { key: silent.key, channelAuthorization: authorizer(quiet) });
  const watch = await subscribe(client, name);
  const sender = await connectAs(t, 'a');
  const { channel } = await subscribe(sender, name);
  channel.trigger('client-typing', {});
  await settled(sender);
  assert.deepEqual(await happened(watch, quiet), []);
  assert.notEqual(app.key, silent.key);
});
