// Makes the screenshots of the console for the documentation: node screenshots.mjs
//
// A shop with a backend, visitors and agents runs against a real server for three minutes
// (or as many as the variable MINUTES says), so that there is something to see.

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import Pusher from 'pusher-js';

import { app, serve } from './lib/belfry.mjs';
import { launchBrowser } from './lib/browser.mjs';
import { authorizer, newBackend } from './lib/clients.mjs';
import { consoleConfiguration, signIn } from './lib/console.mjs';
import { withPalette } from './lib/palette.mjs';

const folder = fileURLToPath(new URL('../docs/images', import.meta.url));
const minutes = Number(process.env.MINUTES ?? 3);

const made = await mkdtemp(path.join(tmpdir(), 'belfry-'));
await writeFile(
  path.join(made, 'belfry.yaml'),
  consoleConfiguration({ settings: 'history: [{channels: "presence-support*", events: 50}]' }),
);
const belfry = await serve(['--config', 'belfry.yaml'], { cwd: made });
const backend = newBackend(belfry);
const names = ['ann', 'ben', 'cleo', 'dan', 'eva', 'finn', 'gus', 'hana', 'ida', 'jon'];

/** A visitor, or an agent who has signed in, of this shop. */
function visit(user, channels) {
  const client = new Pusher(app.key, {
    cluster: '',
    wsHost: belfry.host,
    wsPort: belfry.port,
    httpHost: belfry.host,
    httpPort: belfry.port,
    forceTLS: false,
    enabledTransports: ['ws'],
    channelAuthorization: authorizer(backend, { user_id: user, user_info: { name: user } }),
    userAuthentication: {
      customHandler: ({ socketId }, callback) => callback(null, backend.authenticateUser(socketId, { id: user })),
    },
  });
  client.signin();
  channels.forEach((name) => client.subscribe(name));
  return client;
}

const clients = [
  ...names.map((name, i) => visit(name, ['presence-support.42', `private-orders.${1200 + i}`, 'prices'])),
  ...Array.from({ length: 60 }, (_, i) => visit(`visitor-${i}`, ['prices', `cart.${i}`, ...(i % 7 ? [] : ['news'])])),
];

const browser = await launchBrowser();
let ended = false;

/** What goes on in the shop: more of it and less, so that the plots have a shape. */
async function trade() {
  for (let n = 0; !ended; n++) {
    const order = 1200 + (n % names.length);
    const price = { sku: `B-${100 + (n % 9)}`, price: (19 + (n % 13) * 0.75).toFixed(2), currency: 'EUR' };
    await backend.trigger('prices', 'price-changed', price);
    if (n % 4 === 0) {
      await backend.trigger(`private-orders.${order}`, 'App\\Events\\OrderShipped', { order: { id: order, parcels: 1 } });
    }
    if (n % 9 === 0) {
      await backend.trigger('presence-support.42', 'message', { from: names[n % 7], text: 'Is my parcel on its way?' });
    }
    if (n % 5 === 0) {
      clients[n % names.length].channel('presence-support.42').trigger('client-typing', { user: names[n % names.length] });
    }
    if (n % 23 === 0) {
      const passer = visit(`guest-${n}`, ['prices', 'private-orders.1']);
      after(4000).then(() => passer.disconnect());
    }
    await after(150 + 100 * Math.sin(n / 40) + (n % 3) * 20);
  }
}
const trading = trade();

/** Shows a view in both themes, once it has what ready waits for, and keeps the pictures. */
async function picture(name, hash, ready) {
  for (const colorScheme of ['dark', 'light']) {
    const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, colorScheme });
    await signIn(page, belfry);
    await page.evaluate((address) => {
      location.hash = address;
    }, hash);
    await page.mouse.move(0, 0);
    await ready(page);
    const png = withPalette(await page.screenshot());
    const file = path.join(folder, `console-${name}-${colorScheme}.png`);
    await writeFile(file, png);
    console.log(`${path.relative(process.cwd(), file)}: ${png.length} bytes`);
    await page.close();
  }
}

try {
  await mkdir(folder, { recursive: true });
  await after(minutes * 60_000);
  await picture('live', '#/live', async (page) => {
    await page.getByRole('listitem').filter({ hasText: 'client-typing' }).first().waitFor();
    await page.getByRole('listitem').filter({ hasText: 'OrderShipped' }).first().waitFor();
    await page.waitForFunction(() => document.querySelectorAll('.feed > li').length > 24);
  });
  await picture('channel', '#/channel?name=presence-support.42', async (page) => {
    await page.getByRole('region', { name: 'Live' }).getByRole('listitem').nth(5).waitFor();
  });
  await picture('node', '#/node', (page) => page.locator('.plot canvas').nth(5).waitFor());
} finally {
  ended = true;
  await trading.catch(() => {});
  await browser.close();
  clients.forEach((client) => client.disconnect());
  await belfry.stop();
  await rm(made, { recursive: true });
}
process.exit();
