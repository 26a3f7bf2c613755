// Clients that come back are sent what they missed, by clients/recover: over each transport,
// on a single server, and from node to node of a cluster.

import assert from 'node:assert/strict';
import http from 'node:http';
import { describe, test } from 'node:test';

import Pusher7 from 'pusher-js-7';
import Pusher80 from 'pusher-js-8.0';
import WebSocket from 'ws';

import { recover } from '../clients/recover/index.js';
import { app, configuration, directory, startBelfry } from './lib/belfry.mjs';
import { authorizer, newBackend, newClient, state, subscribe } from './lib/clients.mjs';
import { run } from './lib/process.mjs';
import { freePort } from './lib/ports.mjs';
import { startRedis } from './lib/redis.mjs';
import { replaceable } from './lib/replaceable.mjs';
import { eventually, Inbox } from './lib/wait.mjs';
import { startWire } from './lib/wire.mjs';

const config = (port = 0, more = '') => `${configuration({ port })}
    history:
      - {channels: "private-short*", events: 3, age: 1h}
      - {channels: "rewound", age: 1h, rewind: 1h}
      ${['news', 'private-chat.*', 'presence-*', 'cache-*', 'private-cache-*', 'private-encrypted-*']
        .map((channels) => `- {channels: "${channels}", events: 1000, age: 1h}`)
        .join('\n      ')}
${more}`;

const withRedis = ({ url }) => `cluster: {driver: redis, redis: {url: "${url}"}}\n`;

async function startServer(t, text = config()) {
  const belfry = await startBelfry({ config: text });
  t.after(() => belfry.stop());
  await eventually('the server is ready', async () => (await fetch(`${belfry.url}/ready`)).status === 200);
  return belfry;
}

/** Two servers to come back to: one and the same, or two nodes of a cluster. */
const setups = {
  'a single server': async (t) => {
    const belfry = await startServer(t);
    return [belfry, belfry];
  },
  'two nodes': async (t) => {
    const redis = await startRedis(await freePort());
    t.after(() => redis.stop());
    return Promise.all([0, 1].map(() => startServer(t, config(0, withRedis(redis)))));
  },
};

const transports = ['ws', 'xhr_streaming', 'xhr_polling'];

/** A client that recovers, connected to a server or a wire to one. */
async function open(t, to, backend, { transport = 'ws', id = 'ann', ...options } = {}) {
  const client = newClient(t, to, {
    enabledTransports: [transport],
    httpHost: to.host,
    httpPort: to.port,
    channelAuthorization: authorizer(backend, { user_id: id }),
    ...options,
  });
  recover(client);
  await state(client, 'connected');
  return client;
}

/** Cuts the wire to a client. */
const cut = (wire, client) => wire.cut(() => !client.connection.connection);

/** What happens on a channel from now on: the numbers in events, and the names of others. */
function follow(channel) {
  const told = new Inbox(`what is told on ${channel.name}`);
  channel.bind_global((event, data) => {
    if (!/^pusher:(member_|cache_miss)/.test(event)) {
      told.add(data?.n ?? event);
    }
  });
  return told;
}

/** Subscribes to channels, and follows them when they are subscribed. */
const followAll = (client, names) =>
  Promise.all(names.map(async (name) => follow((await subscribe(client, name)).channel)));

/** Publishes on all these channels, in turn by all backends: numbers that go up from 0. */
function publisher(backends, names) {
  let n = 0;
  let last = Promise.resolve();
  const encrypted = names.filter((name) => name.startsWith('private-encrypted-'));
  const others = names.filter((name) => !encrypted.includes(name));
  const one = async (options) => {
    const backend = backends[n % backends.length];
    await backend.trigger(others, 'posted', { n }, options);
    for (const name of encrypted) {
      await backend.trigger(name, 'posted', { n }, options);
    }
    n++;
  };
  /** Resolves when so many more are published, and all that were asked for before. */
  return (count, options) => {
    last = last.then(async () => {
      for (let i = 0; i < count; i++) {
        await one(options);
      }
    });
    return last;
  };
}

