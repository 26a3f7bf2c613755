// The HTTP transports that pusher-js falls back to, each on its own, in Node
// and in a browser.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { createRequire } from 'node:module';
import { describe, test } from 'node:test';

import { app, configuration, startBelfry } from './lib/belfry.mjs';
import { launchBrowser } from './lib/browser.mjs';
import { authorizer, connect, errorsOf, newBackend, newClient, state, subscribe } from './lib/clients.mjs';
import { eventually, Inbox } from './lib/wait.mjs';

/** A Belfry that is stopped when the test ends, if not before. */
async function belfryFor(t, options) {
  const belfry = await startBelfry(options);
  t.after(() => belfry.stop());
  return belfry;
}

/** What makes a client use this transport alone. */
const over = (transport, belfry) => ({
  enabledTransports: [transport],
  httpHost: belfry.host,
  httpPort: belfry.port,
});

/** Every state of a connection from now on. */
function statesOf(client) {
  const states = new Inbox('states of the connection');
  client.connection.bind('state_change', ({ current }) => states.add(current));
  return states;
}

/** Publishes events numbered from 0 on, in batches, with this text in each. */
async function publishNumbered(backend, channel, count, text) {
  for (let i = 0; i < count; i += 10) {
    await backend.triggerBatch(
      Array.from({ length: 10 }, (_, n) => ({ channel, name: 'numbered', data: { i: i + n, text } })),
    );
  }
}

/** The value of a series of the metrics. */
async function metric(belfry, series) {
  const text = await (await fetch(`${belfry.url}/metrics`)).text();
  const line = text.split('\n').find((each) => each.startsWith(`${series} `));
  return Number(line?.slice(series.length) ?? 0);
}

