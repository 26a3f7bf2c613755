// The console's views of connections, channels, webhooks, apps and the node, in
// Chromium, with real clients and a real backend.

import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import { after, before, test } from 'node:test';

import WebSocket from 'ws';

import { app, startBelfry } from './lib/belfry.mjs';
import { launchBrowser } from './lib/browser.mjs';
import { authorizer, connect, newBackend, newClient, state, subscribe } from './lib/clients.mjs';
import { consoleConfiguration, openConsole, viewer } from './lib/console.mjs';
import { eventually } from './lib/wait.mjs';

let browser;
let belfry;
let backend;

before(async () => {
  browser = await launchBrowser();
  belfry = await startBelfry({ config: consoleConfiguration({ server: 'trusted_proxies: [127.0.0.1]' }) });
  backend = newBackend(belfry);
});

after(async () => {
  await browser.close();
  await belfry.stop();
});

/** A client that has signed in as this user. */
async function connectAs(t, id, server = belfry, of = backend) {
  const client = await connect(t, server, {
    userAuthentication: {
      customHandler: ({ socketId }, callback) => callback(null, of.authenticateUser(socketId, { id })),
    },
    channelAuthorization: authorizer(of, { user_id: id, user_info: {} }),
  });
  client.signin();
  await client.user.signinDonePromise;
  return client;
}

/** A connection from this address, as a proxy tells it: its socket id. */
async function connectFrom(t, address) {
  const socket = new WebSocket(`ws://127.0.0.1:${belfry.port}/app/${app.key}?protocol=7&client=test&version=1`, {
    headers: { 'X-Forwarded-For': address },
  });
  t.after(() => socket.terminate());
  const message = await new Promise((resolve, reject) => socket.once('message', resolve).once('error', reject));
  return JSON.parse(JSON.parse(message).data).socket_id;
}

const idOf = (client) => client.connection.socket_id;

/** The row of a table that has this text. */
const row = (page, text) => page.getByRole('row').filter({ hasText: text });

test('a connection is found by its user, address, channel and socket id', async (t) => {
  const ann = await connectAs(t, 'ann-of-the-search');
  const ben = await connect(t, belfry);
  await subscribe(ben, 'bens-channel');
  const far = await connectFrom(t, '203.0.113.77');
  const { page, go } = await openConsole(t, browser, belfry);
  await go('connections');
  for (const id of [idOf(ann), idOf(ben), far]) {
    await row(page, id).waitFor();
  }
  const searches = [
    ['ann-of-the-search', idOf(ann)],
    ['203.0.113.77', far],
    ['bens-channel', idOf(ben)],
    [idOf(ann), idOf(ann)],
  ];
  for (const [text, found] of searches) {
    await page.getByLabel('Search').fill(text);
    await eventually(`${text} finds it`, async () => (await page.getByRole('rowheader').allInnerTexts()).join() === found);
    assert.equal(new URL(page.url()).hash.includes(`q=${text}`), true, 'the search can be bookmarked');
  }
  await page.getByLabel('Search').fill('nobody has this');
  await page.getByText('No connection of this app has').waitFor();

  await page.getByLabel('Search').fill('bens-channel');
  await page.getByRole('link', { name: idOf(ben) }).click();
  await page.getByRole('link', { name: 'bens-channel' }).waitFor();
  const live = await page.getByRole('link', { name: 'Follow it in Live' }).getAttribute('href');
  assert.equal(new URLSearchParams(live.split('?')[1]).get('socket'), idOf(ben));
});

test('connections are sorted by the server', async (t) => {
  const few = await connect(t, belfry);
  await subscribe(few, 'sorted-1');
  const many = await connect(t, belfry);
  for (const channel of ['sorted-1', 'sorted-2', 'sorted-3']) {
    await subscribe(many, channel);
  }
  const { page, go } = await openConsole(t, browser, belfry);
  await go('connections', { q: 'sorted-' });
  await row(page, idOf(few)).waitFor();
  await page.getByRole('button', { name: 'Channels' }).click();
  await page.getByRole('columnheader', { name: 'Channels' }).and(page.locator('[aria-sort=descending]')).waitFor();
  await eventually('the one with most is first', async () => (await page.getByRole('rowheader').allInnerTexts())[0] === idOf(many));
});

