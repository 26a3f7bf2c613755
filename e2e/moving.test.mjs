// What docs/moving.md says of running Belfry beside another server, behind nginx and Caddy
// with the blocks of that page. A second Belfry plays the other server.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import https from 'node:https';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import WebSocket from 'ws';

import { app, binary, configuration, directory, startBelfry } from './lib/belfry.mjs';
import { authorizer, connect, newBackend, subscribe } from './lib/clients.mjs';
import { example, examples } from './lib/docs.mjs';
import { environment, run } from './lib/process.mjs';
import { startReverseProxy } from './lib/reverse-proxies.mjs';
import { eventually, Inbox } from './lib/wait.mjs';

// The proxies' certificates are made for the test.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';

const oldApp = { id: '200002', key: 'old-key', secret: 'old-secret' };

/** A backend that publishes through a proxy, with TLS. */
function backendThrough(proxy, credentials = app) {
  const backend = newBackend(proxy, credentials, { agent: undefined });
  backend.config.getBaseURL = () => proxy.url;
  return backend;
}

const connections = async (server, credentials = app) => {
  const response = await newBackend(server, credentials).get({ path: '/connections' });
  return (await response.json()).connections;
};

/** A subscribed WebSocket from an address of this machine; its messages are in an inbox. */
async function listenFrom(t, proxy, localAddress) {
  const url = `${proxy.url.replace('http', 'ws')}/app/${app.key}?protocol=7&client=test&version=1`;
  const socket = new WebSocket(url, { localAddress });
  t.after(() => socket.terminate());
  const messages = new Inbox(`messages to ${localAddress}`);
  socket.on('message', (data) => messages.add(JSON.parse(data)));
  socket.on('error', (error) => messages.add(error));
  assert.equal((await messages.next()).event, 'pusher:connection_established');
  socket.send(JSON.stringify({ event: 'pusher:subscribe', data: { channel: 'news' } }));
  assert.equal((await messages.next()).event, 'pusher_internal:subscription_succeeded');
  return messages;
}

