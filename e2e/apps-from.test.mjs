// Applications in a PostgreSQL table as Soketi has it, with pusher-js and the backend's
// library: rows that come, change and go under live connections, a database that is away,
// two nodes that share it, and a server that is replaced.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import WebSocket from 'ws';

import { startBelfry } from './lib/belfry.mjs';
import { authorizer, connect, errorsOf, newBackend, newClient, state, subscribe } from './lib/clients.mjs';
import { freePort } from './lib/ports.mjs';
import { startPostgres } from './lib/postgres.mjs';
import { startRedis } from './lib/redis.mjs';
import { replaceable } from './lib/replaceable.mjs';
import { eventually, within } from './lib/wait.mjs';

// The columns of Soketi's documentation.
const table = `
  CREATE TABLE apps (
    id varchar(255) PRIMARY KEY,
    "key" varchar(255) NOT NULL,
    secret varchar(255) NOT NULL,
    max_connections integer NOT NULL,
    enable_client_messages smallint NOT NULL,
    enabled smallint NOT NULL,
    max_backend_events_per_sec integer NOT NULL,
    max_client_events_per_sec integer NOT NULL,
    max_read_req_per_sec integer NOT NULL,
    webhooks json,
    max_presence_members_per_channel smallint NULL,
    max_presence_member_size_in_kb smallint NULL,
    max_channel_name_length smallint NULL,
    max_event_channels_at_once smallint NULL,
    max_event_name_length smallint NULL,
    max_event_payload_in_kb smallint NULL,
    max_event_batch_size smallint NULL,
    enable_user_authentication smallint NOT NULL
  )`;

let postgres;

before(async () => {
  postgres = await startPostgres();
  await postgres.query(table);
});

after(() => postgres.stop());

const row = (id) =>
  postgres.query(
    `INSERT INTO apps VALUES ('${id}', '${id}-key', '${id}-secret', -1, 1, 1, -1, -1, -1, '[]', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1)`,
  );

const credentials = (id) => ({ id, key: `${id}-key`, secret: `${id}-secret` });

/** The code that a client is refused with. */
const refusal = async (client) => (await errorsOf(client).next()).error.data.code;

/** The only applications are those of the table. */
const configuration = ({ more = '', ttl = '1s' } = {}) => `
server: {listen: "127.0.0.1:0"}
apps_from: {url: "${postgres.url}", ttl: ${ttl}, negative_ttl: 1s}
log: {level: debug}
${more}`;

async function start(t, options) {
  const belfry = await startBelfry({ config: configuration(options) });
  t.after(() => belfry.stop());
  return belfry;
}

test('rows that come, change and go under live connections', async (t) => {
  const belfry = await start(t);
  const app = credentials('100');
  const late = newClient(t, belfry, { key: app.key });
  assert.equal(await refusal(late), 4001);

  await row('100');
  await row('101');
  const backend = newBackend(belfry, app);
  await eventually('the app is found', () => backend.trigger('news', 'posted', {}).then(() => true, () => false));
  const client = await connect(t, belfry, { key: app.key, channelAuthorization: authorizer(backend, { user_id: '1' }) });
  const { channel, events } = await subscribe(client, 'private-a');
  const other = await subscribe(await connect(t, belfry, { key: app.key, channelAuthorization: authorizer(backend) }), 'private-a');
  const neighbour = await subscribe(await connect(t, belfry, { key: '101-key' }), 'news');
  await backend.trigger('private-a', 'posted', { i: 1 });
  assert.deepEqual(await events.next(), ['posted', { i: 1 }]);
  assert.deepEqual(await other.events.next(), ['posted', { i: 1 }]);
  channel.trigger('client-typing', { by: 'me' });
  assert.deepEqual(await other.events.next(), ['client-typing', { by: 'me' }]);

  // A change acts on connections that are open.
  await postgres.query(`UPDATE apps SET enable_client_messages = 0 WHERE id = '100'`);
  let refused = false;
  client.connection.bind('error', () => (refused = true));
  await eventually('client events are refused', () => {
    channel.trigger('client-typing', { by: 'me' });
    return refused;
  });
  await postgres.query(`UPDATE apps SET secret = 'another-secret' WHERE id = '100'`);
  const renewed = newBackend(belfry, { ...app, secret: 'another-secret' });
  await eventually('the new secret signs', () => renewed.trigger('private-a', 'renewed', {}).then(() => true, () => false));
  await assert.rejects(backend.trigger('private-a', 'renewed', {}));

  await postgres.query(`DELETE FROM apps WHERE id = '100'`);
  await state(client, 'disconnected');
  await newBackend(belfry, credentials('101')).trigger('news', 'posted', {});
  assert.deepEqual(await neighbour.events.next(), ['posted', {}]);
});

