// The HTTP API as the pusher library uses it: what it publishes, what it asks,
// and that it takes a refusal for an error.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';

import Backend from 'pusher';

import { app, configuration, startBelfry } from './lib/belfry.mjs';
import { authorizer, connect, messagesOf, newBackend, subscribe } from './lib/clients.mjs';
import { eventually } from './lib/wait.mjs';

const second = { id: '483291', key: 'second-key', secret: 'second-secret' };
const disabled = { id: 'disabled-id', key: 'disabled-key', secret: 'disabled-secret' };
const config = `${configuration()}
  - id: "${second.id}"
    key: ${second.key}
    secret: ${second.secret}
  - id: ${disabled.id}
    key: ${disabled.key}
    secret: ${disabled.secret}
    enabled: false
`;

let belfry;
let backend;

before(async () => {
  belfry = await startBelfry({ config });
  backend = newBackend(belfry);
});

after(() => belfry.stop());

const connectAs = (t, userId) => connect(t, belfry, { channelAuthorization: authorizer(backend, { user_id: userId }) });

const json = async (response) => (await response).json();
const get = (path, params) => json(backend.get({ path, params }));

/** The library's error for a request that has to be refused. */
async function refused(request, status, text) {
  const error = await request.then(
    () => assert.fail('the request was accepted'),
    (error) => error,
  );
  assert.ok(error instanceof Backend.RequestError, String(error));
  assert.equal(error.message, `Unexpected status code ${status}`);
  assert.equal(error.status, status);
  const { error: reason } = JSON.parse(error.body);
  assert.match(reason, text);
  assert.ok(!error.body.includes(app.secret), 'the answer has the secret in it');
}

test('trigger on one channel answers {}', async (t) => {
  const { events } = await subscribe(await connectAs(t), 'one');
  assert.deepEqual(await json(backend.trigger('one', 'posted', { id: 1 })), {});
  assert.deepEqual(await events.next(), ['posted', { id: 1 }]);
});

test('trigger on several channels, one of them named twice', async (t) => {
  const client = await connectAs(t);
  const messages = messagesOf(client);
  for (const name of ['several-a', 'several-b', 'several-c']) {
    await subscribe(client, name);
  }
  await backend.trigger(['several-a', 'several-b', 'several-a', 'nobody-is-here'], 'posted', {});
  await backend.trigger('several-c', 'marker', {});
  await backend.trigger('several-a', 'marker', {});
  await backend.trigger('several-b', 'marker', {});
  const received = [];
  for (let markers = 0; markers < 3;) {
    const { event, channel } = await messages.next();
    markers += event === 'marker';
    if (event === 'posted') {
      received.push(channel);
    }
  }
  assert.deepEqual(received.sort(), ['several-a', 'several-b']);
});

test('trigger on a hundred channels', async (t) => {
  const client = await connectAs(t);
  const names = Array.from({ length: 100 }, (_, i) => `hundred-${i}`);
  const subscriptions = await Promise.all(names.map((name) => subscribe(client, name)));
  await backend.trigger(names, 'posted', { to: 'all' });
  for (const { events } of subscriptions) {
    assert.deepEqual(await events.next(), ['posted', { to: 'all' }]);
  }
});

test('triggerBatch', async (t) => {
  const client = await connectAs(t);
  const a = await subscribe(client, 'batch-a');
  const b = await subscribe(client, 'private-batch-b');
  const batch = Array.from({ length: 10 }, (_, i) => ({
    channel: i % 2 ? 'private-batch-b' : 'batch-a',
    name: `n${i}`,
    data: { i },
  }));
  assert.deepEqual(await json(backend.triggerBatch(batch)), {});
  assert.deepEqual(
    await a.events.take(5),
    [0, 2, 4, 6, 8].map((i) => [`n${i}`, { i }]),
  );
  assert.deepEqual(
    await b.events.take(5),
    [1, 3, 5, 7, 9].map((i) => [`n${i}`, { i }]),
  );
});