test('a connection is sent away with 4009, and stays away', async (t) => {
  const client = await connect(t, belfry);
  const id = idOf(client);
  const { page, go } = await openConsole(t, browser, belfry);
  await go('connection', { id });
  await page.getByRole('button', { name: 'Disconnect' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('stay disconnected').waitFor();
  assert.equal(client.connection.state, 'connected', 'not before it is confirmed');
  await dialog.getByRole('button', { name: 'Disconnect' }).click();
  await state(client, 'disconnected'); // pusher-js does not connect from there by itself
  await page.getByText('This connection is gone: it was closed with 4009.').waitFor();
  assert.equal(await page.getByRole('button', { name: 'Disconnect' }).count(), 0);
});

test('a connection that is closed with 4200 comes back', async (t) => {
  const client = await connect(t, belfry);
  const { events } = await subscribe(client, 'comes-back');
  const id = idOf(client);
  const { page, go } = await openConsole(t, browser, belfry);
  await go('connections', { q: 'comes-back' });
  await page.getByRole('button', { name: `Disconnect ${id}` }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Have it reconnect (4200)').check();
  await dialog.getByRole('button', { name: 'Disconnect' }).click();
  await dialog.waitFor({ state: 'detached' });
  assert.equal((await events.next())[0], 'pusher:subscription_succeeded');
  assert.notEqual(idOf(client), id);
  await row(page, id).waitFor({ state: 'detached' });
  await row(page, idOf(client)).waitFor();
});

test('Escape leaves the question, and nobody is disconnected', async (t) => {
  const client = await connect(t, belfry);
  await subscribe(client, 'left-alone');
  const { page, go } = await openConsole(t, browser, belfry);
  await go('connections', { q: 'left-alone' });
  const button = page.getByRole('button', { name: `Disconnect ${idOf(client)}` });
  await button.focus();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  await eventually('the focus is back', () => button.evaluate((element) => element === document.activeElement));
  assert.equal(client.connection.state, 'connected');
});

test('channels are listed with their last event, searched and sorted', async (t) => {
  const client = await connect(t, belfry, { channelAuthorization: authorizer(backend, { user_id: 'cleo' }) });
  const other = await connect(t, belfry);
  const { events } = await subscribe(client, 'listed-quiet');
  await subscribe(other, 'listed-quiet');
  const { events: loud } = await subscribe(client, 'listed-loud');
  await subscribe(client, 'presence-listed');
  await backend.trigger('listed-loud', 'bang', {});
  await loud.next();
  const { page, go } = await openConsole(t, browser, belfry);
  await go('channels');
  await page.getByLabel('Search').fill('listed');
  await page.getByText('1–3 of 3 channels').first().waitFor();
  await row(page, 'listed-loud').filter({ hasText: 'bang' }).waitFor();
  await row(page, 'presence-listed').filter({ hasText: 'presence' }).waitFor();
  const order = () => page.getByRole('rowheader').allInnerTexts();
  assert.equal((await order())[0], 'listed-quiet', 'most subscribers first');
  await page.getByRole('button', { name: 'Channel' }).click();
  await eventually('sorted by name', async () => (await order()).join() === 'listed-loud,listed-quiet,presence-listed');
  await page.getByRole('button', { name: 'Came' }).click();
  await eventually('sorted by time', async () => (await order())[0] === 'listed-loud');
  assert.equal(events.drain().length, 0);
});

test('a channel is followed live, and a test event reaches its clients', async (t) => {
  const client = await connect(t, belfry, { channelAuthorization: authorizer(backend) });
  const { events } = await subscribe(client, 'private-followed');
  const { page, go } = await openConsole(t, browser, belfry);
  await go('channel', { name: 'private-followed' });
  await row(page, idOf(client)).waitFor();
  const live = page.getByRole('region', { name: 'Live' });
  await live.getByText('following').first().waitFor();
  await backend.trigger('private-followed-not', 'elsewhere', {});
  await backend.trigger('private-followed', 'shipped', { order: 'secret-number' });
  const record = live.getByRole('listitem').filter({ hasText: 'shipped' });
  await record.waitFor();
  await record.getByText('1 recipient').waitFor();
  assert.equal(await page.getByText('elsewhere').count(), 0, 'only what is of this channel');
  assert.equal(await page.getByText('secret-number').count(), 0, 'data is hidden');
  await record.getByRole('button', { name: /Payload/ }).click();
  await record.getByText('secret-number').waitFor();
  assert.deepEqual(await events.next(), ['shipped', { order: 'secret-number' }]);

  const form = page.getByRole('region', { name: 'Send a test event' });
  await form.getByLabel('Event').fill('hello');
  await form.getByLabel('Data').fill('{"a":');
  await form.getByText('Not JSON').waitFor();
  await form.getByLabel('Data').fill('{"a":1}');
  await form.getByText('JSON, 7 B').waitFor();
  await form.getByRole('button', { name: 'Send' }).click();
  await form.getByText('hello went to 1 subscriber').waitFor();
  assert.deepEqual(await events.next(), ['hello', { a: 1 }]);

  await form.getByLabel('client').check();
  await form.getByRole('button', { name: 'Send' }).click();
  await form.getByText('client-hello went to 1 subscriber').waitFor();
  assert.deepEqual(await events.next(), ['client-hello', { a: 1 }]);
  await live.getByRole('listitem').filter({ hasText: 'client-hello' }).waitFor();
});

test('a test event says where it is not possible', async (t) => {
  const { page, go } = await openConsole(t, browser, belfry);
  await go('channel', { name: 'public' });
  const form = page.getByRole('region', { name: 'Send a test event' });
  await form.getByText('only on private and presence channels').waitFor();
  assert.equal(await form.getByLabel('client').isDisabled(), true);
  await form.getByRole('button', { name: 'Send' }).click();
  await form.getByText('went to 0 subscribers').waitFor();
  await page.getByText('Nobody is subscribed.').waitFor();
  await go('channel', { name: 'private-encrypted-x' });
  await form.getByText('The server has no key').waitFor();
});

test('a channel shows what it keeps: the cached event and its history', async (t) => {
  const keeping = await startBelfry({
    config: consoleConfiguration({ settings: 'history: [{channels: "cache-*", events: 10}]' }),
  });
  t.after(() => keeping.stop());
  const of = newBackend(keeping);
  await of.trigger('cache-kept', 'first', { n: 1 });
  await of.trigger('cache-kept', 'second', { n: 'two' });
  const { page, go } = await openConsole(t, browser, keeping);
  await go('channel', { name: 'cache-kept' });
  const table = page.getByRole('table', { name: /Last events/ });
  await eventually('the newest is first', async () => (await table.getByRole('rowheader').allInnerTexts()).join() === 'second,first');
  await row(table, 'second').getByRole('button').click();
  await page.getByText('"two"').waitFor();
  const cached = page.locator('section').filter({ has: page.getByRole('heading', { name: 'Cached event' }) });
  await cached.getByRole('button').click();
  await cached.getByText('"two"').waitFor();
});

test('webhooks show what was delivered and what was refused, and send a test', async (t) => {
  const received = [];
  const receiver = http.createServer(async (request, response) => {
    received.push(JSON.parse(Buffer.concat(await request.toArray())));
    response.end();
  });
  await new Promise((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  receiver.unref(); // it must outlive Belfry, which tells it that clients leave
  const good = `http://127.0.0.1:${receiver.address().port}/good`;
  const bad = `http://127.0.0.1:${await closedPort()}/bad`;
  const telling = await startBelfry({
    config: consoleConfiguration({ settings: `webhooks: [{url: "${good}"}, {url: "${bad}"}]` }),
  });
  t.after(() => telling.stop());
  const { page, go } = await openConsole(t, browser, telling);
  await go('webhooks');
  const card = (url) => page.locator('section').filter({ has: page.getByRole('heading', { name: url }) });
  await card(good).getByText('No request was sent').waitFor();
  const client = await connect(t, telling);
  await subscribe(client, 'told');
  await card(good).getByRole('cell').filter({ hasText: '200' }).first().waitFor();
  await card(bad).getByText(/refused/).first().waitFor();
  await card(bad).getByText('failing', { exact: true }).waitFor();
  await card(bad).getByText('Next try').waitFor();

  await card(good).getByLabel('Test event').selectOption('member_added');
  await card(good).getByRole('button', { name: 'Send a test' }).click();
  await card(good).getByText('The test was answered:').getByText('200').waitFor();
  assert.ok(received.some(({ events }) => events.some(({ name }) => name === 'member_added')));
  await card(bad).getByRole('button', { name: 'Send a test' }).click();
  await card(bad).getByText('The test was answered:').getByText(/refused/).waitFor();
});

/** A port on which nobody listens. */
async function closedPort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

test('apps show a limit that was met; the node has plots', { timeout: 120_000 }, async (t) => {
  const limited = await startBelfry({ config: consoleConfiguration({ settings: 'max_connections: 1' }) });
  t.after(() => limited.stop());
  await connect(t, limited);
  const refused = newClient(t, limited);
  const code = new Promise((resolve) => refused.connection.bind('error', ({ error }) => resolve(error?.data?.code)));
  assert.equal(await code, 4004);
  const { page, go } = await openConsole(t, browser, limited);
  await go('apps');
  const card = page.locator('section').filter({ has: page.getByRole('heading', { name: app.id }) });
  const meter = card.getByRole('meter', { name: 'Connections' });
  await meter.waitFor();
  assert.deepEqual(await meter.evaluate(({ value, max }) => [value, max]), [1, 1]);
  // The server counts every ten seconds.
  await card.getByRole('listitem').filter({ hasText: /1 time.*max_connections/ }).waitFor({ timeout: 40_000 });

  await go('node');
  await page.getByText(/go1\./).waitFor();
  const cpu = page.getByRole('slider', { name: /^CPU\. CPU: now [\d.]+ %/ });
  await cpu.waitFor({ timeout: 40_000 });
  for (const name of ['Memory', 'Connections', 'Messages a second', 'Published events a second', 'Delay of an event']) {
    await page.getByRole('slider', { name: new RegExp(`^${name}\\.`) }).locator('canvas').waitFor();
  }
  await cpu.focus();
  await page.keyboard.press('ArrowLeft');
  assert.match(await cpu.getAttribute('aria-valuetext'), /^\d\d:\d\d: CPU [\d.]+ %$/);
  await page.getByText('The same as a table').click();
  await page.getByRole('table', { name: /The last hour/ }).waitFor();
});

test('an app is found among many, and chosen', { timeout: 120_000 }, async (t) => {
  const others = Array.from({ length: 600 }, (_, i) => `  - {id: ${200_001 + i}, key: other-key-${i}, secret: other-secret}\n`);
  const many = await startBelfry({
    config: consoleConfiguration().replace(/^apps:\n/m, (line) => `metrics: {per_app: 0}\n${line}${others.join('')}`),
  });
  t.after(() => many.stop());
  const client = await connect(t, many);
  await subscribe(client, 'among-many');
  const { page, go } = await openConsole(t, browser, many);
  await go('apps');
  await page.getByText('1–24 of 601 apps').waitFor();
  await page.getByLabel('Sort').selectOption('connections');
  const first = page.locator('section').first();
  await first.getByRole('heading', { name: app.id }).waitFor();
  await first.getByText('counted with others').waitFor();
  await page.getByLabel('Search').fill('other-key-599');
  await page.getByText('1–1 of 1 apps').waitFor();
  const last = page.locator('section').filter({ has: page.getByRole('heading', { name: '200600' }) });
  await last.getByRole('link', { name: 'Channels' }).click();
  await page.getByText('Nobody is subscribed to a channel of this app.').waitFor();
  const chooser = page.locator('.chooser select');
  assert.equal(await chooser.inputValue(), '200600');
  assert.equal(await chooser.getByRole('option', { name: '100 more: see Apps' }).isDisabled(), true);
  await chooser.selectOption(app.id);
  await page.getByRole('link', { name: 'among-many' }).waitFor();
  await go('channels', { app: '300000' });
  await page.getByText('There is no app').waitFor();
});

test('who may only look sees nothing that acts', async (t) => {
  const client = await connect(t, belfry);
  await subscribe(client, 'looked-at');
  const { page, go } = await openConsole(t, browser, belfry, { as: viewer });
  await go('connections', { q: 'looked-at' });
  await row(page, idOf(client)).waitFor();
  assert.equal(await page.getByRole('button', { name: /Disconnect/ }).count(), 0);
  await page.getByRole('link', { name: idOf(client) }).click();
  await page.getByRole('link', { name: 'looked-at' }).waitFor();
  assert.equal(await page.getByRole('button', { name: /Disconnect/ }).count(), 0);
  await page.getByRole('link', { name: 'looked-at' }).click();
  await row(page, idOf(client)).waitFor();
  assert.equal(await page.getByRole('button', { name: 'Send' }).count(), 0);
  // The server holds to it, too.
  const status = await page.evaluate(async (id) => {
    const answer = await fetch(`api/connections/${id}/disconnect`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ app: '100001', code: 4009 }),
    });
    return answer.status;
  }, idOf(client));
  assert.equal(status, 403);
  assert.equal(client.connection.state, 'connected');
});

test('what strangers name something is text', async (t) => {
  const evil = '<img src=x onerror=alert(1)>\u202egnp';
  const seen = '<img src=x onerror=alert(1)>⟨U+202E⟩gnp';
  const client = await connectAs(t, evil);
  const { events } = await subscribe(client, 'presence-evil');
  const { page, go } = await openConsole(t, browser, belfry);
  await go('connections', { q: '<img' });
  await row(page, seen).waitFor();
  await page.getByRole('link', { name: idOf(client) }).click();
  await page.getByRole('link', { name: 'presence-evil' }).click();
  await row(page, seen).waitFor();
  const live = page.getByRole('region', { name: 'Live' });
  await live.getByText('following').first().waitFor();
  await backend.trigger('presence-evil', evil, evil);
  await events.next();
  const record = live.getByRole('listitem').filter({ hasText: seen });
  await record.getByRole('button', { name: /Payload/ }).click();
  await record.locator('pre').getByText(seen).waitFor();
  await go('channel', { name: `#server-to-user-${evil}` });
  await page.getByRole('heading', { level: 1, name: seen }).waitFor();
  assert.equal(await page.locator('img:not([src="static/icon.svg"])').count(), 0);
});

test('what is shown stays when the server is gone, and says that it is old', async (t) => {
  const brief = await startBelfry({ config: consoleConfiguration() });
  t.after(() => brief.stop());
  const client = await connect(t, brief);
  const { page, go } = await openConsole(t, browser, brief);
  await go('connections');
  await row(page, idOf(client)).waitFor();
  client.disconnect();
  await page.route('**/api/connections?**', (route) => route.fulfill({ status: 500, json: { error: 'out of order' } }));
  await page.getByText('What is shown is not new: out of order').waitFor();
  await row(page, idOf(client)).waitFor();
  await page.unroute('**/api/connections?**');
  await page.getByRole('button', { name: 'Try again' }).click();
  await page.getByText('Nobody is connected to this app.').waitFor();
});

/** Has the page believe that it is seen, or not. */
const see = (page, state) =>
  page.evaluate((now) => {
    Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => now });
    Object.defineProperty(document, 'hidden', { configurable: true, get: () => now === 'hidden' });
    document.dispatchEvent(new Event('visibilitychange'));
  }, state);

