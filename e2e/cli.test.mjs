// The program itself: how it starts, what it says, how it stops.

import assert from 'node:assert/strict';
import net from 'node:net';
import path from 'node:path';
import { test } from 'node:test';

import { app, binary, configuration, directory, serve, startBelfry } from './lib/belfry.mjs';
import { connect, newBackend, subscribe } from './lib/clients.mjs';
import { examples } from './lib/docs.mjs';
import { environment, run } from './lib/process.mjs';
import { eventually } from './lib/wait.mjs';

/** Runs belfry to its end. */
const belfryRun = (args, { env, ...options } = {}) => run(binary, args, { env: environment(env), ...options });

/** `belfry serve` in an environment of its own, stopped when the test ends. */
async function serveFor(t, args, { env, ...options } = {}) {
  const belfry = await serve(args, { env: environment({ BELFRY_LISTEN: '127.0.0.1:0', ...env }), ...options });
  t.after(() => belfry.stop());
  return belfry;
}

/** An event goes from the backend's library to a client with these credentials. */
async function works(t, belfry, credentials, options) {
  const client = await connect(t, belfry, { key: credentials.key, ...options });
  const { events } = await subscribe(client, 'news');
  await newBackend(belfry, credentials).trigger('news', 'posted', { id: 1 });
  assert.deepEqual(await events.next(), ['posted', { id: 1 }]);
}

/** The variables of a .env file; ${NAME} in double quotes is resolved. */
function parseEnv(text) {
  const variables = {};
  for (const [, name, quoted, plain] of text.matchAll(/^([A-Z_]+)=(?:"(.*)"|(.*))$/gm)) {
    variables[name] = quoted?.replace(/\$\{(\w+)\}/g, (_, other) => variables[other]) ?? plain;
  }
  return variables;
}

/** The .env lines that a start without anything prints, on stdout. */
async function printedEnv(belfry) {
  await eventually('the lines to paste', () => belfry.output().includes('To keep it'));
  return parseEnv(belfry.output());
}

test('a start without anything prints .env lines that work', async (t) => {
  const belfry = await serveFor(t, []);
  const env = await printedEnv(belfry);
  assert.equal(env.BROADCAST_CONNECTION, 'pusher');
  assert.match(env.PUSHER_APP_ID, /^\d{6}$/);
  assert.deepEqual([env.PUSHER_HOST, env.PUSHER_PORT, env.PUSHER_SCHEME], ['127.0.0.1', String(belfry.port), 'http']);
  assert.ok(env.PUSHER_APP_CLUSTER);
  for (const name of ['APP_KEY', 'HOST', 'PORT', 'SCHEME', 'APP_CLUSTER']) {
    assert.equal(env[`VITE_PUSHER_${name}`], env[`PUSHER_${name}`], name);
  }
  await works(
    t,
    { host: env.PUSHER_HOST, port: Number(env.PUSHER_PORT) },
    { id: env.PUSHER_APP_ID, key: env.PUSHER_APP_KEY, secret: env.PUSHER_APP_SECRET },
  );
  // Another start has other credentials.
  const other = await printedEnv(await serveFor(t, []));
  for (const name of ['PUSHER_APP_KEY', 'PUSHER_APP_SECRET']) {
    assert.notEqual(other[name], env[name]);
  }
});

const laravelEnv = (prefix) => `APP_NAME="My Shop"
APP_KEY=base64:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
DB_PASSWORD='pa#ss "word"'

# broadcasting
BROADCAST_CONNECTION=${prefix.toLowerCase()}
${prefix}_APP_ID=483291
${prefix}_APP_KEY=env-file-key
${prefix}_APP_SECRET="env-file-secret" # a comment
${prefix}_HOST="localhost"
${prefix}_PORT=8080
${prefix}_SCHEME=http

VITE_${prefix}_APP_KEY="\${${prefix}_APP_KEY}"
`;
const fromEnvFile = { id: '483291', key: 'env-file-key', secret: 'env-file-secret' };

for (const prefix of ['PUSHER', 'REVERB']) {
  test(`--env-file takes the app of a Laravel .env with ${prefix}_*`, async (t) => {
    const cwd = await directory(t, { '.env': laravelEnv(prefix) });
    const belfry = await serveFor(t, ['--env-file', '.env'], { cwd });
    await works(t, belfry, fromEnvFile);
    assert.ok(!belfry.output().includes(fromEnvFile.secret), belfry.output());
  });
}

