// Webhooks, received and verified with the official backend library, by an
// application that fails, stalls, redirects and comes back; and the spool,
// through kill -9.

import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import http from 'node:http';
import { test } from 'node:test';

import { configuration, directory, serve, startBelfry } from './lib/belfry.mjs';
import { authorizer, connect, newBackend, subscribe } from './lib/clients.mjs';
import { environment } from './lib/process.mjs';
import { eventually, Inbox } from './lib/wait.mjs';

/**
 * The application: events() are those of the valid webhooks that it took, in
 * order. answer(request, response, n) may answer instead of 200, n counting from
 * 1; it returns true if it does, or will.
 */
async function receive({ path = '/webhook', answer = () => false } = {}) {
  const events = new Inbox('webhook events');
  const requests = [];
  let library;
  const server = http.createServer(async (request, response) => {
    const rawBody = Buffer.concat(await request.toArray()).toString();
    requests.push({ url: request.url, headers: request.headers, rawBody });
    if (await answer(request, response, requests.length)) {
      return;
    }
    const webhook = library.webhook({ headers: request.headers, rawBody });
    assert.ok(webhook.isValid(), `${rawBody} ${JSON.stringify(request.headers)}`);
    webhook.getEvents().forEach((event) => events.add(event));
    response.end();
  });
  await new Promise((resolve, reject) => server.listen(0, '127.0.0.1', resolve).once('error', reject));
  server.unref(); // it must outlive Belfry, which tells it that clients leave
  const url = `http://127.0.0.1:${server.address().port}${path}`;
  return { url, events, requests, of: (backend) => (library = backend), port: server.address().port };
}

/** Settings of an app that tells this URL; the rest is of the endpoint. */
const telling = (url, rest = '') => `webhooks:
      - url: ${url}
        ${rest}`;

/** Belfry, which tells the receiver. */
async function start(t, receiver, rest) {
  const belfry = await startBelfry({ config: configuration({ settings: telling(receiver.url, rest) }) });
  t.after(() => belfry.stop());
  const backend = newBackend(belfry);
  receiver.of(backend);
  return { belfry, backend };
}

const ann = { user_id: 'ann', user_info: { name: 'Ann' } };

test('every kind of event arrives, signed, and in the order of its channel', async (t) => {
  const receiver = await receive();
  const belfry = await startBelfry({
    config: configuration({ settings: `subscription_count: true\n    ${telling(receiver.url)}` }),
  });
  t.after(() => belfry.stop());
  const backend = newBackend(belfry);
  receiver.of(backend);
  const client = await connect(t, belfry, { channelAuthorization: authorizer(backend, ann) });

  await subscribe(client, 'private-room');
  client.channel('private-room').trigger('client-typing', { by: 'ann' });
  assert.deepEqual(await receiver.events.take(3), [
    { name: 'channel_occupied', channel: 'private-room' },
    { name: 'subscription_count', channel: 'private-room', subscription_count: 1 },
    {
      name: 'client_event',
      channel: 'private-room',
      event: 'client-typing',
      data: '{"by":"ann"}',
      socket_id: client.connection.socket_id,
    },
  ]);

  await subscribe(client, 'presence-room');
  client.channel('presence-room').trigger('client-typing', {});
  assert.deepEqual(await receiver.events.take(3), [
    { name: 'channel_occupied', channel: 'presence-room' },
    { name: 'member_added', channel: 'presence-room', user_id: 'ann' },
    {
      name: 'client_event',
      channel: 'presence-room',
      event: 'client-typing',
      data: '{}',
      socket_id: client.connection.socket_id,
      user_id: 'ann',
    },
  ]);

  await subscribe(client, 'cache-news');
  assert.deepEqual(await receiver.events.take(3), [
    { name: 'channel_occupied', channel: 'cache-news' },
    { name: 'subscription_count', channel: 'cache-news', subscription_count: 1 },
    { name: 'cache_miss', channel: 'cache-news' },
  ]);

  client.unsubscribe('presence-room');
  assert.deepEqual(await receiver.events.take(2), [
    { name: 'member_removed', channel: 'presence-room', user_id: 'ann' },
    { name: 'channel_vacated', channel: 'presence-room' },
  ]);

  // A channel that is occupied again within the grace was never vacated: the
  // next word of it is about something else.
  client.unsubscribe('private-room');
  await subscribe(client, 'private-room');
  client.channel('private-room').trigger('client-back', {});
  assert.deepEqual(
    (await receiver.events.take(3)).map(({ name, subscription_count: n }) => [name, n]),
    [
      ['subscription_count', 0],
      ['subscription_count', 1],
      ['client_event', undefined],
    ],
  );
  for (const { headers, rawBody } of receiver.requests) {
    assert.equal(headers['content-type'], 'application/json');
    assert.equal(headers['x-pusher-key'], 'app-key');
    assert.ok(Math.abs(Date.now() - JSON.parse(rawBody).time_ms) < 600_000);
  }
});

