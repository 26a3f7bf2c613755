// Laravel Echo, and what it says about its connection.

import Echo from 'laravel-echo';
import Pusher from 'pusher-js';

export const webSocket = { name: 'WebSocket', title: 'Messages come over a WebSocket, at once.' };

// The transports of pusher-js, as told to their user. The first that connects is
// used; ws opens wss:// by itself where TLS is on.
const transports = new Map([
  ['ws', webSocket],
  ['wss', webSocket],
  [
    'xhr_streaming',
    { name: 'HTTP streaming', title: 'WebSockets do not get through. Messages come over one long HTTP answer, at once.' },
  ],
  [
    'xhr_polling',
    { name: 'HTTP polling', title: 'WebSockets do not get through. Messages come over HTTP requests that wait for them.' },
  ],
]);

/** What carries messages when no transport does. */
export const appPolling = {
  name: 'Polling the app',
  title: 'The realtime server is out of reach. This page asks the chat for messages every few seconds.',
};

const nothing = { name: 'none', title: 'The page is connecting.' };

/**
 * Connects with the options of the backend, over the named transports or, if
 * there are none, over all. onChange gets the connection's state and its provider
 * at every change of state.
 */
export function connect({ key, wsHost, wsPort, wsPath, forceTLS }, names, onChange) {
  const echo = new Echo({
    broadcaster: 'pusher',
    Pusher,
    key,
    cluster: '', // pusher-js wants one, and does not use it with hosts given
    wsHost,
    wsPort,
    wssPort: wsPort,
    wsPath,
    httpHost: wsHost, // else the HTTP transports would go to pusher.com
    httpPort: wsPort,
    httpsPort: wsPort,
    httpPath: `${wsPath}/pusher`,
    forceTLS,
    enabledTransports: names.length > 0 ? names : [...transports.keys()],
    authEndpoint: '/broadcasting/auth',
  });
  const { connection } = echo.connector.pusher;
  const report = () => onChange(connection.state, provider(connection));
  connection.bind('state_change', report);
  report();
  return echo;
}

/**
 * What carries the connection now. pusher-js 8.6 tells it nowhere but in these
 * fields of its own, so this is the one place that reads them.
 */
function provider(connection) {
  const name = connection.state === 'connected' ? connection.connection?.transport?.name : undefined;
  return name ? (transports.get(name) ?? { name, title: '' }) : nothing;
}
