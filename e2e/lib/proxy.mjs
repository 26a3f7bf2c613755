// A forward proxy for a browser, as companies have them: HTTP passes, a tunnel may be
// refused, and a tunnel is how a browser takes a WebSocket through a proxy.

import http from 'node:http';
import net from 'node:net';

/**
 * Resolves when it listens: {server, refused, cut, heal, stop}. refused() counts the
 * tunnels that were refused; with tunnels, none is. cut() drops all connections, and new
 * ones until heal().
 */
export async function startProxy({ tunnels = false } = {}) {
  let refused = 0;
  let down = false;
  const sockets = new Set();
  const proxy = http.createServer((request, response) => {
    const forwarded = http.request(
      request.url,
      { method: request.method, headers: request.headers, agent: false },
      (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        response.flushHeaders();
        answer.on('error', () => response.destroy()).pipe(response);
      },
    );
    forwarded.on('error', () => (response.headersSent ? response.destroy() : response.writeHead(502).end()));
    response.on('close', () => forwarded.destroy());
    request.pipe(forwarded);
  });
  proxy.on('connection', (socket) => {
    if (down) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  proxy.on('connect', ({ url }, socket) => {
    socket.on('error', () => {}); // the browser has gone
    if (tunnels) {
      const { hostname, port } = new URL(`http://${url}`);
      const server = net.connect(port, hostname, () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        server.pipe(socket).pipe(server);
      });
      server.on('error', () => socket.destroy());
      socket.on('close', () => server.destroy());
      return;
    }
    refused++;
    socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n');
  });
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  return {
    server: `http://127.0.0.1:${proxy.address().port}`,
    refused: () => refused,
    cut: () => {
      down = true;
      for (const socket of sockets) {
        socket.destroy();
      }
    },
    heal: () => (down = false),
    stop: () =>
      new Promise((resolve) => {
        proxy.close(resolve);
        for (const socket of sockets) {
          socket.destroy();
        }
      }),
  };
}