test('a tab that is hidden has no stream', async (t) => {
  const { page, go } = await openConsole(t, browser, belfry);
  let ended = 0;
  page.on('requestfailed', (request) => (ended += request.url().includes('api/live')));
  for (const [view, query] of [['channel', { name: 'unseen' }], ['live', { channel: 'unseen' }]]) {
    await go(view, query);
    const main = page.locator('main');
    await main.getByText(/^following/i).first().waitFor();
    ended = 0;
    await see(page, 'hidden');
    await eventually('its stream ends', () => ended === 1);
    await backend.trigger('unseen', 'while-hidden', {});
    await see(page, 'visible');
    await main.getByText('0 records, paused while this tab was hidden').first().waitFor();
    await eventually('it follows again', async () => {
      await backend.trigger('unseen', 'while-shown', {});
      return (await main.getByText('while-shown').count()) > 0;
    });
    assert.equal(await main.getByText('while-hidden').count(), 0);
  }
});

test('an answer or a stream that does not come is said not to', async (t) => {
  const { page, go } = await openConsole(t, browser, belfry);
  await page.clock.install();
  await page.route(/api\/(connections|live)\?/, () => {}); // as when the browser has no connection left
  await go('connections');
  await page.locator('main').getByText('Loading').waitFor();
  await page.clock.fastForward(15_000);
  await page.getByText('The server has not answered within 15 seconds. A browser makes only six connections').waitFor();
  await go('live');
  await page.getByText('Connecting…').waitFor();
  await page.clock.fastForward(15_000);
  await page.getByText('The stream has not opened within 15 seconds.').waitFor();
});

