// What runs in browsers, in Chromium: the builds of pusher-js for a page and for a
// worker, and Echo's hooks for React, Vue and Inertia as docs/frontends.md shows them.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';

import { build } from 'esbuild';
import { compileScript, parse } from 'vue/compiler-sfc';

import { app, startBelfry } from './lib/belfry.mjs';
import { launchBrowser } from './lib/browser.mjs';
import { example, examples } from './lib/docs.mjs';
import { inertiaPage, startLaravel } from './lib/laravel.mjs';
import { eventually } from './lib/wait.mjs';

const require = createRequire(import.meta.url);

const stops = []; // what was started, the last one first
let belfry;
let laravel;
let browser;

before(async () => {
  belfry = await startBelfry();
  stops.unshift(belfry.stop);
  browser = await launchBrowser();
  stops.unshift(() => browser.close());
  laravel = await startLaravel(belfry, await files());
  stops.unshift(laravel.stop);
});

after(async () => {
  for (const stop of stops) {
    await stop();
  }
});

const builds = {
  page: 'web/pusher.min.js',
  'page with encryption': 'web/pusher-with-encryption.min.js',
  worker: 'worker/pusher.worker.min.js',
  'worker with encryption': 'worker/pusher-with-encryption.worker.min.js',
};

/** Subscribes to a channel and tells what happens there. It runs in a page or in a worker. */
function subscribe({ key, host, port, channel, tell }) {
  const client = new self.Pusher(key, {
    cluster: '',
    wsHost: host,
    wsPort: port,
    forceTLS: false,
    enabledTransports: ['ws'],
    channelAuthorization: { endpoint: '/broadcasting/auth' },
  });
  client.subscribe(channel).bind_global((event, data) => tell([event, data]));
}

const blank = '<!doctype html><meta charset="utf-8"><div id="app"></div>';

/** The paths of everything the pages load, with its text. */
async function files() {
  const found = { '/': blank };
  for (const path of Object.values(builds)) {
    found[`/${path}`] = await readFile(require.resolve(`pusher-js/dist/${path}`));
    found[`/worker.js?${path}`] = `
      importScripts('/${path}');
      onmessage = ({ data }) => (${subscribe})({ ...data, tell: (told) => postMessage(told) });`;
  }
  for (const framework of ['react', 'vue']) {
    for (const broadcaster of ['pusher', 'reverb']) {
      const path = `/${framework}-${broadcaster}`;
      found[`${path}.js`] = await bundle(framework, broadcaster, mounts[framework]);
      found[path] = `${blank}<script src="${path}.js"></script>`;
    }
  }
  found['/room.js'] = await bundle('react', 'pusher', mounts.room);
  found['/room'] = `${blank}<script src="/room.js"></script>`;
  found['/inertia.js'] = await bundle('react', 'pusher', mounts.inertia);
  const page = JSON.stringify(inertiaPage({ order: { id: 1, state: 'packed' } }));
  found['/orders/1'] = `<script data-page="app" type="application/json">${page}</script>${blank}<script src="/inertia.js"></script>`;
  return found;
}

const jsx = await examples('frontends.md', 'jsx');
const [vue] = await examples('frontends.md', 'vue');

/** The examples of the page of documentation, as modules. */
const modules = {
  './order.jsx': example(jsx, 'Order({ id })'),
  './order.vue': vue,
  './room.jsx': example(jsx, 'Room({ id })'),
  './show.jsx': example(jsx, 'Show({ order })'),
  './before.jsx': example(jsx, "router.on('before'"),
};

/** What an application does to show them. */
const mounts = {
  react: `import { createElement } from 'react';
    import { createRoot } from 'react-dom/client';
    import Order from './order.jsx';
    createRoot(document.getElementById('app')).render(createElement(Order, { id: 1 }));`,
  vue: `import { createApp } from 'vue';
    import Order from './order.vue';
    createApp(Order, { id: 1 }).mount('#app');`,
  room: `import { createElement } from 'react';
    import { createRoot } from 'react-dom/client';
    import Room from './room.jsx';
    createRoot(document.getElementById('app')).render(createElement(Room, { id: 1 }));`,
  inertia: `import { createElement } from 'react';
    import { createRoot } from 'react-dom/client';
    import { createInertiaApp } from '@inertiajs/react';
    import './before.jsx';
    import Show from './show.jsx';
    createInertiaApp({
      resolve: () => Show,
      setup: ({ el, App, props }) => createRoot(el).render(createElement(App, props)),
    });`,
};