test('an event with an idempotency key is published once', async (t) => {
  const client = await connectAs(t);
  const { events } = await subscribe(client, 'once');
  const other = await subscribe(client, 'once-other');
  const key = { idempotency_key: 'order-1' };
  for (let i = 0; i < 3; i++) {
    assert.deepEqual(await json(backend.trigger('once', 'first', i, key)), {});
  }
  await backend.trigger(['once', 'once-other'], 'second', 1, key); // on a channel where the key is new
  const batch = [{ channel: 'once', name: 'batch', data: 'a' }, { channel: 'once', name: 'batch', data: 'b' }];
  for (let i = 0; i < 2; i++) {
    const params = { path: '/batch_events', body: { batch, idempotency_key: 'batch-1' } };
    assert.deepEqual(await json(backend.post(params)), {});
  }
  await backend.triggerBatch(batch.map((event, i) => ({ ...event, name: 'own', idempotency_key: `own-${i}` })));
  await backend.triggerBatch([{ ...batch[1], name: 'own', idempotency_key: 'own-1' }]);
  await backend.trigger('once', 'last', 0);
  assert.deepEqual(
    [await events.next(), await events.next(), await events.next(), await events.next(), await events.next(), await events.next()],
    [['first', 0], ['batch', 'a'], ['batch', 'b'], ['own', 'a'], ['own', 'b'], ['last', 0]],
  );
  assert.deepEqual(await other.events.next(), ['second', 1]);
  await refused(backend.trigger('once', 'e', 1, { idempotency_key: 'x'.repeat(129) }), 400, /^idempotency_key is 129 characters/);
});

test('a batch with one bad event publishes none of it', async (t) => {
  const { events } = await subscribe(await connectAs(t), 'all-or-nothing');
  const bad = [
    { channel: 'all-or-nothing', name: 'good', data: '1' },
    { channel: 'no spaces allowed', name: 'bad', data: '2' },
  ];
  await refused(backend.triggerBatch(bad), 400, /^batch\[1\]: channel name/);
  await backend.trigger('all-or-nothing', 'marker', {});
  assert.deepEqual(await events.next(), ['marker', {}]);
});

test('socket_id excludes that connection, in a trigger and in a batch', async (t) => {
  const sender = await connectAs(t);
  const mine = await subscribe(sender, 'others');
  const theirs = await subscribe(await connectAs(t), 'others');
  const socketId = sender.connection.socket_id;
  await backend.trigger('others', 'one', {}, { socket_id: socketId });
  await backend.triggerBatch([{ channel: 'others', name: 'two', data: {}, socket_id: socketId }]);
  await backend.trigger('others', 'three', {}, { socket_id: '1.1' }); // nobody's
  assert.deepEqual(await mine.events.next(), ['three', {}]);
  assert.deepEqual(
    (await theirs.events.take(3)).map(([event]) => event),
    ['one', 'two', 'three'],
  );
});

test('publishing with info answers the counts', async (t) => {
  await subscribe(await connectAs(t, 'ann'), 'presence-info');
  await subscribe(await connectAs(t, 'ann'), 'presence-info');
  await subscribe(await connectAs(t, 'bob'), 'presence-info');
  await subscribe(await connectAs(t), 'info');
  const info = { info: 'user_count,subscription_count' };
  assert.deepEqual(await json(backend.trigger(['presence-info', 'info', 'info-empty'], 'posted', {}, info)), {
    channels: {
      'presence-info': { subscription_count: 3, user_count: 2 },
      info: { subscription_count: 1 },
      'info-empty': { subscription_count: 0 },
    },
  });
  const batch = [
    { channel: 'info', name: 'posted', data: {}, info: 'subscription_count' },
    { channel: 'info', name: 'posted', data: {} },
    { channel: 'presence-info', name: 'posted', data: {}, info: 'user_count' },
  ];
  assert.deepEqual(await json(backend.triggerBatch(batch)), {
    batch: [{ subscription_count: 1 }, {}, { user_count: 2 }],
  });
});

