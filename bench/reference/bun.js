// The yardstick of `make bench`: as little as a server can do and still answer
// the benchmark's clients, on Bun's native WebSocket publish (uWebSockets).
//
// It checks no signature and no origin, applies no limit but the one below,
// counts nothing and knows one app. Its messages have the same bytes as
// Belfry's, so that what is compared is the work and not the traffic.

/** Unsent bytes of one client before it is closed: Belfry's default. */
const maxOutboxBytes = 1 << 20;

/** Empty: plain HTTP. */
const certFile = process.env.CERT_FILE;

const json = { headers: { 'Content-Type': 'application/json' } };

/** Two integers and a dot, as the libraries want it. */
const socketId = () => `${1 + Math.floor(Math.random() * 1e9)}.${1 + Math.floor(Math.random() * 1e9)}`;

const server = Bun.serve({
  hostname: '127.0.0.1',
  port: Number(process.env.PORT),
  tls: certFile ? { cert: Bun.file(certFile), key: Bun.file(process.env.KEY_FILE) } : undefined,

  routes: {
    '/app/:key': (request, server) =>
      server.upgrade(request) ? undefined : new Response('a WebSocket handshake is expected', { status: 426 }),

    '/apps/:id/events': {
      POST: async (request, server) => {
        const { name, channel, channels = [channel], data } = await request.json();
        for (const channel of channels) {
          server.publish(channel, JSON.stringify({ event: name, channel, data }));
        }
        return new Response('{}', json);
      },
    },
  },

  fetch: () => new Response('not found', { status: 404 }),

  websocket: {
    idleTimeout: 120, // seconds; Belfry's activity_timeout
    perMessageDeflate: false,
    backpressureLimit: maxOutboxBytes,
    closeOnBackpressureLimit: true,

    open(ws) {
      const data = JSON.stringify({ socket_id: socketId(), activity_timeout: 120 });
      ws.send(JSON.stringify({ event: 'pusher:connection_established', data }));
    },

    message(ws, text) {
      const { event, data } = JSON.parse(text);
      if (event === 'pusher:subscribe') {
        ws.subscribe(data.channel);
        ws.send(JSON.stringify({ event: 'pusher_internal:subscription_succeeded', channel: data.channel, data: '{}' }));
      } else if (event === 'pusher:ping') {
        ws.send('{"event":"pusher:pong","data":"{}"}');
      }
    },
  },
});

if (process.env.COLLECT) {
  setInterval(() => Bun.gc(true), 1000);
}

process.on('SIGTERM', () => server.stop(true));
