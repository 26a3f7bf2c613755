// Laravel Echo as docs/laravel.md sets it up, with both broadcasters: the
// examples of that page are run, not copies of them.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import Echo from 'laravel-echo';
import Pusher from 'pusher-js';

import { startBelfry } from './lib/belfry.mjs';
import { authorizer, newBackend, state } from './lib/clients.mjs';
import { example, examples } from './lib/docs.mjs';
import { notificationEvent, startLaravel, users } from './lib/laravel.mjs';
import { Inbox, within } from './lib/wait.mjs';

const blocks = await examples('laravel.md', 'js');

let belfry;
let laravel;

before(async () => {
  belfry = await startBelfry();
  laravel = await startLaravel(belfry);
});

after(async () => {
  await laravel.stop();
  await belfry.stop();
});

/**
 * Runs an example of the page: the one that contains a text. What is missing in
 * Node is given to it: import, import.meta.env, window and fetch of the page.
 */
function runExample(containing, { window, console, env, Echo: EchoClass, fetch }) {
  const code = example(blocks, containing)
    .replace(/^import .*$/gm, '')
    .replaceAll('import.meta.env', 'env');
  const AsyncFunction = (async () => {}).constructor;
  return new AsyncFunction('Echo', 'Pusher', 'window', 'console', 'env', 'fetch', code)(
    EchoClass,
    Pusher,
    window,
    console,
    env,
    fetch,
  );
}

/** A page of a logged-in user, connected, as resources/js/echo.js makes it. */
async function open(t, broadcaster, { token = 'token-ann', options = {} } = {}) {
  const prefix = `VITE_${broadcaster.toUpperCase()}_`;
  const env = {
    [`${prefix}APP_KEY`]: 'app-key',
    [`${prefix}HOST`]: belfry.host,
    [`${prefix}PORT`]: String(belfry.port), // Vite has strings
    [`${prefix}SCHEME`]: 'http',
    [`${prefix}APP_CLUSTER`]: 'mt1',
  };
  class EchoInNode extends Echo {
    constructor(given) {
      super({
        ...given,
        Pusher, // there is no window to find it in
        authEndpoint: `${laravel.url}/broadcasting/auth`, // and no page to be relative to
        auth: { headers: {} }, // else Echo puts the token into an object that all instances share
        userAuthentication: { endpoint: `${laravel.url}/broadcasting/user-auth`, headers: {} },
        bearerToken: token,
        ...options,
      });
    }
  }
  const window = {};
  await runExample(`broadcaster: '${broadcaster}',\n    key`, { window, env, Echo: EchoInNode });
  t.after(() => window.Echo.disconnect());
  await state(window.Echo.connector.pusher, 'connected');

  const log = new Inbox(`console of ${users[token]?.name}`);
  return {
    echo: window.Echo,
    log,
    /** Runs an example on this page; its console is log. */
    run: (containing) =>
      runExample(containing, {
        window,
        console: { log: (...words) => log.add(words.join(' ')) },
        fetch: (path, { headers, ...request }) =>
          fetch(laravel.url + path, { ...request, headers: { Authorization: `Bearer ${token}`, ...headers } }),
      }),
  };
}

async function subscribed(channel) {
  if (!channel.subscription.subscribed) {
    const answered = new Promise((resolve, reject) =>
      channel.subscribed(resolve).error((error) => reject(new Error(`${channel.name}: ${JSON.stringify(error)}`))),
    );
    await within(answered, () => `subscription of ${channel.name}`);
  }
}

const trigger = (...args) => laravel.backend.trigger(...args);

