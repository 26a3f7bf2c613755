// A stand-in for the Laravel application behind Echo: POST /broadcasting/auth and
// /broadcasting/user-auth for the user of a bearer token or a session, as
// routes/channels.php would decide, and routes that broadcast.

import http from 'node:http';

import { newBackend } from './clients.mjs';

/** Laravel's name of a broadcast notification. */
export const notificationEvent = 'Illuminate\\Notifications\\Events\\BroadcastNotificationCreated';

/** Who may log in, by bearer token; as a session, the token is a cookie. */
export const users = {
  'token-ann': { id: 1, name: 'Ann' },
  'token-bob': { id: 2, name: 'Bob' },
};

/** What Inertia::render('Show') makes of these properties. */
export const inertiaPage = (props) => ({ component: 'Show', props, url: '/orders/1', version: null });

const forbidden = [403, { message: 'This action is unauthorized.' }];

/**
 * Starts it on a free port: {url, backend, stop}. It refuses channels whose
 * name has "forbidden" in it, and those who are not logged in. files are what
 * lies in public/: a path such as /app.js, and its text.
 */
export async function startLaravel(belfry, files = {}) {
  const backend = newBackend(belfry);

  async function answer(request, body) {
    const { authorization, cookie } = request.headers;
    const user = users[(authorization ?? cookie)?.replace(/^Bearer |^session=/, '')];
    if (!user) {
      return forbidden;
    }
    switch (`${request.method} ${request.url}`) {
      case 'POST /broadcasting/auth': {
        const form = new URLSearchParams(body);
        const channel = form.get('channel_name');
        if (channel.includes('forbidden')) {
          return forbidden;
        }
        const member = channel.startsWith('presence-') ? { user_id: user.id, user_info: user } : undefined;
        return [200, backend.authorizeChannel(form.get('socket_id'), channel, member)];
      }
      // Broadcast::resolveAuthenticatedUserUsing
      case 'POST /broadcasting/user-auth': {
        const watchlist = Object.values(users)
          .filter(({ id }) => id !== user.id)
          .map(({ id }) => String(id));
        const known = { id: String(user.id), user_info: { name: user.name }, watchlist };
        return [200, backend.authenticateUser(new URLSearchParams(body).get('socket_id'), known)];
      }
      // broadcast(new OrderShipped($order))->toOthers()
      case 'POST /orders/1/ship': {
        const except = request.headers['x-socket-id'];
        await backend.trigger(
          'private-orders.1',
          'App\\Events\\OrderShipped',
          { order: { id: 1 }, by: user.name },
          { socket_id: except },
        );
        return [200, {}];
      }
      // The properties of the page, when Inertia asks for them again.
      case 'GET /orders/1': {
        const order = { id: 1, state: `shipped, asked by ${request.headers['x-socket-id']}` };
        return [200, inertiaPage({ order }), { 'X-Inertia': 'true', Vary: 'X-Inertia' }];
      }
      default:
        return [404, {}];
    }
  }

  const server = http.createServer(async (request, response) => {
    try {
      const file = request.method === 'GET' && !request.headers['x-inertia'] && files[request.url];
      if (file) {
        const type = request.url.endsWith('.js') ? 'text/javascript' : 'text/html';
        response.writeHead(200, { 'Content-Type': `${type}; charset=utf-8` }).end(file);
        return;
      }
      const chunks = await request.toArray();
      const [status, body, headers] = await answer(request, Buffer.concat(chunks).toString());
      response.writeHead(status, { 'Content-Type': 'application/json', ...headers }).end(JSON.stringify(body));
    } catch (error) {
      response.writeHead(500).end(error.stack);
    }
  });
  await new Promise((resolve, reject) => server.listen(0, '127.0.0.1', resolve).once('error', reject));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    backend,
    stop: () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      }),
  };
}