const numbers = (from, to) => Array.from({ length: to - from }, (_, i) => from + i);
const confirmed = 'pusher:subscription_succeeded';
const missed = 'belfry:missed';

/**
 * Asserts what is told next. Confirmations count if there are some among it: over HTTP there
 * are two when a subscription overtakes the question.
 */
async function gets(told, expected) {
  const got = [];
  while (got.length < expected.length) {
    const event = await told.next();
    if (event !== confirmed || expected.includes(confirmed)) {
      got.push(event);
    }
  }
  assert.deepEqual(got, expected);
}

/** A node on a Redis that may be started again, and a client by a wire: it follows a channel. */
async function onRedis(t, more = []) {
  const port = await freePort();
  let redis = await startRedis(port, more);
  t.after(() => redis.stop());
  const belfry = await startServer(t, config(0, withRedis(redis)));
  const wire = await startWire(t, belfry);
  const client = await open(t, wire, newBackend(belfry));
  const [told] = await followAll(client, ['private-chat.1']);
  const publish = publisher([newBackend(belfry)], ['private-chat.1']);
  await publish(2);
  await gets(told, [0, 1]);
  return {
    client,
    wire,
    belfry,
    told,
    publish,
    port,
    restart: async () => {
      redis.signal('SIGTERM');
      await redis.exited;
      redis = await startRedis(port, more);
      await eventually('the server is ready', async () => (await fetch(`${belfry.url}/ready`)).status === 200);
    },
  };
}

/** An HTTP proxy that holds back questions, as a slow way may, until release(). */
async function startSlowWay(t, server) {
  const held = new Inbox('questions');
  let release;
  let released = Promise.resolve();
  const proxy = http.createServer(async (request, response) => {
    const { method, url: path, headers } = request;
    const body = Buffer.concat(await request.toArray());
    if (body.includes('pusher:recover')) {
      held.add(body);
      await released;
    }
    const forwarded = http.request({ host: server.host, port: server.port, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.on('error', () => response.destroy()).pipe(response);
    });
    forwarded.on('error', () => response.destroy()).end(body);
    response.on('close', () => forwarded.destroy());
  });
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  t.after(() => new Promise((resolve) => (proxy.close(resolve), proxy.closeAllConnections())));
  return {
    host: '127.0.0.1',
    port: proxy.address().port,
    held,
    hold: () => (released = new Promise((resolve) => (release = resolve))),
    release: () => release(),
  };
}

/** A connection without pusher-js: {id, send, next, ping}. */
async function connectRaw(t, belfry) {
  const socket = new WebSocket(`ws://${belfry.host}:${belfry.port}/app/${app.key}?protocol=7&client=js&version=8.6.0`);
  t.after(() => socket.terminate());
  const messages = new Inbox('messages');
  socket.on('message', (text) => {
    const { data, ...message } = JSON.parse(text);
    messages.add({ ...message, data: typeof data === 'string' ? JSON.parse(data) : data });
  });
  const { data } = await messages.next();
  const send = (event, sent) => socket.send(JSON.stringify({ event, data: sent }));
  return {
    id: data.socket_id,
    send,
    recover: (channels, ids = []) => send('pusher:recover', { channels, socket_ids: ids }),
    next: () => messages.next(),
    /** All that comes up to the answer to a ping. */
    rest: async () => {
      send('pusher:ping', {});
      return (await messages.until(({ event }) => event === 'pusher:pong')).slice(0, -1);
    },
  };
}