test('a database that is away and comes back', async (t) => {
  const belfry = await start(t);
  await row('200');
  await row('201');
  const backend = newBackend(belfry, credentials('200'));
  const client = await connect(t, belfry, { key: '200-key' });
  const { events } = await subscribe(client, 'news');
  await postgres.pause();
  const metrics = () => fetch(`${belfry.url}/metrics`).then((response) => response.text());
  await eventually('the outage shows', async () => (await metrics()).includes('belfry_apps_from_up 0'));

  // Who is known goes on; who is not is told to come back, and does.
  await backend.trigger('news', 'posted', { i: 1 });
  assert.deepEqual(await events.next(), ['posted', { i: 1 }]);
  await connect(t, belfry, { key: '200-key' });
  const waiting = newClient(t, belfry, { key: '201-key' });
  assert.equal(await refusal(waiting), 4100);
  const unknown = await newBackend(belfry, credentials('201')).get({ path: '/channels' }).catch((error) => error);
  assert.equal(unknown.status, 503);
  assert.equal((await fetch(`${belfry.url}/ready`)).status, 200);

  await postgres.resume();
  await state(waiting, 'connected', 60_000);
  assert.match(await metrics(), /belfry_apps_from_up 1/);
  const lines = belfry.output().split('\n');
  assert.equal(lines.filter((line) => line.includes('level=ERROR')).length, 1);
  assert.ok(!belfry.output().includes('-secret'));
});

test('a thousand first connections of one application among a hundred thousand are one query', async (t) => {
  const belfry = await start(t, { ttl: '1h' });
  await postgres.query(
    `INSERT INTO apps SELECT n, n || '-key', n || '-secret', -1, 1, 1, -1, -1, -1, '[]', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1
     FROM generate_series(1000000, 1099999) n; CREATE UNIQUE INDEX ON apps ("key"); ANALYZE apps`,
  );
  const sockets = Array.from({ length: 1000 }, () => new WebSocket(`ws://127.0.0.1:${belfry.port}/app/1070707-key?protocol=7`));
  t.after(() => sockets.forEach((socket) => socket.terminate()));
  const greetings = sockets.map((socket) => new Promise((resolve) => socket.once('message', resolve)));
  for (const greeting of await within(Promise.all(greetings), () => 'a thousand greetings')) {
    assert.match(String(greeting), /connection_established/);
  }
  const metrics = await fetch(`${belfry.url}/metrics`).then((response) => response.text());
  assert.match(metrics, /belfry_app_lookups_total\{result="found"\} 1\n/);
  assert.match(metrics, /belfry_apps_looked_up 1\n/);
});

test('two nodes look up the same applications, and are one to their clients', async (t) => {
  const redis = await startRedis(await freePort());
  t.after(() => redis.stop());
  await row('300');
  const more = `cluster: {driver: redis, redis: {url: "${redis.url}"}}`;
  const [one, two] = await Promise.all([start(t, { more }), start(t, { more })]);
  const backend = newBackend(one, credentials('300'));
  const options = { key: '300-key', channelAuthorization: authorizer(backend, { user_id: '1' }) };
  const { events } = await subscribe(await connect(t, two, options), 'presence-room');
  await backend.trigger('presence-room', 'posted', { i: 1 });
  assert.deepEqual(await events.next(), ['posted', { i: 1 }]);
  const response = await backend.get({ path: '/channels/presence-room', params: { info: 'user_count' } });
  assert.deepEqual(await response.json(), { occupied: true, user_count: 1 });
});

test('a server that is replaced has its applications at once, wherever the database is', async (t) => {
  const belfry = await replaceable(t, configuration());
  await row('400');
  const backend = newBackend(belfry, credentials('400'));
  const { events } = await subscribe(await connect(t, belfry, { key: '400-key' }), 'news');
  await postgres.pause();
  t.after(() => postgres.resume());
  const { code, text } = await belfry.upgrade();
  assert.equal(code, 0, text);
  await backend.trigger('news', 'posted', { i: 1 });
  assert.deepEqual(await events.next(), ['posted', { i: 1 }]);
  await connect(t, belfry, { key: '400-key' });
});
