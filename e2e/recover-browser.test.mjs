// clients/recover in Chromium: bundled with Echo, and loaded as it is beside pusher-js.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';

import { build } from 'esbuild';

import { app, configuration, startBelfry } from './lib/belfry.mjs';
import { launchBrowser } from './lib/browser.mjs';
import { example, examples } from './lib/docs.mjs';
import { startLaravel } from './lib/laravel.mjs';
import { startWire } from './lib/wire.mjs';

const require = createRequire(import.meta.url);
const module = fileURLToPath(new URL('../clients/recover/index.js', import.meta.url));

const config = `${configuration()}
    history:
      - {channels: "private-orders.*", events: 100}
      - {channels: "private-short.*", events: 2}
`;

// What docs/laravel.md tells to do: an import, and a call.
const [imported, called] = example(await examples('laravel.md', 'js'), 'belfry-recover').split('\n\n');

/** What a page does with Echo, as an application's bundle. */
const withEcho = `
  import Echo from 'laravel-echo';
  import Pusher from 'pusher-js';
  ${imported}
  window.start = (options) => {
    const echo = (window.Echo = new Echo({ broadcaster: 'reverb', Pusher, ...options }));
    window.pusher = echo.connector.pusher;
    ${called}
    for (const name of ['orders.1', 'short.1']) {
      echo
        .private(name)
        .listen('OrderShipped', ({ n }) => window.told.push([name, n]))
        .listen('.belfry:missed', () => window.told.push([name, 'missed']));
    }
  };`;

/** What a page does without a bundler. */
const withScripts = `<!doctype html><meta charset="utf-8">
  <script src="/pusher.js"></script>
  <script type="module" src="/recover.js"></script>
  <script>
    window.start = ({ key, ...options }) => {
      window.pusher = new Pusher(key, { cluster: '', channelAuthorization: { endpoint: '/broadcasting/auth' }, ...options });
      belfryRecover(pusher);
      for (const name of ['orders.1', 'short.1']) {
        const channel = pusher.subscribe('private-' + name);
        channel.bind('App\\\\Events\\\\OrderShipped', ({ n }) => window.told.push([name, n]));
        channel.bind('belfry:missed', () => window.told.push([name, 'missed']));
      }
    };
  </script>`;

async function files() {
  const { outputFiles } = await build({
    stdin: { contents: withEcho, resolveDir: import.meta.dirname },
    alias: { 'belfry-recover': module },
    bundle: true,
    write: false,
    format: 'iife',
  });
  return {
    '/echo': '<!doctype html><meta charset="utf-8"><script src="/echo.js"></script>',
    '/echo.js': outputFiles[0].text,
    '/scripts': withScripts,
    '/pusher.js': await readFile(require.resolve('pusher-js/dist/web/pusher.min.js')),
    '/recover.js': await readFile(module),
  };
}

for (const [name, path] of Object.entries({ 'Laravel Echo': '/echo', 'pusher-js beside a module': '/scripts' })) {
  for (const transport of ['ws', 'xhr_streaming', 'xhr_polling']) {
    test(`${name} in a browser recovers over ${transport}`, async (t) => {
      const belfry = await startBelfry({ config });
      t.after(() => belfry.stop());
      const laravel = await startLaravel(belfry, await files());
      t.after(() => laravel.stop());
      const wire = await startWire(t, belfry);
      const browser = await launchBrowser();
      t.after(() => browser.close());
      const page = await browser.newPage();
      page.setDefaultTimeout(20_000);
      await page.context().addCookies([{ name: 'session', value: 'token-ann', url: laravel.url }]);
      await page.addInitScript(() => (window.told = []));
      await page.goto(laravel.url + path);
      await page.evaluate((options) => window.start(options), {
        key: app.key,
        wsHost: wire.host,
        wsPort: wire.port,
        httpHost: wire.host,
        httpPort: wire.port,
        forceTLS: false,
        enabledTransports: [transport],
      });

      let n = 0;
      const publish = async (count) => {
        for (let i = 0; i < count; i++) {
          await laravel.backend.trigger(['private-orders.1', 'private-short.1'], 'App\\Events\\OrderShipped', { n: n++ });
        }
      };
      /** What a page was told on a channel since it was asked last, once it is so much. */
      const told = async (channel, count) => {
        const of = ([given, wanted]) => window.told.filter(([name]) => name === given).length >= wanted;
        await page.waitForFunction(of, [channel, count]);
        return page.evaluate((given) => {
          const [its, others] = [[], []];
          window.told.forEach((each) => (each[0] === given ? its : others).push(each));
          window.told = others;
          return its.map(([, what]) => what);
        }, channel);
      };
      await page.waitForFunction(() => window.pusher.allChannels().every(({ subscribed }) => subscribed));
      await publish(2);
      assert.deepEqual(await told('orders.1', 2), [0, 1]);
      assert.deepEqual(await told('short.1', 2), [0, 1]);
      await wire.cut(() => page.evaluate(() => !window.pusher.connection.connection));
      await publish(3);
      wire.mend(belfry);
      assert.deepEqual(await told('orders.1', 3), [2, 3, 4]);
      assert.deepEqual(await told('short.1', 1), ['missed']);
      await publish(1);
      assert.deepEqual(await told('orders.1', 1), [5]);
      assert.deepEqual(await told('short.1', 1), [5]);
      await page.close();
    });
  }
}