describe('side by side', { concurrency: true }, () => {
  let belfry;
  let old;
  before(async () => {
    const trusting = 'trusted_proxies: [127.0.0.1]';
    const both = configuration({ server: trusting });
    const other = `${both}  - {id: "${oldApp.id}", key: ${oldApp.key}, secret: ${oldApp.secret}}\n`;
    [belfry, old] = await Promise.all([startBelfry({ config: both }), startBelfry({ config: other })]);
  });
  after(() => Promise.all([belfry.stop(), old.stop()]));

  test('nginx sends a share of the addresses to Belfry, and each publish to both', async (t) => {
    const [apart, stays] = await Promise.all([startBelfry(), startBelfry()]);
    t.after(() => Promise.all([apart.stop(), stays.stop()]));
    const options = { page: 'moving.md', containing: 'split_clients', old: stays };
    const proxy = await startReverseProxy(t, 'nginx', apart, options);
    const listeners = [];
    let moved; // an address that is Belfry's
    // A tenth of the addresses: which ones is a hash's affair.
    for (let i = 2; i < 250 && !((await connections(apart)) && (await connections(stays))); i++) {
      const address = `127.0.0.${i}`;
      const before = await connections(apart);
      listeners.push(await listenFrom(t, proxy, address));
      listeners.push(await listenFrom(t, proxy, address)); // always to the same server
      const came = (await connections(apart)) - before;
      assert.ok([0, 2].includes(came), address);
      moved = came ? address : moved;
    }
    assert.ok(moved && (await connections(stays)) > 0);
    const backend = backendThrough(proxy);
    for (let i = 0; i < 3; i++) {
      await backend.trigger('news', 'posted', { i });
    }
    for (const messages of listeners) {
      for (let i = 0; i < 3; i++) {
        const { event, data } = await messages.next();
        assert.deepEqual([event, JSON.parse(data)], ['posted', { i }]);
      }
    }
    // The answer is the old server's, and without Belfry the backend does not notice.
    await apart.stop();
    await backend.trigger('news', 'posted', { i: 3 });
    const refused = await fetch(`${proxy.url}/mirror`);
    assert.equal(refused.status, 404, 'nobody else reaches the mirror');

    // Back, by one line.
    const edit = (block) => block.replace(/^ *10% .*\n/m, '');
    const back = await startReverseProxy(t, 'nginx', apart, { ...options, edit });
    await listenFrom(t, back, moved);
  });

  test('Caddy sends the clients of a network to Belfry', async (t) => {
    const edit = (block) => block.replace('192.0.2.0/24', '127.0.0.9/32');
    const proxy = await startReverseProxy(t, 'caddy', belfry, { page: 'moving.md', containing: '192.0.2.0/24', old, edit });
    const moved = await listenFrom(t, proxy, '127.0.0.9');
    const stayed = await listenFrom(t, proxy, '127.0.0.8');
    // As docs/moving.md has it, the backend publishes to both.
    await newBackend(belfry).trigger('news', 'posted', 'moved');
    await newBackend(old).trigger('news', 'posted', 'stayed');
    assert.equal((await moved.next()).data, 'moved');
    assert.equal((await stayed.next()).data, 'stayed');
  });

  for (const name of ['nginx', 'caddy']) {
    test(`${name} sends apps to Belfry by key and id`, async (t) => {
      const here = { page: 'moving.md', containing: '@outside', old };
      if (name === 'nginx') {
        // The page says where its lines go.
        const lines = example(await examples('moving.md', 'nginx'), 'location = /app/app-key');
        const locations = / *location (\/app\/|\/apps\/) [^}]*\}\n/g;
        here.edit = (block) => block.replace(locations, (_, path) => (path === '/app/' ? lines : ''));
        delete here.page;
        delete here.containing;
      }
      const proxy = await startReverseProxy(t, name, belfry, here);
      for (const [credentials, server] of [
        [app, belfry],
        [oldApp, old],
      ]) {
        const backend = backendThrough(proxy, credentials);
        const client = await connect(t, proxy, {
          key: credentials.key,
          forceTLS: true,
          wssPort: proxy.port,
          channelAuthorization: authorizer(backend, { user_id: '7' }),
        });
        const { events } = await subscribe(client, `presence-${name}`);
        await eventually('the connection is on its server', async () => (await connections(server, credentials)) > 0);
        await backend.trigger(`presence-${name}`, 'posted', credentials.key);
        assert.deepEqual(await events.next(), ['posted', credentials.key]);
        client.disconnect();
      }
      const outside = await new Promise((resolve) =>
        https
          .request(`${proxy.url}/apps/${oldApp.id}/channels`, { localAddress: '127.0.0.2', agent: false }, (response) =>
            resolve(response.resume().statusCode),
          )
          .end(),
      );
      assert.equal(outside, 403);
    });
  }
});

test('laravel-websockets: the configuration for its table is accepted, up to the database', async (t) => {
  const yaml = example(await examples('moving/laravel-websockets.md', 'yaml'), 'websockets_apps');
  const cwd = await directory(t, { 'belfry.yaml': yaml.replace('127.0.0.1', '127.0.0.1:1') });
  const { stdout, stderr } = await run(binary, ['check', '--config', 'belfry.yaml'], { cwd, env: environment() });
  assert.match(stderr, /^belfry: look up an app in 127\.0\.0\.1\/shop: .*connection refused$/m);
  assert.match(stdout, /^belfry\.yaml: ok$/m);
});

test('the lines that the pages take out and put in are those of a .env, of PHP or of Echo', async () => {
  for (const page of ['pusher', 'reverb', 'soketi', 'sockudo', 'laravel-websockets']) {
    for (const diff of await examples(`moving/${page}.md`, 'diff')) {
      assert.match(diff, /^\+|^-/m, page);
      for (const line of diff.trimEnd().split('\n')) {
        assert.match(line, /^[ +-]|^$/, `${page}: ${line}`);
      }
    }
  }
  const index = await readFile(path.join(import.meta.dirname, '../docs/moving.md'), 'utf8');
  assert.match(index, /broadcastVia\(\['pusher', 'belfry'\]\)/);
});