for (const broadcaster of ['pusher', 'reverb']) {
  describe(`broadcaster ${broadcaster}`, () => {
    test('a channel: namespaced, literal and foreign events', async (t) => {
      const { echo } = await open(t, broadcaster);
      assert.equal(echo.connectionStatus(), 'connected');
      assert.match(echo.socketId(), /^\d+\.\d+$/);
      const heard = new Inbox('events of orders');
      const hear = (name) => (event) => heard.add([name, event]);
      const channel = echo
        .channel('orders')
        .listen('OrderShipped', hear('namespaced'))
        .listen('Orders.Paid', hear('nested'))
        .listen('.order.paid', hear('literal'))
        .listen('\\Vendor\\Shop\\Sold', hear('rooted'));
      await subscribed(channel);

      await trigger('orders', 'App\\Events\\OrderShipped', { id: 1 });
      await trigger('orders', 'App\\Events\\Orders\\Paid', { id: 2 });
      await trigger('orders', 'order.paid', { id: 3 });
      await trigger('orders', 'Vendor\\Shop\\Sold', { id: 4 });
      await trigger('orders', 'OrderShipped', { id: 5 }); // nobody listens to that
      await trigger('orders', 'App\\Events\\OrderShipped', '[]'); // Laravel's empty payload
      assert.deepEqual(await heard.take(5), [
        ['namespaced', { id: 1 }],
        ['nested', { id: 2 }],
        ['literal', { id: 3 }],
        ['rooted', { id: 4 }],
        ['namespaced', []],
      ]);

      channel.stopListening('OrderShipped');
      await trigger('orders', 'App\\Events\\OrderShipped', { id: 6 });
      await trigger('orders', 'order.paid', { id: 7 });
      assert.deepEqual(await heard.next(), ['literal', { id: 7 }]);
    });

    test('listenToAll hears every event under the name it is listened to with', async (t) => {
      const { echo } = await open(t, broadcaster);
      const heard = new Inbox('all events');
      const channel = echo.channel('everything').listenToAll((name, data) => heard.add([name, data]));
      await subscribed(channel);
      await trigger('everything', 'App\\Events\\OrderShipped', { id: 1 });
      await trigger('everything', 'order.paid', { id: 2 });
      assert.deepEqual(await heard.take(2), [
        ['OrderShipped', { id: 1 }],
        ['.order.paid', { id: 2 }],
      ]);
    });

    test('docs: a private channel', async (t) => {
      const { echo, log, run } = await open(t, broadcaster);
      await run("'OrderShipped'");
      await subscribed(echo.private('orders.1'));
      await trigger('private-orders.1', 'App\\Events\\OrderShipped', { order: { id: 1 } });
      await trigger('private-orders.1', 'order.paid', { order: { id: 2 } });
      await trigger('private-orders.1', notificationEvent, { id: 'f00', type: 'App\\Notifications\\InvoicePaid' });
      assert.deepEqual(await log.take(3), ['shipped 1', 'paid 2', 'notified App\\Notifications\\InvoicePaid']);
    });

    test('docs: toOthers() leaves out the sender only', async (t) => {
      const ann = await open(t, broadcaster);
      const bob = await open(t, broadcaster, { token: 'token-bob' });
      for (const page of [ann, bob]) {
        await page.run("'OrderShipped'");
        await subscribed(page.echo.private('orders.1'));
      }
      await ann.run('X-Socket-ID');
      assert.equal(await bob.log.next(), 'shipped 1');
      await trigger('private-orders.1', 'order.paid', { order: { id: 2 } });
      assert.equal(await ann.log.next(), 'paid 2');
      assert.equal(await bob.log.next(), 'paid 2');
    });

    test('docs: here, joining and leaving', async (t) => {
      const ann = await open(t, broadcaster);
      const bob = await open(t, broadcaster, { token: 'token-bob' });
      await ann.run('.here(');
      assert.equal(await ann.log.next(), 'here Ann');
      await bob.run('.here(');
      assert.equal(await bob.log.next(), 'here Ann Bob');
      assert.equal(await ann.log.next(), 'joining Bob');
      bob.echo.leave('room.1');
      assert.equal(await ann.log.next(), 'leaving Bob');
      await bob.run('.here(');
      assert.equal(await bob.log.next(), 'here Ann Bob');
      assert.equal(await ann.log.next(), 'joining Bob');
      bob.echo.disconnect();
      assert.equal(await ann.log.next(), 'leaving Bob');
    });

    test('docs: whispers', async (t) => {
      const ann = await open(t, broadcaster);
      const bob = await open(t, broadcaster, { token: 'token-bob' });
      for (const page of [ann, bob]) {
        await page.run('listenForWhisper');
        await subscribed(page.echo.private('room.1'));
      }
      await ann.run("whisper('typing'");
      assert.equal(await bob.log.next(), 'typing Ann');
      await trigger('private-room.1', 'client-typing', { name: 'the backend' }); // to both
      assert.equal(await ann.log.next(), 'typing the backend');
    });

    test('whispers on a presence channel', async (t) => {
      const ann = await open(t, broadcaster);
      const bob = await open(t, broadcaster, { token: 'token-bob' });
      const whispers = new Inbox('whispers');
      await subscribed(bob.echo.join('room.2').listenForWhisper('typing', (data) => whispers.add(data)));
      const channel = ann.echo.join('room.2');
      await subscribed(channel);
      channel.whisper('typing', { name: 'Ann' });
      assert.deepEqual(await whispers.next(), { name: 'Ann' });
    });

    test('docs: an encrypted channel', async (t) => {
      const { echo, log, run } = await open(t, broadcaster);
      await run('SalaryRaised');
      await subscribed(echo.encryptedPrivate('salaries.1'));
      await trigger('private-encrypted-salaries.1', 'App\\Events\\SalaryRaised', { amount: 100 });
      assert.equal(await log.next(), 'raised 100');
    });

    test('docs: a signed-in user is greeted, and sees others come and go', async (t) => {
      const ann = await open(t, broadcaster);
      await ann.run('connector.signin()');
      assert.equal(await ann.log.next(), 'offline 2');
      await laravel.backend.sendToUser('1', 'greeting', { text: 'hello' });
      assert.equal(await ann.log.next(), 'greeted hello');
      const bob = await open(t, broadcaster, { token: 'token-bob' });
      await bob.run('connector.signin()');
      assert.equal(await ann.log.next(), 'online 2');
      bob.echo.disconnect();
      assert.equal(await ann.log.next(), 'offline 2');
    });

    test('docs: .error() is told what the application refuses', async (t) => {
      const page = await open(t, broadcaster, { token: 'nobody' });
      await page.run("'OrderShipped'");
      assert.equal(await page.log.next(), 'refused 403');
      const ann = await open(t, broadcaster);
      const refusals = new Inbox('refusals');
      ann.echo.private('forbidden.1').error((error) => refusals.add(error));
      ann.echo.join('forbidden.1').error((error) => refusals.add(error));
      for (const { type, status } of await refusals.take(2)) {
        assert.deepEqual([type, status], ['AuthError', 403]);
      }
    });

    test('.error() is told what Belfry refuses, and everything else goes on', async (t) => {
      const stranger = newBackend(belfry, { id: '100001', key: 'app-key', secret: 'another secret' });
      const { echo } = await open(t, broadcaster, {
        options: { channelAuthorization: authorizer(stranger, { user_id: '1' }) },
      });
      const refusals = new Inbox('refusals');
      echo.private('orders.1').error((error) => refusals.add(error));
      echo.join('room.1').error((error) => refusals.add(error));
      for (const { type, status } of await refusals.take(2)) {
        assert.deepEqual([type, status], ['AuthError', 401]);
      }
      await subscribed(echo.channel('orders'));
      assert.equal(echo.connectionStatus(), 'connected');
    });

    test('leave unsubscribes every kind of channel of that name', async (t) => {
      const { echo } = await open(t, broadcaster);
      const heard = new Inbox('events of desk');
      const listen = (channel) => subscribed(channel.listen('.posted', (kind) => heard.add(kind)));
      await Promise.all([
        listen(echo.channel('desk')),
        listen(echo.private('desk')),
        listen(echo.join('desk')),
        listen(echo.encryptedPrivate('desk')),
      ]);
      const names = ['desk', 'private-desk', 'presence-desk', 'private-encrypted-desk'];
      for (const name of names) {
        await trigger(name, 'posted', name);
      }
      assert.deepEqual(await heard.take(4), names);

      echo.leave('desk');
      await listen(echo.channel('floor')); // the server has seen the unsubscribes now
      for (const name of names) {
        const { occupied } = await (await laravel.backend.get({ path: `/channels/${name}` })).json();
        assert.equal(occupied, false, name);
        await trigger(name, 'posted', name);
      }
      await trigger('floor', 'posted', 'floor');
      assert.equal(await heard.next(), 'floor');
    });
  });
}

test('docs: every example is run here, but the import of the encrypting build', () => {
  const run = [
    "broadcaster: 'pusher',\n    key",
    "broadcaster: 'reverb',\n    key",
    "'OrderShipped'",
    '.here(',
    "whisper('typing'",
    'listenForWhisper',
    'X-Socket-ID',
    'SalaryRaised',
    'connector.signin()',
    'belfry-recover',
  ];
  const left = blocks.filter((block) => !run.some((containing) => block === example(blocks, containing)));
  assert.deepEqual(left, ["import Pusher from 'pusher-js/with-encryption';\n"]);
});
