// The daily commands against a real server, beside the official libraries.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { test } from 'node:test';

import { app, binary, configuration, directory, startBelfry } from './lib/belfry.mjs';
import { authorizer, connect, newBackend, subscribe } from './lib/clients.mjs';
import { environment, run, start } from './lib/process.mjs';
import { makeCertificate, names, startReverseProxy } from './lib/reverse-proxies.mjs';
import { eventually } from './lib/wait.mjs';

const credentials = { BELFRY_APP_ID: app.id, BELFRY_APP_KEY: app.key, BELFRY_APP_SECRET: app.secret };

/** Runs a command to its end, with the app in its environment. */
const belfryRun = (args, { env = credentials, ...options } = {}) =>
  run(binary, args, { env: environment(env), ...options });

/** `belfry listen --json`, subscribed to so many channels: {events(n), stop, signal, exited}. */
async function listen(t, belfry, args, channels) {
  const ready = new RegExp(Array(channels).fill('subscribed to').join('[^]*'));
  const command = ['listen', '--url', belfry.url, '--json', ...args];
  const listener = await start('belfry listen', binary, command, { ready, env: environment(credentials) });
  t.after(() => listener.stop());
  const lines = () => listener.output().split('\n').slice(0, -1).filter((line) => line.startsWith('{'));
  const events = async (n) => {
    await eventually(`${n} events`, () => lines().length >= n);
    return lines().map((line) => JSON.parse(line));
  };
  return { ...listener, events };
}

async function startFor(t, options) {
  const belfry = await startBelfry(options);
  t.after(() => belfry.stop());
  return belfry;
}

test('listen prints what the backend and other clients send', async (t) => {
  const belfry = await startFor(t);
  const listener = await listen(t, belfry, ['--user', '7', 'news', 'private-a', 'presence-room'], 3);
  const backend = newBackend(belfry);
  await backend.trigger(['news', 'private-a'], 'posted', { id: 1 });
  const [first, second] = await listener.events(2);
  assert.deepEqual([first.channel, second.channel].sort(), ['news', 'private-a']);
  for (const { received, channel, ...event } of [first, second]) {
    assert.deepEqual(event, { event: 'posted', data: { id: 1 } });
    assert.ok(Math.abs(Date.parse(received) - Date.now()) < 60_000, received);
  }

  // It is a member, and sees who comes and who says what.
  const client = await connect(t, belfry, { channelAuthorization: authorizer(backend, { user_id: '8', user_info: { name: 'Eve' } }) });
  const { channel } = await subscribe(client, 'presence-room');
  assert.deepEqual(Object.keys(channel.members.members).sort(), ['7', '8']);
  channel.trigger('client-typing', { text: 'hi' });
  const [, , joined, typed] = await listener.events(4);
  assert.deepEqual([joined.event, joined.data.user_id], ['pusher_internal:member_added', '8']);
  assert.deepEqual([typed.event, typed.data, typed.user_id], ['client-typing', { text: 'hi' }, '8']);

  const { stdout } = await belfryRun(['channels', '--url', belfry.url, '--info', '--json']);
  assert.deepEqual(
    stdout.trim().split('\n').map((line) => JSON.parse(line)),
    [
      { channel: 'news', subscription_count: 1 },
      { channel: 'presence-room', subscription_count: 2, user_count: 2 },
      { channel: 'private-a', subscription_count: 1 },
    ],
  );
  assert.equal((await belfryRun(['connections', '--url', belfry.url])).stdout, '2\n');
  listener.signal('SIGINT');
  assert.equal(await listener.exited, 0);
});