test('address and path are those of Reverb’s variables', async (t) => {
  const variables = 'REVERB_SERVER_HOST=127.0.0.1\nREVERB_SERVER_PORT=0\nREVERB_SERVER_PATH=/ws\n';
  const cwd = await directory(t, { '.env': laravelEnv('REVERB') + variables });
  const belfry = await serve(['--env-file', '.env'], { cwd });
  t.after(() => belfry.stop());
  assert.notEqual(belfry.port, 8080);
  await works(t, belfry, fromEnvFile);
  await works(t, belfry, fromEnvFile, { wsPath: '/ws' });
});

test('the environment wins over the file, BELFRY_ over what BROADCAST_CONNECTION means', async (t) => {
  const cwd = await directory(t, { '.env': laravelEnv('PUSHER') });
  const own = { BELFRY_APP_ID: app.id, BELFRY_APP_KEY: app.key, BELFRY_APP_SECRET: app.secret };
  const reverb = { REVERB_APP_ID: '1', REVERB_APP_KEY: 'reverb-key', REVERB_APP_SECRET: 'reverb-secret' };
  await works(t, await serveFor(t, ['--env-file', '.env'], { cwd, env: { ...own, ...reverb } }), app);
  await works(t, await serveFor(t, ['--env-file', '.env'], { cwd, env: { ...reverb, BROADCAST_CONNECTION: 'reverb' } }), {
    id: '1',
    key: 'reverb-key',
    secret: 'reverb-secret',
  });
  await works(t, await serveFor(t, ['--env-file', '.env'], { cwd, env: reverb }), fromEnvFile);
  const changed = { ...fromEnvFile, secret: 'changed-secret' };
  await works(
    t,
    await serveFor(t, ['--env-file', '.env'], { cwd, env: { PUSHER_APP_SECRET: changed.secret } }),
    changed,
  );
});

test('docs: the .env files are accepted', async (t) => {
  const files = (await examples('laravel.md', 'dotenv')).filter((block) => block.includes('_APP_SECRET='));
  assert.equal(files.length, 2);
  for (const file of files) {
    const cwd = await directory(t, { '.env': file });
    const { code, stdout, stderr } = await belfryRun(['check', '--env-file', '.env'], { cwd });
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^listen +ws:\/\/127\.0\.0\.1:8080$/m);
    assert.match(stdout, /^app +483291 +key kx3v9w2m5q8r7t1z4y6n /m);
  }
});

test('a port in use is one line and exit code 1', async (t) => {
  const taken = net.createServer();
  await new Promise((resolve, reject) => taken.once('error', reject).listen(0, '127.0.0.1', resolve));
  t.after(() => new Promise((resolve) => taken.close(resolve)));
  const listen = `127.0.0.1:${taken.address().port}`;
  const { code, stdout, stderr } = await belfryRun(['serve'], { env: { BELFRY_LISTEN: listen } });
  assert.equal(code, 1);
  assert.equal(stdout, '');
  assert.match(stderr, /^belfry: .*address already in use\n$/);
  assert.ok(stderr.includes(listen), stderr);
});

test('check describes a valid configuration, without its secret', async (t) => {
  const cwd = await directory(t, {
    'config.yaml': configuration({ port: 8080, settings: 'allowed_origins: [example.com, "*.example.com"]' }).replace(
      app.secret,
      '${APP_SECRET}',
    ),
  });
  const { code, stdout, stderr } = await belfryRun(['check', '--config', 'config.yaml'], {
    cwd,
    env: { APP_SECRET: 'hidden-secret' },
  });
  assert.equal(code, 0, stderr);
  assert.equal(stderr, '');
  assert.match(stdout, /^config\.yaml: ok$/m);
  assert.match(stdout, /^listen +ws:\/\/127\.0\.0\.1:8080$/m);
  assert.match(stdout, /^app +100001 +key app-key +enabled +origins example\.com \*\.example\.com /m);
  assert.ok(!stdout.includes('hidden-secret'));
});

test('check counts several secrets, and shows none', async (t) => {
  const text = configuration().replace(`secret: ${app.secret}`, 'secrets: [hunter2-new, hunter2-old]');
  const cwd = await directory(t, { 'config.yaml': text });
  const { code, stdout, stderr } = await belfryRun(['check', '--config', 'config.yaml'], { cwd });
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^app +100001 .* secrets 2$/m);
  assert.ok(!stdout.includes('hunter2'), stdout);
});

test('check accepts config.example.yaml', async () => {
  const { code, stdout, stderr } = await belfryRun([
    'check',
    '--config',
    path.resolve(import.meta.dirname, '../config.example.yaml'),
  ]);
  assert.equal(code, 0, stderr);
  assert.ok(!stdout.includes('app-secret'), stdout);
});

