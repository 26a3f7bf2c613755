// Laravel Echo, and what it says about its connection.

import Echo from 'laravel-echo';
import Pusher from 'pusher-js';

// The transports of pusher-js, by the name a provider has for its user. The
// first that connects is used; ws opens wss:// by itself where TLS is on.
const providers = new Map([
  ['ws', 'WebSocket'],
  ['wss', 'WebSocket'],
  ['xhr_streaming', 'HTTP streaming'],
  ['xhr_polling', 'HTTP polling'],
]);

/**
 * Connects with the options of the backend. onChange gets the connection's state
 * and the provider's name at every change of state.
 */
export function connect({ key, wsHost, wsPort, wsPath, forceTLS }, transports, onChange) {
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
    enabledTransports: transports.length > 0 ? transports : [...providers.keys()],
    authEndpoint: '/broadcasting/auth',
  });
  const { connection } = echo.connector.pusher;
  const report = () => onChange(connection.state, provider(connection));
  connection.bind('state_change', report);
  report();
  return echo;
}

/** The name of what carries the connection now; null when nothing does. */
function provider(connection) {
  if (connection.state !== 'connected') {
    return null;
  }
  const { name } = connection.connection.transport;
  return providers.get(name) ?? name;
}
