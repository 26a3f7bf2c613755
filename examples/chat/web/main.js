// A support chat over Laravel Echo: /?role=visitor and /?role=support.
// ?transports=xhr_streaming,xhr_polling limits what may carry the connection.

import { recover } from '../../../clients/recover/index.js';
import { config, messagesAfter, send } from './api.js';
import { appPolling, connect, webSocket } from './connection.js';
import { Feed } from './feed.js';
import { Reconnect } from './reconnect.js';
import { View } from './view.js';

const conversation = 1;
const parameters = new URLSearchParams(location.search);
const role = parameters.get('role') === 'support' ? 'support' : 'visitor';
const transports = parameters.get('transports')?.split(',') ?? [];

const view = new View(role);

/** Milliseconds since 1970, finer than Date.now(). */
const now = () => performance.timeOrigin + performance.now();

const unreachable = (error) =>
  view.problem(error && `The chat server cannot be reached: ${error.message}.`);

async function start() {
  const options = await config();

  let polling = false;
  let provider;
  const showProvider = () => view.provider(polling ? appPolling : provider);

  const feed = new Feed({
    ask: async () => {
      const { messages, realtime } = await messagesAfter(conversation, view.complete);
      view.list(messages);
      if (!realtime) {
        reconnect.outage();
      } else if (!feed.live) {
        reconnect.ready();
      }
      return messages.length > 0;
    },
    onPolling: (is) => {
      polling = is;
      showProvider();
    },
    onProblem: unreachable,
  });

  const echo = connect(options, transports, (state, carrier) => {
    provider = carrier;
    view.connection(state);
    showProvider();
    if (state !== 'connected') {
      feed.down();
    }
  });
  const reconnect = new Reconnect(echo.connector.pusher);
  recover(echo.connector.pusher); // Belfry sends what came while the connection was broken

  const channel = echo
    .private(`chat.conversation.${conversation}`)
    .listen('ChatMessageReceived', ({ message }) => {
      view.message(message, now());
      mindGap(message);
    })
    .listenForWhisper('typing', () => view.typing(true))
    .listen('.belfry:missed', () => feed.catchUp())
    .on('pusher:subscription_succeeded', ({ recovered }) => {
      view.problem(null);
      feed.up(recovered);
      reconnect.subscribed(provider === webSocket);
    })
    .error(({ status }) => {
      if (status === 401 || status === 403) {
        view.problem(`The chat refused this conversation (${status}).`);
      } else {
        reconnect.outage(); // of the backend: subscribe again when it answers
      }
    });

  /** Asks for what is missing before a message: it was stored, but not broadcast. */
  function mindGap({ id }) {
    if (view.complete < id) {
      feed.catchUp();
    }
  }

  let whispered = 0;
  view.onInput({
    onTyping: () => {
      if (feed.live && now() - whispered > 1000) {
        whispered = now();
        channel.whisper('typing', {});
      }
    },
    onSend: async (text) => {
      whispered = 0;
      const message = { role, text, sent_at: now() };
      const shown = view.sending(message);
      try {
        const { message: stored, delivered } = await send(conversation, message, echo.socketId());
        shown.sent(stored, delivered, now());
        mindGap(stored);
      } catch (error) {
        shown.failed(error.message);
      }
    },
  });
}

start().catch(unreachable);