test('GET /channels lists what is occupied, by prefix and with info', async (t) => {
  const client = await connect(t, belfry, {
    key: second.key,
    channelAuthorization: authorizer(newBackend(belfry, second), { user_id: '1' }),
  });
  const other = newBackend(belfry, second);
  const list = (params) => json(other.get({ path: '/channels', params }));
  await eventually('no channel of an earlier test', async () => isDeepStrictEqual(await list(), { channels: {} }));
  for (const name of ['news', 'private-news', 'presence-news', 'presence-sports']) {
    await subscribe(client, name);
  }
  assert.deepEqual(Object.keys((await list()).channels).sort(), [
    'news',
    'presence-news',
    'presence-sports',
    'private-news',
  ]);
  assert.deepEqual(await list({ filter_by_prefix: 'presence-' }), {
    channels: { 'presence-news': {}, 'presence-sports': {} },
  });
  assert.deepEqual(await list({ filter_by_prefix: 'presence-s', info: 'user_count' }), {
    channels: { 'presence-sports': { user_count: 1 } },
  });
  assert.deepEqual(await list({ filter_by_prefix: 'private-', info: 'subscription_count' }), {
    channels: { 'private-news': { subscription_count: 1 } },
  });
  assert.deepEqual(await list({ filter_by_prefix: 'nothing-' }), { channels: {} });
  await refused(other.get({ path: '/channels', params: { info: 'user_count' } }), 400, /filter_by_prefix=presence-/);
});

test('GET /channels/x', async (t) => {
  assert.deepEqual(await get('/channels/empty'), { occupied: false });
  await subscribe(await connectAs(t), 'shown');
  await subscribe(await connectAs(t), 'shown');
  await subscribe(await connectAs(t, '1'), 'presence-shown');
  assert.deepEqual(await get('/channels/shown', { info: 'subscription_count' }), {
    occupied: true,
    subscription_count: 2,
  });
  assert.deepEqual(await get('/channels/presence-shown', { info: 'user_count' }), { occupied: true, user_count: 1 });
  await refused(backend.get({ path: '/channels/shown', params: { info: 'user_count' } }), 400, /presence/);
  await refused(
    backend.get({ path: '/channels/shown', params: { info: 'colour' } }),
    400,
    /user_count, subscription_count/,
  );
});

test('GET /channels/x shows what a cache channel keeps', async () => {
  assert.deepEqual(await get('/channels/cache-shown', { info: 'cache' }), { occupied: false, cache: null });
  await backend.trigger('cache-shown', 'posted', { id: 1 });
  const { cache } = await get('/channels/cache-shown', { info: 'cache' });
  assert.equal(cache.data, '{"id":1}');
  assert.ok(cache.ttl > 0 && cache.ttl <= 30 * 60, `ttl ${cache.ttl}`);
});

test('GET /channels/x/users', async (t) => {
  assert.deepEqual(await get('/channels/presence-listed/users'), { users: [] });
  await subscribe(await connectAs(t, 7), 'presence-listed');
  assert.deepEqual(await get('/channels/presence-listed/users'), { users: [{ id: '7' }] });
  await refused(backend.get({ path: '/channels/listed/users' }), 400, /only presence channels/);
});

test('a channel name with every character that Pusher allows', async (t) => {
  const name = 'az-AZ_09=@,.;';
  const { events } = await subscribe(await connectAs(t), name);
  await backend.trigger(name, 'posted', {});
  assert.deepEqual(await events.next(), ['posted', {}]);
  assert.deepEqual(await get(`/channels/${name}`), { occupied: true });
  assert.deepEqual(await get('/channels', { filter_by_prefix: name }), { channels: { [name]: {} } });
});

test('data arrives byte for byte', async (t) => {
  const { events } = await subscribe(await connectAs(t), 'bytes');
  // pusher-js shows what is no JSON as the string it is.
  const texts = [
    'plain',
    '-- Grüße, 世界, 👩‍👩‍👧‍👦 \u{1F389} \u202E',
    '-- C:\\Users\\new \\u0041 \\\\ \\" " \' </script> \u2028 \u2029',
    '-- tab\t newline\n return\r null\u0000 bell\u0007 del\u007F',
    '-- {"spaces":  1.0, "slash": "\\/", "number": 1e400, "escape": "\\u00e9"}',
    ` ${'🎉'.repeat(2000)}`,
    '',
  ];
  for (const text of texts) {
    await backend.trigger('bytes', 'App\\Events\\Text', text);
    assert.deepEqual(await events.next(), ['App\\Events\\Text', text]);
  }
  const values = [
    { 'key "\\ 🎉': ['\\', '\u0000', '\u2028', null, true, 1.5, -0.001, { '': {} }] },
    [],
    {},
    'a "string"',
    12,
    false,
    null,
  ];
  for (const value of values) {
    await backend.trigger('bytes', 'value', value);
    assert.deepEqual(await events.next(), ['value', value]);
  }
});

