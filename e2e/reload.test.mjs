// The program reads its configuration again while it runs: on SIGHUP, and when
// its files change.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { rename, writeFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { test } from 'node:test';

import { app, directory, serve } from './lib/belfry.mjs';
import { authorizer, connect, newBackend, newClient, state, subscribe } from './lib/clients.mjs';
import { environment } from './lib/process.mjs';
import { eventually, within } from './lib/wait.mjs';

const second = { id: 'second-id', key: 'second-key', secret: 'second-secret' };

/** A configuration with these apps; text is put before them. */
const configuration = (apps, text = '') => `${text}
server:
  listen: 127.0.0.1:0
apps:
${apps.map((a) => `  - {id: ${a.id}, key: ${a.key}, ${a.secrets ? `secrets: [${a.secrets}]` : `secret: ${a.secret}`}}\n`).join('')}`;

/** `belfry serve` of files in a directory of its own, stopped when the test ends. */
async function serveFiles(t, files, args, env = {}) {
  const cwd = await directory(t, files);
  const belfry = await serve(args, { cwd, env: environment({ BELFRY_LISTEN: '127.0.0.1:0', ...env }) });
  t.after(async () => {
    assert.equal(await belfry.stop(), 0);
    assert.ok(!/panic/.test(belfry.output()), belfry.output());
  });
  return { ...belfry, file: (name) => path.join(cwd, name) };
}

const serveConfig = (t, text) => serveFiles(t, { 'config.yaml': text }, ['--config', 'config.yaml']);

/** Resolves when the log has this many lines that match, to all of them. */
const logged = (belfry, pattern, count = 1) =>
  eventually(`${count} lines with ${pattern}`, () => {
    const lines = belfry.output().match(new RegExp(`^.*${pattern}.*$`, 'gm')) ?? [];
    return lines.length >= count && lines;
  });

const reloaded = (belfry, count) => logged(belfry, 'configuration reloaded', count);

/** Publishes, and waits for it to arrive. */
async function delivers(belfry, events, credentials = app, data = { at: Date.now() }) {
  await newBackend(belfry, credentials).trigger('news', 'posted', data);
  assert.deepEqual(await events.next(), ['posted', data]);
}

/** pusher-js in Node keeps the process for 30 s when it is closed with 4009. */
async function leave(client) {
  client.disconnect();
  await state(client, 'disconnected');
}

/** Connects, and resolves to what resolves to all that was sent until the end. */
async function untilEnd(belfry, key) {
  const request = http.get(`${belfry.url}/app/${key}?protocol=7`, {
    headers: {
      Connection: 'Upgrade',
      Upgrade: 'websocket',
      'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
      'Sec-WebSocket-Version': 13,
    },
  });
  const [, socket, head] = await once(request, 'upgrade');
  const sent = socket.toArray(); // and closes our half when the server closes its
  return async () => Buffer.concat([head, ...(await within(sent, () => 'the end of the connection'))]).toString();
}

/** Ways in which a configuration file changes without a signal. */
const writers = {
  'in place': (belfry, text) => writeFile(belfry.file('config.yaml'), text),
  'by a rename': async (belfry, text) => {
    await writeFile(belfry.file('config.yaml.new'), text);
    await rename(belfry.file('config.yaml.new'), belfry.file('config.yaml'));
  },
};

for (const [how, write] of Object.entries(writers)) {
  test(`a file that is written ${how} is put in force`, async (t) => {
    const belfry = await serveConfig(t, configuration([app]));
    const client = await connect(t, belfry);
    const { events } = await subscribe(client, 'news');

    await write(belfry, configuration([app, second]));
    const [line] = await reloaded(belfry);
    assert.match(line, /level=INFO .*apps=2 added\.count=1 added\.ids=second-id changed\.count=0 .*removed\.count=0/);
    const other = await connect(t, belfry, { key: second.key });
    await delivers(belfry, (await subscribe(other, 'news')).events, second);
    await leave(other);
    const last = await untilEnd(belfry, second.key);

    await write(belfry, configuration([app]));
    assert.match(await last(), /"pusher:error","data":\{"code":4009,"message":"[^"]*removed/);
    assert.match((await reloaded(belfry, 2))[1], /removed\.count=1 removed\.ids=second-id/);
    await delivers(belfry, events);
    assert.equal(client.connection.state, 'connected');
    const metrics = await (await fetch(`${belfry.url}/metrics`)).text();
    assert.ok(!metrics.includes('second-id'), metrics);
    assert.match(metrics, /^belfry_config_reloads_total\{result="applied"\} 2$/m);
  });
}