test('trigger reaches pusher-js, but not the connection that is named', async (t) => {
  const belfry = await startFor(t);
  const clients = await Promise.all([connect(t, belfry), connect(t, belfry)]);
  const [one, other] = await Promise.all(clients.map((client) => subscribe(client, 'news')));
  const trigger = async (...args) => {
    const { code, stderr } = await belfryRun(['trigger', '--url', belfry.url, ...args]);
    assert.equal(code, 0, stderr);
  };
  await trigger('news', 'posted', '{"id":1}', '--socket-id', clients[0].connection.socket_id);
  await trigger('news', 'posted', 'plain text');
  assert.deepEqual(await other.events.take(2), [['posted', { id: 1 }], ['posted', 'plain text']]);
  assert.deepEqual(await one.events.next(), ['posted', 'plain text']);
});

test('listen comes back after a restart', async (t) => {
  const config = (port) => configuration({ port, settings: 'history: [{channels: "kept-*"}]' });
  const first = await startBelfry({ config: config(0) });
  t.after(() => first.stop());
  const listener = await listen(t, first, ['kept-a'], 1);
  await newBackend(first).trigger('kept-a', 'posted', { id: 1 });
  const [before] = await listener.events(1);
  assert.match(before.serial, /-1$/);
  assert.equal(await first.stop(), 0);
  const second = await startFor(t, { config: config(first.port) });
  await eventually('it subscribes again', () => listener.output().split('subscribed to kept-a').length === 3);
  assert.match(listener.output(), /closed with 4200: .*connecting again/);
  await newBackend(second).trigger('kept-a', 'posted', { id: 2 });
  const [, after] = await listener.events(2);
  assert.deepEqual(after.data, { id: 2 });
});

/** A way to the server that can be cut: {url, cut, heal}. */
async function startWay(t, belfry) {
  let sockets = [];
  let down = false;
  const way = net.createServer((near) => {
    if (down) {
      near.destroy();
      return;
    }
    const far = net.connect(belfry.port, belfry.host);
    for (const [socket, other] of [[near, far], [far, near]]) {
      socket.pipe(other);
      socket.on('error', () => {}).on('close', () => other.destroy());
      sockets.push(socket);
    }
  });
  const cut = () => {
    down = true;
    sockets.forEach((socket) => socket.destroy());
    sockets = [];
  };
  await new Promise((resolve) => way.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    cut();
    way.close();
  });
  return { url: `http://127.0.0.1:${way.address().port}`, cut, heal: () => (down = false) };
}

test('listen prints what was published while it was cut off, once', async (t) => {
  const belfry = await startFor(t, { config: configuration({ settings: 'history: [{channels: "kept-*"}]' }) });
  const way = await startWay(t, belfry);
  const listener = await listen(t, way, ['kept-a', 'kept-b'], 2);
  const backend = newBackend(belfry);
  await backend.trigger('kept-a', 'posted', { id: 1 });
  await listener.events(1);
  way.cut();
  await eventually('it notices', () => listener.output().includes('connecting again'));
  await backend.trigger('kept-a', 'posted', { id: 2 });
  await backend.trigger('kept-b', 'posted', { id: 3 });
  way.heal();
  await listener.events(3);
  await backend.trigger('kept-a', 'posted', { id: 4 });
  const ids = (await listener.events(4)).map(({ data }) => data.id);
  assert.deepEqual(ids.toSorted(), [1, 2, 3, 4]);
});

test('health finds the server by its configuration, until it stops', async (t) => {
  const belfry = await startFor(t);
  const cwd = await directory(t, { 'belfry.yaml': configuration({ port: belfry.port }).replace('127.0.0.1', '0.0.0.0') });
  const health = () => belfryRun(['health', '--config', 'belfry.yaml'], { cwd, env: {} });
  assert.deepEqual(await health(), { code: 0, stdout: 'ready\n', stderr: '' });
  await belfry.stop();
  const { code, stdout, stderr } = await health();
  assert.deepEqual([code, stdout], [1, '']);
  assert.match(stderr, /^belfry: GET http:\/\/127\.0\.0\.1:\d+\/ready: .*refused\n$/);
});

