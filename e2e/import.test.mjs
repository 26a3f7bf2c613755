// What belfry import makes of a configuration of Soketi is served to the clients and the
// backend that Soketi had.

import assert from 'node:assert/strict';
import http from 'node:http';
import path from 'node:path';
import { test } from 'node:test';

import { binary, directory, serve } from './lib/belfry.mjs';
import { authorizer, connect, newBackend, subscribe } from './lib/clients.mjs';
import { example, examples } from './lib/docs.mjs';
import { environment, run } from './lib/process.mjs';
import { Inbox } from './lib/wait.mjs';

/** Imports a file, and serves what comes of it on a free port: {belfry, notes}. */
async function importAndServe(t, name, text) {
  const cwd = await directory(t, { [name]: text });
  const script = `umask 077; "${binary}" import ${name} > belfry.yaml`;
  const { code, stderr } = await run('sh', ['-euc', script], { cwd, env: environment() });
  assert.equal(code, 0, stderr);
  const belfry = await serve(['--config', path.join(cwd, 'belfry.yaml')], { cwd, env: environment() });
  t.after(() => belfry.stop());
  return { belfry, notes: stderr };
}

test('an app of Soketi: events, presence, client events, limits, a webhook', async (t) => {
  const hooks = new Inbox('webhooks');
  const receiver = http.createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => (body += chunk)).on('end', () => (hooks.add([request.headers, body]), response.end()));
  });
  await new Promise((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  t.after(() => receiver.close());

  const app = { id: 'some-id', key: 'some-key', secret: 'some-secret' };
  const soketi = {
    host: '127.0.0.1',
    port: 0,
    'eventLimits.maxPayloadInKb': 50,
    'ssl.passphrase': 'hunter2',
    'appManager.array.apps': [
      {
        ...app,
        enableClientMessages: true,
        webhooks: [
          {
            url: `http://127.0.0.1:${receiver.address().port}/hook`,
            event_types: ['member_added'],
            headers: { 'X-From': 'soketi' },
            filter: { channel_name_starts_with: 'presence-' },
          },
        ],
      },
    ],
  };
  const { belfry, notes } = await importAndServe(t, 'soketi.json', JSON.stringify(soketi));
  assert.match(notes, /ssl\.passphrase: not supported/);
  assert.doesNotMatch(notes, /hunter2|some-secret/);

  const backend = newBackend(belfry, app);
  const join = async (id) => {
    const client = await connect(t, belfry, { key: app.key, channelAuthorization: authorizer(backend, { user_id: id }) });
    return subscribe(client, 'presence-room');
  };
  const ann = await join('ann');
  const [headers, body] = await hooks.next();
  assert.equal(headers['x-from'], 'soketi');
  assert.equal(headers['x-pusher-key'], app.key);
  assert.deepEqual(JSON.parse(body).events, [{ name: 'member_added', channel: 'presence-room', user_id: 'ann' }]);

  const ben = await join('ben');
  assert.equal((await ann.events.next())[0], 'pusher:member_added');
  const large = 'x'.repeat(40_000); // more than Belfry takes by default
  await backend.trigger('presence-room', 'posted', { large });
  assert.deepEqual(await ann.events.next(), ['posted', { large }]);
  assert.deepEqual(await ben.events.next(), ['posted', { large }]);
  ben.channel.trigger('client-typing', { large });
  assert.deepEqual(await ann.events.next(), ['client-typing', { large }]);
  await assert.rejects(backend.trigger('presence-room', 'posted', 'x'.repeat(60_000)), { status: 413 });
});

test("the file in docs/moving/soketi.md, and Sockudo's", async (t) => {
  for (const [page, name] of [
    ['moving/soketi.md', 'soketi.json'],
    ['moving/sockudo.md', 'config.toml'],
  ]) {
    const text = example(await examples(page, path.extname(name).slice(1)), 'shop-key');
    const here = text.replace(/("?port"?\s*[:=]\s*)\d+/, '$10').replace(/("?host"?\s*[:=]\s*)"0\.0\.0\.0"/, '$1"127.0.0.1"');
    const cwd = await directory(t, { [name]: here });
    const { code, stdout, stderr } = await run(binary, ['import', name], { cwd, env: environment() });
    assert.equal(code, 0, stderr);
    const printed = example(await examples(page, 'yaml'), 'shop-key').trim();
    assert.equal(stdout.replace('127.0.0.1:0', '0.0.0.0:6001').trim(), printed, page);
    const said = example(await examples(page, 'text'), 'belfry: ').trim();
    assert.equal(stderr.trim(), said, page);
  }
});