test('events of a moment are one request; filters, kinds and headers are obeyed', async (t) => {
  const receiver = await receive();
  const { belfry } = await start(
    t,
    receiver,
    `events: [channel_occupied]
        headers: {Authorization: Bearer abc}
        filter: {channel_prefix: room-, channel_suffix: -b}`,
  );
  const client = await connect(t, belfry);
  const names = Array.from({ length: 30 }, (_, i) => `room-${i}-b`);
  for (const name of ['other', 'room-1', 'x-b', ...names]) {
    client.subscribe(name);
  }
  const told = (await receiver.events.take(30)).map(({ channel }) => channel);
  assert.deepEqual(told.sort(), names.sort());
  assert.ok(receiver.requests.length < 10, `${receiver.requests.length} requests`);
  assert.equal(receiver.requests[0].headers.authorization, 'Bearer abc');
});

test('a receiver that fails, asks for time, redirects and comes back gets everything in order', async (t) => {
  const answers = {
    1: [500],
    2: [429, { 'Retry-After': '1' }],
    3: [307, { Location: '/elsewhere' }], // the same host: followed
  };
  const receiver = await receive({
    answer: (request, response, n) => {
      if (!answers[n]) {
        return false;
      }
      response.writeHead(...answers[n]).end();
      return true;
    },
  });
  const { belfry, backend } = await start(t, receiver, 'events: [client_event]');
  const client = await connect(t, belfry, { channelAuthorization: authorizer(backend, ann) });
  await subscribe(client, 'private-room');
  const numbers = Array.from({ length: 10 }, (_, i) => i);
  for (const i of numbers) {
    client.channel('private-room').trigger('client-count', i);
  }
  const told = (await receiver.events.take(10)).map(({ data }) => Number(data));
  assert.deepEqual(told, numbers);
  assert.deepEqual(
    receiver.requests.slice(0, 4).map(({ url }) => url),
    ['/webhook', '/webhook', '/webhook', '/elsewhere'],
  );
});

test('a receiver that refuses one event gets all others', async (t) => {
  const receiver = await receive({
    answer: (request, response) => {
      const refused = receiver.requests.at(-1).rawBody.includes('private-encrypted-');
      if (refused) {
        response.writeHead(500).end();
      }
      return refused;
    },
  });
  const { belfry, backend } = await start(t, receiver, 'events: [channel_occupied]');
  const client = await connect(t, belfry, { channelAuthorization: authorizer(backend, ann) });
  const names = Array.from({ length: 20 }, (_, i) => (i % 5 === 3 ? `private-encrypted-${i}` : `room-${i}`));
  for (const name of names) {
    client.subscribe(name);
  }
  const others = names.filter((name) => name.startsWith('room-'));
  const told = (await receiver.events.take(others.length)).map(({ channel }) => channel);
  assert.deepEqual(told.sort(), others.sort());
  assert.ok(receiver.requests.some(({ rawBody }) => rawBody.includes('private-encrypted-')));
});