for (const [setup, start] of Object.entries(setups)) {
  describe(`on ${setup}`, { concurrency: 2 }, () => {
    for (const transport of transports) {
      test(`${transport}: cuts amid messages, on every kind of channel`, async (t) => {
        const [here, there] = await start(t);
        const backends = [newBackend(here), newBackend(there)];
        const names = ['news', 'private-chat.1', 'presence-room', 'cache-a', 'private-cache-b', 'private-encrypted-c'];
        const wire = await startWire(t, here);
        // pusher-js gives a stream up that broke twice, and goes on to polling.
        const enabledTransports = transport === 'xhr_streaming' ? [transport, 'xhr_polling'] : [transport];
        const client = await open(t, wire, backends[0], { enabledTransports });
        const publish = publisher(backends, names);
        let published = 0;
        const channels = (await followAll(client, names)).map((told) => ({ told, got: [], missed: 0 }));
        /** Resolves when each of so many events has come on each channel, or is said to be missed. */
        const all = (count) =>
          eventually(`${count} events`, () =>
            channels.every((channel) => {
              for (const event of channel.told.drain()) {
                if (event === missed) {
                  channel.missed = published;
                } else if (event !== confirmed) {
                  channel.got.push(event);
                }
              }
              return numbers(channel.missed, count).every((n) => channel.got.includes(n));
            }),
          );
        const send = (count) => publish(count).then(() => (published += count));

        for (const node of [there, here, there]) {
          const before = send(20); // amid which the wire is cut
          await all(published + 5);
          const noticed = cut(wire, client);
          await before;
          await noticed;
          await send(20);
          wire.mend(node);
          // Some of what was missed has come: the wire is cut again.
          await all(published - 18);
          const amid = send(20);
          const again = cut(wire, client);
          await amid;
          await again;
          wire.mend(here);
          await send(20); // while the client comes back
          await all(published);
        }
        for (const [i, { got, missed: until }] of channels.entries()) {
          if (transport === 'ws') {
            assert.deepEqual([got, until], [numbers(0, published), 0], names[i]);
          } else {
            // What was missed may come behind what is new, and a cut ahead of it is said.
            assert.deepEqual([...new Set(got)].sort((a, b) => a - b), [...got].sort((a, b) => a - b), names[i]);
            if (until === 0) {
              assert.equal(got.length, published, names[i]);
            }
          }
        }
      });

      test(`${transport}: 1,000 missed events, and none`, async (t) => {
        const [here, there] = await start(t);
        const backend = newBackend(there);
        const wire = await startWire(t, here);
        const client = await open(t, wire, backend, { transport });
        const [told, quiet, short] = await followAll(client, ['private-chat.1', 'private-chat.2', 'private-short']);
        await backend.trigger('private-chat.1', 'posted', { n: 0 });
        await gets(told, [0]);
        await cut(wire, client);
        const text = 'Grüße 🎉 '.repeat(10);
        for (let n = 1; n <= 1000; n += 10) {
          const event = { channel: 'private-chat.1', name: 'posted' };
          await backend.triggerBatch(numbers(n, n + 10).map((each) => ({ ...event, data: { n: each, text } })));
        }
        await publisher([backend], ['private-short'])(4);
        wire.mend(there);
        const first = transport === 'ws' ? [confirmed] : [];
        await gets(told, [...first, ...numbers(1, 1001)]);
        await gets(quiet, first);
        await gets(short, [...first, missed]);
        for (const [name, inbox] of [['private-chat.1', told], ['private-chat.2', quiet], ['private-short', short]]) {
          await backend.trigger(name, 'posted', { n: 'live' });
          await gets(inbox, ['live']);
        }
      });
    }

    test('a history is long enough to the last event', async (t) => {
      const [here, there] = await start(t);
      const backend = newBackend(here);
      const client = await open(t, here, backend);
      const [told, other] = await followAll(client, ['private-short.1', 'private-short.2']);
      const publish = publisher([backend], ['private-short.1']);
      client.disconnect();
      await publish(3);
      await publisher([newBackend(there)], ['private-short.2'])(4);
      client.connect();
      await gets(told, [confirmed, 0, 1, 2]);
      await gets(other, [confirmed, missed]);
      // After a miss, it goes on.
      client.disconnect();
      await backend.trigger('private-short.2', 'posted', { n: 5 });
      client.connect();
      await gets(other, [confirmed, 5]);
      await publish(1);
      await gets(told, [confirmed, 3]);
    });

    test('the page leaves a channel, and joins another, while the connection is broken', async (t) => {
      const [here, there] = await start(t);
      const backend = newBackend(here);
      const wire = await startWire(t, here);
      const client = await open(t, wire, backend);
      const names = ['private-chat.1', 'private-chat.2', 'private-chat.3', 'private-none-of-these'];
      const publish = publisher([backend], names);
      const [left, again, stays, without] = await followAll(client, names);
      await publish(1);
      for (const inbox of [left, again, stays, without]) {
        await gets(inbox, [0]);
      }
      await cut(wire, client);
      await publish(1);
      client.unsubscribe(names[0]);
      client.unsubscribe(names[1]);
      const anew = follow(client.subscribe(names[1]));
      const joined = follow(client.subscribe('private-chat.4'));
      await publish(1);
      wire.mend(there);
      await gets(stays, [confirmed, 1, 2]);
      await gets(anew, [confirmed]);
      await gets(joined, [confirmed]);
      await gets(without, [confirmed]);
      await publish(1);
      await gets(stays, [3]);
      await gets(anew, [3]);
      await gets(without, [3]);
      assert.deepEqual([left, again, joined].flatMap((told) => told.drain()), []);
    });

    test('of two tabs, one is cut; it gets nothing that it has sent or is excepted from', async (t) => {
      const [here, there] = await start(t);
      const backend = newBackend(here);
      const wire = await startWire(t, here);
      const name = 'presence-room';
      const one = await open(t, wire, backend);
      const other = await open(t, there, backend, { id: 'bob' });
      const third = await open(t, there, backend, { id: 'cy' });
      const [[told], [others], [all]] = await Promise.all([one, other, third].map((client) => followAll(client, [name])));
      const ids = [];
      let n = 0;
      /** Sends the next event, and resolves when it is published. */
      async function send(how) {
        await how(n);
        assert.equal(await all.next(), n);
        return n++;
      }
      for (const node of [there, here, there]) {
        ids.push(one.connection.socket_id);
        const toOthers = [await send((n) => one.channel(name).trigger('client-said', { n }))];
        await cut(wire, one);
        for (const id of ids) {
          toOthers.push(await send((n) => backend.trigger(name, 'posted', { n }, { socket_id: id })));
        }
        const said = await send((n) => other.channel(name).trigger('client-said', { n }));
        const posted = await send((n) => backend.trigger(name, 'posted', { n }));
        wire.mend(node);
        await gets(told, [confirmed, said, posted]);
        await gets(others, [...toOthers, posted]);
      }
      assert.equal(new Set(ids).size, 3);
    });
  });
}