test('event names are taken as they are', async (t) => {
  const { events } = await subscribe(await connectAs(t), 'names');
  for (const name of [
    'App\\Events\\OrderShipped',
    'order.shipped',
    'Grüße 🎉 "quoted"',
    'client-posted',
    'n'.repeat(200),
  ]) {
    await backend.trigger('names', name, {});
    assert.deepEqual(await events.next(), [name, {}]);
  }
});

test('a thousand events arrive in order', async (t) => {
  const receivers = [await subscribe(await connectAs(t), 'burst'), await subscribe(await connectAs(t), 'burst')];
  const sent = Array.from({ length: 1000 }, (_, i) => i);
  // All at once; the library's one connection keeps them in order.
  await Promise.all(sent.map((i) => backend.trigger('burst', 'tick', { i })));
  for (const { events } of receivers) {
    assert.deepEqual(
      (await events.take(1000)).map(([, { i }]) => i),
      sent,
    );
  }
});

test('data of exactly max_event_bytes passes, one byte more is 413', async (t) => {
  const { events } = await subscribe(await connectAs(t), 'sizes');
  for (const [exact, more] of [
    ['x'.repeat(10_240), 'x'.repeat(10_241)],
    ['é'.repeat(5_120), `${'é'.repeat(5_120)}x`],
    ['"\\\n'.repeat(3_413) + 'x', '"\\\n'.repeat(3_413) + 'xx'], // it is the text that counts, not its JSON form
  ]) {
    await backend.trigger('sizes', 'exact', exact);
    assert.deepEqual(await events.next(), ['exact', exact]);
    await refused(backend.trigger('sizes', 'more', more), 413, /10241 bytes, more than max_event_bytes 10240/);
    await refused(
      backend.triggerBatch([{ channel: 'sizes', name: 'more', data: more }]),
      413,
      /^The data content of this event exceeds the allowed maximum \(10240 bytes\): .*max_event_bytes 10240 \(batch\[0\]\)/,
    );
  }
  await backend.trigger('sizes', 'marker', {});
  assert.deepEqual(await events.next(), ['marker', {}]);
});

test('a body over max_request_bytes is 413', async () => {
  await refused(backend.trigger('sizes', 'huge', 'x'.repeat(1_048_576)), 413, /max_request_bytes 1048576/);
});

test('101 channels and a batch of 11 are refused', async (t) => {
  const { events } = await subscribe(await connectAs(t), 'many-0');
  const channels = Array.from({ length: 101 }, (_, i) => `many-${i}`);
  // The library itself refuses 101 channels: this goes past it.
  await refused(
    backend.post({ path: '/events', body: { name: 'posted', data: '{}', channels } }),
    400,
    /channels has 101 names, more than max_channels_per_event 100/,
  );
  const batch = Array.from({ length: 11 }, () => ({ channel: 'many-0', name: 'posted', data: '{}' }));
  await refused(backend.triggerBatch(batch), 400, /batch has 11 events, more than max_batch_events 10/);
  await backend.trigger('many-0', 'marker', {});
  assert.deepEqual(await events.next(), ['marker', {}]);
});

