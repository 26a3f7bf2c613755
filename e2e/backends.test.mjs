// Libraries that publish, beside the one that api.test.mjs uses: pusher 1.5 for
// Node, and a port of pusher to fetch and WebCrypto for edge runtimes.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

import Backend5 from 'pusher';
import Backend1 from 'pusher-1';
import EdgeBackend from 'pusher-http-edge';

import { app as defaultApp, configuration, startBelfry } from './lib/belfry.mjs';
import { authorizer, connect, masterKey, newBackend, subscribe } from './lib/clients.mjs';

// pusher 1.5 reads only digits as the id in a URL.
const app = { ...defaultApp, id: '483291' };

let belfry;

before(async () => {
  belfry = await startBelfry({ config: configuration().replace(defaultApp.id, `"${app.id}"`) });
});

after(() => belfry.stop());

const options = () => ({
  appId: app.id,
  key: app.key,
  secret: app.secret,
  host: belfry.host,
  port: belfry.port,
  encryptionMasterKeyBase64: masterKey,
});
const url = () => `http://${app.key}:${app.secret}@${belfry.host}:${belfry.port}/apps/${app.id}`;

/** pusher 1.5 calls back with (error, request, response). */
function withCallbacks(backend) {
  const call = (method) =>
    promisify((...args) => {
      const callback = args.pop();
      backend[method](...args, (error, _, response) => callback(error, response && JSON.parse(response.body)));
    });
  return { trigger: call('trigger'), triggerBatch: call('triggerBatch'), get: call('get') };
}

/** Later libraries resolve to a response. */
function withPromises(backend) {
  const call = (method) => async (...args) => (await backend[method](...args)).json();
  return {
    trigger: async (channels, event, data, socketId) =>
      (await backend.trigger(channels, event, data, { socket_id: socketId })).json(),
    triggerBatch: call('triggerBatch'),
    get: call('get'),
  };
}

const libraries = {
  'pusher 1.5': () => withCallbacks(new Backend1(options())),
  'pusher 1.5 by URL': () => withCallbacks(Backend1.forURL(url())),
  'pusher 5': () => withPromises(new Backend5(options())),
  'pusher 5 by URL': () => withPromises(Backend5.forURL(url())),
  'pusher-http-edge': () => withPromises(new EdgeBackend(options())),
  'pusher-http-edge by URL': () => withPromises(EdgeBackend.forURL(url())),
};

for (const [name, make] of Object.entries(libraries)) {
  test(`${name} publishes, leaves a socket out, and asks for channels`, async (t) => {
    const backend = make();
    const channelAuthorization = authorizer(newBackend(belfry, app), { user_id: 'ann' });
    const sender = await connect(t, belfry, { channelAuthorization });
    const receiver = await connect(t, belfry, { channelAuthorization });
    const { events: own } = await subscribe(sender, 'private-orders');
    const { events } = await subscribe(receiver, 'private-orders');
    const { events: room } = await subscribe(receiver, 'presence-room');

    const text = 'Grüße 🎉 "x" \\ & = +';
    assert.deepEqual(await backend.trigger(['private-orders', 'presence-room'], 'posted', { text }, undefined), {});
    for (const each of [own, events, room]) {
      assert.deepEqual(await each.next(), ['posted', { text }]);
    }
    await backend.trigger('private-orders', 'shipped', { id: 1 }, sender.connection.socket_id);
    assert.deepEqual(await events.next(), ['shipped', { id: 1 }]);

    const batch = [
      { channel: 'private-orders', name: 'first', data: { i: 1 } },
      { channel: 'presence-room', name: 'second', data: 'text' },
    ];
    assert.deepEqual(await backend.triggerBatch(batch), {});
    assert.deepEqual(await events.next(), ['first', { i: 1 }]);
    assert.deepEqual(await own.next(), ['first', { i: 1 }]); // and not what it sent itself
    assert.deepEqual(await room.next(), ['second', 'text']);

    const params = { filter_by_prefix: 'presence-', info: 'user_count' };
    assert.deepEqual(await backend.get({ path: '/channels', params }), {
      channels: { 'presence-room': { user_count: 1 } },
    });
    assert.deepEqual(await backend.get({ path: '/channels/presence-room/users' }), { users: [{ id: 'ann' }] });
  });

  test(`${name} reports what Belfry refuses`, async () => {
    const { body } = await make()
      .get({ path: '/channels/private-orders/users' })
      .then(() => assert.fail('the request was accepted'), (error) => error);
    assert.match(JSON.parse(body).error, /only presence channels have users/);
  });
}

test('pusher-http-edge authorises, and encrypts what the client decrypts', async (t) => {
  const backend = new EdgeBackend(options());
  const client = await connect(t, belfry, {
    channelAuthorization: {
      customHandler: ({ socketId, channelName }, callback) =>
        backend.authorizeChannel(socketId, channelName).then((auth) => callback(null, auth), callback),
    },
  });
  const { events } = await subscribe(client, 'private-encrypted-salaries');
  await backend.trigger('private-encrypted-salaries', 'raised', { amount: 100 });
  assert.deepEqual(await events.next(), ['raised', { amount: 100 }]);
});