describe('a server, and Redis', { concurrency: 2 }, () => {
  test('a single server that is started again has lost what it kept', async (t) => {
    const first = await startServer(t);
    const wire = await startWire(t, first);
    const client = await open(t, wire, newBackend(first));
    const names = ['private-chat.1', 'presence-room'];
    const told = await followAll(client, names);
    await publisher([newBackend(first)], names)(2);
    for (const inbox of told) {
      await gets(inbox, [0, 1]);
    }
    await cut(wire, client);
    assert.equal(await first.stop(), 0);
    const second = await startServer(t);
    const publish = publisher([newBackend(second)], names);
    await publish(1);
    wire.mend(second);
    for (const inbox of told) {
      await gets(inbox, [confirmed, missed]);
    }
    await publish(1);
    for (const inbox of told) {
      await gets(inbox, [1]);
    }
  });

  test('a node that is started again has lost nothing', async (t) => {
    const redis = await startRedis(await freePort());
    t.after(() => redis.stop());
    const text = config(0, withRedis(redis));
    const first = await startServer(t, text);
    const wire = await startWire(t, first);
    const client = await open(t, wire, newBackend(first));
    const [told] = await followAll(client, ['private-chat.1']);
    await publisher([newBackend(first)], ['private-chat.1'])(2);
    await gets(told, [0, 1]);
    await cut(wire, client);
    await newBackend(first).trigger('private-chat.1', 'posted', { n: 2 });
    assert.equal(await first.stop(), 0);
    const second = await startServer(t, text);
    await newBackend(second).trigger('private-chat.1', 'posted', { n: 3 });
    wire.mend(second);
    await gets(told, [confirmed, 2, 3]);
    await newBackend(second).trigger('private-chat.1', 'posted', { n: 4 });
    await gets(told, [4]);
  });

  test('a Redis that is started again with its data has lost nothing', async (t) => {
    const dir = await directory(t);
    const { client, wire, belfry, told, publish, restart } = await onRedis(t, ['--appendonly', 'yes', '--dir', dir]);
    await cut(wire, client);
    await publish(2);
    await restart();
    await publish(2);
    wire.mend(belfry);
    await gets(told, [confirmed, 2, 3, 4, 5]);
  });

  test('a Redis that is emptied has lost what it kept', async (t) => {
    const { client, wire, belfry, told, publish, port } = await onRedis(t);
    const [watching] = await followAll(await open(t, belfry, newBackend(belfry)), ['private-chat.1']);
    await cut(wire, client);
    await run('redis-cli', ['-p', String(port), 'flushall']);
    await gets(watching, [confirmed, missed]); // without having asked
    await publish(2);
    wire.mend(belfry);
    await gets(told, [confirmed, missed]);
    await publish(1);
    await gets(told, [4]);
    await gets(watching, [2, 3, 4]);
  });

  test('a client that is connected is told when Redis has lost what it kept', async (t) => {
    const { told, publish, restart } = await onRedis(t);
    await restart();
    await publish(1);
    assert.deepEqual((await told.until((event) => event === 2)).sort(), [2, missed, confirmed].sort());
  });

  test('a node that Redis was out of reach of delivers what was published, or says what it cannot', async (t) => {
    const redis = await startRedis(await freePort());
    t.after(() => redis.stop());
    const way = await startWire(t, { host: '127.0.0.1', port: redis.port });
    const cutOff = await startServer(t, config(0, withRedis({ url: `redis://127.0.0.1:${way.port}/0` })));
    const other = await startServer(t, config(0, withRedis(redis)));
    const names = ['private-chat.1', 'presence-room', 'private-short'];
    const client = await open(t, cutOff, newBackend(other));
    const told = await followAll(client, names);
    const publish = publisher([newBackend(other)], names);
    await publish(1);
    for (const inbox of told) {
      await gets(inbox, [0]);
    }
    await way.cut(async () => (await fetch(`${cutOff.url}/ready`)).status === 503);
    await publish(5);
    way.mend({ host: '127.0.0.1', port: redis.port });
    const [chat, room, short] = told;
    assert.deepEqual((await short.until((event) => event === missed)).at(-2), confirmed);
    await publish(1);
    await gets(chat, [1, 2, 3, 4, 5, 6]);
    await gets(room, [1, 2, 3, 4, 5, 6]);
    await gets(short, [3, 4, 5, 6]);
    // And it knows its place.
    client.disconnect();
    await publish(1);
    client.connect();
    for (const inbox of told) {
      await gets(inbox, [7]);
    }
  });

  for (const [version, Pusher] of Object.entries({ 7: Pusher7, '8.0': Pusher80 })) {
    test(`pusher-js ${version}`, async (t) => {
      const belfry = await startServer(t);
      const wire = await startWire(t, belfry);
      const options = { cluster: '', wsHost: wire.host, wsPort: wire.port, forceTLS: false, enabledTransports: ['ws'] };
      const client = new Pusher(app.key, options);
      t.after(() => client.disconnect());
      recover(client);
      const [told] = await followAll(client, ['news']);
      const publish = publisher([newBackend(belfry)], ['news']);
      await publish(2);
      await gets(told, [0, 1]);
      await cut(wire, client);
      await publish(2);
      wire.mend(belfry);
      await gets(told, [confirmed, 2, 3]);
      await publish(1);
      await gets(told, [4]);
    });
  }

  for (const [setup, more] of Object.entries({ 'a single server': () => '', 'a node': withRedis })) {
    test(`${setup} that is handed over between cut and return has lost nothing`, async (t) => {
      const redis = await startRedis(await freePort());
      t.after(() => redis.stop());
      const belfry = await replaceable(t, config(0, more(redis)));
      await eventually('the server is ready', async () => (await fetch(`${belfry.url}/ready`)).status === 200);
      const wire = await startWire(t, belfry);
      const backend = newBackend(belfry);
      const client = await open(t, wire, backend);
      const stays = await open(t, belfry, backend, { id: 'bob' });
      const names = ['private-chat.1', 'presence-room', 'private-short'];
      const told = await followAll(client, names);
      const others = await followAll(stays, names);
      const publish = publisher([backend], names);
      await publish(2);
      for (const inbox of told) {
        await gets(inbox, [0, 1]);
      }
      await cut(wire, client);
      await publish(2);
      const { code, text } = await belfry.upgrade();
      assert.equal(code, 0, text);
      await publish(2);
      wire.mend(belfry);
      await gets(told[0], [confirmed, 2, 3, 4, 5]);
      await gets(told[1], [confirmed, 2, 3, 4, 5]);
      await gets(told[2], [confirmed, missed]);
      await publish(1);
      for (const inbox of told) {
        await gets(inbox, [6]);
      }
      for (const inbox of others) {
        await gets(inbox, numbers(0, 7));
      }
    });
  }
});