test('check names file and line of every problem, and no secret', async (t) => {
  const cwd = await directory(t, {
    'config.yaml': `server:
  listen: nowhere
  pathh: /ws
apps:
  - id: 100001
    key: app-key
    secret: hunter2-is-a-secret
    activity_timeout: 5
    max_connections: many
  - id: 100001
    key: app-key
    secret: [hunter2-is-a-secret]
`,
  });
  for (const command of ['check', 'serve']) {
    const { code, stdout, stderr } = await belfryRun([command, '--config', 'config.yaml'], { cwd });
    assert.equal(code, 1);
    assert.equal(stdout, '');
    const lines = stderr.trimEnd().split('\n');
    const places = lines.map((line) => line.match(/(?:^|belfry: )config\.yaml:(\d+): /)?.[1]);
    assert.deepEqual(
      places.filter((line) => line === undefined),
      [],
      stderr,
    );
    for (const expected of ['2', '3', '8', '9', '12']) {
      assert.ok(places.includes(expected), `nothing about line ${expected}:\n${stderr}`);
    }
    assert.ok(!stderr.includes('hunter2'), stderr);
  }
});

test('check says what is wrong with YAML, with its line', async (t) => {
  const cwd = await directory(t, { 'config.yaml': 'server:\n  listen: 127.0.0.1:8080\n\tpath: /ws\n' });
  const { code, stderr } = await belfryRun(['check', '--config', 'config.yaml'], { cwd });
  assert.equal(code, 1);
  assert.match(stderr, /config\.yaml:3: /);
});

test('a file that is not there is one line', async () => {
  for (const args of [
    ['check', '--config', '/nowhere/config.yaml'],
    ['serve', '--env-file', '/nowhere/.env'],
  ]) {
    const { code, stderr } = await belfryRun(args);
    assert.equal(code, 1);
    assert.match(stderr, /^belfry: .*\/nowhere\/.*no such file or directory\n$/);
  }
});

test('version, help and mistakes in the call', async () => {
  const version = await belfryRun(['version']);
  assert.equal(version.code, 0);
  assert.match(version.stdout, /^belfry \S+ \((?:[0-9a-f]{40}, )?go1\.\d+.*, \w+\/\w+\)\n$/);
  assert.equal(version.stderr, '');

  const help = await belfryRun(['help']);
  assert.equal(help.code, 0);
  for (const command of ['serve', 'check', 'version']) {
    assert.match(help.stdout, new RegExp(`belfry ${command}`));
  }
  for (const args of [[], ['server'], ['serve', '--nope'], ['check', 'config.yaml']]) {
    const { code, stdout, stderr } = await belfryRun(args);
    assert.equal(code, 2, args.join(' '));
    assert.equal(stdout, '');
    assert.ok(stderr.length > 0);
  }
});

for (const clients of [0, 1, 20]) {
  test(`SIGTERM ends it with 0; connected clients: ${clients}`, async (t) => {
    const belfry = await startBelfry();
    t.after(() => belfry.stop());
    for (let i = 0; i < clients; i++) {
      const client = await connect(t, belfry);
      await subscribe(client, 'news');
      client.connection.bind('connecting', () => client.disconnect()); // not again
    }
    assert.equal(await belfry.stop(), 0);
    assert.match(belfry.output(), /stopped/);
    assert.ok(!/panic|level=ERROR/.test(belfry.output()), belfry.output());
  });
}

test('/up and /ready', async (t) => {
  const belfry = await startBelfry();
  t.after(() => belfry.stop());
  for (const [path, body] of [
    ['/up', { health: 'OK' }],
    ['/ready', { status: 'ready' }],
  ]) {
    const response = await fetch(belfry.url + path);
    assert.equal(response.status, 200);
    assert.equal(response.headers.get('content-type'), 'application/json');
    assert.deepEqual(await response.json(), body);
    assert.equal((await fetch(belfry.url + path, { method: 'HEAD' })).status, 200);
    assert.equal((await fetch(belfry.url + path, { method: 'POST' })).status, 405);
  }
  assert.equal((await fetch(`${belfry.url}/nothing`)).status, 404);
});

