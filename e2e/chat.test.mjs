// The support chat of examples/chat in Chromium: a visitor and a support agent
// in two windows, Laravel Echo and pusher-js in both, Belfry between them.
//
// UPDATE_SCREENSHOT=1 also takes docs/images/chat.png.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { configuration, startBelfry } from './lib/belfry.mjs';
import { launchBrowser } from './lib/browser.mjs';
import { startChat } from './lib/chat.mjs';
import { run } from './lib/process.mjs';
import { startProxy } from './lib/proxy.mjs';
import { eventually } from './lib/wait.mjs';

const stops = []; // what was started, the last one first
let chat;
let browser;

before(async () => {
  const belfry = await startBelfry();
  stops.unshift(belfry.stop);
  chat = await startChat(belfry);
  stops.unshift(chat.stop);
  browser = await launchBrowser();
  stops.unshift(() => browser.close());
});

after(async () => {
  for (const stop of stops) {
    await stop();
  }
});

/**
 * Opens one side's window and waits until it is connected. errors collects what
 * the page complains about. options are the browser's, such as a proxy.
 */
async function open(role, { url } = chat, options = {}) {
  const page = await browser.newPage({ viewport: { width: 620, height: 600 }, deviceScaleFactor: 2, ...options });
  page.setDefaultTimeout(15_000);
  const errors = [];
  page.on('pageerror', (error) => errors.push(`${role}: ${error.message}`));
  page.on('console', (message) => message.type() === 'error' && errors.push(`${role}: ${message.text()}`));
  const authorised = page.waitForResponse((response) => response.url().endsWith('/broadcasting/auth'));
  const listed = page.waitForResponse((response) => response.url().includes('/messages?after='));
  await page.goto(`${url}/?role=${role}`);
  assert.equal((await authorised).status(), 200);
  assert.equal((await listed).status(), 200); // asked for when subscribed
  await page.locator('#state[data-state="connected"]').waitFor();
  return { page, errors };
}

async function say(page, text) {
  await page.getByLabel('Your message').fill(text);
  await page.getByRole('button', { name: 'Send' }).click();
}

/** Waits for a message with this text, status and sender; resolves to its time. */
async function seen(page, from, status, text) {
  const message = page.locator(`.message[data-from="${from}"][data-status="${status}"]`).filter({ hasText: text });
  await message.waitFor();
  assert.equal(await message.count(), 1, `"${text}" is shown more than once`);
  const took = await message.locator('.took').textContent();
  assert.match(took, new RegExp(`^${status} in [\\d.]+ ms$`));
  return Number(await message.getAttribute('data-ms'));
}

test('both windows see each other’s messages at once', async (t) => {
  const visitor = await open('visitor');
  const support = await open('support');
  const errors = () => [...visitor.errors, ...support.errors];

  for (const { page } of [visitor, support]) {
    assert.equal(await page.locator('#state').textContent(), 'connected');
    assert.equal(await page.locator('#provider').textContent(), 'WebSocket');
  }

  const dialogue = [
    [visitor, support, 'visitor', 'Hi! Can I move my order to another address?'],
    [support, visitor, 'support', 'Of course. Which order is it?'],
    [visitor, support, 'visitor', 'It is number 20413, placed this morning.'],
    [support, visitor, 'support', 'Done: it ships to the new address today.'],
  ];
  for (const [sender, receiver, from, text] of dialogue) {
    await say(sender.page, text);
    const took = await seen(receiver.page, from, 'shown', text);
    t.diagnostic(`${from} to display: ${took.toFixed(1)} ms`);
    await seen(sender.page, from, 'sent', text);
  }
  for (const { page } of [visitor, support]) {
    const texts = await page.locator('.message .text').allTextContents();
    assert.deepEqual(texts, dialogue.map(([, , , text]) => text));
  }

  await visitor.page.getByLabel('Your message').pressSequentially('Tha');
  await support.page.getByText('The visitor is typing…').waitFor();

  if (process.env.UPDATE_SCREENSHOT === '1') {
    await visitor.page.getByLabel('Your message').pressSequentially('nk you!');
    await screenshot([visitor.page, support.page], fileURLToPath(new URL('../docs/images/', import.meta.url)));
  }

  // A window opened later gets what was said from the backend.
  const late = await open('support');
  await late.page.locator('.message').nth(dialogue.length - 1).waitFor();
  assert.deepEqual(await late.page.locator('.message .text').allTextContents(), dialogue.map(([, , , text]) => text));

  assert.deepEqual([...errors(), ...late.errors], []);
});

/** Waits until the window says that this provider carries its messages. */
const carriedBy = (page, provider) => page.locator('#provider').getByText(provider, { exact: true }).waitFor();

/** Waits until the window shows these messages, all of them once, in this order. */
async function shows(page, texts) {
  const shown = page.locator('.message[data-id] .text');
  await eventually(`the messages ${texts}`, async () => (await shown.count()) >= texts.length);
  assert.deepEqual(await shown.allTextContents(), texts);
  assert.equal(await page.locator('.message').count(), texts.length);
}

