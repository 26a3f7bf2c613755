// A server that is replaced by a new process: its clients stay.

import assert from 'node:assert/strict';
import { chmod, copyFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';

import { binary, configuration, directory, serve } from './lib/belfry.mjs';
import { authorizer, connect, newBackend, subscribe } from './lib/clients.mjs';
import { environment, run, start } from './lib/process.mjs';
import { eventually, Inbox } from './lib/wait.mjs';

/** A server whose executable and configuration the test may replace. */
async function replaceable(t) {
  const cwd = await directory(t, { 'config.yaml': configuration() });
  const program = path.join(cwd, 'belfry');
  await copyFile(binary, program);
  await chmod(program, 0o755);
  const belfry = await serve(['--config', 'config.yaml'], { cwd, env: environment() }, program);
  let { pid } = belfry;
  t.after(async () => {
    process.kill(pid, 'SIGTERM'); // whichever has the clients
    assert.equal(await belfry.exited, 0);
    assert.ok(!/panic/.test(belfry.output()), belfry.output());
  });
  return {
    ...belfry,
    /** Puts other text in the place of a file, as an installation does. */
    replace: async (name, text, mode) => {
      await writeFile(path.join(cwd, `${name}.new`), text, { mode });
      await rename(path.join(cwd, `${name}.new`), path.join(cwd, name));
    },
    restore: async () => {
      await copyFile(binary, `${program}.new`);
      await chmod(`${program}.new`, 0o755);
      await rename(`${program}.new`, program);
    },
    upgrade: async () => {
      const { code, stdout, stderr } = await run(binary, ['upgrade', '--pid', String(pid)]);
      if (code === 0) {
        pid = Number(stdout.match(/^process (\d+) has taken over/)[1]);
      }
      return { code, text: stdout + stderr };
    },
  };
}

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
