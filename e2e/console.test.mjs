// The console's frame and its views Start, Live and Refused, in Chromium, with real clients
// and a real backend.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';

import Pusher from 'pusher-js';
import WebSocket from 'ws';

import { app, binary, directory, serve, startBelfry } from './lib/belfry.mjs';
import { launchBrowser } from './lib/browser.mjs';
import { authorizer, connect, newBackend, state, subscribe } from './lib/clients.mjs';
import { actor, consoleConfiguration, openConsole, viewer } from './lib/console.mjs';
import { example, examples } from './lib/docs.mjs';
import { environment, run } from './lib/process.mjs';
import { eventually } from './lib/wait.mjs';

let browser;
let belfry;
let backend;

const config = (settings = 'client_events: members') => consoleConfiguration({ settings });

before(async () => {
  browser = await launchBrowser();
  belfry = await startBelfry({ config: config() });
  backend = newBackend(belfry);
});

after(async () => {
  await browser.close();
  await belfry.stop();
});

async function newPage(t, options) {
  const context = await browser.newContext(options);
  t.after(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  return page;
}

const navigation = (page) => page.getByRole('navigation', { name: 'Views' });

// ---------- the frame ----------

test('the printed address signs in by its token, which leaves the address', async (t) => {
  const cwd = await directory(t);
  const started = await serve([], { cwd, env: environment({ BELFRY_LISTEN: '127.0.0.1:0' }), ready: /^console http:\/\/(\S+)\/console\/#token=(\w+)$/m });
  t.after(() => started.stop());
  const [, address, token] = started.match;
  const page = await newPage(t);
  await page.goto(`http://${address}/console/#token=${token}`);
  await page.getByRole('heading', { level: 1, name: 'Start' }).waitFor();
  assert.ok(!page.url().includes(token), page.url());
  assert.equal(await page.evaluate((secret) => JSON.stringify({ ...localStorage, ...sessionStorage }).includes(secret), token), false);
  await page.reload();
  await page.getByRole('heading', { level: 1, name: 'Start' }).waitFor();

  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByLabel('Token').fill('not the token');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').getByText('the token is wrong').waitFor();
  await page.getByLabel('Token').fill(token);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { level: 1, name: 'Start' }).waitFor();
});

test('a token that is wrong, or of an earlier run, is said to be', async (t) => {
  const page = await newPage(t);
  await page.goto(`${belfry.url}/console/#token=OLD`);
  await page.getByRole('alert').getByText('the token is wrong').waitFor();
  await page.getByLabel('Password').waitFor();
  assert.ok(!page.url().includes('OLD'));
  // In a page that is open already, too.
  await page.getByLabel('User').fill(actor.user);
  await page.getByLabel('Password').fill('wrong password');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').getByText('the user or the password is wrong').waitFor();
  await page.goto(`${belfry.url}/console/#token=OLDER`);
  await page.getByRole('alert').getByText('the token is wrong').waitFor();
});

test('user and password sign in, wrong ones do not', async (t) => {
  const page = await newPage(t);
  await page.goto(`${belfry.url}/console/#/refused`);
  await page.getByLabel('User').fill(actor.user);
  await page.getByLabel('Password').fill('wrong password');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').getByText('the user or the password is wrong').waitFor();
  assert.equal(await navigation(page).count(), 0);
  await page.getByLabel('Password').fill(actor.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  // The address that was asked for is shown.
  await page.getByRole('heading', { level: 1, name: 'Refused' }).waitFor();
  await page.getByText('may act').waitFor();

  // The session ends, as after twelve hours: the next answer says so.
  await page.context().clearCookies();
  await page.getByText('The session is over').waitFor();
});

test('a viewer may only look', async (t) => {
  const { page } = await openConsole(t, browser, belfry, { as: viewer });
  await page.getByText('may only look').first().waitFor();
  await page.getByText('It publishes no event').waitFor();
  await page.getByRole('button', { name: 'Test this browser' }).click();
  await page.getByText('3 of 3 ways work.').waitFor();
  assert.equal(await page.getByText('Event arrived after').count(), 0);
});

test('a server that is gone is noticed, and that it is back', async (t) => {
  const brief = await startBelfry({ config: config() });
  const { page, go } = await openConsole(t, browser, brief, { tolerate: /responded with a status of|ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|ERR_INCOMPLETE/ });
  await go('live');
  await page.getByText('Following').waitFor();
  await newBackend(brief).trigger('before-the-restart', 'posted', { of: 'the first process' });
  await record(page, 'publish', 'before-the-restart').getByRole('button', { name: 'Payload' }).click();
  await brief.stop();
  await page.getByText('The server does not answer').waitFor();
  const again = await startBelfry({ config: config().replace('127.0.0.1:0', `127.0.0.1:${brief.port}`) });
  t.after(() => again.stop());
  await page.getByText('The server does not answer').waitFor({ state: 'detached' });
  await page.getByText('Following').waitFor();
  await newBackend(again).trigger('after-the-restart', 'posted', {});
  await page.getByText('after-the-restart').waitFor();
  // The second process counts its records from 1, too: they are others.
  assert.deepEqual(await page.getByRole('group', { name: 'Payload' }).allInnerTexts(), ['{\n  "of": "the first process"\n}']);
  await record(page, 'publish', 'before-the-restart').getByRole('group', { name: 'Payload' }).waitFor();
});

test('who signs in again in one tab has done so in all', async (t) => {
  const { page } = await openConsole(t, browser, belfry);
  const other = await page.context().newPage();
  await other.goto(`${belfry.url}/console/#/channels`);
  await navigation(other).waitFor();
  await page.context().clearCookies();
  for (const each of [page, other]) await each.getByText('The session is over').waitFor();
  await page.getByLabel('User').fill(actor.user);
  await page.getByLabel('Password').fill(actor.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  for (const each of [page, other]) await navigation(each).waitFor();
});

test('a page about an app that is gone does not become one about another app', async (t) => {
  const other = { id: '100002', key: 'other-key', secret: 'other-secret' };
  const lines = `  - {id: "${other.id}", key: ${other.key}, secret: ${other.secret}}`;
  const text = config(`enabled: true\n${lines}`);
  const made = await directory(t, { 'config.yaml': text });
  const file = path.join(made, 'config.yaml');
  const changing = await serve(['--config', file], { cwd: made });
  t.after(() => changing.stop());
  const { page, go } = await openConsole(t, browser, changing);
  // Where the address names no app, it then names that which is shown.
  await page.waitForFunction((id) => location.hash === `#/start?app=${id}`, app.id);
  await go('channel', { app: app.id, name: 'orders' });
  const form = page.getByRole('region', { name: 'Send a test event' });
  await form.waitFor();

  await writeFile(file, text.replace(app.id, '100009').replace(app.key, 'key-of-100009'));
  changing.signal('SIGHUP');
  await page.getByText(`There is no app ${app.id} (any more): choose another one.`).waitFor();
  assert.equal(await form.count(), 0);
  assert.equal(await page.locator('.chooser select').inputValue(), app.id);
  await go('connections', { app: 'never-was' });
  await page.getByText('There is no app never-was (any more)').waitFor();
  await page.locator('.chooser select').selectOption(other.id);
  await page.getByText('Nobody is connected to this app').waitFor();
  // The links of the page are about the app that it shows.
  await page.getByRole('link', { name: 'Start', exact: true }).last().click();
  await page.waitForFunction((id) => location.hash === `#/start?app=${id}`, other.id);
  await navigation(page).getByRole('link', { name: 'Channels' }).click();
  await page.waitForFunction((id) => location.hash === `#/channels?app=${id}`, other.id);
});

// ---------- Start ----------

const snippet = (page, title) => page.getByRole('group', { name: title, exact: true }).innerText();

/** A snippet with the secret in the place of what stands for it. */
const withSecret = (text) => {
  const filled = text.replace(/<secret of app[^>]*>/, app.secret);
  assert.notEqual(filled, text);
  return filled;
};

test('Start: the lines to paste work as they are', async (t) => {
  const { page } = await openConsole(t, browser, belfry);
  const made = await directory(t);
  const client = await connect(t, belfry);
  const { events } = await subscribe(client, 'news');
  const shell = (text) =>
    run('bash', ['-euc', text], { cwd: made, env: environment({ PATH: `${path.dirname(binary)}:${process.env.PATH}` }) });

  await writeFile(path.join(made, '.env'), withSecret(await snippet(page, '.env')));
  const byEnv = await run(binary, ['trigger', '--env-file', '.env', 'news', 'posted', 'by .env'], { cwd: made, env: environment() });
  assert.equal(byEnv.code, 0, byEnv.stderr);
  assert.deepEqual(await events.next(), ['posted', 'by .env']);

  for (const title of ['belfry trigger', 'curl']) {
    const { code, stdout, stderr } = await shell(withSecret(await snippet(page, title)));
    assert.equal(code, 0, stderr);
    assert.deepEqual(await events.next(), ['posted', { id: 1 }], stdout + stderr);
  }

  assert.equal(await snippet(page, 'resources/js/echo.js'), example(await examples('laravel.md', 'js'), `broadcaster: 'pusher',\n    key: import.meta.env.VITE_PUSHER_APP_KEY`));

  const code = (await snippet(page, 'pusher-js')).replace(/^import .*\n/, '');
  const printed = [];
  const pusher = new Function('Pusher', 'console', `${code}\nreturn pusher;`)(Pusher, { log: (...args) => printed.push(args) });
  t.after(() => pusher.disconnect());
  await state(pusher, 'connected');
  await eventually('its subscription', async () => {
    await backend.trigger('news', 'posted', { id: 2 });
    return printed.length > 0;
  });
  assert.deepEqual(printed[0], ['posted', { id: 2 }]);
});

test('Start: what is edited is in the lines', async (t) => {
  const { page } = await openConsole(t, browser, belfry);
  await page.getByLabel('Scheme').selectOption('https');
  await page.getByLabel('Host').fill('ws.example.com');
  await page.getByLabel('Port').fill('443');
  await page.getByLabel('HTTP fallback').check();
  const env = await snippet(page, '.env');
  for (const line of ['PUSHER_HOST=ws.example.com', 'PUSHER_PORT=443', 'PUSHER_SCHEME=https']) {
    assert.ok(env.split('\n').includes(line), env);
  }
  assert.match(await snippet(page, 'pusher-js'), /wssPort: 443,\n.*httpHost: 'ws\.example\.com',\n.*httpsPort: 443,\n.*forceTLS: true,\n.*'xhr_polling'/s);
  // The page may not connect there.
  await page.getByText('belfry doctor --url https://ws.example.com').waitFor();
  await page.getByLabel('Host').fill(`x'; alert(1)//`);
  await page.getByText('without scheme and port').waitFor();
  assert.ok(!(await snippet(page, 'pusher-js')).includes('alert'));
});

test('Start: what cannot be seen in the name of the configuration is not copied', async (t) => {
  const made = await directory(t, { 'a\u202eb\u0007\'.yaml': config() });
  const odd = await serve(['--config', path.join(made, 'a\u202eb\u0007\'.yaml')], { cwd: made });
  t.after(() => odd.stop());
  const { page } = await openConsole(t, browser, odd);
  for (const title of ['.env', 'belfry trigger', 'curl']) {
    const text = await snippet(page, title);
    assert.match(text, /a⟨U\+202E⟩b␇.*\.yaml/);
    assert.doesNotMatch(text, /[\u202e\u0007]/);
  }
  await page.getByLabel('Key', { exact: true }).fill('app\u200b-key');
  await page.getByText('It has characters that cannot be seen: app⟨U+200B⟩-key').waitFor();
  assert.doesNotMatch(await snippet(page, 'pusher-js'), /\u200b/);
});

const way = (page, name) => page.getByRole('region', { name, exact: true });
const ways = ['WebSocket', 'HTTP streaming', 'HTTP polling'];

test('Start: the test of this browser reaches the server on all three ways, and leaves nothing behind', async (t) => {
  const { page } = await openConsole(t, browser, belfry);
  await page.getByRole('button', { name: 'Test this browser' }).click();
  await page.getByText('3 of 3 ways work.').waitFor();
  for (const name of ways) {
    const text = await way(page, name).innerText();
    assert.match(text, /works\s+Connected after\s+[\d.]+ m?s\s+Ping and pong\s+[\d.]+ m?s\s+Public channel\s+subscribed\s+Event arrived after\s+[\d.]+ m?s/, name);
  }
  await eventually('its channel is empty', async () => {
    const response = await backend.get({ path: '/channels', params: { filter_by_prefix: 'belfry-test-' } });
    return Object.keys((await response.json()).channels).length === 0;
  });
});

test('Start: a wrong key is explained', async (t) => {
  const { page } = await openConsole(t, browser, belfry);
  await page.getByLabel('Key', { exact: true }).fill('a-wrong-key');
  await page.getByRole('button', { name: 'Test this browser' }).click();
  await page.getByText('0 of 3 ways work.').waitFor();
  for (const name of ways) {
    const text = await way(page, name).innerText();
    assert.match(text, /4001/, name);
    assert.match(text, /Compare the key a-wrong-key with that of the apps in \S*config\.yaml/, name);
  }
});

test('Start: the test reaches a server whose console is elsewhere', async (t) => {
  for (const at of ['path: /admin/console', 'listen: 127.0.0.1:0']) {
    const other = await startBelfry({ config: config().replace('enabled: true', `enabled: true\n  ${at}`) });
    t.after(() => other.stop());
    const [, url] = await eventually('its address', () => other.output().match(/msg=console url=(\S+)\/console\//));
    const { page } = await openConsole(t, browser, { url });
    await page.getByRole('button', { name: 'Test this browser' }).click();
    await page.getByText('ways work.').waitFor();
    assert.match(await page.getByText('ways work.').innerText(), /^3/, at);
  }
});

test('Start: an origin that is not allowed is explained', async (t) => {
  const strict = await startBelfry({ config: config('allowed_origins: [shop.example.com]') });
  t.after(() => strict.stop());
  const { page } = await openConsole(t, browser, strict);
  await page.getByRole('button', { name: 'Test this browser' }).click();
  await page.getByText('0 of 3 ways work.').waitFor();
  for (const name of ways) {
    assert.match(await way(page, name).innerText(), /4009 .*allowed_origins.*This page has the origin/s, name);
  }
});

test('Start: what a proxy does to a way is told', async (t) => {
  const { page } = await openConsole(t, browser, belfry);
  await page.route('**/pusher/app/**', (route) => route.fulfill({ status: 404, body: '<h1>Not here</h1>' }));
  await page.getByRole('button', { name: 'Test this browser' }).click();
  await page.getByText('1 of 3 ways work.').waitFor();
  assert.match(await way(page, 'HTTP polling').innerText(), /404[^]*does not pass on the paths below \/pusher\/app\//);
});

// ---------- Live ----------

const records = (page, kind) => page.getByRole('list', { name: 'Records' }).locator(`li[data-kind=${kind}]`);
const record = (page, kind, text) => records(page, kind).filter({ hasText: text }).first();

/** The live view, once the stream is open. */
async function openLive(t, query, options) {
  const opened = await openConsole(t, browser, belfry, options);
  await opened.go('live', query);
  await opened.page.getByText('Following').waitFor();
  return opened;
}

test('Live: shows who subscribes, what is published and to how many, client events and refusals', async (t) => {
  const { page } = await openLive(t);
  const member = (id) => ({ channelAuthorization: authorizer(backend, { user_id: id, user_info: {} }) });
  const ann = await connect(t, belfry, member('ann'));
  const ben = await connect(t, belfry, member('ben'));
  await record(page, 'connect', ann.connection.socket_id).waitFor();
  const { channel } = await subscribe(ann, 'presence-live');
  await subscribe(ben, 'presence-live');
  const subscribed = record(page, 'subscribe', ann.connection.socket_id);
  assert.match(await subscribed.innerText(), /presence-live[^]*user ann/);

  await backend.trigger('presence-live', 'posted', { secret: 'of the payload' });
  const published = record(page, 'publish', 'posted');
  assert.match(await published.innerText(), /presence-live[^]*→ 2 recipients/);

  channel.trigger('client-typing', { text: 'hi' });
  const typed = record(page, 'client_event', 'client-typing');
  assert.match(await typed.innerText(), new RegExp(`→ 1 recipient[^s][^]*${ann.connection.socket_id.replace('.', '\\.')}`));

  ann.send_event('client-typing', {}, 'not-subscribed');
  await record(page, 'refusal', 'client event').waitFor();

  // No payload before somebody asks for it.
  const text = page.getByText('of the payload');
  assert.equal(await text.count(), 0);
  const button = published.getByRole('button', { name: 'Payload' });
  assert.equal(await button.getAttribute('aria-expanded'), 'false');
  await button.focus();
  await page.keyboard.press('Enter');
  assert.equal(await published.getByRole('group', { name: 'Payload' }).innerText(), '{\n  "secret": "of the payload"\n}');
  assert.equal(await button.getAttribute('aria-expanded'), 'true');
  await button.click();
  await text.waitFor({ state: 'detached' });

  const links = await published.getByRole('link').evaluateAll((all) => all.map((a) => a.getAttribute('href')));
  assert.deepEqual(links, [`#/channel?app=${app.id}&name=presence-live`]);
  assert.ok(await subscribed.locator(`a[href="#/connection?app=${app.id}&id=${ann.connection.socket_id}"]`).count());
});

test('Live: a payload that was cut says so', async (t) => {
  const { page } = await openLive(t);
  await backend.trigger('cut', 'long', 'x'.repeat(9000));
  await record(page, 'publish', 'long').getByRole('button', { name: 'Payload' }).click();
  await page.getByText('8.8 KiB, of which this is the beginning').waitFor();
});

test('Live: filters are in the address, and hold for what is shown already', async (t) => {
  const { page } = await openLive(t);
  for (const [channel, event] of [['filter-a', 'one'], ['filter-b', 'two'], ['other', 'one']]) {
    await backend.trigger(channel, event, {});
  }
  await record(page, 'publish', 'other').waitFor();
  await page.getByLabel('Channel begins with').fill('filter-');
  await record(page, 'publish', 'other').waitFor({ state: 'detached' });
  await page.getByLabel('Event begins with').fill('tw');
  await record(page, 'publish', 'filter-a').waitFor({ state: 'detached' });
  await page.getByLabel('publish', { exact: true }).check();
  await page.waitForFunction(() => location.hash.includes('kind=publish&') || location.hash.endsWith('kind=publish'));
  await page.waitForFunction(() => location.hash.includes('channel=filter-') && location.hash.includes('event=tw'));

  // The server has the same filters: the last of these is the only one to come.
  await page.getByText('Following').waitFor();
  await eventually('what fits comes', async () => {
    await backend.trigger('filter-a', 'one', {});
    await backend.trigger('filter-c', 'two', {});
    return (await record(page, 'publish', 'filter-c').count()) > 0;
  });
  assert.equal(await record(page, 'publish', 'filter-a').count(), 0);

  await page.reload();
  assert.equal(await page.getByLabel('Channel begins with').inputValue(), 'filter-');
  assert.ok(await page.getByLabel('publish', { exact: true }).isChecked());
  await page.getByRole('button', { name: 'Reset filters' }).click();
  await page.waitForFunction(() => !location.hash.includes('channel='));
  assert.equal(await page.getByLabel('Channel begins with').inputValue(), '');
});

test('Live: pausing keeps what comes, and says how much', async (t) => {
  const { page } = await openLive(t, { kind: 'publish', channel: 'pause' });
  await backend.trigger('pause-before', 'one', {});
  await record(page, 'publish', 'pause-before').waitFor();
  await page.getByRole('button', { name: 'Pause' }).click();
  await backend.trigger('pause-meanwhile', 'two', {});
  await page.getByRole('button', { name: 'Resume (1 new)' }).waitFor();
  assert.equal(await record(page, 'publish', 'pause-meanwhile').count(), 0);
  await page.getByRole('button', { name: 'Resume' }).click();
  await record(page, 'publish', 'pause-meanwhile').waitFor();
  assert.match(await records(page, 'publish').first().innerText(), /pause-meanwhile/, 'the newest is on top');
  await page.getByRole('button', { name: 'Clear' }).click();
  await page.getByText('Nothing that matches has happened').waitFor();
});

test('Live: however much comes, the page keeps 500 rows and says what was skipped', async (t) => {
  const { page } = await openLive(t, { kind: 'publish', channel: 'flood' });
  const batch = Array.from({ length: 10 }, () => ({ channel: 'flood', name: 'drop', data: '{}' }));
  const most = () => page.getByRole('list', { name: 'Records' }).locator('li').count();
  await eventually('more than the page keeps', async () => {
    await Promise.all(Array.from({ length: 60 }, () => backend.triggerBatch(batch)));
    return (await most()) === 500 && (await page.getByText(/\d skipped/).count()) > 0;
  });
  // One that comes when it is quiet again is shown.
  await eventually('the last one', async () => {
    await backend.trigger('flood-is-over', 'last', {});
    return (await record(page, 'publish', 'flood-is-over').count()) > 0;
  });
  assert.equal(await most(), 500);
});

// Names and payloads that would do something, where they are not text.
const hostile = `<img src=x onerror="alert(1)"><script>alert(2)</script>{{7*7}}\${7*7}`;

test('hostile names and payloads are text', async (t) => {
  const { page, go } = await openLive(t);
  const event = `${hostile}\u202egnp.exe\u0000\u001b[31m`;
  const data = JSON.stringify({ [hostile]: `</code></pre>${hostile}` });
  await backend.trigger('hostile', event, data);
  const row = record(page, 'publish', 'hostile');
  // What could not be seen, or turns what follows around, can be seen.
  assert.match(await row.innerText(), /<img src=x onerror="alert\(1\)"><script>.*⟨U\+202E⟩gnp\.exe␀␛\[31m/);
  await row.getByRole('button', { name: 'Payload' }).click();
  assert.ok((await row.getByRole('group', { name: 'Payload' }).innerText()).includes('</code></pre>'));

  const socket = new WebSocket(`ws://127.0.0.1:${belfry.port}/app/${encodeURIComponent(hostile)}?protocol=7&client=${encodeURIComponent(hostile)}&version=1`, { origin: 'https://evil.example' });
  await new Promise((resolve) => socket.once('close', resolve).once('error', () => {}));
  await go('refused');
  await page.getByRole('article').filter({ hasText: 'evil.example' }).or(page.getByRole('article').filter({ hasText: '4001' })).first().waitFor();
  for (const button of await page.getByRole('button', { name: 'Details' }).all()) {
    await button.click();
  }
  await page.getByText('<img src=x').first().waitFor();
  // openConsole fails the test if a script ran or the policy was violated.
  assert.equal(await page.locator('main script, main iframe, img:not([src="static/icon.svg"])').count(), 0);
});

// ---------- Refused ----------

test('Refused: a wrong origin with the line to change', async (t) => {
  const settings = 'allowed_origins: [shop.example.com]';
  const text = config(settings);
  const strict = await startBelfry({ config: text });
  t.after(() => strict.stop());
  const { page, go } = await openConsole(t, browser, strict);
  await go('refused');
  await page.getByText('Nothing was refused').waitFor();
  const knock = (origin) =>
    new Promise((resolve) => {
      const socket = new WebSocket(`ws://127.0.0.1:${strict.port}/app/${app.key}?protocol=7&client=js&version=8.6.0`, { origin });
      socket.once('close', resolve).once('error', () => {});
    });
  await knock('https://evil.example');
  await knock('https://evil.example');
  await newBackend(strict, { ...app, secret: 'wrong' }).trigger('a', 'b', {}).catch(() => {});
  await page.getByRole('button', { name: 'Refresh' }).click();

  const refused = page.getByRole('article').filter({ hasText: '4009' });
  const line = text.split('\n').findIndex((each) => each.includes(settings)) + 1;
  await refused.getByText('2 times').waitFor();
  assert.match(await refused.innerText(), new RegExp(`allowed_origins[^]*To change:[^]*apps\\[0\\]\\.allowed_origins in \\S*config\\.yaml:${line}`));
  assert.equal(await refused.getByText('https://evil.example').count(), 0);
  await refused.getByRole('button', { name: 'Details of all 2' }).click();
  const details = refused.getByRole('listitem').first();
  assert.match(await details.innerText(), /origin\s+https:\/\/evil\.example[^]*client\s+js[^]*version\s+8\.6\.0/);

  // By text and by code.
  const unsigned = page.getByRole('article').filter({ hasText: '401' }).filter({ hasNotText: '4009' });
  await unsigned.waitFor();
  await page.getByLabel('Search').fill('evil');
  await unsigned.waitFor({ state: 'detached' });
  await page.getByLabel('Search').fill('');
  await unsigned.waitFor();
  await page.getByLabel('Code').selectOption('401');
  await refused.waitFor({ state: 'detached' });
  await page.getByLabel('Code').selectOption('');

  await refused.getByRole('link', { name: 'Follow in Live' }).click();
  await page.getByRole('heading', { level: 1, name: 'Live' }).waitFor();
  assert.ok(await page.getByLabel('refusal', { exact: true }).isChecked());
  await page.getByText('Following').waitFor();
  await eventually('the next one', async () => {
    await knock('https://evil.example');
    return (await records(page, 'refusal').count()) > 0;
  });
  await records(page, 'refusal').first().getByRole('link', { name: 'why' }).click();
  await page.getByRole('heading', { level: 1, name: 'Refused' }).waitFor();
});

// ---------- for everybody ----------

test('everything works by keyboard', async (t) => {
  const page = await newPage(t);
  await page.goto(`${belfry.url}/console/`);
  await page.getByLabel('User').waitFor();
  await page.waitForFunction(() => document.activeElement.name === 'user');
  await page.keyboard.type(actor.user);
  await page.keyboard.press('Tab');
  await page.keyboard.type(actor.password);
  await page.keyboard.press('Enter');
  await navigation(page).waitFor();

  // The first key leads past the navigation.
  await page.reload();
  await navigation(page).waitFor();
  await page.keyboard.press('Tab');
  const focused = () => page.evaluate(() => document.activeElement.textContent);
  assert.equal(await focused(), 'Skip to the content');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main');

  await page.keyboard.press('g');
  await page.keyboard.press('l');
  await page.getByRole('heading', { level: 1, name: 'Live' }).waitFor();
  await page.waitForFunction(() => document.activeElement.id === 'main');
  assert.equal(await navigation(page).locator('[aria-current=page]').innerText(), 'Live');
  await page.getByLabel('Channel begins with').waitFor();
  await page.keyboard.press('/');
  await page.keyboard.type('g/l?');
  assert.equal(await page.getByLabel('Channel begins with').inputValue(), 'g/l?', 'what is typed is no command');
  await page.keyboard.press('Escape');
  await page.evaluate(() => document.activeElement.blur());

  await page.keyboard.press('?');
  const help = page.getByRole('dialog', { name: 'Keys' });
  await help.getByText('to Refused').waitFor();
  await page.keyboard.press('Escape');
  await help.waitFor({ state: 'detached' });
  const button = page.getByRole('button', { name: 'Keys' });
  await button.focus();
  await page.keyboard.press('Enter');
  await help.getByRole('button', { name: 'Close' }).press('Enter');
  await help.waitFor({ state: 'detached' });
  assert.ok(await button.evaluate((element) => element === document.activeElement), 'the focus is back');
  await page.keyboard.press('g');
  await page.keyboard.press('r');
  await page.getByRole('heading', { level: 1, name: 'Refused' }).waitFor();

  // Tab reaches each control of the view, and each shows that it is there.
  await page.keyboard.press('g');
  await page.keyboard.press('s');
  await page.getByRole('heading', { level: 1, name: 'Start' }).waitFor();
  await page.getByRole('button', { name: 'Test this browser' }).waitFor();
  const controls = 'a[href], button:not(:disabled), input, select, textarea, [tabindex="0"]';
  const wanted = await page.locator(controls).count();
  const reached = new Set();
  await page.evaluate(() => document.activeElement.blur());
  for (let i = 0; i < wanted + 5; i++) {
    await page.keyboard.press('Tab');
    const [index, outline] = await page.evaluate((selector) => {
      const { activeElement: element } = document;
      return [[...document.querySelectorAll(selector)].indexOf(element), getComputedStyle(element).outlineStyle];
    }, controls);
    if (index >= 0) {
      reached.add(index);
      assert.notEqual(outline, 'none', `control ${index} does not show the focus`);
    }
  }
  assert.equal(reached.size, wanted);
});

/** What a checker of accessibility would find: run in the page. */
function complaints() {
  const found = [];
  const seen = (element) => element.checkVisibility();
  const name = (element) =>
    element.getAttribute('aria-label') ||
    document.getElementById(element.getAttribute('aria-labelledby'))?.textContent ||
    [...(element.labels ?? [])].map((label) => label.textContent).join(' ') ||
    (/^(A|BUTTON|SUMMARY)$/.test(element.tagName) ? element.textContent : '') ||
    element.title;
  for (const element of document.querySelectorAll('a, button, input, select, textarea, [role=group], dialog, nav, section')) {
    if (seen(element) && !name(element)?.trim()) found.push(`no name: ${element.outerHTML.slice(0, 150)}`);
  }
  let last = 0;
  const headings = [...document.querySelectorAll('h1, h2, h3, h4')].filter(seen);
  for (const heading of headings) {
    const level = Number(heading.tagName[1]);
    if (level > last + 1) found.push(`a heading of level ${level} after ${last}: ${heading.textContent}`);
    last = level;
  }
  for (const [selector, n] of [['h1', 1], ['main', 1], ['header.top', 1]]) {
    if (document.querySelectorAll(selector).length !== n) found.push(`${selector}: not ${n}`);
  }
  const ids = [...document.querySelectorAll('[id]')].map(({ id }) => id);
  for (const id of new Set(ids)) {
    if (ids.filter((each) => each === id).length > 1) found.push(`the id ${id} is there twice`);
  }
  for (const image of document.querySelectorAll('img')) {
    if (!image.hasAttribute('alt')) found.push(`no alt: ${image.outerHTML}`);
  }
  if (document.querySelector('[style]:not(.u-wrap *, .u-wrap)')) found.push('a style in the markup');

  // The contrast of each text with what is behind it (WCAG 2.2, 1.4.3).
  const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => ((c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !seen(element) || element.closest('.sr, .skip, :disabled, noscript')) continue;
    const [light, dark] = [luminance(channels(getComputedStyle(element).color)), luminance(ground(element))].sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < 4.5) found.push(`contrast ${contrast.toFixed(2)}: ${walker.currentNode.data.slice(0, 60)}`);
  }
  return found;
}

for (const colorScheme of ['light', 'dark']) {
  for (const width of [1280, 360]) {
    test(`each view is readable, ${colorScheme} and ${width} pixels wide`, async (t) => {
      const { page, go } = await openConsole(t, browser, belfry, { colorScheme, viewport: { width, height: 740 } });
      const fits = async (view) => {
        const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(over <= 0, `${view} is ${over} pixels too wide`);
        assert.deepEqual(await page.evaluate(complaints), [], view);
      };
      await page.getByRole('button', { name: 'Test this browser' }).click();
      await page.getByText('3 of 3 ways work.').waitFor();
      await fits('start');
      await go('live');
      await page.getByText('Following').waitFor();
      await backend.trigger(`private-readable.${'long'.repeat(30)}`, 'App\\Events\\Posted', { text: 'x'.repeat(300) });
      await record(page, 'publish', 'readable').getByRole('button', { name: 'Payload' }).click();
      await fits('live');
      await newBackend(belfry, { ...app, secret: 'wrong' }).trigger('a', 'b', {}).catch(() => {});
      await go('refused');
      await page.getByRole('button', { name: 'Details' }).first().click();
      await fits('refused');
      await page.keyboard.press('?');
      await page.getByRole('dialog', { name: 'Keys' }).waitFor();
      await fits('keys');
      const scheme = await page.evaluate(() => getComputedStyle(document.body).color);
      assert.equal(scheme, colorScheme === 'dark' ? 'rgb(228, 232, 240)' : 'rgb(27, 34, 48)');
    });
  }
}
