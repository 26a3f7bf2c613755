// Three Belfrys on one Redis are one server: the official clients, spread over
// them, notice no difference; and what happens when parts of it fail.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { configuration, directory, serve, startBelfry } from './lib/belfry.mjs';
import { authorizer, connect, errorsOf, eventsOf, newBackend, newClient, settled, state, subscribe } from './lib/clients.mjs';
import { freePort } from './lib/ports.mjs';
import { run } from './lib/process.mjs';
import { startRedis } from './lib/redis.mjs';
import { eventually, Inbox } from './lib/wait.mjs';

let redis;
let hook; // what the application is told by webhooks, of all nodes
let nodes = [];
let backends;

const clustered = (settings = '') => `${configuration({ settings })}
cluster:
  driver: redis
  redis:
    url: ${redis.url}
    prefix: e2e
`;

/** Starts a node and waits until it has joined the others. */
async function startNode(t) {
  const node = await startBelfry({ config: clustered(`webhooks:\n      - url: ${hook.url}`) });
  t?.after(() => node.stop());
  await ready(node);
  return node;
}

const ready = (node) => eventually('the node is ready', async () => (await fetch(`${node.url}/ready`)).status === 200);

async function receiveWebhooks() {
  const channels = new Map();
  const of = (channel) => {
    if (!channels.has(channel)) {
      channels.set(channel, new Inbox(`webhook events of ${channel}`));
    }
    return channels.get(channel);
  };
  const server = http.createServer(async (request, response) => {
    for (const { channel, name, user_id: user } of JSON.parse(Buffer.concat(await request.toArray())).events) {
      of(channel).add(user ? `${name} ${user}` : name);
    }
    response.end();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  server.unref();
  return { of, url: `http://127.0.0.1:${server.address().port}/` };
}

before(async () => {
  redis = await startRedis(await freePort());
  hook = await receiveWebhooks();
  nodes = await Promise.all([startNode(), startNode(), startNode()]);
  backends = nodes.map((node) => newBackend(node));
});

after(async () => {
  await Promise.all(nodes.map((node) => node.stop()));
  await redis?.stop();
});

const connectAs = (t, node, member) =>
  connect(t, nodes[node], { channelAuthorization: authorizer(backends[node], member) });

const ann = { user_id: 'ann', user_info: { name: 'Ann' } };
const bob = { user_id: 'bob', user_info: { name: 'Bob' } };

const get = async (node, path, params) => (await backends[node].get({ path, params })).json();

/** The next webhook events of a channel: nodes send theirs independently, so sorted. */
const told = async (channel, n) => (await hook.of(channel).take(n)).sort();

test('an event published on any node reaches the subscribers of all, in order', async (t) => {
  const clients = await Promise.all([0, 1, 2].map((node) => connect(t, nodes[node])));
  const subscribed = await Promise.all(clients.map((client) => subscribe(client, 'news')));
  for (let i = 0; i < 300; i++) {
    await backends[1].trigger('news', 'posted', i);
  }
  for (const { events } of subscribed) {
    const got = await events.take(300);
    assert.deepEqual(
      got.map(([, data]) => data),
      Array.from({ length: 300 }, (_, i) => i),
    );
  }
  // Except the one that is excepted, wherever it is.
  await backends[2].trigger('news', 'posted', 'others', { socket_id: clients[0].connection.socket_id });
  await backends[2].trigger('news', 'posted', 'all');
  assert.deepEqual(await subscribed[0].events.next(), ['posted', 'all']);
  assert.deepEqual(await subscribed[1].events.take(2), [
    ['posted', 'others'],
    ['posted', 'all'],
  ]);
});

test('presence is that of all nodes, and webhooks are sent once', async (t) => {
  const room = 'presence-everywhere';
  const one = await subscribe(await connectAs(t, 0, ann), room);
  const bobs = await connectAs(t, 1, bob);
  const two = await subscribe(bobs, room);
  assert.deepEqual(two.channel.members.members, { ann: { name: 'Ann' }, bob: { name: 'Bob' } });
  assert.deepEqual(await one.events.next(), ['pusher:member_added', { id: 'bob', info: { name: 'Bob' } }]);

  // A second tab on a third node is no news.
  const tab = await connectAs(t, 2, bob);
  await subscribe(tab, room);
  for (const node of [0, 1, 2]) {
    await eventually('the counts of all nodes', async () => {
      const { user_count: users } = await get(node, `/channels/${room}`, { info: 'user_count' });
      return users === 2;
    });
    assert.deepEqual(await get(node, `/channels/${room}/users`), { users: [{ id: 'ann' }, { id: 'bob' }] });
  }
  bobs.disconnect();
  one.channel.trigger('client-wave', {});
  tab.disconnect();
  assert.deepEqual(await one.events.next(), ['pusher:member_removed', { id: 'bob', info: { name: 'Bob' } }]);
  assert.deepEqual(await told(room, 5), [
    'channel_occupied',
    'client_event ann',
    'member_added ann',
    'member_added bob',
    'member_removed bob',
  ]);
  assert.deepEqual(hook.of(room).drain(), []);
});

test('subscriptions of all nodes are counted, however many one has', async (t) => {
  const channel = 'counted';
  const counted = async (node) =>
    (await get(node, `/channels/${channel}`, { info: 'subscription_count' })).subscription_count;
  const clients = await Promise.all(Array.from({ length: 30 }, (_, i) => connect(t, nodes[i < 20 ? 0 : 1])));
  await Promise.all(clients.map((client) => subscribe(client, channel)));
  await eventually('all nodes count 30', async () => (await Promise.all([0, 1, 2].map(counted))).every((n) => n === 30));
  clients.slice(5, 25).forEach((client) => client.disconnect());
  await eventually('all nodes count 10', async () => (await Promise.all([0, 1, 2].map(counted))).every((n) => n === 10));
});

test('an application that one node loses and gets back', async (t) => {
  const room = 'presence-reloaded';
  const cwd = await directory(t, { 'config.yaml': clustered() });
  const node = await serve(['--config', 'config.yaml'], { cwd });
  t.after(() => node.stop());
  await ready(node);
  const reload = async (config, times) => {
    await writeFile(path.join(cwd, 'config.yaml'), config);
    node.signal('SIGHUP');
    await eventually('it is reloaded', () => node.output().match(/configuration reloaded/g)?.length >= times);
  };
  const { events } = await subscribe(await connectAs(t, 0, ann), room);
  const join = async () => {
    const client = await connect(t, node, { channelAuthorization: authorizer(backends[0], bob) });
    await subscribe(client, room);
    assert.equal((await events.next())[0], 'pusher:member_added');
    return client;
  };
  const client = await join();
  await reload(clustered().replace('app-key', 'other-key').replace('100001', '100002'), 1);
  await state(client, 'disconnected');
  assert.equal((await events.next())[0], 'pusher:member_removed');
  await reload(clustered(), 2);
  await join();
  assert.deepEqual(await get(1, `/channels/${room}/users`), { users: [{ id: 'ann' }, { id: 'bob' }] });
  await backends[2].trigger(room, 'posted', 'end');
  assert.deepEqual(await events.next(), ['posted', 'end']);
});

test('who moves to another node within the grace has never left', async (t) => {
  const room = 'presence-mover';
  const stays = await subscribe(await connectAs(t, 0, ann), room);
  const before = await connectAs(t, 1, bob);
  await subscribe(before, room);
  before.disconnect();
  assert.deepEqual((await stays.events.take(2))[1], ['pusher:member_removed', { id: 'bob', info: { name: 'Bob' } }]);
  const moved = await connectAs(t, 2, bob);
  await subscribe(moved, room);
  stays.channel.trigger('client-end', {});
  assert.deepEqual(await told(room, 4), ['channel_occupied', 'client_event ann', 'member_added ann', 'member_added bob']);
  // More than a grace later, nothing but what happens then.
  moved.disconnect();
  assert.deepEqual(await told(room, 1), ['member_removed bob']);
  assert.deepEqual(hook.of(room).drain(), []);
});

test('a node that stops hands its clients over without a word to the application', async (t) => {
  const room = 'presence-handover';
  const stays = await subscribe(await connectAs(t, 0, ann), room);
  const stopping = await startNode(t);
  const client = await connect(t, stopping, { channelAuthorization: authorizer(backends[0], bob) });
  await subscribe(client, room);
  assert.deepEqual(await told(room, 3), ['channel_occupied', 'member_added ann', 'member_added bob']);
  const stopped = stopping.stop();
  assert.equal((await stays.events.take(2))[1][0], 'pusher:member_removed');
  client.disconnect();
  await subscribe(await connectAs(t, 1, bob), room);
  assert.equal(await stopped, 0);
  stays.channel.trigger('client-end', {});
  assert.deepEqual(await told(room, 1), ['client_event ann']);
});

test('client events, cache channels, users and watchlists span nodes', async (t) => {
  const [anns, bobs] = [await connectAs(t, 0, ann), await connectAs(t, 1, bob)];
  const one = await subscribe(anns, 'private-room');
  const two = await subscribe(bobs, 'private-room');
  one.channel.trigger('client-typing', { by: 'ann' });
  assert.deepEqual(await two.events.next(), ['client-typing', { by: 'ann' }]);

  await backends[0].trigger('cache-news', 'posted', 'kept');
  const late = bobs.subscribe('cache-news');
  assert.deepEqual((await eventsOf(late).take(2))[1], ['posted', 'kept']);

  const signIn = async (node, user) => {
    const client = await connect(t, nodes[node], {
      userAuthentication: {
        customHandler: ({ socketId }, callback) => callback(null, backends[node].authenticateUser(socketId, user)),
      },
    });
    const events = new Inbox(`events of ${user.id}`);
    for (const name of ['online', 'offline']) {
      client.user.watchlist.bind(name, ({ user_ids: ids }) => events.add([name, ids]));
    }
    client.user.bind('greeting', (data) => events.add(['greeting', data]));
    client.signin();
    await client.user.signinDonePromise;
    return { client, events };
  };
  const watcher = await signIn(0, { id: 'watcher', watchlist: ['watched'] });
  assert.deepEqual(await watcher.events.next(), ['offline', ['watched']]);
  const watched = await signIn(2, { id: 'watched' });
  assert.deepEqual(await watcher.events.next(), ['online', ['watched']]);
  await backends[1].sendToUser('watched', 'greeting', 'hello');
  assert.deepEqual(await watched.events.next(), ['greeting', 'hello']);
  await backends[1].terminateUserConnections('watched');
  await state(watched.client, 'disconnected');
  assert.deepEqual(await watcher.events.next(), ['offline', ['watched']]);
});

test('a node that is killed takes nobody else with it', async (t) => {
  const room = 'presence-killed';
  const stays = await subscribe(await connectAs(t, 0, ann), room);
  const doomed = await startNode(t);
  const client = await connect(t, doomed, { channelAuthorization: authorizer(backends[0], bob) });
  await subscribe(client, room);
  assert.deepEqual((await stays.events.next())[0], 'pusher:member_added');
  assert.deepEqual(await told(room, 3), ['channel_occupied', 'member_added ann', 'member_added bob']);
  doomed.signal('SIGKILL');
  await doomed.exited;
  const [event, member] = await stays.events.next();
  assert.deepEqual([event, member.id], ['pusher:member_removed', 'bob']);
  assert.deepEqual(await told(room, 1), ['member_removed bob']);
  assert.deepEqual(await get(1, `/channels/${room}/users`), { users: [{ id: 'ann' }] });
});

test('a node that is killed within a grace leaves its webhooks to the others', async (t) => {
  const room = 'presence-orphaned';
  const doomed = await startNode(t);
  const client = await connect(t, doomed, { channelAuthorization: authorizer(backends[0], bob) });
  await subscribe(client, room);
  assert.deepEqual(await told(room, 2), ['channel_occupied', 'member_added bob']);
  client.disconnect();
  await eventually('the node knows', async () => (await get(0, `/channels/${room}`)).occupied === false);
  doomed.signal('SIGKILL');
  await doomed.exited;
  assert.deepEqual(await hook.of(room).take(2), ['member_removed bob', 'channel_vacated']);
});

test('a node that stops while its clients come and go', async (t) => {
  const room = 'presence-churned';
  const { events } = await subscribe(await connectAs(t, 0, ann), room);
  const stopping = await startNode(t);
  let stopped = false;
  const clients = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      connect(t, stopping, { channelAuthorization: authorizer(backends[0], { user_id: `churner-${i}` }) }),
    ),
  );
  const churn = async (client) => {
    while (client.connection.state === 'connected' && !stopped) {
      client.subscribe(room);
      client.unsubscribe(room);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const churning = clients.map(churn);
  await events.take(50);
  assert.equal(await stopping.stop(), 0);
  stopped = true;
  await Promise.all(churning);
  clients.forEach((client) => client.disconnect());
  await eventually('nobody else is left', async () => {
    const { users } = await get(1, `/channels/${room}/users`);
    return users.length === 1 && users[0].id === 'ann';
  });
  await backends[2].trigger(room, 'posted', 'end');
  const members = new Set();
  for (const [name, data] of await events.until(([event]) => event === 'posted')) {
    if (name === 'pusher:member_added') {
      members.add(data.id);
    } else if (name === 'pusher:member_removed') {
      members.delete(data.id);
    }
  }
  assert.equal(members.size, 0); // beside those whose coming was in the first 50
});

test('while Redis is away, clients stay, publishing is refused, and all comes back', async (t) => {
  const room = 'presence-outage';
  const anns = await connectAs(t, 0, ann);
  const one = await subscribe(anns, room);
  const bobs = await connectAs(t, 1, bob);
  const two = await subscribe(bobs, room);
  await one.events.next();
  const errors = errorsOf(anns);

  redis.signal('SIGKILL');
  await redis.exited;
  await eventually('the nodes notice', async () => {
    const answers = await Promise.all(nodes.map((node) => fetch(`${node.url}/ready`)));
    return answers.every(({ status }) => status === 503);
  });
  await assert.rejects(
    backends[0].trigger(room, 'posted', 'lost'),
    (error) => error.status === 503 && /cluster is not reachable/.test(error.body),
  );
  one.channel.trigger('client-lost', {});
  const refused = await errors.next();
  assert.equal(refused.data.code, 4301);
  assert.doesNotMatch(refused.data.message, /\d+\.\d+/); // where Redis is, is nobody's business
  assert.equal((await one.events.next())[0], 'pusher:error'); // the channel's handlers are told, too
  bobs.disconnect(); // what happens meanwhile is told afterwards
  const newcomer = newClient(t, nodes[2]);
  await state(newcomer, 'connected');

  redis = await startRedis(redis.port); // and it has forgotten everything
  await Promise.all(nodes.map(ready));
  // A page that binds to this fetches what it may have missed.
  assert.equal((await one.events.next())[0], 'pusher:subscription_succeeded');
  await backends[2].trigger(room, 'posted', 'back');
  const since = await one.events.until(([name]) => name === 'pusher:member_removed');
  assert.deepEqual(since.at(-1)[1], { id: 'bob', info: { name: 'Bob' } });
  assert.deepEqual(
    since.filter(([name]) => name === 'posted'),
    [['posted', 'back']],
  );
  assert.deepEqual(two.events.drain(), []);
  assert.equal(anns.connection.state, 'connected');
  await subscribe(newcomer, 'news');
  await eventually('the cluster knows who is there', async () => {
    const { users } = await get(2, `/channels/${room}/users`);
    return users.length === 1 && users[0].id === 'ann';
  });
});

test('a Redis that loses its data makes nobody leave and no webhook come again', async (t) => {
  const room = 'presence-flushed';
  const one = await subscribe(await connectAs(t, 0, ann), room);
  const two = await subscribe(await connectAs(t, 1, bob), room);
  await one.events.next();
  assert.deepEqual(await told(room, 3), ['channel_occupied', 'member_added ann', 'member_added bob']);
  await run('redis-cli', ['-p', redis.port, 'flushall'].map(String));
  // Each node is told by its own clients' handlers.
  for (const { events } of [one, two]) {
    assert.equal((await events.next())[0], 'pusher:subscription_succeeded');
  }
  await eventually('the cluster knows who is there again', async () => {
    // A node that has just found out about the loss says for a moment that Redis is away.
    const { users } = await get(2, `/channels/${room}/users`).catch(() => ({ users: [] }));
    return users.length === 2;
  });
  const three = await subscribe(await connectAs(t, 2, { user_id: 'cem', user_info: {} }), room);
  assert.equal(three.channel.members.count, 3);
  // What is told of cem is all that is told, on the channel and by webhooks.
  for (const { events } of [one, two]) {
    assert.deepEqual(await events.next(), ['pusher:member_added', { id: 'cem', info: {} }]);
  }
  assert.deepEqual(await told(room, 1), ['member_added cem']);
  for (const { events } of [one, two]) {
    assert.deepEqual(events.drain(), []);
  }
});

test('a Redis that stands still for ten seconds takes nobody for dead', async (t) => {
  const client = await connectAs(t, 0, ann);
  const { events } = await subscribe(client, 'stalled');
  const room = await subscribe(client, 'presence-stalled');
  await subscribe(await connectAs(t, 1, bob), 'presence-stalled');
  assert.equal((await room.events.next())[0], 'pusher:member_added');
  const stopped = Date.now();
  redis.signal('SIGSTOP');
  for (const backend of backends) {
    await assert.rejects(backend.trigger('stalled', 'posted', 'refused'), (error) => error.status === 503);
  }
  // It is the leases that have to run out: nobody may be taken for dead then.
  await eventually('the leases have run out', () => Date.now() - stopped > 10_000);
  redis.signal('SIGCONT');
  await Promise.all(nodes.map(ready));
  await backends[1].trigger('stalled', 'posted', 'again');
  // Whether what was refused is published after all is not known.
  const [told, ...posted] = (await events.until(([, data]) => data === 'again')).filter(([, data]) => data !== 'refused');
  assert.equal(told[0], 'pusher:subscription_succeeded');
  assert.deepEqual(posted, [['posted', 'again']]);
  await settled(client);
  assert.deepEqual(events.drain(), []);
  await backends[2].trigger('presence-stalled', 'posted', 'marker');
  const since = await room.events.until(([name]) => name === 'posted');
  assert.deepEqual(
    since.map(([name]) => name),
    ['pusher:subscription_succeeded', 'posted'],
  ); // and nobody has gone
});
