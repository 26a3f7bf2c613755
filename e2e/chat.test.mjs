// The support chat of examples/chat in Chromium: a visitor and a support agent
// in two windows, Laravel Echo and pusher-js in both, Belfry between them.
//
// UPDATE_SCREENSHOT=1 also takes docs/images/chat.png.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { startBelfry } from './lib/belfry.mjs';
import { launchBrowser } from './lib/browser.mjs';
import { startChat } from './lib/chat.mjs';

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
 * the page complains about.
 */
async function open(role) {
  const page = await browser.newPage({ viewport: { width: 620, height: 600 }, deviceScaleFactor: 2 });
  page.setDefaultTimeout(15_000);
  const errors = [];
  page.on('pageerror', (error) => errors.push(`${role}: ${error.message}`));
  page.on('console', (message) => message.type() === 'error' && errors.push(`${role}: ${message.text()}`));
  const authorised = page.waitForResponse((response) => response.url().endsWith('/broadcasting/auth'));
  const listed = page.waitForResponse((response) => response.url().includes('/messages?after='));
  await page.goto(`${chat.url}/?role=${role}`);
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