test('an invalid file is refused with its lines, and the one before stays', async (t) => {
  const belfry = await serveConfig(t, configuration([app]));
  const client = await connect(t, belfry);
  const { events } = await subscribe(client, 'news');

  const broken = `${configuration([app, second])}    max_event_bytes: many\n    secret: hunter2\nlogs: {}\n`.replace(
    `{id: ${second.id}, key: ${second.key}, secret: ${second.secret}}`,
    `id: ${second.id}`,
  );
  await writeFile(belfry.file('config.yaml'), broken);
  const refusals = await logged(belfry, 'configuration not reloaded');
  assert.equal(refusals.length, 1);
  assert.match(refusals[0], /level=ERROR/);
  assert.match(refusals[0], /config\.yaml:6: apps\[1\]\.key: .* config\.yaml:7: apps\[1\]\.max_event_bytes: .* config\.yaml:9: unknown key/);
  assert.ok(!belfry.output().includes('hunter2'), belfry.output());
  await delivers(belfry, events);
  const metrics = await (await fetch(`${belfry.url}/metrics`)).text();
  assert.match(metrics, /^belfry_config_reloads_total\{result="refused"\} 1$/m);
  assert.match(metrics, /^belfry_config_last_reload_successful 0$/m);

  await writeFile(belfry.file('config.yaml'), configuration([app, second]));
  await reloaded(belfry);
  await connect(t, belfry, { key: second.key });
  await delivers(belfry, events);
});

test('a secret is changed while clients and backends use it', async (t) => {
  const renewed = { ...app, secret: 'renewed-secret' };
  const belfry = await serveConfig(t, configuration([app]));
  const change = async (to, count) => {
    await writeFile(belfry.file('config.yaml'), configuration([to]));
    assert.match((await reloaded(belfry, count)).at(-1), /changed\.count=1 changed\.ids=100001 removed\.count=0/);
  };
  const joins = async (secret) => {
    const client = await connect(t, belfry, { channelAuthorization: authorizer(newBackend(belfry, { ...app, secret })) });
    return subscribe(client, 'private-news');
  };
  const { events } = await subscribe(await connect(t, belfry), 'news');

  await change({ ...app, secrets: [renewed.secret, app.secret] }, 1);
  for (const credentials of [app, renewed]) {
    await joins(credentials.secret);
    await delivers(belfry, events, credentials);
  }
  await change({ ...app, secrets: [renewed.secret] }, 2);
  await joins(renewed.secret);
  await delivers(belfry, events, renewed);
  await assert.rejects(newBackend(belfry, app).trigger('news', 'posted', {}), { status: 401 });
  assert.ok(!belfry.output().includes('renewed-secret'), belfry.output());
});

test('SIGHUP reads the file again, even if it is the same', async (t) => {
  const belfry = await serveConfig(t, configuration([app]));
  belfry.signal('SIGHUP');
  const [line] = await reloaded(belfry);
  assert.match(line, /apps=1 added\.count=0 .*changed\.count=0 .*removed\.count=0/);
  await connect(t, belfry);
});

test('what needs a restart is named, and the log level does not', async (t) => {
  const belfry = await serveConfig(t, configuration([app]));
  const text = configuration([app], 'log: {level: debug}\n').replace('  listen: 127.0.0.1:0', '  listen: 127.0.0.1:1\n  max_connections: 9');
  await writeFile(belfry.file('config.yaml'), text);
  const [line] = await logged(belfry, 'need a restart');
  assert.match(line, /level=WARN .*keys="server\.listen server\.max_connections"/);
  await connect(t, belfry);
  await logged(belfry, 'level=DEBUG msg="connection opened"');
});

const dotenv = ({ id, key, secret }) => `PUSHER_APP_ID=${id}\nPUSHER_APP_KEY=${key}\nPUSHER_APP_SECRET=${secret}\n`;

test('the environment file is read again, by itself or beside a configuration', async (t) => {
  const alone = await serveFiles(t, { '.env': dotenv(app) }, ['--env-file', '.env']);
  await leave(await connect(t, alone));
  await writeFile(alone.file('.env'), dotenv(second));
  await reloaded(alone);
  await connect(t, alone, { key: second.key });

  // Without an app in it, none is made up.
  await writeFile(alone.file('.env'), 'APP_NAME=Shop\n');
  assert.match((await logged(alone, 'configuration not reloaded'))[0], /there is no app any more/);
  await connect(t, alone, { key: second.key });

  const beside = await serveFiles(
    t,
    { '.env': dotenv(app), 'config.yaml': configuration([{ ...app, key: '"${PUSHER_APP_KEY}"' }]) },
    ['--config', 'config.yaml', '--env-file', '.env'],
  );
  const client = await connect(t, beside);
  await writeFile(beside.file('.env'), dotenv(second));
  await reloaded(beside);
  await connect(t, beside, { key: second.key });
  assert.equal(client.connection.state, 'connected');
});

test('SIGHUP without any file ends nothing and changes nothing', async (t) => {
  const belfry = await serveFiles(t, {}, []);
  await eventually('the lines to paste', () => belfry.output().includes('To keep it'));
  const [, key] = belfry.output().match(/^PUSHER_APP_KEY=(\w+)$/m);
  const client = newClient(t, belfry, { key });
  await state(client, 'connected');
  for (const count of [1, 2]) {
    belfry.signal('SIGHUP');
    assert.match((await reloaded(belfry, count)).at(-1), /added\.count=0 .*changed\.count=0 .*removed\.count=0/);
  }
  await subscribe(client, 'news');
  await connect(t, belfry, { key });
});