test('what is missing or impossible is refused, and said', async () => {
  const post = (body) => backend.post({ path: '/events', body });
  await refused(post({ data: '{}', channel: 'x' }), 400, /^name is missing/);
  await refused(post({ name: 'n', channel: 'x' }), 400, /^data is missing/);
  await refused(post({ name: 'n', data: '{}' }), 400, /^channels is missing/);
  await refused(post({ name: 'n', data: '{}', channels: [] }), 400, /^channels is missing or empty/);
  await refused(post({ name: 'n', data: '{}', channel: 'no spaces' }), 400, /channel name "no spaces"/);
  await refused(post({ name: 'n', data: '{}', channel: 'x'.repeat(201) }), 400, /201 characters/);
  await refused(post({ name: 'n'.repeat(201), data: '{}', channel: 'x' }), 400, /201 characters/);
  await refused(post({ name: 'pusher:error', data: '{}', channel: 'x' }), 400, /belong to the protocol/);
  await refused(post({ name: 'n', data: '{}', channel: 'x', socket_id: 'x' }), 400, /socket_id/);
  await refused(post([]), 400, /JSON object/);
});

test('a wrong secret is 401, with what to check', async () => {
  const wrong = newBackend(belfry, { ...app, secret: 'wrong-secret' });
  await refused(wrong.trigger('x', 'posted', {}), 401, /^invalid signature: .*check the secret of key "?app-key/);
  await refused(wrong.get({ path: '/channels' }), 401, /^invalid signature/);
});

test('a wrong key is 401', async () => {
  const wrong = newBackend(belfry, { ...app, key: second.key, secret: second.secret });
  await refused(wrong.trigger('x', 'posted', {}), 401, /auth_key/);
});

test('an unknown app is 404, a disabled one 403, an unknown route 404', async () => {
  await refused(
    newBackend(belfry, { ...app, id: '999999' }).trigger('x', 'posted', {}),
    404,
    /^no app with id "999999"/,
  );
  await refused(newBackend(belfry, disabled).trigger('x', 'posted', {}), 403, /disabled/);
  await refused(backend.get({ path: '/rooms' }), 404, /^no such route/);
});

test('a request that is not signed, or was signed for another body, is 401', async () => {
  const body = '{"name":"posted","data":"{}","channel":"x"}';
  const post = async (query, sent) => {
    const response = await fetch(`${belfry.url}/apps/${app.id}/events?${query}`, { method: 'POST', body: sent });
    return [response.status, (await response.json()).error];
  };
  const signed = backend.createSignedQueryString({ method: 'POST', path: `/apps/${app.id}/events`, body });
  assert.deepEqual(await post(signed, body), [200, undefined]);
  const [unsignedStatus, unsigned] = await post('', body);
  assert.equal(unsignedStatus, 401);
  assert.match(unsigned, /not signed/);
  const [changedStatus, changed] = await post(signed, body.replace('posted', 'forged'));
  assert.equal(changedStatus, 401);
  assert.match(changed, /body_md5/);
});

test('a request signed eleven minutes ago is 401', async (t) => {
  const now = Date.now;
  t.after(() => (Date.now = now));
  for (const minutes of [-11, 11]) {
    Date.now = () => now() + minutes * 60_000;
    const query = backend.createSignedQueryString({ method: 'GET', path: `/apps/${app.id}/channels` });
    Date.now = now;
    const response = await fetch(`${belfry.url}/apps/${app.id}/channels?${query}`);
    assert.equal(response.status, 401);
    assert.match((await response.json()).error, /^Timestamp expired/);
  }
});

test('apps do not see each other’s channels', async (t) => {
  const other = newBackend(belfry, second);
  const mine = await subscribe(await connectAs(t), 'same-name');
  const theirs = await subscribe(await connect(t, belfry, { key: second.key }), 'same-name');
  await backend.trigger('same-name', 'of-mine', {});
  await other.trigger('same-name', 'of-theirs', {});
  await backend.trigger('same-name', 'marker', {});
  assert.deepEqual(
    (await mine.events.take(2)).map(([event]) => event),
    ['of-mine', 'marker'],
  );
  assert.deepEqual(await theirs.events.next(), ['of-theirs', {}]);
});

test('GET /connections counts the app’s own', async (t) => {
  const other = newBackend(belfry, second);
  const count = async () => (await json(other.get({ path: '/connections' }))).connections;
  await eventually('no connection of an earlier test', async () => (await count()) === 0);
  await connect(t, belfry, { key: second.key });
  await connectAs(t);
  assert.equal(await count(), 1);
});