test('a channel says why it cannot be followed', async (t) => {
  const crowded = await startBelfry({ config: consoleConfiguration() });
  t.after(() => crowded.stop());
  const base = `${crowded.url}/console/api`;
  const session = await fetch(`${base}/session`, { method: 'POST', body: JSON.stringify({ user: viewer.user, password: viewer.password }) });
  const headers = { Cookie: session.headers.getSetCookie()[0].split(';')[0] };
  const over = new AbortController();
  const streams = await Promise.all(Array.from({ length: 16 }, () => fetch(`${base}/live`, { headers, signal: over.signal })));
  assert.ok(streams.every(({ status }) => status === 200));
  const { page, go } = await openConsole(t, browser, crowded);
  await go('channel', { name: 'followed-by-nobody' });
  const live = page.getByRole('region', { name: 'Live' });
  await live.getByText('16 pages show what happens live, the most that may').waitFor();
  over.abort();
  await live.getByText('following').first().waitFor();
  await live.getByRole('alert').waitFor({ state: 'detached' });
});

test('how long ago something was does not depend on the clock of the browser', async (t) => {
  const client = await connect(t, belfry);
  await subscribe(client, 'in-time');
  const { page, go } = await openConsole(t, browser, belfry);
  await page.addInitScript(() => {
    const { now } = Date;
    Date.now = () => now() + 3600_000;
  });
  await page.reload();
  await go('connections', { q: 'in-time' });
  await row(page, idOf(client)).waitFor();
  for (const text of await row(page, idOf(client)).locator('time').allInnerTexts()) {
    assert.match(text, /^(now|\d+ s ago)$/);
  }
});

