// nginx, Caddy, HAProxy and Apache in front of Belfry, set up as docs/proxies.md
// says: with the blocks of that page, not copies of them.

import assert from 'node:assert/strict';
import https from 'node:https';
import { createRequire } from 'node:module';
import { after, before, describe, test } from 'node:test';

import WebSocket from 'ws';

import { app, configuration, startBelfry } from './lib/belfry.mjs';
import { launchBrowser } from './lib/browser.mjs';
import { authorizer, connect, newBackend, subscribe } from './lib/clients.mjs';
import { examples } from './lib/docs.mjs';
import { names, startReverseProxy } from './lib/reverse-proxies.mjs';
import { eventually, Inbox, within } from './lib/wait.mjs';

// The proxies' certificates are made for the test.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';

const log = '\nlog: {level: debug}\n';
const trusting = (server = '') => `trusted_proxies: [127.0.0.1]\n  ${server}`;

let belfry;
let prefixed; // the same with server.path

before(async () => {
  belfry = await startBelfry({ config: configuration({ server: trusting() }) + log });
  prefixed = await startBelfry({ config: configuration({ server: trusting('path: /ws') }) + log });
});

after(async () => {
  await belfry.stop();
  await prefixed.stop();
});

/** What makes a client connect through a proxy by this transport alone. */
const through = (proxy, transport, prefix) => ({
  enabledTransports: [transport],
  forceTLS: true,
  wsHost: proxy.host,
  wssPort: proxy.port,
  httpHost: proxy.host,
  httpsPort: proxy.port,
  ...(prefix && { wsPath: prefix, httpPath: `${prefix}/pusher` }),
});

/** A backend that publishes through a proxy. Like PHP's, it does not sign the prefix. */
function backendThrough(proxy, prefix = '') {
  const backend = newBackend(proxy, app, { agent: undefined });
  backend.config.getBaseURL = () => proxy.url + prefix;
  return backend;
}

/** A WebSocket of this key, its messages and pings in an inbox each. */
function openSocket(t, proxy, options) {
  const url = `${proxy.url.replace('http', 'ws')}/app/${app.key}?protocol=7&client=test&version=1`;
  const socket = new WebSocket(url, options);
  t.after(() => socket.terminate());
  const messages = new Inbox('messages');
  const pings = new Inbox('pings');
  socket.on('message', (data) => messages.add(JSON.parse(data)));
  socket.on('ping', () => pings.add('ping'));
  const closed = new Promise((resolve) => socket.on('close', resolve));
  socket.on('error', () => {}); // a close event follows
  return { socket, messages, pings, closed };
}

/** The status of a request, sent from an address of this machine. */
const statusOf = (url, localAddress = '127.0.0.1') =>
  new Promise((resolve, reject) =>
    https
      .request(url, { localAddress, agent: false }, (response) => resolve(response.resume().statusCode))
      .on('error', reject)
      .end(),
  );

