// A forward proxy for a browser, as companies have them: HTTP passes, a tunnel is
// refused, and a tunnel is how a browser takes a WebSocket through a proxy.

import http from 'node:http';

/** Resolves when it listens: {server, refused, stop}. refused() counts tunnels. */
export async function startProxy() {
  let refused = 0;
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
  proxy.on('connect', (_, socket) => {
    refused++;
    socket.on('error', () => {}); // the browser has gone
    socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n');
  });
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  return {
    server: `http://127.0.0.1:${proxy.address().port}`,
    refused: () => refused,
    stop: () =>
      new Promise((resolve) => {
        proxy.close(resolve);
        proxy.closeAllConnections();
      }),
  };
}