test('a redirect to another host is not followed, and said so in the log', async (t) => {
  const other = await receive();
  const receiver = await receive({
    answer: (request, response) => {
      response.writeHead(307, { Location: other.url }).end();
      return true;
    },
  });
  const { belfry } = await start(t, receiver, 'events: [channel_occupied]');
  await subscribe(await connect(t, belfry), 'c');
  await eventually('the webhook is given up', () => /given up.*307/.test(belfry.output()));
  assert.equal(other.requests.length, 0);
});

test('a receiver that stalls holds up nobody else', async (t) => {
  const stalled = await receive({ answer: () => true }); // and never answers
  const receiver = await receive();
  const belfry = await startBelfry({
    config: configuration({
      server: 'shutdown_grace: 1s', // it would wait for the stalled one
      settings: `${telling(stalled.url)}\n      - url: ${receiver.url}`,
    }),
  });
  t.after(() => belfry.stop());
  receiver.of(newBackend(belfry));
  const client = await connect(t, belfry);
  await subscribe(client, 'one');
  assert.deepEqual(await receiver.events.next(), { name: 'channel_occupied', channel: 'one' });
  await eventually('the stalled receiver is asked', () => stalled.requests.length === 1);
  await subscribe(client, 'two');
  assert.deepEqual(await receiver.events.next(), { name: 'channel_occupied', channel: 'two' });
  const metrics = await (await fetch(`${belfry.url}/metrics`)).text();
  assert.match(metrics, /^belfry_webhooks_sent_total\{app="100001"\} 2$/m);
});

test('what is pending goes out when the server stops', async (t) => {
  const receiver = await receive();
  const { belfry } = await start(t, receiver);
  const client = await connect(t, belfry);
  await subscribe(client, 'c');
  assert.deepEqual(await receiver.events.next(), { name: 'channel_occupied', channel: 'c' });
  await belfry.stop();
  assert.deepEqual(await receiver.events.next(), { name: 'channel_vacated', channel: 'c' });
});

test('the spool survives kill -9: what was not taken goes out at the next start, once, in order', async (t) => {
  let up = false;
  const receiver = await receive({
    answer: (request, response) => {
      if (!up) {
        response.writeHead(503).end();
      }
      return !up;
    },
  });
  const config = `${configuration({ settings: telling(receiver.url, 'events: [channel_occupied]') })}
webhooks:
  spool: spool
`;
  const cwd = await directory(t, { 'config.yaml': config });
  const options = { cwd, env: environment() };
  const first = await serve(['--config', 'config.yaml'], options);
  const client = await connect(t, first);
  const names = Array.from({ length: 250 }, (_, i) => `c-${i}`);
  for (const name of names) {
    client.subscribe(name);
  }
  // In batches, each of which is in the spool before it is first tried.
  await eventually('all of it is in the spool', async () => {
    const files = (await readdir(`${cwd}/spool`, { recursive: true })).filter((file) => file.endsWith('.json'));
    const bodies = await Promise.all(files.map((file) => readFile(`${cwd}/spool/${file}`, 'utf8')));
    return bodies.reduce((n, body) => n + JSON.parse(body).events.length, 0) === names.length;
  });
  await eventually('a delivery was tried', () => receiver.requests.length > 0);
  first.signal('SIGKILL');
  assert.equal(await first.exited, 'SIGKILL');
  client.disconnect();

  up = true;
  const secondStart = await serve(['--config', 'config.yaml'], options);
  t.after(() => secondStart.stop());
  receiver.of(newBackend(secondStart));
  const told = (await receiver.events.take(names.length)).map(({ channel }) => channel);
  assert.deepEqual(told, names);
  await eventually('the spool is empty', async () => {
    const left = await readdir(`${cwd}/spool`, { recursive: true });
    return !left.some((file) => file.endsWith('.json'));
  });
  assert.deepEqual(receiver.events.drain(), []);
});
