// A server that is replaced by a new process: its clients stay.

import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';

import { binary, configuration, directory, serve } from './lib/belfry.mjs';
import { authorizer, connect, newBackend, subscribe } from './lib/clients.mjs';
import { environment, start } from './lib/process.mjs';
import { freePort } from './lib/ports.mjs';
import { startRedis } from './lib/redis.mjs';
import { replaceable } from './lib/replaceable.mjs';
import { eventually, Inbox } from './lib/wait.mjs';

test('pusher-js does not notice that the server is replaced', async (t) => {
  const belfry = await replaceable(t);
  const backend = newBackend(belfry);
  const names = ['news', 'private-news', 'presence-news', 'private-encrypted-news', 'cache-news'];
  const clients = [];
  const noticed = new Inbox('what clients notice beside events');
  for (const id of ['ann', 'bob', 'cy']) {
    const client = await connect(t, belfry, { channelAuthorization: authorizer(backend, { user_id: id }) });
    const subscriptions = await Promise.all(names.map((name) => subscribe(client, name)));
    clients.push({ client, id: client.connection.socket_id, events: subscriptions.map(({ events }) => events) });
  }
  await eventually('three members', () => clients.every(({ client }) => client.channel('presence-news').members.count === 3));
  clients.forEach(({ events }) => events.forEach((inbox) => inbox.drain()));
  for (const { client } of clients) {
    client.connection.bind('state_change', ({ current }) => noticed.add(current));
    client.connection.bind('error', (error) => noticed.add(error));
    client.channel('presence-news').bind('pusher:member_removed', (member) => noticed.add(member));
    client.channel('presence-news').bind('pusher:member_added', (member) => noticed.add(member));
  }

  let sent = 0;
  let publishing = true;
  const publisher = (async () => {
    for (; publishing; sent++) {
      await backend.trigger(names.filter((name) => !name.includes('encrypted')), 'n', { n: sent });
    }
  })();
  for (let upgrades = 0; upgrades < 3; upgrades++) {
    const before = sent;
    await eventually('publishing goes on', () => sent >= before + 20);
    const { code, text } = await belfry.upgrade();
    assert.equal(code, 0, text + belfry.output());
  }
  publishing = false;
  await publisher;
  await backend.trigger('private-encrypted-news', 'last', { secret: true });

  for (const { client, id, events } of clients) {
    for (const [i, name] of names.entries()) {
      if (name.includes('encrypted')) {
        assert.deepEqual(await events[i].next(), ['last', { secret: true }]);
        continue;
      }
      const got = await events[i].take(sent);
      assert.deepEqual(got, Array.from({ length: sent }, (_, n) => ['n', { n }]), name);
    }
    assert.equal(client.connection.socket_id, id);
    assert.equal(client.channel('presence-news').members.count, 3);
  }
  assert.deepEqual(noticed.drain(), []);
});

