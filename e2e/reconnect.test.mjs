// What pusher-js does when the connection ends, is refused, or a subscription
// is. The tests run side by side: one has to wait for pusher-js, which tries
// again fifteen seconds after a refused TCP connection.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { createRequire } from 'node:module';
import { describe, test } from 'node:test';

import { configuration, startBelfry } from './lib/belfry.mjs';
import { launchBrowser } from './lib/browser.mjs';
import {
  authorizer,
  connect,
  errorsOf,
  eventsOf,
  messagesOf,
  newBackend,
  newClient,
  settled,
  state,
  subscribe,
} from './lib/clients.mjs';
import { eventually, Inbox } from './lib/wait.mjs';

/** A Belfry that is stopped when the test ends, if not before. */
async function belfryFor(t, options) {
  const belfry = await startBelfry(options);
  t.after(() => belfry.stop());
  return belfry;
}

/** Every state of a connection from now on. */
function statesOf(client) {
  const states = new Inbox('states of the connection');
  client.connection.bind('state_change', ({ current }) => states.add(current));
  return states;
}

/** The code of a pusher:error event or of a close frame. */
const codeOf = ({ data, error }) => (data ?? error?.data)?.code;

describe('pusher-js', { concurrency: true }, () => {
  test('comes back by itself after a restart, with all its channels', async (t) => {
    const first = await belfryFor(t);
    const member = { user_id: 'ann', user_info: { name: 'Ann' } };
    const client = await connect(t, first, { channelAuthorization: authorizer(newBackend(first), member) });
    const names = ['news', 'private-news', 'presence-news', 'private-encrypted-news', 'cache-news'];
    const subscriptions = await Promise.all(names.map((name) => subscribe(client, name)));
    const socketId = client.connection.socket_id;
    await subscribe(client, 'left');
    client.unsubscribe('left');

    const states = statesOf(client);
    await first.stop();
    const second = await belfryFor(t, { config: configuration({ port: first.port }) });
    assert.equal(second.port, first.port);
    await states.until((current) => current === 'connected', 60_000);
    assert.notEqual(client.connection.socket_id, socketId);

    const backend = newBackend(second);
    for (const [i, name] of names.entries()) {
      const { channel, events } = subscriptions[i];
      await events.until(([event]) => event === 'pusher:subscription_succeeded');
      await backend.trigger(name, 'posted', { after: 'the restart' });
      assert.deepEqual((await events.until(([event]) => event === 'posted')).at(-1), [
        'posted',
        { after: 'the restart' },
      ]);
      assert.equal(channel.subscribed, true);
    }
    assert.equal(client.channel('presence-news').members.count, 1);
    const { occupied } = await (await backend.get({ path: '/channels/left' })).json();
    assert.equal(occupied, false);
  });

  test('is told 4200 by a server that stops, and connects again at once', async (t) => {
    const belfry = await belfryFor(t);
    const client = await connect(t, belfry);
    const errors = errorsOf(client);
    const states = statesOf(client);
    assert.equal(await belfry.stop(), 0);
    assert.equal(codeOf(await errors.next()), 4200); // the error event
    const closed = (await errors.until(({ type }) => type === 'WebSocketError')).at(-1);
    assert.equal(codeOf(closed), 4200);
    assert.equal(await states.next(), 'connecting');
  });

  test('comes back when the connection is cut without a word', async (t) => {
    const belfry = await belfryFor(t);
    const client = await connect(t, belfry);
    const { events } = await subscribe(client, 'news');
    const states = statesOf(client);
    // The transport's socket, as when a network goes away.
    client.connection.connection.transport.socket._stream.destroy();
    await states.until((current) => current === 'connected');
    await events.until(([event]) => event === 'pusher:subscription_succeeded');
    await newBackend(belfry).trigger('news', 'posted', {});
    assert.deepEqual(await events.next(), ['posted', {}]);
  });

  /** The client gives up: it says why, and is not connecting any more. */
  async function givesUp(client, code, text) {
    const errors = errorsOf(client);
    const states = statesOf(client);
    const error = await errors.next();
    assert.equal(codeOf(error), code);
    assert.match((error.data ?? error.error.data).message, text);
    assert.equal(await states.next(), 'disconnected');
    const { retryTimer, runner } = client.connection;
    assert.ok(!retryTimer && !runner, 'it has planned another try');
  }

  test('gives up on a wrong key', async (t) => {
    const belfry = await belfryFor(t);
    await givesUp(newClient(t, belfry, { key: 'wrong-key' }), 4001, /wrong-key/);
  });

  test('gives up on a disabled app, and on a wrong path', async (t) => {
    const belfry = await belfryFor(t, { config: configuration({ settings: 'enabled: false' }) });
    await givesUp(newClient(t, belfry), 4003, /disabled/);
    await givesUp(newClient(t, belfry, { wsPath: '/wrong' }), 4005, /\/app\/\{key\}/);
  });

  test('gives up when the app has all its connections', async (t) => {
    const belfry = await belfryFor(t, { config: configuration({ settings: 'max_connections: 1' }) });
    const client = await connect(t, belfry);
    await givesUp(newClient(t, belfry), 4004, /1 connection/);
    await settled(client);
    client.disconnect();
    // The place is free once the server has seen the client go.
    const backend = newBackend(belfry);
    const count = async () => (await (await backend.get({ path: '/connections' })).json()).connections;
    await eventually('no connection', async () => (await count()) === 0);
    await connect(t, belfry);
  });

  test('is told of a wrong signature on the channel, and stays connected', async (t) => {
    const belfry = await belfryFor(t);
    const backend = newBackend(belfry);
    const auths = {
      'private-other-socket': () => backend.authorizeChannel('1.1', 'private-other-socket'),
      'private-other-channel': (socketId) => backend.authorizeChannel(socketId, 'private-another'),
      'private-other-secret': (socketId) =>
        newBackend(belfry, { key: 'app-key', secret: 'wrong' }).authorizeChannel(socketId, 'private-other-secret'),
      'private-other-key': (socketId) =>
        newBackend(belfry, { key: 'wrong', secret: 'app-secret' }).authorizeChannel(socketId, 'private-other-key'),
      'private-no-colon': () => ({ auth: 'app-key' }),
      'presence-other-user': (socketId) => ({
        ...backend.authorizeChannel(socketId, 'presence-other-user', { user_id: '1' }),
        channel_data: '{"user_id":"2"}',
      }),
      'private-right': (socketId) => backend.authorizeChannel(socketId, 'private-right'),
    };
    const client = await connect(t, belfry, {
      channelAuthorization: {
        customHandler: ({ socketId, channelName }, callback) => callback(null, auths[channelName](socketId)),
      },
    });
    const errors = errorsOf(client);
    const messages = messagesOf(client);
    for (const name of Object.keys(auths).filter((name) => name !== 'private-right')) {
      const [event, { type, error, status }] = await eventsOf(client.subscribe(name)).next();
      assert.deepEqual([event, type, status], ['pusher:subscription_error', 'AuthError', 401], name);
      assert.ok(error.length > 10 && !error.includes('app-secret'), error);
      const said = await errors.next();
      assert.deepEqual([said.type, said.data.code], ['PusherError', 4009], name);
    }
    const { events } = await subscribe(client, 'private-right');
    await backend.trigger(['private-other-socket', 'private-right'], 'posted', {});
    assert.deepEqual(await events.next(), ['posted', {}]);
    assert.equal(client.connection.state, 'connected');
    assert.deepEqual(
      messages.drain().filter(({ event, channel }) => event === 'posted' && channel !== 'private-right'),
      [],
    );
  });

  test('in a browser gives up on an origin that is not allowed', async (t) => {
    const belfry = await belfryFor(t, { config: configuration({ settings: 'allowed_origins: [localhost]' }) });
    const script = await readFile(createRequire(import.meta.url).resolve('pusher-js/dist/web/pusher.min.js'));
    const pages = http.createServer((request, response) => {
      const [type, body] =
        request.url === '/pusher.js' ? ['text/javascript', script] : ['text/html', '<script src="pusher.js"></script>'];
      response.writeHead(200, { 'Content-Type': type }).end(body);
    });
    await new Promise((resolve) => pages.listen(0, '127.0.0.1', resolve));
    t.after(() => new Promise((resolve) => (pages.close(resolve), pages.closeAllConnections())));
    const browser = await launchBrowser();
    t.after(() => browser.close());

    /** What becomes of a connection from a page at this host. */
    async function from(host) {
      const page = await browser.newPage();
      page.setDefaultTimeout(20_000);
      await page.goto(`http://${host}:${pages.address().port}/`);
      return page.evaluate(
        ({ wsHost, wsPort }) =>
          new Promise((resolve) => {
            const { connection } = new window.Pusher('app-key', {
              cluster: '',
              wsHost,
              wsPort,
              forceTLS: false,
              enabledTransports: ['ws'],
            });
            let code;
            connection.bind('error', ({ data, error }) => (code = (data ?? error?.data)?.code));
            connection.bind(
              'state_change',
              ({ current }) =>
                current !== 'connecting' && resolve({ state: current, code, retries: Boolean(connection.retryTimer) }),
            );
          }),
        { wsHost: belfry.host, wsPort: belfry.port },
      );
    }
    assert.deepEqual(await from('localhost'), { state: 'connected', code: undefined, retries: false });
    assert.deepEqual(await from('127.0.0.1'), { state: 'disconnected', code: 4009, retries: false });
  });

  test('in Node sends no origin, and is admitted', async (t) => {
    const belfry = await belfryFor(t, { config: configuration({ settings: 'allowed_origins: [example.com]' }) });
    const client = newClient(t, belfry);
    await state(client, 'connected');
    await settled(client);
  });
});
