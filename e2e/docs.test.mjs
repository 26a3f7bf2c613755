// The pages that people follow step by step: their commands and snippets are run, and
// every link between documents leads somewhere.

import assert from 'node:assert/strict';
import { access, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

import Echo from 'laravel-echo';
import Pusher from 'pusher-js';
import { WebSocketServer } from 'ws';

import { app, binary, configuration, directory, serve, startBelfry } from './lib/belfry.mjs';
import { launchBrowser } from './lib/browser.mjs';
import { connect, newBackend, newClient, subscribe } from './lib/clients.mjs';
import { example, examples, tables } from './lib/docs.mjs';
import { freePort } from './lib/ports.mjs';
import { environment, run, start } from './lib/process.mjs';
import { eventually, Inbox } from './lib/wait.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Belfry, and a directory with the .env of docs/quickstart.md for it: {belfry, shell, start}. */
async function setUp(t, config = configuration()) {
  const belfry = await startBelfry({ config });
  t.after(() => belfry.stop());
  const here = (text) => text.replaceAll('8080', String(belfry.port));
  const cwd = await directory(t, { '.env': here(example(await examples('quickstart.md', 'dotenv'), 'PUSHER_APP_ID')) });
  const env = environment({ PATH: `${path.dirname(binary)}:${process.env.PATH}` });
  return {
    belfry,
    cwd,
    here,
    /** Runs commands of a page to their end: what they print. */
    async shell(code, { fails = false } = {}) {
      const { code: status, stdout, stderr } = await run('sh', ['-euc', here(code)], { cwd, env });
      assert.equal(status !== 0, fails, `${code}\n${stdout}${stderr}`);
      return stdout;
    },
    /** Starts one that does not end, and waits until it has printed something. */
    async start(code, ready) {
      const program = await start('command', 'bash', ['-c', `exec ${here(code)}`], { cwd, env, ready });
      t.after(() => program.stop());
      return program;
    },
  };
}

/** Lines as a page shows them, where times, sizes and versions differ from run to run. */
const pattern = (text) =>
  new RegExp(
    text
      .trim()
      .replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
      .replaceAll(/\d\d:\d\d:\d\d\\.\d{3}/g, '\\d\\d:\\d\\d:\\d\\d\\.\\d{3}'),
  );

test('quickstart: an event from trigger to listen, as it is printed', async (t) => {
  const { shell, start } = await setUp(t);
  const sh = await examples('quickstart.md', 'sh');
  const text = await examples('quickstart.md', 'text');
  const listener = await start(example(sh, 'belfry listen --env-file .env news'), /subscribed to news/);
  assert.match(await shell(example(sh, 'belfry trigger')), pattern(example(text, 'published posted')));
  const printed = pattern(example(text, 'subscribed to news'));
  await eventually('the event is printed', () => printed.test(listener.output()));
  assert.match(await shell(example(sh, 'belfry doctor')), /^ok +receive /m);
});

test('quickstart: the doctor finds that Laravel broadcasts to its log', async (t) => {
  const { shell, cwd } = await setUp(t);
  const env = path.join(cwd, '.env');
  await writeFile(env, (await readFile(env, 'utf8')).replace('BROADCAST_CONNECTION=pusher', 'BROADCAST_CONNECTION=log'));
  const printed = await shell(example(await examples('quickstart.md', 'sh'), 'belfry doctor'), { fails: true });
  assert.match(printed, pattern(example(await examples('quickstart.md', 'text'), 'fail ')));
});

test('quickstart: serve with that .env', async (t) => {
  const { shell } = await setUp(t);
  const printed = await shell('PUSHER_APP_ID= BELFRY_LISTEN=127.0.0.1:0 belfry check --env-file .env 2>&1', { fails: true });
  assert.match(printed, /PUSHER_APP_ID/);
  assert.match(await shell('belfry check --env-file .env 2>&1'), /ok/);
});

test('quickstart: the page in a browser', async (t) => {
  const { shell, cwd, here } = await setUp(t);
  await symlink(path.join(root, 'e2e/node_modules'), path.join(cwd, 'node_modules'));
  const file = path.join(cwd, 'index.html');
  await writeFile(file, here(example(await examples('quickstart.md', 'html'), 'new Pusher')));
  const browser = await launchBrowser();
  t.after(() => browser.close());
  const page = await browser.newPage();
  await page.goto(pathToFileURL(file).href);
  const shown = () => page.textContent('#log');
  await eventually('the page is connected', async () => (await shown()).includes('connected\n'));
  const trigger = example(await examples('quickstart.md', 'sh'), 'belfry trigger');
  await eventually('the event is shown', async () => {
    await shell(trigger); // again, as the subscription may come later
    return (await shown()).startsWith('connecting\nconnected\nposted {"id":1}\n');
  });
});

test('quickstart: the line for Echo', async (t) => {
  const { belfry } = await setUp(t);
  const echo = new Echo({
    broadcaster: 'pusher',
    Pusher,
    key: app.key,
    cluster: 'mt1',
    wsHost: belfry.host,
    wsPort: belfry.port,
    forceTLS: false,
    enabledTransports: ['ws'],
  });
  t.after(() => echo.disconnect());
  const log = new Inbox('console');
  const line = example(await examples('quickstart.md', 'js'), "listen('.posted'");
  new Function('Echo', 'console', line)(echo, { log: (...words) => log.add(words.join(' ')) });
  const channel = echo.channel('news');
  await new Promise((resolve) => channel.subscribed(resolve));
  await newBackend(belfry).trigger('news', 'posted', { id: 1 });
  assert.equal(await log.next(), 'posted 1');
});

test('README: one event, as it is printed', async (t) => {
  const { shell, start, cwd, here } = await setUp(t);
  const config = await readFile(path.join(root, 'config.example.yaml'), 'utf8');
  await writeFile(path.join(cwd, 'config.example.yaml'), here(config));
  await symlink(path.dirname(binary), path.join(cwd, 'bin'));
  const [listen, trigger] = example(await examples('../README.md', 'sh'), 'bin/belfry trigger --config').trim().split('\n');
  const listener = await start(listen, /subscribed to news/);
  await shell(trigger);
  const printed = pattern(example(await examples('../README.md', 'text'), 'subscribed to news'));
  await eventually('the event is printed', () => printed.test(listener.output()));
});

test('http-api: the signed requests by curl, pasted into sh', async (t) => {
  const { belfry, shell } = await setUp(t);
  const { events } = await subscribe(await connect(t, belfry), 'news');
  const [publish, ask] = await examples('http-api.md', 'sh');
  assert.equal(await shell(publish), '{}\n');
  assert.deepEqual(await events.next(), ['posted', { id: 1 }]);

  const { shell: alone } = await setUp(t);
  const printed = example(await examples('http-api.md', 'json'), '"users":[]');
  assert.equal(await alone(publish + ask), `{}\n${printed}`);
});

test('http-api: what its bodies are answered with', async (t) => {
  const { shell } = await setUp(t);
  const [publish] = await examples('http-api.md', 'sh');
  const bodies = await examples('http-api.md', 'json');
  const post = (route, body) => shell(`${publish}\ncall POST /apps/$APP/${route} '' '${body.replaceAll("'", "'\\''")}'`);
  assert.equal(await post('events', example(bodies, '"socket_id"')), '{}\n{}\n');
  assert.equal(await post('batch_events', example(bodies, '"batch"')), '{}\n{"batch":[{},{"subscription_count":0}]}\n');
});

test('http-api: the statuses of its errors', async (t) => {
  const { belfry, shell } = await setUp(t, configuration({ settings: 'api_request_rate: 1000' }));
  const status = async (method, target, options = {}) => (await fetch(belfry.url + target, { method, ...options })).status;
  const signed = async (method, route, body) => {
    const [publish] = await examples('http-api.md', 'sh');
    return shell(`${publish.split('\ncall POST')[0]}\ncall ${method} "/apps/$APP/${route}" '' '${body ?? ''}'`);
  };
  assert.match(await signed('POST', 'events', '{"name":"posted","channels":["news"]}'), /"data is missing"/);
  assert.match(await signed('GET', 'channels/news/users'), /only presence channels have users/);
  assert.match(await signed('GET', 'channels/news/history'), /has no history/);
  assert.equal(await status('POST', '/apps/100001/events'), 401);
  assert.equal(await status('POST', '/apps/1/events'), 404);
  assert.equal(await status('GET', '/apps/100001/nothing'), 404);
  assert.equal(await status('GET', '/apps/100001/events'), 405);
  assert.equal(await status('GET', '/app/app-key'), 426);
  for (const open of ['/up', '/ready', '/metrics']) {
    assert.equal(await status('GET', open), 200, open);
  }
});

/** All Go code of these folders but for tests. */
async function goCode(...folders) {
  let code = '';
  for (const folder of folders) {
    const names = await readdir(path.join(root, folder), { recursive: true });
    for (const name of names.filter((name) => name.endsWith('.go') && !name.endsWith('_test.go'))) {
      code += await readFile(path.join(root, folder, name), 'utf8');
    }
  }
  return code;
}

test('close-codes: it has the codes and the words of the server', async () => {
  const code = await goCode('protocol', 'server');
  const [closes, messages, stays] = await tables('close-codes.md');
  const inCode = [...code.matchAll(/\bCode[A-Z]\w* += (\d{4})|\bclose[A-Z]\w* += (1\d{3})|Error\{Code: (1\d{3})/g)];
  const known = inCode.map(([, ...codes]) => codes.find(Boolean));
  const listed = [...closes, ...stays].map((row) => row.code).filter((code) => code !== '`null`');
  assert.deepEqual([...new Set(listed)].sort(), [...new Set(known)].sort());
  for (const { message } of messages) {
    for (const part of message.replaceAll('`', '').split('…')) {
      assert.ok(code.includes(part.trim()), `no Go code says ${part}`);
    }
  }
});

test('close-codes: what pusher-js does after each', async (t) => {
  const [closes] = await tables('close-codes.md');
  for (const { code, 'pusher-js': then } of closes) {
    await t.test(`${code}: ${then}`, async (t) => {
      const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
      const clients = new Inbox('clients');
      server.on('connection', (socket) => clients.add(socket));
      await new Promise((resolve) => server.once('listening', resolve));
      t.after(() => (server.clients.forEach((socket) => socket.terminate()), server.close()));

      const client = newClient(t, { host: '127.0.0.1', port: server.address().port });
      const seen = new Inbox('what the client does');
      client.connection.bind('state_change', ({ current }) => seen.add(current));
      client.connection.bind('connecting_in', (seconds) => seen.add(`${seconds} s`));
      const socket = await clients.next();
      const data = JSON.stringify({ socket_id: '1.2', activity_timeout: 120 });
      socket.send(JSON.stringify({ event: 'pusher:connection_established', data }));
      assert.equal(await seen.next(), 'connected');
      socket.close(Number(code), 'as the page says');
      assert.equal(await seen.next(), then === 'never' ? 'disconnected' : '1 s');
      // pusher-js notes two timers for the codes from 4100 on, of which the first to fire counts.
      const delays = client.timeline.events.filter(({ action }) => action === 'retry').map(({ delay }) => delay);
      assert.equal(Math.min(...delays), { never: Infinity, 'at once': 0, '1 s': 1000 }[then]);
    });
  }
});

test('close-codes: what listen prints', async (t) => {
  const { shell, here } = await setUp(t);
  const text = here(example(await examples('close-codes.md', 'text'), 'closed with 4001'));
  assert.equal(await shell('belfry listen --env-file .env --key nokey news 2>&1', { fails: true }), text);
});

// What needs another machine, another program or another right than the tests have.
const notHere = /example\.com|sudo|php artisan|composer|npm install/;

for (const page of ['troubleshooting.md', 'tuning.md', 'security.md']) {
  test(`${page}: its commands run`, async (t) => {
    const { shell } = await setUp(t, configuration({ settings: 'webhooks: [{url: "http://127.0.0.1:1/"}]' }));
    for (const block of await examples(page, 'sh')) {
      for (const line of block.replaceAll('\\\n', ' ').trim().split('\n')) {
        if (!notHere.test(line) && !/--idle|belfry doctor --env-file \.env$/.test(line)) {
          await shell(line);
        }
      }
    }
  });
}

test('security: the certificate in its configuration is where check looks', async (t) => {
  const { shell, cwd } = await setUp(t);
  const yaml = example(await examples('security.md', 'yaml'), 'cert_file');
  await writeFile(path.join(cwd, 'tls.yaml'), yaml);
  const printed = await shell('belfry check --config tls.yaml --env-file .env 2>&1', { fails: true });
  assert.match(printed, /ws\.example\.com\.(pem|key)/);
});

test('security: the configuration with an authority is one', async (t) => {
  const { shell, cwd } = await setUp(t);
  await writeFile(path.join(cwd, 'acme.yaml'), example(await examples('security.md', 'yaml'), 'acme:'));
  const printed = await shell('STATE_DIRECTORY=. belfry check --config acme.yaml --env-file .env 2>&1');
  assert.match(printed, /^acme +ws\.example\.com +by https:\/\/acme-v02\.api\.letsencrypt\.org\/directory +kept in acme\n/m);
  assert.ok(!/warning/.test(printed), printed);
});

test('README: what makes wss of the configuration that the packages write', async (t) => {
  const { shell, cwd } = await setUp(t);
  const [, written] = (await readFile(path.join(root, 'deploy/packages/postinst'), 'utf8')).match(/<<EOF\n(.*?)^EOF$/ms);
  const plain = written.replace(/"\$\(\(.*\)\)"/, '"1"').replaceAll(/\$\(random \d+\)/g, 'random').replace(/^webhooks:\n.*\n/m, '');
  await writeFile(path.join(cwd, 'config.yaml'), plain);
  const readme = await readFile(path.join(root, 'README.md'), 'utf8');
  const [sed] = readme.match(/sed -i .*$/m);
  await shell(sed.replace('/etc/belfry/config.yaml', 'config.yaml'));
  const printed = await shell('STATE_DIRECTORY=. belfry check --config config.yaml 2>/dev/null');
  assert.match(printed, /^listen +wss:\/\/:443\nacme +ws\.example\.com .*\nredirect http:\/\/:80\nmetrics +http:\/\/127\.0\.0\.1:9100\//m);
});

test('local-development: TLS by a certificate of mkcert, and what PHP and the doctor need for it', async (t) => {
  const port = String(await freePort());
  const here = (text) => text.replaceAll('8443', port);
  const page = (language) => examples('local-development.md', language);
  const [credentials] = await examples('quickstart.md', 'dotenv');
  const dotenv = example(await page('dotenv'), 'PUSHER_PORT=8443');
  const cwd = await directory(t, {
    'belfry.yaml': here(example(await page('yaml'), 'cert_file')),
    '.env': here(`${credentials.replaceAll(/^PUSHER_(HOST|PORT|SCHEME)=.*\n/gm, '')}\n${dotenv}`),
  });
  const env = environment({ PATH: `${path.dirname(binary)}:${process.env.PATH}`, CAROOT: path.join(cwd, 'authority') });
  const sh = (code) => run('sh', ['-euc', here(code)], { cwd, env });
  const commands = await page('sh');
  const [, make] = example(commands, 'mkcert -install').trim().split('\n'); // the first line would change the machine
  assert.equal((await sh(make)).code, 0);
  const belfry = await serve(['--config', 'belfry.yaml', '--env-file', '.env'], { cwd, env });
  t.after(() => belfry.stop());
  assert.equal((await sh(`curl -s https://localhost:${port}/ready`)).code, 60); // PHP's cURL error
  const { code, stdout, stderr } = await sh(example(commands, 'curl --cacert'));
  assert.equal(code, 0, stdout + stderr);
  assert.match(stdout, /"ready"[^]*^ok +receive /m);
});

/** Every document of the project, by its path from the root. */
async function documents() {
  const found = ['README.md', 'CHANGELOG.md'];
  for (const folder of ['docs', 'deploy', 'examples', 'clients', 'bench']) {
    const names = await readdir(path.join(root, folder), { recursive: true });
    found.push(...names.filter((name) => name.endsWith('.md') && !name.includes('node_modules')).map((name) => path.join(folder, name)));
  }
  return found;
}

/** The anchors of a document's headings, as GitHub makes them. */
function anchorsOf(text) {
  const seen = new Map();
  const prose = text.replaceAll(/^```.*?^```$/gms, '');
  return [...prose.matchAll(/^#{1,6} +(.*)$/gm)].map(([, heading]) => {
    const plain = heading.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1').trim().toLowerCase();
    const anchor = plain.replaceAll(/[^\p{L}\p{N}\p{M}\s_-]/gu, '').replaceAll(/\s/g, '-');
    const before = seen.get(anchor) ?? 0;
    seen.set(anchor, before + 1);
    return before ? `${anchor}-${before}` : anchor;
  });
}

test('every relative link leads to a file, and to a heading in it', async () => {
  const broken = [];
  for (const document of await documents()) {
    const text = await readFile(path.join(root, document), 'utf8');
    const prose = text.replaceAll(/^```.*?^```$/gms, '').replaceAll(/`[^`\n]*`/g, '');
    const links = [
      ...[...prose.matchAll(/\]\(([^)\s]+)\)/g)],
      ...[...prose.matchAll(/(?:src|srcset|href)="([^"]+)"/g)],
    ].map(([, link]) => link);
    for (const link of links.filter((link) => !/^[a-z]+:/i.test(link))) {
      const [file, anchor] = link.split('#');
      const target = file ? path.join(root, path.dirname(document), file) : path.join(root, document);
      try {
        await access(target);
        if (anchor && !anchorsOf(await readFile(target, 'utf8')).includes(anchor)) {
          broken.push(`${document}: ${link}: no such heading`);
        }
      } catch {
        broken.push(`${document}: ${link}: no such file`);
      }
    }
  }
  assert.deepEqual(broken, []);
});