describe('over HTTP, without an order', { concurrency: 2 }, () => {
  for (const [setup, start] of Object.entries(setups)) {
    for (const transport of transports.slice(1)) {
      test(`${transport} on ${setup}: a subscription overtakes the question`, async (t) => {
        const [here, there] = await start(t);
        const backend = newBackend(here);
        const way = await startSlowWay(t, here);
        const client = await open(t, way, backend, { transport });
        const names = ['private-chat.1', 'presence-room', 'private-short'];
        const [told, room, short] = await followAll(client, names);
        const publish = publisher([newBackend(there)], names);
        const comeBack = async () => {
          client.disconnect();
          await publish(4);
          way.hold();
          client.connect();
        };

        await comeBack();
        for (const inbox of [told, room, short]) {
          await gets(inbox, [confirmed]);
        }
        await publish(1);
        for (const inbox of [told, room, short]) {
          await gets(inbox, [4]);
        }
        way.release();
        await gets(told, [0, 1, 2, 3, confirmed]);
        await gets(room, [0, 1, 2, 3, confirmed]);
        assert.deepEqual(client.channel('presence-room').members.count, 1);
        await gets(short, [confirmed, missed]);
        await publish(1);
        for (const inbox of [told, room, short]) {
          await gets(inbox, [5]);
        }

        // The connection breaks ahead of the answer: nobody knows what of it would have come.
        await comeBack();
        await gets(told, [confirmed]);
        await publish(1);
        await gets(told, [10]);
        client.disconnect();
        way.release();
        client.connect();
        await gets(told, [missed]);
        await publish(1);
        await gets(told, [11]);

        // And from then on it knows its place again.
        client.disconnect();
        await publish(1);
        client.connect();
        await gets(told, [12]);
      });
    }
  }

  for (const [what, name] of [['the last event of a cache channel', 'cache-board'], ['rewound events', 'rewound']]) {
    test(`xhr_streaming: ${what} once, though the subscription overtakes the question`, async (t) => {
      const belfry = await startServer(t);
      const backend = newBackend(belfry);
      const way = await startSlowWay(t, belfry);
      const client = await open(t, way, backend, { transport: 'xhr_streaming' });
      const [told] = await followAll(client, [name]);
      client.disconnect();
      await publisher([backend], [name])(3);
      way.hold();
      client.connect();
      await way.held.next();
      await gets(told, [confirmed]);
      way.release();
      const got = await told.until((event) => event === confirmed);
      assert.deepEqual(got.filter((event) => event !== confirmed).sort(), [0, 1, 2]);
    });
  }
});

