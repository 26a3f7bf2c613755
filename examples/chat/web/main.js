// A support chat over Laravel Echo: /?role=visitor and /?role=support.
// ?transports=xhr_streaming,xhr_polling limits what may carry the connection.

import { config, messagesAfter, send } from './api.js';
import { connect } from './connection.js';
import { View } from './view.js';

const conversation = 1;
const parameters = new URLSearchParams(location.search);
const role = parameters.get('role') === 'support' ? 'support' : 'visitor';
const transports = parameters.get('transports')?.split(',') ?? [];

const view = new View(role);

/** Milliseconds since 1970, finer than Date.now(). */
const now = () => performance.timeOrigin + performance.now();

async function start() {
  const echo = connect(await config(), transports, view.connection.bind(view));

  const channel = echo
    .private(`chat.conversation.${conversation}`)
    .listen('ChatMessageReceived', ({ message }) => view.message(message, now()))
    .listenForWhisper('typing', () => view.typing(true))
    // Also after a reconnect: what was sent meanwhile is in the list only.
    .subscribed(() => attempt(catchUp))
    .error(({ status }) => view.problem(`The chat refused this conversation (${status ?? 'no reason given'}).`));

  let whispered = 0;
  view.onInput({
    onTyping: () => {
      if (now() - whispered > 1000) {
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
      } catch (error) {
        shown.failed(error.message);
      }
    },
  });
}

async function catchUp() {
  view.list(await messagesAfter(conversation, view.complete));
}

/** Runs a step and shows what went wrong, until it goes right. */
async function attempt(step) {
  try {
    await step();
    view.problem(null);
  } catch (error) {
    view.problem(`The chat server cannot be reached: ${error.message}.`);
  }
}

attempt(start);
