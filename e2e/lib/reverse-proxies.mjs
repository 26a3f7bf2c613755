// The proxies of docs/proxies.md, each started with a block of that page on a
// free port of 127.0.0.1, without root and outside of /etc.

import { access, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { directory } from './belfry.mjs';
import { example, examples } from './docs.mjs';
import { freePort } from './ports.mjs';
import { environment, run, start } from './process.mjs';
import { eventually } from './wait.mjs';

const searchPath = `${process.env.PATH}:/usr/sbin:/usr/local/sbin`;

/** The program's path. The error, if it has none, says what to install. */
async function installed(program) {
  for (const bin of searchPath.split(':')) {
    const file = path.join(bin, program);
    if (await access(file).then(() => true, () => false)) {
      return file;
    }
  }
  throw new Error(`the proxy tests need ${program}: apt-get install ${program}`);
}

/** Resolves to whether somebody listens on this port. */
const accepts = (port) =>
  new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => resolve(true));
    socket.on('error', () => resolve(false)).on('connect', () => socket.destroy());
  });

/** A certificate for a host and its key, made by the program that comes with Go. */
export async function makeCertificate(host = '127.0.0.1') {
  const made = await mkdtemp(path.join(tmpdir(), 'belfry-certificate-'));
  try {
    const { stdout: root } = await run('go', ['env', 'GOROOT']);
    const generator = path.join(root.trim(), 'src', 'crypto', 'tls', 'generate_cert.go');
    const args = ['run', generator, '--host', host, '--ecdsa-curve', 'P256'];
    const { code, stderr } = await run('go', args, { cwd: made, timeout: 120_000 });
    if (code !== 0) {
      throw new Error(`no certificate: ${stderr}`);
    }
    return await Promise.all(['cert.pem', 'key.pem'].map((file) => readFile(path.join(made, file))));
  } finally {
    await rm(made, { recursive: true });
  }
}

let certificate; // of all proxies

const apacheModules = [
  ...['mpm_event', 'authz_core', 'authz_host', 'filter', 'deflate', 'mime', 'reqtimeout', 'rewrite'],
  ...['socache_shmcb', 'ssl', 'proxy', 'proxy_http'],
];

/**
 * How to run each proxy: the program, which is also its package in Debian; the
 * line of its block below which the page adds the stripping of a prefix; the
 * configuration around the block; and what the program prints when it is about to listen.
 */
const proxies = {
  nginx: {
    program: 'nginx',
    above: 'server_name ws.example.com;\n',
    configuration: (block, { port }) => `
      daemon off;
      pid nginx.pid;
      error_log stderr notice;
      events {}
      http {
        access_log off;
        client_body_temp_path body;
        proxy_temp_path proxy;
        fastcgi_temp_path fastcgi;
        uwsgi_temp_path uwsgi;
        scgi_temp_path scgi;
        ${block.replace('listen 443', `listen 127.0.0.1:${port}`)}
      }`,
    args: (made, file) => ['-p', made, '-c', file, '-e', 'stderr'],
    ready: /start worker process/,
  },
  caddy: {
    program: 'caddy',
    language: 'caddyfile',
    above: '{\n',
    // It gets certificates by itself, but not for an address.
    configuration: (block, { port, made }) => `
      {
        admin off
        auto_https disable_redirects
        grace_period 1ms # it would wait for streams to end
      }
      ${block.replace('ws.example.com {', `https://127.0.0.1:${port} {
        bind 127.0.0.1
        tls ${made}/ws.example.com.pem ${made}/ws.example.com.key`)}`,
    args: (made, file) => ['run', '--adapter', 'caddyfile', '--config', file],
    ready: /serving initial configuration/,
  },
  haproxy: {
    program: 'haproxy',
    above: 'option forwardfor\n',
    configuration: (block, { port }) => block.replace('bind :443', `bind 127.0.0.1:${port}`),
    args: (made, file) => ['-V', '-db', '-f', file],
    ready: /as the polling mechanism/,
  },
  apache: {
    program: 'apache2',
    above: 'ServerName ws.example.com\n',
    configuration: (block, { port, made, timeout = 20 }) => `
      ${apacheModules.map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`).join('\n')}
      ${process.getuid() === 0 ? 'User www-data\nGroup www-data' : ''}
      ServerName 127.0.0.1
      ServerRoot ${made}
      DefaultRuntimeDir ${made}
      PidFile apache2.pid
      ErrorLog "|$cat >&2"
      TypesConfig /etc/mime.types
      # As Debian has them, but for the times.
      Include /etc/apache2/mods-available/deflate.conf
      RequestReadTimeout header=${timeout} body=${timeout},minrate=500
      Timeout ${timeout}
      Listen 127.0.0.1:${port}
      ${block.replace('*:443', `127.0.0.1:${port}`)}`,
    args: (made, file) => ['-D', 'FOREGROUND', '-f', file],
    ready: /resuming normal operations/,
  },
};

export const names = Object.keys(proxies);

/**
 * Starts a proxy in front of Belfry, with its block of docs/proxies.md, until the
 * test ends: {host, port, url}. prefix says what it does with /ws before a
 * path, keep or strip; timeout takes the place of the page's 120 seconds; edit changes
 * the block. containing tells the block from others of its page, and old is the server
 * beside Belfry in blocks that have one.
 */
export async function startReverseProxy(
  t,
  name,
  belfry,
  { prefix, timeout, edit = (block) => block, page = 'proxies.md', containing = 'ws.example.com', old } = {},
) {
  const proxy = proxies[name];
  const program = await installed(proxy.program);
  const made = await directory(t);
  const port = await freePort();
  const blocks = await examples(page, proxy.language ?? name);
  let block = example(blocks, containing);
  if (prefix === 'strip') {
    const [lines] = blocks.filter((each) => each !== block); // the page has two for each proxy
    block = block.replace(proxy.above, (line) => line + lines);
  } else if (prefix === 'keep') {
    block = block.replaceAll(/(?<!pusher)\/(?=(app|apps|pusher)\/)/g, '/ws/');
  }
  if (timeout) {
    block = block.replaceAll(/(?<=timeout.*)120/gi, timeout);
  }
  block = edit(block)
    .replaceAll('127.0.0.1:8080', `127.0.0.1:${belfry.port}`)
    .replaceAll('127.0.0.1:6001', `127.0.0.1:${old?.port}`)
    .replaceAll('10.0.0.5', '127.0.0.1')
    .replaceAll('/etc/ssl/', `${made}/`);
  certificate ??= makeCertificate();
  const [chain, key] = await certificate;
  await writeFile(path.join(made, 'ws.example.com.pem'), Buffer.concat([chain, key])); // as HAProxy wants it
  await writeFile(path.join(made, 'ws.example.com.key'), key);
  const file = path.join(made, 'proxy.conf');
  await writeFile(file, proxy.configuration(block, { port, made, timeout }));
  const env = environment({ HOME: made, XDG_DATA_HOME: made, XDG_CONFIG_HOME: made });
  const started = await start(name, program, proxy.args(made, file), { ready: proxy.ready, cwd: made, env });
  t.after(() => started.stop());
  // HAProxy prints its line a moment before it listens.
  await eventually(`${name} on port ${port}`, () => accepts(port));
  return { host: '127.0.0.1', port, url: `https://127.0.0.1:${port}` };
}