test('the conversation goes on without WebSockets, and without the realtime server', async (t) => {
  const start = (port) =>
    startBelfry({
      config: configuration({ port, server: 'shutdown_grace: 1s', settings: 'max_event_bytes: 512' }),
    });
  let belfry = await start(0);
  t.after(() => belfry.stop());
  const backend = await startChat(belfry);
  t.after(() => backend.stop());
  const proxy = await startProxy();
  t.after(() => proxy.stop());

  const { page: visitor } = await open('visitor', backend);
  const { page: support } = await open('support', backend, { proxy: { server: proxy.server } });
  const errors = []; // of the pages; the browser also tells connections that failed
  for (const page of [visitor, support]) {
    page.on('pageerror', (error) => errors.push(error.message));
  }
  await carriedBy(visitor, 'WebSocket');
  await carriedBy(support, 'HTTP streaming');
  assert.ok(proxy.refused() > 0, 'the WebSocket did not meet the proxy');

  const said = [];
  /** One message from each side, which the other one gets. */
  async function exchange(text) {
    for (const [from, to] of [[visitor, support], [support, visitor]]) {
      said.push(`${from === visitor ? 'visitor' : 'support'}: ${text}`);
      await say(from, said.at(-1));
      await shows(to, said);
    }
    await shows(visitor, said);
  }
  await exchange('over HTTP');
  await seen(support, 'visitor', 'shown', 'visitor: over HTTP');
  await seen(visitor, 'support', 'shown', 'support: over HTTP');

  for (const signal of ['SIGTERM', 'SIGKILL']) {
    belfry.signal(signal);
    await belfry.exited; // a second signal would end a drain
    await belfry.stop();
    for (const page of [visitor, support]) {
      await carriedBy(page, 'Polling the app');
    }
    await exchange(`after ${signal}`);

    belfry = await start(belfry.port);
    await exchange(`while they come back from ${signal}`);
    await carriedBy(visitor, 'WebSocket');
    await carriedBy(support, 'HTTP streaming');
    await exchange(`back from ${signal}`);
    await seen(support, 'visitor', 'shown', `visitor: back from ${signal}`);
    await seen(visitor, 'support', 'shown', `support: back from ${signal}`);
  }
  // A message that the server refuses to broadcast is there with the next one.
  said.push('too large an event '.repeat(40).trim());
  await say(visitor, said.at(-1));
  await visitor.locator('.message[data-status="stored"]').filter({ hasText: 'too large' }).waitFor();
  await exchange('after the large one');
  assert.deepEqual(errors, []);
});

test('a window without a network for 20 s shows all messages once, without asking the app', async (t) => {
  const belfry = await startBelfry({
    config: configuration({ settings: 'history: [{channels: "private-chat.*"}]' }),
  });
  t.after(() => belfry.stop());
  const backend = await startChat(belfry);
  t.after(() => backend.stop());
  const network = await startProxy({ tunnels: true });
  t.after(() => network.stop());
  const { page: support } = await open('support', backend);
  const { page: visitor } = await open('visitor', backend, { proxy: { server: network.server } });
  await carriedBy(visitor, 'WebSocket');

  const said = [];
  let asked = 0; // since the cut
  visitor.on('response', (response) => (asked += response.url().includes('/messages?after=') ? 1 : 0));
  for (let second = 0; second < 25; second++) {
    if (second === 3) {
      network.cut();
      asked = 0;
      await visitor.context().setOffline(true);
      await visitor.locator('#state:not([data-state="connected"])').waitFor();
    } else if (second === 23) {
      network.heal();
      await visitor.context().setOffline(false);
    }
    said.push(`message ${second}`);
    await say(support, said.at(-1));
    await shows(support, said);
    if (second < 3) {
      await shows(visitor, said);
    }
    await setTimeout(1000);
  }
  await shows(visitor, said);
  await carriedBy(visitor, 'WebSocket');
  assert.equal(asked, 0);
});

test('the demo ends with an error when its server cannot start', async (t) => {
  const taken = net.createServer();
  await new Promise((resolve) => taken.once('error', resolve).listen(8080, '127.0.0.1', resolve)); // or somebody has it
  t.after(() => new Promise((resolve) => taken.close(resolve)));
  const root = fileURLToPath(new URL('..', import.meta.url));
  await run('go', ['build', '-o', 'bin/chat', './examples/chat'], { cwd: root, timeout: 120_000 });
  const { code, stderr } = await run('examples/chat/run.sh', [], { cwd: root });
  assert.equal(code, 1);
  assert.match(stderr, /127\.0\.0\.1:8080: bind: address already in use/);
});

/** One picture of the windows side by side. */
async function screenshot(pages, directory) {
  await mkdir(directory, { recursive: true });
  const shots = await Promise.all(pages.map((page) => page.screenshot({ animations: 'disabled' })));
  const both = await browser.newPage({ viewport: { width: 1360, height: 680 }, deviceScaleFactor: 1.5 });
  const windows = shots.map((shot) => `<img src="data:image/png;base64,${shot.toString('base64')}">`).join('');
  await both.setContent(`<style>
    body { margin: 0; height: 100vh; display: flex; justify-content: center; align-items: center; gap: 36px;
           background: linear-gradient(135deg, #c9d3f3, #d9f0ea); }
    img { width: 620px; border-radius: 14px; box-shadow: 0 18px 50px -18px #1a204066; }
  </style>${windows}`);
  await both.screenshot({ path: `${directory}/chat.png` });
}