/** Three nodes of a cluster, the first of them replaceable, and what their webhooks tell. */
async function cluster(t) {
  const redis = await startRedis(await freePort());
  t.after(() => redis.stop());
  const told = new Inbox('webhook events');
  const hook = http.createServer(async (request, response) => {
    for (const { channel, name, user_id: user } of JSON.parse(Buffer.concat(await request.toArray())).events) {
      if (name !== 'cache_miss') {
        told.add([channel, name, ...(user ? [user] : [])].join(' '));
      }
    }
    response.end();
  });
  await new Promise((resolve) => hook.listen(0, '127.0.0.1', resolve));
  t.after(() => hook.close());
  const config = `${configuration({ settings: `webhooks:\n      - url: http://127.0.0.1:${hook.address().port}/` })}
cluster:
  driver: redis
  redis:
    url: ${redis.url}
    prefix: upgrade
`;
  const node = await replaceable(t, config);
  const others = [];
  for (let i = 0; i < 2; i++) {
    const cwd = await directory(t, { 'config.yaml': config });
    const other = await serve(['--config', 'config.yaml'], { cwd, env: environment() });
    t.after(() => other.stop());
    others.push(other);
  }
  const nodes = [node, ...others];
  for (const { url } of nodes) {
    await eventually('the node is ready', async () => (await fetch(`${url}/ready`)).status === 200);
  }
  return { nodes, told, config };
}

/** Clients of all nodes on some channels, and what they notice beside the events. */
async function spread(t, nodes, names) {
  const noticed = new Inbox('what clients notice beside events');
  const clients = [];
  for (const [i, id] of ['ann', 'bob', 'cy', 'dee'].entries()) {
    const node = nodes[Math.max(i - 1, 0)]; // two are on the first
    const client = await connect(t, node, { channelAuthorization: authorizer(newBackend(node), { user_id: id }) });
    const subscriptions = await Promise.all(names.map((name) => subscribe(client, name)));
    clients.push({ client, id: client.connection.socket_id, events: subscriptions.map(({ events }) => events) });
  }
  const rooms = names.filter((name) => name.startsWith('presence-'));
  await eventually('four members', () =>
    clients.every(({ client }) => rooms.every((name) => client.channel(name).members.count === 4)),
  );
  clients.forEach(({ events }) => events.forEach((inbox) => inbox.drain()));
  for (const { client } of clients) {
    client.connection.bind('state_change', ({ current }) => noticed.add(current));
    client.connection.bind('error', (error) => noticed.add(error));
    for (const event of ['member_added', 'member_removed', 'subscription_succeeded']) {
      client.channel('presence-news').bind(`pusher:${event}`, (data) => noticed.add([event, data]));
    }
  }
  return { clients, noticed };
}

/** Publishes numbers on all channels by each of the nodes until stop is called, which says how many. */
function stream(nodes, names) {
  let publishing = true;
  const sent = nodes.map(() => 0);
  const publishers = nodes.map(async (node, i) => {
    const backend = newBackend(node);
    for (; publishing; sent[i]++) {
      await backend.trigger(names, `n${i}`, sent[i]);
    }
  });
  return {
    progress: (n) => {
      const before = [...sent];
      return eventually('publishing goes on', () => sent.every((all, i) => all >= before[i] + n));
    },
    stop: async () => {
      publishing = false;
      await Promise.all(publishers);
      return sent;
    },
  };
}

/** Asserts that clients have got all that was sent, once and in order. */
async function gotAll(clients, names, sent) {
  for (const { client, id, events } of clients) {
    for (const [i, name] of names.entries()) {
      const got = await events[i].take(sent.reduce((sum, n) => sum + n, 0));
      for (const [k, n] of sent.entries()) {
        const mine = got.filter(([event]) => event === `n${k}`).map(([, data]) => data);
        assert.deepEqual(mine, Array.from({ length: n }, (_, x) => x), `${name} of node ${k}`);
      }
      assert.deepEqual(events[i].drain(), []);
    }
    assert.equal(client.connection.socket_id, id);
    assert.equal(client.channel('presence-news').members.count, 4);
  }
}

test('no node of a cluster, nor its clients, notices that one is replaced', async (t) => {
  const { nodes, told } = await cluster(t);
  const names = ['news', 'private-news', 'presence-news', 'cache-news', 'presence-cache-news'];
  const { clients, noticed } = await spread(t, nodes, names);
  const added = ['presence-news', 'presence-cache-news'].flatMap((name) =>
    ['ann', 'bob', 'cy', 'dee'].map((id) => `${name} member_added ${id}`),
  );
  const expected = [...names.map((name) => `${name} channel_occupied`), ...added].sort();
  assert.deepEqual((await told.take(expected.length)).sort(), expected);

  const { progress, stop } = stream(nodes, names);
  const due = [];
  for (let upgrades = 0; upgrades < 10; upgrades++) {
    await progress(5);
    // What the cluster keeps until it is delivered moves along.
    const guest = await connect(t, nodes[0]);
    await subscribe(guest, `guest-${upgrades}`);
    due.push(`guest-${upgrades} channel_occupied`);
    const { code, text } = await nodes[0].upgrade();
    assert.equal(code, 0, text + nodes[0].output());
  }
  await gotAll(clients, names, await stop());
  assert.deepEqual(noticed.drain(), []);
  assert.deepEqual((await told.take(due.length)).sort(), due.sort());

  // The node is still what the others know: it tells what changes.
  clients[0].client.disconnect();
  const gone = ['presence-news', 'presence-cache-news'].map((name) => `${name} member_removed ann`).sort();
  assert.deepEqual((await told.take(2)).sort(), gone);
  for (const { client } of clients.slice(1)) {
    await eventually('three members', () => client.channel('presence-news').members.count === 3);
  }
  assert.deepEqual(told.drain(), []);
});

test('a new process of a node that fails changes nothing for anybody', async (t) => {
  const { nodes, told, config } = await cluster(t);
  const names = ['news', 'presence-news', 'cache-news'];
  const { clients, noticed } = await spread(t, nodes, names);
  await told.take(7);
  const { progress, stop } = stream(nodes, names);
  const fails = async (reason) => {
    await progress(5);
    const { code, text } = await nodes[0].upgrade();
    assert.equal(code, 1, text);
    assert.match(text + nodes[0].output(), reason);
  };
  const [node] = nodes;
  for (let kills = 0; kills < 5; kills++) {
    await progress(5);
    const attempts = () => [...node.output().matchAll(/handing over to a new process.* pid=(\d+)/g)];
    const before = attempts().length;
    const upgrade = node.upgrade();
    const pid = await eventually('the new process', () => attempts()[before]?.[1]);
    process.kill(Number(pid), 'SIGKILL');
    const { code, text } = await upgrade;
    assert.equal(code, 1, text);
  }
  await node.replace('config.yaml', config.replace('prefix: upgrade', 'prefix: other'));
  await fails(/another Redis or prefix/);
  await node.replace('config.yaml', configuration());
  await fails(/without a cluster/);
  await node.replace('config.yaml', config.replace('id: 100001', 'id: 2').replace('key: app-key', 'key: k'));
  await fails(/does not have app 100001/);
  await node.replace('config.yaml', config);
  await progress(5);
  const { code, text } = await node.upgrade();
  assert.equal(code, 0, text);
  await gotAll(clients, names, await stop());
  assert.deepEqual(noticed.drain(), []);
  assert.deepEqual(told.drain(), []);
});

test('a new version that does not start changes nothing', async (t) => {
  const belfry = await replaceable(t);
  const client = await connect(t, belfry);
  const states = new Inbox('states of the connection');
  client.connection.bind('state_change', ({ current }) => states.add(current));
  const { events } = await subscribe(client, 'news');

  await belfry.replace('belfry', '#!/bin/sh\nexit 7\n', 0o755);
  let { code, text } = await belfry.upgrade();
  assert.equal(code, 1);
  assert.match(text, /exit status 7/);

  await belfry.restore();
  await belfry.replace('config.yaml', 'server: {listen: nowhere}\n');
  ({ code, text } = await belfry.upgrade());
  assert.equal(code, 1);
  assert.match(belfry.output(), /server\.listen/);

  await belfry.replace('config.yaml', configuration());
  await newBackend(belfry).trigger('news', 'e', { n: 1 });
  assert.deepEqual(await events.next(), ['e', { n: 1 }]);
  ({ code, text } = await belfry.upgrade());
  assert.equal(code, 0, text);
  await newBackend(belfry).trigger('news', 'e', { n: 2 });
  assert.deepEqual(await events.next(), ['e', { n: 2 }]);
  assert.deepEqual(states.drain(), []);
});

test('a client of the fallback comes back at once', async (t) => {
  const belfry = await replaceable(t);
  const client = await connect(t, belfry, {
    httpHost: belfry.host,
    httpPort: belfry.port,
    enabledTransports: ['xhr_streaming'],
  });
  const states = new Inbox('states of the connection');
  client.connection.bind('state_change', ({ current }) => states.add(current));
  const { events } = await subscribe(client, 'news');
  const { code, text } = await belfry.upgrade();
  assert.equal(code, 0, text);
  await states.until((current) => current === 'connected', 5_000);
  await eventually('the subscription', async () => {
    await newBackend(belfry).trigger('news', 'e', {});
    return events.drain().length > 0;
  });
});

/**
 * Starts Belfry as systemd does with Restart=always: with a socket that stays open while
 * Belfry is restarted. Perl holds it, as Node accepts the connections of a socket itself.
 */
async function activated(t) {
  const holder = `
    use IO::Socket::INET;
    $^F = 10; # descriptors up to this one are inherited: the socket's is 3
    my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1:0', Listen => 4096) or die;
    fileno($socket) == 3 or die;
    my ($child, $stopping);
    $SIG{TERM} = sub { $stopping = 1; kill TERM => $child };
    $SIG{HUP} = sub { kill TERM => $child };
    until ($stopping) {
      $child = fork // die;
      if (!$child) {
        $ENV{LISTEN_FDS} = 1;
        $ENV{LISTEN_PID} = $$;
        exec @ARGV;
      }
      1 until waitpid($child, 0) == $child;
    }
    exit $? >> 8;
  `;
  const cwd = await directory(t, { 'config.yaml': configuration() });
  const held = await start('perl', 'perl', ['-e', holder, '--', binary, 'serve', '--config', 'config.yaml'], {
    cwd,
    env: environment(),
    ready: /msg=listening address=127\.0\.0\.1:(\d+)/,
  });
  t.after(async () => assert.equal(await held.stop(), 0));
  const port = Number(held.match[1]);
  return { ...held, host: '127.0.0.1', port, url: `http://127.0.0.1:${port}`, restart: () => held.signal('SIGHUP') };
}

test('all clients are back at once after a restart by socket activation', async (t) => {
  const belfry = await activated(t);
  const clients = await Promise.all(Array.from({ length: 20 }, () => connect(t, belfry)));
  const subscriptions = await Promise.all(clients.map((client) => subscribe(client, 'news')));
  const states = clients.map((client) => {
    const inbox = new Inbox('states of the connection');
    client.connection.bind('state_change', ({ current }) => inbox.add(current));
    return inbox;
  });
  belfry.restart();
  // One that was refused would wait for 15 seconds.
  const passed = await Promise.all(states.map((inbox) => inbox.until((current) => current === 'connected', 10_000)));
  for (const of of passed) {
    assert.ok(!of.includes('unavailable'), `a client has found nobody: ${of}`);
  }
  await Promise.all(subscriptions.map(({ events }) => events.until(([event]) => event === 'pusher:subscription_succeeded')));
  await newBackend(belfry).trigger('news', 'e', { n: 1 });
  for (const { events } of subscriptions) {
    assert.deepEqual(await events.next(), ['e', { n: 1 }]);
  }
});
