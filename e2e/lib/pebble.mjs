// Pebble, an ACME authority for tests, to which all names lead to this machine.

import assert from 'node:assert/strict';
import { access, readFile } from 'node:fs/promises';
import { once } from 'node:events';
import https from 'node:https';
import net from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { directory } from './belfry.mjs';
import { freePort } from './ports.mjs';
import { run, start } from './process.mjs';

const program = fileURLToPath(new URL('../../bin/pebble', import.meta.url));

/** The answer to a query for a name: its address is 127.0.0.1. RFC 1035, section 4. */
function resolved(query) {
  let end = 12; // of the question, behind the header: labels, type and class
  while (query[end] > 0) {
    end += query[end] + 1;
  }
  const isA = query.readUInt16BE(end + 1) === 1;
  const header = [query[0], query[1], 0x81, 0x80, 0, 1, 0, isA ? 1 : 0, 0, 0, 0, 0];
  const answer = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1];
  return Buffer.concat([Buffer.from(header), query.subarray(12, end + 5), Buffer.from(isA ? answer : [])]);
}

/** Resolves to the port of a name server, to which Pebble speaks TCP. */
async function startNames(t) {
  const server = net.createServer((socket) => {
    let read = Buffer.alloc(0);
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      read = Buffer.concat([read, bytes]);
      while (read.length >= 2 && read.length >= 2 + read.readUInt16BE(0)) {
        const answer = resolved(read.subarray(2, 2 + read.readUInt16BE(0)));
        read = read.subarray(2 + read.readUInt16BE(0));
        socket.write(Buffer.concat([Buffer.from([answer.length >> 8, answer.length & 0xff]), answer]));
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return server.address().port;
}

/** Resolves to a free port for each of these names. */
async function ports(...names) {
  const found = new Set();
  while (found.size < names.length) {
    found.add(await freePort());
  }
  return Object.fromEntries([...found].map((port, i) => [names[i], port]));
}

/** Resolves to the body of an https answer. */
const get = (url, ca) =>
  new Promise((resolve, reject) =>
    https
      .get(url, { ca, agent: false }, async (answer) => resolve(Buffer.concat(await answer.toArray()).toString()))
      .once('error', reject),
  );

/**
 * Resolves when an authority listens: {directory, trust, root, http, tls, orders, output, stop,
 * start}. It connects to the ports http and tls of this machine, whatever the domain. trust is
 * the file with what Belfry has to trust, for SSL_CERT_FILE, root the certificate that
 * clients have to, and orders() how many there were. Certificates are valid for so many
 * seconds.
 */
export async function startPebble(t, { validity = 7_776_000 } = {}) {
  await access(program).catch(() => assert.fail('these tests need bin/pebble: make bin/pebble'));
  const names = await startNames(t);
  const at = await ports('acme', 'management', 'http', 'tls');
  const cwd = await directory(t, {
    'pebble.json': JSON.stringify({
      pebble: {
        listenAddress: `127.0.0.1:${at.acme}`,
        managementListenAddress: `127.0.0.1:${at.management}`,
        certificate: 'cert.pem',
        privateKey: 'key.pem',
        httpPort: at.http,
        tlsPort: at.tls,
        retryAfter: { authz: 1, order: 1 },
        keyAlgorithm: 'ecdsa',
        profiles: { default: { description: 'the only one', validityPeriod: validity } },
      },
    }),
  });
  const certify = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=pebble';
  const files = ['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', 'key.pem', '-out', 'cert.pem'];
  const made = await run('openssl', [...certify.split(' '), ...files], { cwd });
  if (made.code !== 0) {
    throw new Error(`openssl: ${made.stderr}`);
  }
  let running;
  let printed = '';
  const authority = {
    ...at,
    directory: `https://127.0.0.1:${at.acme}/dir`,
    trust: path.join(cwd, 'cert.pem'),
    output: () => printed + running.output(),
    orders: () => authority.output().match(/Added order/g)?.length ?? 0,
    stop: async () => {
      await running.stop();
      printed += running.output();
    },
    start: async () => {
      running = await start('pebble', program, ['-config', 'pebble.json', '-dnsserver', `127.0.0.1:${names}`], {
        cwd,
        env: { ...process.env, PEBBLE_VA_NOSLEEP: '1', PEBBLE_WFE_NONCEREJECT: '10' },
        ready: /ACME directory available/,
      });
    },
  };
  await authority.start();
  t.after(() => running.stop());
  const ca = await readFile(authority.trust);
  authority.root = await get(`https://127.0.0.1:${at.management}/roots/0`, ca);
  return authority;
}