describe('proxies', { concurrency: true }, () => {
  for (const name of names) {
    describe(name, { concurrency: true }, () => {
      const ways = [
        ['', {}, ''],
        [', with a prefix that Belfry knows', { prefix: 'keep' }, '/ws'],
        [', with a prefix that it strips', { prefix: 'strip' }, '/ws'],
      ];
      for (const [way, options, prefix] of ways) {
        test(`passes on every transport and the HTTP API${way}`, async (t) => {
          const behind = options.prefix === 'keep' ? prefixed : belfry;
          const proxy = await startReverseProxy(t, name, behind, options);
          const backend = backendThrough(proxy, prefix);
          for (const transport of ['ws', 'xhr_streaming', 'xhr_polling']) {
            const channelAuthorization = authorizer(backend, { user_id: transport });
            const client = await connect(t, proxy, { ...through(proxy, transport, prefix), channelAuthorization });
            const { channel, events } = await subscribe(client, `presence-a=b@c,d;${name}.${options.prefix}.${transport}`);
            for (let i = 0; i < 5; i++) {
              await backend.trigger(channel.name, 'posted', { i, text: 'Grüße 🎉' });
              assert.deepEqual(await events.next(), ['posted', { i, text: 'Grüße 🎉' }]);
            }
            // Libraries differ in whether they encode a name. Some proxies decode a path that they rewrite.
            const decodes = options.prefix === 'strip' && ['nginx', 'apache'].includes(name);
            for (const path of decodes ? [channel.name] : [channel.name, encodeURIComponent(channel.name)]) {
              const response = await backend.get({ path: `/channels/${path}`, params: { info: 'user_count' } });
              assert.deepEqual(await response.json(), { occupied: true, user_count: 1 });
            }
            client.disconnect(); // a proxy that is stopped waits for it
          }
        });
      }

      test('passes on a stream at once to a client that takes it compressed', async (t) => {
        const proxy = await startReverseProxy(t, name, belfry);
        const stream = new AbortController();
        const response = await fetch(
          `${proxy.url}/pusher/app/${app.key}/1/${name}/xhr_streaming?protocol=7&client=js&version=8.6.0`,
          { method: 'POST', headers: { 'Accept-Encoding': 'gzip, deflate, br' }, signal: stream.signal },
        );
        assert.equal(response.status, 200);
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        const established = async () => {
          for (let text = ''; !text.includes('connection_established'); text += (await reader.read()).value);
        };
        await within(established(), () => 'the first message of the stream');
        await reader.cancel();
        stream.abort();
      });

      test('shows browsers nothing but what they need, and tells their address', async (t) => {
        const proxy = await startReverseProxy(t, name, belfry);
        for (const path of ['/metrics', '/up', '/ready', '/']) {
          assert.equal(await statusOf(proxy.url + path), 404, path);
        }
        // From Belfry, as the request is not signed; and from the proxy.
        assert.equal(await statusOf(`${proxy.url}/apps/${app.id}/channels`), 401);
        assert.ok([403, 404].includes(await statusOf(`${proxy.url}/apps/${app.id}/channels`, '127.0.0.2')));

        const headers = { 'X-Forwarded-For': '203.0.113.9' }; // which anybody may send
        const { socket, messages } = openSocket(t, proxy, { localAddress: '127.0.0.2', headers });
        const established = await messages.next();
        const { socket_id: id } = JSON.parse(established.data);
        const entry = await eventually('the log entry of the connection', () =>
          belfry
            .output()
            .split('\n')
            .find((line) => line.includes(`socket_id=${id}`)),
        );
        assert.match(entry, /remote=127\.0\.0\.2 /);
        socket.terminate();
      });

      // Seconds; as few as make sense, as Belfry looks for silence once a second.
      const timeout = 4;

      test('keeps an idle WebSocket that Belfry pings', async (t) => {
        const settings = 'ping_interval: 1s';
        const pinging = await startBelfry({ config: configuration({ settings }) });
        t.after(() => pinging.stop());
        const proxy = await startReverseProxy(t, name, pinging, { timeout });
        const { socket, messages, pings } = openSocket(t, proxy);
        await messages.next();
        socket.send(JSON.stringify({ event: 'pusher:subscribe', data: { channel: 'news' } }));
        await messages.next();
        await pings.take(2 * timeout); // a second or more lies between two
        await newBackend(pinging).trigger('news', 'posted', {});
        assert.equal((await messages.next()).event, 'posted');
        socket.terminate();
      });

      if (name !== 'caddy') {
        test('closes an idle WebSocket that Belfry does not ping', async (t) => {
          const proxy = await startReverseProxy(t, name, belfry, { timeout });
          const { messages, closed } = openSocket(t, proxy);
          await messages.next();
          await within(closed, () => 'the end of the connection');
        });
      }
    });
  }
});

test("nginx with the location of docs/service.md in a site that is PHP's", async (t) => {
  const locations = /    location \/app\/ .*(?=    location \/ )/s;
  const [block] = await examples('service.md', 'nginx');
  const edit = (site) => {
    assert.match(site, locations);
    return site.replace(locations, () => block);
  };
  const proxy = await startReverseProxy(t, 'nginx', belfry, { edit });
  for (const transport of ['ws', 'xhr_streaming', 'xhr_polling']) {
    const client = await connect(t, proxy, through(proxy, transport));
    const { events } = await subscribe(client, 'news');
    await newBackend(belfry).trigger('news', 'posted', {});
    assert.deepEqual(await events.next(), ['posted', {}]);
    client.disconnect(); // a proxy that is stopped waits for it
  }
  assert.equal(await statusOf(`${proxy.url}/apps/${app.id}/channels`), 404);
});

// Caddy is the one that speaks HTTP/2 without being told to.
for (const transport of ['xhr_streaming', 'xhr_polling']) {
  test(`a browser connects to Caddy by ${transport} over HTTP/2`, async (t) => {
    const proxy = await startReverseProxy(t, 'caddy', belfry);
    const browser = await launchBrowser();
    t.after(() => browser.close());
    const page = await browser.newPage({ ignoreHTTPSErrors: true });
    page.setDefaultTimeout(20_000);
    // The page has the proxy's origin, so that it is told the protocol.
    await page.route('**/page', (route) => route.fulfill({ contentType: 'text/html', body: '' }));
    await page.goto(`${proxy.url}/page`);
    await page.addScriptTag({ path: createRequire(import.meta.url).resolve('pusher-js/dist/web/pusher.min.js') });
    await page.evaluate(
      ([key, options]) => {
        window.seen = [];
        window.client = new window.Pusher(key, { cluster: '', ...options });
        window.client.subscribe('news').bind('posted', ({ i }) => window.seen.push(i));
      },
      [app.key, through(proxy, transport)],
    );
    await page.waitForFunction(() => window.client.channel('news').subscribed);
    for (let i = 1; i <= 3; i++) {
      await newBackend(belfry).trigger('news', 'posted', { i });
      await page.waitForFunction((count) => window.seen.length === count, i);
    }
    const protocols = await page.evaluate(() => {
      const requests = performance.getEntriesByType('resource').filter(({ name }) => name.includes('/pusher/app/'));
      return [...new Set(requests.map(({ nextHopProtocol }) => nextHopProtocol))];
    });
    assert.deepEqual(protocols, ['h2']);
  });
}
