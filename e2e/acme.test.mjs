// Certificates from an authority: ordered, renewed, shared by nodes, kept over a restart.

import assert from 'node:assert/strict';
import { readdir, stat, writeFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { describe, test } from 'node:test';
import tls from 'node:tls';

import { WebSocket } from 'ws';

import { app, directory, serve } from './lib/belfry.mjs';
import { startPebble } from './lib/pebble.mjs';
import { freePort } from './lib/ports.mjs';
import { environment } from './lib/process.mjs';
import { startRedis } from './lib/redis.mjs';
import { eventually, within } from './lib/wait.mjs';

const domain = 'ws.belfry.test';

/** A configuration: domains, ports and further lines. */
const configuration = (pebble, { domains = [domain], port, redirect, storage = 'storage', more = '' }) => `
server:
  listen: 127.0.0.1:${port}
  shutdown_grace: 2s
  ${redirect ? `redirect_http: 127.0.0.1:${redirect}` : ''}
  tls:
    acme:
      domains: [${domains}]
      email: admin@belfry.test
      directory: ${pebble.directory}
      storage: ${storage}
apps:
  - {id: ${app.id}, key: ${app.key}, secret: ${app.secret}}
${more}`;

/** A Belfry in a directory of its own: {file, start, configure}. start() runs it anew. */
async function newBelfry(t, pebble, options) {
  const cwd = await directory(t, { 'config.yaml': configuration(pebble, options) });
  return {
    file: (name) => path.join(cwd, name),
    configure: (changed) => writeFile(path.join(cwd, 'config.yaml'), configuration(pebble, { ...options, ...changed })),
    start: async () => {
      const belfry = await serve(['--config', 'config.yaml'], { cwd, env: environment({ SSL_CERT_FILE: pebble.trust }) });
      t.after(async () => {
        await belfry.stop();
        assert.ok(!/panic/.test(belfry.output()), belfry.output());
      });
      return belfry;
    },
  };
}

/** Resolves to the certificate that a client is shown, if the client accepts it. */
const shake = (pebble, port, name = domain, options = {}) =>
  new Promise((resolve, reject) => {
    const socket = tls.connect({ host: '127.0.0.1', port, servername: name, ca: pebble.root, ...options }, () => {
      resolve(socket.getPeerCertificate().serialNumber);
      socket.destroy();
    });
    socket.once('error', reject);
  });

/** Likewise, once there is one. */
const certified = (pebble, port, name) =>
  eventually(`a certificate for ${name ?? domain}`, () => shake(pebble, port, name).catch(() => null));

/** A connected WebSocket, closed when the test ends. */
async function connect(t, pebble, port) {
  const socket = new WebSocket(`wss://127.0.0.1:${port}/app/${app.key}?protocol=7`, { ca: pebble.root, servername: domain });
  t.after(() => socket.terminate());
  const greeted = new Promise((resolve, reject) => socket.once('message', resolve).once('error', reject));
  const { event } = JSON.parse(await within(greeted, () => 'the greeting'));
  assert.equal(event, 'pusher:connection_established');
  return socket;
}

/** Resolves when the client has an answer: it is still connected. */
async function ping(socket) {
  const answered = new Promise((resolve) => socket.once('message', resolve));
  socket.send('{"event":"pusher:ping"}');
  assert.equal(JSON.parse(await within(answered, () => 'an answer')).event, 'pusher:pong');
}

/** A request in plain HTTP: {status, location, text}. */
const plain = (port, host, url, method = 'GET') =>
  new Promise((resolve, reject) =>
    http
      .request({ host: '127.0.0.1', port, path: url, method, headers: { Host: host }, agent: false }, async (answer) => {
        const text = Buffer.concat(await answer.toArray()).toString();
        resolve({ status: answer.statusCode, location: answer.headers.location, text });
      })
      .once('error', reject)
      .end(),
  );

/** The value of a metric. */
async function metric(pebble, port, name) {
  const text = await new Promise((resolve, reject) => {
    const socket = tls.connect({ host: '127.0.0.1', port, servername: domain, ca: pebble.root }, async () => {
      socket.end(`GET /metrics HTTP/1.1\r\nHost: ${domain}\r\nConnection: close\r\n\r\n`);
      resolve(Buffer.concat(await socket.toArray()).toString());
    });
    socket.once('error', reject);
  });
  return Number(text.match(new RegExp(`^${name} (.*)$`, 'm'))[1]);
}

describe('certificates from an authority', { concurrency: true }, () => {
  test('from nothing to wss, by the TLS port alone', async (t) => {
    const pebble = await startPebble(t);
    const { file, start, configure } = await newBelfry(t, pebble, { port: pebble.tls });
    let belfry = await start();
    const serial = await certified(pebble, pebble.tls);
    const socket = await connect(t, pebble, pebble.tls);
    assert.match(belfry.output(), /msg=certificate domain=ws\.belfry\.test until=\S+ issuer=.* because="it was ordered"/);
    const until = await metric(pebble, pebble.tls, 'belfry_certificate_expiry_timestamp_seconds');
    assert.ok(Math.abs(until - Date.now() / 1000 - 7_776_000) < 100, until);

    // Strangers cost no order, whatever they ask for.
    await assert.rejects(shake(pebble, pebble.tls, 'other.belfry.test'), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
    for (const name of [domain, 'other.belfry.test']) {
      const asked = shake(pebble, pebble.tls, name, { ALPNProtocols: ['acme-tls/1'], rejectUnauthorized: false });
      await assert.rejects(asked, { code: 'ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR' });
    }
    assert.equal(pebble.orders(), 1);

    // Nobody else can read the keys.
    const [authority] = await readdir(file('storage'));
    assert.equal((await stat(file('storage'))).mode & 0o777, 0o700);
    assert.equal((await stat(file(`storage/${authority}/${domain}.pem`))).mode & 0o777, 0o600);
    assert.equal((await stat(file(`storage/${authority}/account.key`))).mode & 0o777, 0o600);

    // A reload orders what is new, and nobody notices.
    await configure({ domains: [domain, 'second.belfry.test'] });
    await certified(pebble, pebble.tls, 'second.belfry.test');
    assert.equal(await shake(pebble, pebble.tls), serial);
    assert.equal(pebble.orders(), 2);
    await ping(socket);

    // What is stored serves again, if the authority is away.
    await belfry.stop();
    await pebble.stop();
    belfry = await start();
    assert.equal(await shake(pebble, pebble.tls), serial);
    await shake(pebble, pebble.tls, 'second.belfry.test');
    assert.equal(await metric(pebble, pebble.tls, 'belfry_certificate_failures_total'), 0);
  });

  test('by port 80 alone, where everything else is sent to https', async (t) => {
    const pebble = await startPebble(t);
    const port = await freePort();
    const { start } = await newBelfry(t, pebble, { port, redirect: pebble.http });
    const belfry = await start();
    const serial = await certified(pebble, port);
    assert.equal(pebble.orders(), 1);
    const look = async () => {
      const page = await plain(pebble.http, `${domain}:80`, '/console/?a=b%20c');
      assert.deepEqual(page, { status: 308, location: `https://${domain}:${port}/console/?a=b%20c`, text: '' });
      for (const [status, host, url, method] of [
        [421, 'other.belfry.test', '/'],
        [403, domain, `/apps/${app.id}/channels?auth_key=${app.key}`],
        [403, domain, '/', 'POST'],
        [404, domain, '/.well-known/acme-challenge/abc'],
      ]) {
        const refused = await plain(pebble.http, host, url, method);
        assert.equal(refused.status, status);
        assert.equal(refused.location, undefined);
        assert.ok(JSON.parse(refused.text).error);
      }
    };
    await look();

    // Certificate and listeners stay when a new process takes over.
    belfry.signal('SIGUSR2');
    await eventually('the end of the old process', () => /msg=left/.test(belfry.output()));
    const successor = Number(belfry.output().match(/msg="handed over" pid=(\d+)/)[1]);
    try {
      assert.equal(await shake(pebble, port), serial);
      await look();
      assert.equal(pebble.orders(), 1);
    } finally {
      process.kill(successor, 'SIGTERM'); // before the old process is waited for, whose output it has
    }
  });

  test('two nodes share one certificate, and either answers the authority', async (t) => {
    const pebble = await startPebble(t);
    const redis = await startRedis(await freePort());
    t.after(() => redis.stop());
    const more = `cluster: {driver: redis, redis: {url: "${redis.url}", prefix: acme}}`;
    // Only the second one can be reached by the authority.
    const ports = [await freePort(), pebble.tls];
    const nodes = await Promise.all(ports.map((port) => newBelfry(t, pebble, { port, storage: 'redis', more })));
    await Promise.all(nodes.map(({ start }) => start()));
    const [one, other] = await Promise.all(ports.map((port) => certified(pebble, port)));
    assert.equal(one, other);
    assert.equal(pebble.orders(), 1);
  });

  test('a certificate is renewed before its end, and serves while that fails', async (t) => {
    const pebble = await startPebble(t, { validity: 30 });
    const { start } = await newBelfry(t, pebble, { port: pebble.tls });
    const belfry = await start();
    const serial = await certified(pebble, pebble.tls);
    const socket = await connect(t, pebble, pebble.tls);
    const next = await eventually('another certificate', async () => {
      const found = await shake(pebble, pebble.tls);
      return found !== serial && found;
    });
    await pebble.stop();
    await eventually('an order that fails', () => /msg="no certificate was given"/.test(belfry.output()));
    assert.match(belfry.output(), /do="see that this server reaches https:\/\/127\.0\.0\.1:\d+\/dir, and that this is right"/);
    assert.equal(await shake(pebble, pebble.tls), next);
    assert.equal(await metric(pebble, pebble.tls, 'belfry_certificate_failures_total'), 1);
    await ping(socket);
  });

  test('the log says what to do when the authority does not get through', async (t) => {
    const pebble = await startPebble(t);
    const { start } = await newBelfry(t, pebble, { port: await freePort() });
    const belfry = await start();
    await eventually('an order that fails', () => /msg="no certificate was given"/.test(belfry.output()));
    assert.match(belfry.output(), /do="let the authority reach this server at port 443 of ws\.belfry\.test: look at the records A and AAAA/);
    await assert.rejects(shake(pebble, belfry.port));
  });
});