/** Builds the examples for a framework, as Vite does with an application's. */
async function bundle(framework, broadcaster, mount) {
  const configure = example(await examples('frontends.md', 'js'), `broadcaster: '${broadcaster}',\n    forceTLS`);
  const sources = { ...modules, './echo.js': configure.replace('@laravel/echo-vue', `@laravel/echo-${framework}`) };
  const plugin = {
    name: 'examples',
    setup(bundler) {
      bundler.onResolve({ filter: /^\.\/\w+\.(js|jsx|vue)$/ }, ({ path }) =>
        path in sources ? { path, namespace: 'examples' } : undefined,
      );
      bundler.onLoad({ filter: /.*/, namespace: 'examples' }, ({ path }) => {
        const contents = path.endsWith('.vue') ? compileVue(sources[path]) : sources[path];
        return { contents, loader: 'jsx', resolveDir: import.meta.dirname };
      });
    },
  };
  const family = broadcaster.toUpperCase();
  const env = {
    [`VITE_${family}_APP_KEY`]: app.key,
    [`VITE_${family}_HOST`]: belfry.host,
    [`VITE_${family}_PORT`]: String(belfry.port),
    [`VITE_${family}_SCHEME`]: 'http',
    VITE_PUSHER_APP_CLUSTER: 'mt1',
  };
  const { outputFiles } = await build({
    stdin: { contents: `import './echo.js';\n${mount}`, resolveDir: import.meta.dirname },
    bundle: true,
    write: false,
    format: 'iife',
    jsx: 'automatic',
    define: { 'import.meta.env': JSON.stringify(env), 'process.env.NODE_ENV': '"production"' },
    plugins: [plugin],
  });
  return outputFiles[0].text;
}

/** The module of a Vue component. */
const compileVue = (source) =>
  compileScript(parse(source).descriptor, { id: 'example', inlineTemplate: true }).content;

/** A page of the application, for Ann unless a token says another; an empty one, unless a path does. */
async function open(path = '/', token = 'token-ann') {
  const page = await browser.newPage();
  await page.context().addCookies([{ name: 'session', value: token, url: laravel.url }]);
  page.setDefaultTimeout(20_000);
  await page.addInitScript(() => {
    window.told = [];
  });
  await page.goto(laravel.url + path);
  return page;
}

/** Resolves to everything that a page was told, once it has been told so much. */
async function told(page, count) {
  await page.waitForFunction((wanted) => window.told.length >= wanted, count);
  return page.evaluate(() => window.told);
}

for (const [name, path] of Object.entries(builds)) {
  test(`pusher-js for a ${name} receives on a private channel`, async () => {
    const encrypted = name.endsWith('encryption');
    const channel = encrypted ? 'private-encrypted-orders' : 'private-orders';
    const page = await open();
    const options = { key: app.key, host: belfry.host, port: belfry.port, channel };
    if (name.startsWith('worker')) {
      await page.evaluate(
        ([script, sent]) => {
          const worker = new Worker(script);
          worker.onmessage = ({ data }) => window.told.push(data);
          worker.onerror = ({ message }) => window.told.push(['error', message]);
          worker.postMessage(sent);
        },
        [`/worker.js?${path}`, options],
      );
    } else {
      await page.addScriptTag({ url: `/${path}` });
      await page.evaluate(
        ([code, sent]) => (0, eval)(`(${code})`)({ ...sent, tell: (event) => window.told.push(event) }),
        [String(subscribe), options],
      );
    }
    assert.deepEqual((await told(page, 1))[0][0], 'pusher:subscription_succeeded');
    const data = { id: 1, note: 'Grüße 🎉' };
    await laravel.backend.trigger(channel, 'App\\Events\\OrderShipped', data);
    assert.deepEqual((await told(page, 2))[1], ['App\\Events\\OrderShipped', data]);
    await page.close();
  });
}

/** Whether somebody listens to the order of the examples. */
async function occupied() {
  const response = await laravel.backend.get({ path: '/channels/private-orders.1' });
  return (await response.json()).occupied;
}

for (const framework of ['react', 'vue']) {
  for (const broadcaster of ['pusher', 'reverb']) {
    test(`docs: @laravel/echo-${framework} with the broadcaster ${broadcaster}`, async () => {
      const page = await open(`/${framework}-${broadcaster}`);
      await page.getByText('waiting').waitFor();
      await eventually('a subscription', occupied);
      await laravel.backend.trigger('private-orders.1', 'App\\Events\\OrderShipped', { order: { id: 1 } });
      await page.getByText('shipped 1').waitFor();
      await page.close();
      await eventually('nobody is left', async () => !(await occupied()));
    });
  }
}

test('docs: who is in a room, by the hooks for React', async () => {
  const ann = await open('/room');
  await ann.getByText('connected: Ann', { exact: true }).waitFor();
  const bob = await open('/room', 'token-bob');
  await bob.getByText('connected: Ann Bob').waitFor();
  await ann.getByText('connected: Ann Bob').waitFor();
  await bob.close();
  await ann.getByText('connected: Ann', { exact: true }).waitFor();
  await ann.close();
});

test('docs: a page of Inertia loads its properties again, and names its connection', async () => {
  const page = await open('/orders/1');
  await page.getByText('1 is packed').waitFor();
  await eventually('a subscription', occupied);
  await laravel.backend.trigger('private-orders.1', 'App\\Events\\OrderShipped', { order: { id: 1 } });
  await page.getByText(/1 is shipped, asked by \d+\.\d+/).waitFor();
  await page.close();
});

test('docs: every example of docs/frontends.md is run here', async () => {
  const all = Object.values(modules);
  assert.deepEqual(
    [...jsx, ...(await examples('frontends.md', 'vue'))].filter((block) => !all.includes(block)),
    [],
  );
  assert.equal((await examples('frontends.md', 'js')).length, 2); // one for each broadcaster
});
