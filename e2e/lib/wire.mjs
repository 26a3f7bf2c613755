// A wire between a client and a server, which a test cuts and mends.

import net from 'node:net';

import { eventually } from './wait.mjs';

/**
 * A TCP proxy to this server: {host, port, cut, mend}. cut(noticed) breaks all connections,
 * those that are opened meanwhile too, and resolves when noticed() does to true: a client of
 * the fallback that is just between two requests notices by the next one. What is opened
 * after that waits for mend(server), which is where it goes.
 */
export async function startWire(t, server) {
  let target = server;
  const open = new Set();
  const waiting = new Set();

  function pass(socket) {
    const onward = net.connect(target.port, target.host);
    for (const [one, other] of [[socket, onward], [onward, socket]]) {
      open.add(one);
      one.on('error', () => {}).on('close', () => (open.delete(one), other.destroy()));
      one.setNoDelay(true).pipe(other);
    }
  }

  const proxy = net.createServer((socket) => {
    if (target) {
      pass(socket);
      return;
    }
    waiting.add(socket);
    socket.on('error', () => {}).on('close', () => waiting.delete(socket));
  });
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));

  function destroy() {
    target = undefined;
    [...open, ...waiting].forEach((socket) => socket.destroy());
  }
  t.after(() => {
    destroy();
    return new Promise((resolve) => proxy.close(resolve));
  });
  return {
    host: '127.0.0.1',
    port: proxy.address().port,
    cut(noticed = () => true) {
      destroy();
      return eventually('the cut is noticed', async () => (await noticed()) || destroy());
    },
    mend(to) {
      target = to;
      for (const socket of waiting) {
        waiting.delete(socket);
        pass(socket);
      }
    },
  };
}