/** Reads the text format of Prometheus: {'name{label="value"}': number}. */
function parseMetrics(text) {
  const samples = {};
  const types = {};
  assert.ok(text.endsWith('\n'));
  for (const line of text.trimEnd().split('\n')) {
    const [, name, type] = line.match(/^# TYPE (\w+) (counter|gauge|histogram|summary|untyped)$/) ?? [];
    if (name) {
      types[name] = type;
    } else if (!/^# HELP \w+ \S/.test(line)) {
      const [, series, metric, value] =
        line.match(/^((\w+)(?:\{(?:\w+="(?:[^"\\]|\\.)*",?)*\})?) (\S+)$/) ?? assert.fail(`not a sample: ${line}`);
      assert.ok(types[metric] ?? types[metric.replace(/_(bucket|sum|count)$/, '')], `no TYPE before ${line}`);
      assert.ok(!(series in samples), `twice: ${line}`);
      samples[series] = Number(value.replace('Inf', 'Infinity'));
      assert.ok(!Number.isNaN(samples[series]) || value === 'NaN', `not a number: ${line}`);
    }
  }
  return samples;
}

test('/metrics counts connections, subscriptions and events', async (t) => {
  const belfry = await startBelfry();
  t.after(() => belfry.stop());
  const scrape = async () => {
    const response = await fetch(`${belfry.url}/metrics`);
    assert.equal(response.status, 200);
    assert.match(response.headers.get('content-type'), /^text\/plain; version=0\.0\.4/);
    return parseMetrics(await response.text());
  };
  const connections = 'belfry_connections{app="100001",transport="websocket"}';
  assert.equal((await scrape())[connections], 0);

  const client = await connect(t, belfry);
  const { events } = await subscribe(client, 'news');
  await newBackend(belfry).trigger('news', 'posted', {});
  await events.next();
  const during = await scrape();
  assert.equal(during[connections], 1);
  assert.equal(during['belfry_subscriptions{app="100001"}'], 1);
  assert.equal(during['belfry_channels{app="100001",kind="public"}'], 1);
  assert.equal(during['belfry_connections_opened_total{app="100001",transport="websocket"}'], 1);
  assert.equal(during['belfry_events_published_total{app="100001",source="http"}'], 1);
  assert.equal(during['belfry_api_requests_total{app="100001",route="events",status="200"}'], 1);
  assert.ok(Object.keys(during).some((name) => name.startsWith('belfry_build_info{')));

  client.disconnect();
  const after = await eventually('no connection', async () => {
    const samples = await scrape();
    return samples[connections] === 0 && samples;
  });
  assert.equal(after['belfry_subscriptions{app="100001"}'], 0);
  assert.equal(after['belfry_channels{app="100001",kind="public"}'], 0);
  assert.equal(after['belfry_connections_closed_total{app="100001",reason="client",transport="websocket"}'], 1);
  assert.equal(after.belfry_panics_total, 0);
});

test('/metrics wants the token that is configured', async (t) => {
  const belfry = await startBelfry({ config: `${configuration()}\nmetrics:\n  token: scrape-token\n` });
  t.after(() => belfry.stop());
  const scrape = (headers) => fetch(`${belfry.url}/metrics`, { headers });
  for (const headers of [{}, { Authorization: 'Bearer wrong' }, { Authorization: 'scrape-token' }]) {
    const response = await scrape(headers);
    assert.equal(response.status, 401);
    assert.equal(response.headers.get('www-authenticate'), 'Bearer');
    assert.ok(!(await response.text()).includes('scrape-token'));
  }
  const response = await scrape({ Authorization: 'Bearer scrape-token' });
  assert.equal(response.status, 200);
  parseMetrics(await response.text());
});

test('/metrics can be turned off, and can have a port of its own', async (t) => {
  const off = await startBelfry({ config: `${configuration()}\nmetrics:\n  enabled: false\n` });
  t.after(() => off.stop());
  assert.equal((await fetch(`${off.url}/metrics`)).status, 404);

  const own = await startBelfry({ config: `${configuration()}\nmetrics:\n  listen: 127.0.0.1:0\n` });
  t.after(() => own.stop());
  const [, address] = await eventually('the address of the metrics', () =>
    own.output().match(/msg=metrics address=(\S+)/),
  );
  assert.equal((await fetch(`${own.url}/metrics`)).status, 404);
  const response = await fetch(`http://${address}/metrics`);
  assert.equal(response.status, 200);
  parseMetrics(await response.text());
});

test('nothing it logs has a secret in it', async (t) => {
  const belfry = await startBelfry({ config: `${configuration()}\nlog:\n  level: debug\n` });
  t.after(() => belfry.stop());
  await works(t, belfry, app);
  await newBackend(belfry, { ...app, secret: 'wrong' })
    .trigger('news', 'posted', {})
    .catch(() => {});
  await newBackend(belfry, { ...app, key: 'wrong' })
    .trigger('news', 'posted', {})
    .catch(() => {});
  assert.equal(await belfry.stop(), 0);
  assert.match(belfry.output(), /request refused/);
  assert.ok(!belfry.output().includes(app.secret), belfry.output());
});