test('nothing is asked for while nobody sees the page', async (t) => {
  const { page, go } = await openConsole(t, browser, belfry);
  await page.clock.install();
  await go('channels', { q: 'hidden' });
  await page.getByText('No occupied channel').waitFor();
  const asked = [];
  page.on('request', (request) => asked.push(request.url()));
  const channels = () => asked.filter((url) => url.includes('api/channels')).length;
  await page.clock.fastForward(10_000);
  await eventually('it asks', channels);
  await see(page, 'hidden');
  asked.length = 0;
  await page.clock.fastForward(60_000);
  await page.clock.fastForward(60_000);
  assert.equal(channels(), 0);
  await see(page, 'visible');
  await eventually('it asks again at once', channels);
});

test('the views fit a narrow screen', async (t) => {
  const client = await connectAs(t, 'a-user-with-a-name-that-is-rather-long-for-a-telephone');
  await subscribe(client, 'a-channel-with-a-name-that-is-rather-long-for-a-telephone');
  const { page, go } = await openConsole(t, browser, belfry, { viewport: { width: 360, height: 740 } });
  const views = [
    ['connections', { q: idOf(client) }],
    ['connection', { id: idOf(client) }],
    ['channels', { q: 'a-channel-with' }],
    ['channel', { name: 'a-channel-with-a-name-that-is-rather-long-for-a-telephone' }],
    ['webhooks'],
    ['apps'],
    ['node'],
  ];
  for (const [view, query] of views) {
    await go(view, query);
    await page.locator('main').getByRole('heading').first().waitFor();
    await page.waitForFunction(() => !document.querySelector('.loading'));
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.equal(over, 0, `${view} is ${over} pixels too wide`);
  }
});
