// Ports for servers that cannot be told to choose one.

import net from 'node:net';

/** Resolves to whether nobody listens on this port of any address. */
const isFree = (port) =>
  new Promise((resolve) => {
    const server = net.createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '0.0.0.0' }, () => server.close(() => resolve(true)));
  });

/**
 * A free port below those that Linux gives to outgoing connections, which
 * would otherwise take it before the server listens.
 */
export async function freePort() {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 22_000);
    if (await isFree(port)) {
      return port;
    }
  }
}
