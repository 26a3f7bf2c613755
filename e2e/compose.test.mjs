// Redis, Belfry and Caddy with the files of deploy/compose, without containers: what clients
// and backends need goes through Caddy, and nothing else.

import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';

import { app, directory, serve } from './lib/belfry.mjs';
import { connect, newBackend, subscribe } from './lib/clients.mjs';
import { environment, start } from './lib/process.mjs';
import { freePort } from './lib/ports.mjs';
import { startRedis } from './lib/redis.mjs';
import { eventually } from './lib/wait.mjs';

const compose = (name) => fileURLToPath(new URL(`../deploy/compose/${name}`, import.meta.url));

test('through the Caddy of compose.yaml', async (t) => {
  const redis = await startRedis(await freePort());
  t.after(() => redis.stop());
  const belfry = await serve([], {
    env: environment({
      BELFRY_CONFIG: compose('belfry.yaml'),
      BELFRY_LISTEN: '127.0.0.1:0',
      BELFRY_APP_ID: app.id,
      BELFRY_APP_KEY: app.key,
      BELFRY_APP_SECRET: app.secret,
      REDIS_URL: redis.url,
    }),
  });
  t.after(() => belfry.signal('SIGKILL'));
  await eventually('Belfry is ready', async () => (await fetch(`${belfry.url}/ready`)).ok);

  const made = await directory(t);
  const port = await freePort();
  const env = {
    BELFRY_HOST: 'localhost',
    BELFRY_PORT: belfry.port,
    SITE: `http://127.0.0.1:${port}`,
    HOME: made,
    XDG_CONFIG_HOME: made,
  };
  const caddy = await start('caddy', 'caddy', ['run', '--adapter', 'caddyfile', '--config', compose('Caddyfile')], {
    env: environment(env),
    ready: /serving initial configuration/,
  });
  t.after(() => caddy.signal('SIGKILL'));
  const proxy = { host: '127.0.0.1', port, url: `http://127.0.0.1:${port}` };
  const backend = newBackend(proxy);

  for (const transport of ['ws', 'xhr_streaming', 'xhr_polling']) {
    const client = await connect(t, proxy, { enabledTransports: [transport], httpHost: proxy.host, httpPort: port });
    const { events } = await subscribe(client, 'news');
    await backend.trigger('news', 'posted', transport);
    assert.deepEqual(await events.next(), ['posted', transport]);
  }
  for (const [path, status] of [['/up', 200], ['/metrics', 404], ['/console/', 404], ['/ready', 404], ['/', 404]]) {
    assert.equal((await fetch(proxy.url + path)).status, status, path);
  }
});