test('a server with TLS is reached by its configuration, and by URL only with a certificate for it', async (t) => {
  const [chain, key] = await makeCertificate('ws.example.com');
  const cwd = await directory(t, { 'cert.pem': chain, 'key.pem': key });
  const server = `tls: {cert_file: ${path.join(cwd, 'cert.pem')}, key_file: ${path.join(cwd, 'key.pem')}}`;
  const belfry = await startFor(t, { config: configuration({ server }) });
  const file = path.join(cwd, 'belfry.yaml');
  await writeFile(file, configuration({ port: belfry.port, server }));
  assert.equal((await belfryRun(['health', '--config', file])).stdout, 'ready\n');
  const { code, stderr } = await belfryRun(['trigger', '--config', file, 'news', 'posted', '1']);
  assert.equal(code, 0, stderr);
  const refused = await belfryRun(['health', '--url', `https://127.0.0.1:${belfry.port}`]);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /certificate/);
});

/** What `belfry doctor --json` finds: {code, checks} with each check by its name. */
async function doctor(...args) {
  const { code, stdout, stderr } = await belfryRun(['doctor', '--json', ...args]);
  assert.equal(stderr, '');
  assert.ok(!stdout.includes(app.secret), stdout);
  const results = stdout.trim().split('\n').map((line) => JSON.parse(line));
  return { code, checks: Object.fromEntries(results.map((each) => [each.check, each])) };
}

const failures = (checks) => Object.values(checks).filter(({ result }) => result === 'fail').map(({ check }) => check);

for (const name of names) {
  test(`doctor finds nothing wrong behind ${name} but its certificate`, async (t) => {
    const belfry = await startFor(t);
    const proxy = await startReverseProxy(t, name, belfry);
    const { code, checks } = await doctor('--url', proxy.url);
    assert.equal(code, 1);
    assert.deepEqual(failures(checks), ['tls'], JSON.stringify(checks));
    assert.match(checks.tls.found, /signed by itself/);
    assert.equal(checks.receive.result, 'ok');
    assert.equal(checks.fallback.result, 'ok');
  });
}

test('doctor says which lines nginx and Apache lack', async (t) => {
  const belfry = await startFor(t);
  const nginx = await startReverseProxy(t, 'nginx', belfry, {
    edit: (block) => block.replace(/ *proxy_set_header (Upgrade|Connection).*\n/g, '').replace(/location \/pusher[^}]*}/, ''),
  });
  let { checks } = await doctor('--url', nginx.url);
  assert.deepEqual(failures(checks), ['tls', 'upgrade', 'fallback']);
  assert.match(checks.upgrade.found, /426 .*answered by nginx/);
  assert.match(checks.upgrade.change, /location \/app\/.*proxy_set_header Upgrade \$http_upgrade;/);
  assert.match(checks.fallback.change, /location \/pusher\/app\/ \{ proxy_pass/);

  const apache = await startReverseProxy(t, 'apache', belfry, { edit: (block) => block.replace('upgrade=websocket', '') });
  ({ checks } = await doctor('--url', apache.url));
  assert.deepEqual(failures(checks), ['tls', 'upgrade']);
  assert.match(checks.upgrade.change, /ProxyPass \/app\/ .* upgrade=websocket/);
});

test('doctor says where the server is below a prefix, and that the proxy cannot reach it', async (t) => {
  const belfry = await startFor(t, { config: configuration({ server: 'path: /ws' }) });
  const nginx = await startReverseProxy(t, 'nginx', belfry, { prefix: 'keep' });
  let { checks } = await doctor('--url', nginx.url);
  assert.match(checks.upgrade.found, /404 .*answered by nginx/);
  assert.match(checks.path.change, /write https:\/\/127\.0\.0\.1:\d+\/ws in --url, and wsPath: '\/ws' in Echo/);
  ({ checks } = await doctor('--url', `${nginx.url}/ws`));
  assert.deepEqual(failures(checks), ['tls']);
  await belfry.stop();
  ({ checks } = await doctor('--url', `${nginx.url}/ws`));
  assert.match(checks.upgrade.found, /502 Bad Gateway/);
  assert.match(checks.upgrade.change, /proxy_pass/);
});