for (const transport of ['xhr_streaming', 'xhr_polling']) {
  const connections = `belfry_connections{app="${app.id}",transport="${transport}"}`;
  const opened = `belfry_connections_opened_total{app="${app.id}",transport="${transport}"}`;

  describe(transport, { concurrency: true }, () => {
    test('subscribes, receives bursts in order, and stays the same session', async (t) => {
      const belfry = await belfryFor(t);
      const backend = newBackend(belfry);
      const client = await connect(t, belfry, {
        ...over(transport, belfry),
        channelAuthorization: authorizer(backend, { user_id: 'ann', user_info: { name: 'Ann' } }),
      });
      const states = statesOf(client);
      const presence = await subscribe(client, 'presence-room');
      assert.deepEqual(presence.channel.members.members, { ann: { name: 'Ann' } });
      const { events } = await subscribe(client, 'private-news');

      // Over 256 KiB, after which pusher-js restarts a stream, several times.
      const count = 1000;
      const text = 'Grüße 🎉 "x" \\ '.repeat(50);
      const published = publishNumbered(backend, 'private-news', count, text);
      for (let i = 0; i < count; i++) {
        assert.deepEqual(await events.next(), ['numbered', { i, text }]);
      }
      await published;
      await backend.trigger('private-news', 'last', {});
      assert.deepEqual(await events.next(), ['last', {}]);
      assert.deepEqual(states.drain(), []);
      assert.equal(await metric(belfry, connections), 1);
      assert.equal(await metric(belfry, opened), 1);
    });

    test('exchanges client events and presence with a WebSocket', async (t) => {
      const belfry = await belfryFor(t);
      const backend = newBackend(belfry);
      const as = (id, options) =>
        connect(t, belfry, { ...options, channelAuthorization: authorizer(backend, { user_id: id }) });
      const socket = await subscribe(await as('socket'), 'presence-room');
      const client = await as('http', over(transport, belfry));
      const here = await subscribe(client, 'presence-room');
      assert.deepEqual(Object.keys(here.channel.members.members).sort(), ['http', 'socket']);
      assert.equal((await socket.events.next())[0], 'pusher:member_added');

      for (let i = 0; i < 5; i++) {
        here.channel.trigger('client-typing', { i });
        assert.deepEqual((await socket.events.next()).slice(0, 2), ['client-typing', { i }]);
        socket.channel.trigger('client-typing', { i });
        assert.deepEqual((await here.events.next()).slice(0, 2), ['client-typing', { i }]);
      }
      client.disconnect();
      assert.deepEqual((await socket.events.next())[0], 'pusher:member_removed');
      await eventually('no session', async () => (await metric(belfry, connections)) === 0);
    });

    test('gives up on an unknown key, and tells why', async (t) => {
      const belfry = await belfryFor(t);
      const client = newClient(t, belfry, { ...over(transport, belfry), key: 'unknown' });
      const errors = errorsOf(client);
      await state(client, 'disconnected');
      const { data, error } = await errors.next();
      assert.equal((data ?? error.data).code, 4001);
    });

    test('comes back by itself after a restart, with all its channels', async (t) => {
      const first = await belfryFor(t);
      const client = await connect(t, first, {
        ...over(transport, first),
        channelAuthorization: authorizer(newBackend(first), { user_id: 'ann' }),
      });
      const names = ['news', 'private-news', 'presence-news'];
      const subscriptions = await Promise.all(names.map((name) => subscribe(client, name)));
      const socketId = client.connection.socket_id;

      const states = statesOf(client);
      assert.equal(await first.stop(), 0);
      const second = await belfryFor(t, { config: configuration({ port: first.port }) });
      await states.until((current) => current === 'connected', 60_000);
      assert.notEqual(client.connection.socket_id, socketId);
      const backend = newBackend(second);
      for (const { channel, events } of subscriptions) {
        await events.until(([event]) => event === 'pusher:subscription_succeeded');
        await backend.trigger(channel.name, 'posted', {});
        assert.deepEqual(await events.next(), ['posted', {}]);
      }
    });

    test('works in a browser, from a page of another origin', async (t) => {
      const belfry = await belfryFor(t, { config: configuration({ settings: 'allowed_origins: [localhost]' }) });
      const script = await readFile(createRequire(import.meta.url).resolve('pusher-js/dist/web/pusher.min.js'));
      const pages = http.createServer((request, response) => {
        const [type, body] =
          request.url === '/pusher.js'
            ? ['text/javascript', script]
            : ['text/html', '<script src="pusher.js"></script>'];
        response.writeHead(200, { 'Content-Type': type }).end(body);
      });
      await new Promise((resolve) => pages.listen(0, '127.0.0.1', resolve));
      t.after(() => new Promise((resolve) => (pages.close(resolve), pages.closeAllConnections())));
      const browser = await launchBrowser();
      t.after(() => browser.close());

      /** A page at this host whose client is pointed at Belfry. */
      async function open(host) {
        const page = await browser.newPage();
        page.setDefaultTimeout(20_000);
        await page.goto(`http://${host}:${pages.address().port}/`);
        await page.evaluate(
          ([key, options]) => {
            window.seen = [];
            window.states = [];
            window.codes = [];
            window.client = new window.Pusher(key, options);
            const { connection } = window.client;
            connection.bind('state_change', ({ current }) => window.states.push(current));
            connection.bind('error', ({ data, error }) => window.codes.push((data ?? error?.data)?.code));
            window.client.subscribe('news').bind('numbered', ({ i }) => window.seen.push(i));
          },
          [app.key, { cluster: '', forceTLS: false, ...over(transport, belfry) }],
        );
        return page;
      }
      const page = await open('localhost');
      await page.waitForFunction(() => window.client.channel('news').subscribed);
      const count = 1000;
      await publishNumbered(newBackend(belfry), 'news', count, 'Grüße 🎉 '.repeat(50));
      await page.waitForFunction((n) => window.seen.length >= n, count);
      assert.deepEqual(
        await page.evaluate(() => window.seen),
        Array.from({ length: count }, (_, i) => i),
      );
      assert.deepEqual(await page.evaluate(() => window.states), ['connected']);
      assert.equal(await metric(belfry, opened), 1);

      // A page of an origin that is not allowed is told so, and gives up.
      const refused = await open('127.0.0.1');
      await refused.waitForFunction(() => window.client.connection.state === 'disconnected');
      assert.deepEqual(await refused.evaluate(() => window.codes), [4009]);
    });
  });
}

test('a WebSocket that does not get through is made up for, in a default strategy', async (t) => {
  const belfry = await belfryFor(t);
  // A proxy that knows nothing of upgrades: it answers as if there were none.
  const proxy = http.createServer((request, response) => {
    const { upgrade, ...headers } = request.headers;
    const forwarded = http.request(
      { host: belfry.host, port: belfry.port, method: request.method, path: request.url, headers },
      (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      },
    );
    response.on('close', () => forwarded.destroy());
    forwarded.on('error', () => response.destroy());
    request.pipe(forwarded);
  });
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  t.after(() => new Promise((resolve) => (proxy.close(resolve), proxy.closeAllConnections())));
  const { port } = proxy.address();
  const client = await connect(t, { host: '127.0.0.1', port }, {
    httpHost: '127.0.0.1',
    httpPort: port,
    enabledTransports: ['ws', 'wss', 'xhr_streaming', 'xhr_polling'],
  });
  const { events } = await subscribe(client, 'news');
  await newBackend(belfry).trigger('news', 'posted', {});
  assert.deepEqual(await events.next(), ['posted', {}]);
  assert.equal(
    await metric(belfry, `belfry_connections{app="${app.id}",transport="xhr_streaming"}`),
    1,
  );
});