for (const [setup, start] of Object.entries(setups)) {
  describe(`a stranger on ${setup}`, () => {
    test('learns nothing of channels that it may not subscribe to', async (t) => {
      const [here, there] = await start(t);
      const backend = newBackend(there);
      const names = ['private-chat.1', 'presence-room', 'private-cache-board', 'private-encrypted-x'];
      const client = await open(t, there, backend);
      const serials = {};
      const publish = publisher([backend], names);
      await followAll(client, names);
      await publish(1);
      for (const name of names) {
        serials[name] = (await (await backend.get({ path: `/channels/${name}/history` })).json()).events[0].serial;
      }
      await publish(3);

      const stranger = await connectRaw(t, here);
      stranger.recover(serials);
      assert.deepEqual(await stranger.rest(), []);
      for (const channel of names) {
        const auth = `${app.key}:${'0'.repeat(64)}`;
        stranger.send('pusher:subscribe', { channel, auth, channel_data: '{"user_id":"1"}' });
        assert.deepEqual(
          (await stranger.rest()).map(({ event, data }) => [event, data.code ?? data.status]),
          [
            ['pusher:subscription_error', 401],
            ['pusher:error', 4009],
          ],
        );
      }
    });

    test('has to ask for 500 channels at most', async (t) => {
      const [here] = await start(t);
      const some = (from, to) => Object.fromEntries(numbers(from, to).map((n) => [`news-${n}`, 'e-1']));
      const stranger = await connectRaw(t, here);
      stranger.recover(some(0, 501));
      const [{ event, data }, ...others] = await stranger.rest();
      assert.deepEqual([event, data.code, others], ['pusher:error', 4100, []]);
      const patient = await connectRaw(t, here);
      for (const from of [0, 100, 200, 300, 400]) {
        patient.recover(some(from, from + 100));
      }
      assert.deepEqual(await patient.rest(), []);
      patient.recover(some(500, 501));
      assert.deepEqual((await patient.rest()).map(({ event, data }) => [event, data.code]), [['pusher:error', 4100]]);
    });

    test('is told of junk, and stays connected', async (t) => {
      const [here] = await start(t);
      const stranger = await connectRaw(t, here);
      const junk = [
        undefined,
        null,
        'news',
        7,
        [],
        { channels: [] },
        { channels: 'news' },
        { channels: { news: 5 } },
        { channels: { news: 'e-1' }, socket_ids: '1.1' },
        { channels: { news: 'e-1' }, socket_ids: [5] },
        { channels: { 'no name!': 'e-1' } },
      ];
      for (const data of junk) {
        stranger.send('pusher:recover', data);
        const answers = await stranger.rest();
        assert.deepEqual(
          answers.map(({ event, data }) => [event, data.code]),
          [['pusher:error', null]],
          JSON.stringify(data),
        );
      }
    });

    test('with serials that are none has missed something', async (t) => {
      const [here] = await start(t);
      const backend = newBackend(here);
      await publisher([backend], ['news'])(2);
      const { events } = await (await backend.get({ path: '/channels/news/history' })).json();
      const [{ serial }] = events;
      const bad = ['', 'x', '-', 'e-', '-1', 'e--1', 'e-1e9', 'other-5', 'x'.repeat(1000)];
      bad.push(`${serial}x`, `${serial}${'0'.repeat(15)}`, ` ${serial}`);
      for (const given of bad) {
        const stranger = await connectRaw(t, here);
        stranger.recover({ news: given });
        stranger.send('pusher:subscribe', { channel: 'news' });
        const answers = await stranger.rest();
        assert.deepEqual(
          answers.map(({ event, data }) => [event, data.recovered]),
          [['pusher_internal:subscription_succeeded', false]],
          given,
        );
        assert.match(answers[0].serial, /^.+-\d+$/);
      }
      // A right one, for comparison.
      const client = await connectRaw(t, here);
      client.recover({ news: serial });
      client.send('pusher:subscribe', { channel: 'news' });
      const answers = await client.rest();
      assert.deepEqual(
        answers.map(({ event, data }) => [event, data.recovered ?? data.n]),
        [
          ['pusher_internal:subscription_succeeded', true],
          ['posted', 1],
        ],
      );
      assert.equal(answers[1].serial, events[1].serial);
      // And without a question there is no answer.
      const plain = await connectRaw(t, here);
      plain.send('pusher:subscribe', { channel: 'news' });
      const [{ data, serial: position }] = await plain.rest();
      assert.deepEqual([data, position], [{}, events[1].serial]);
    });
  });
}
