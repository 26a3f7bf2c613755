// The backend of this demo. A request that fails throws an Error whose message
// can be shown.

const messages = (conversation) => `/api/conversations/${encodeURIComponent(conversation)}/messages`;

/** The options for Laravel Echo. */
export const config = () => request('/api/config');

/**
 * The stored messages with an id above the given one, and whether the backend can
 * reach the realtime server: {messages, realtime}.
 */
export const messagesAfter = (conversation, id) => request(`${messages(conversation)}?after=${id}`);

/**
 * Stores and broadcasts a message: {message, delivered}. The connection with
 * the given socket id does not get the broadcast.
 */
export const send = (conversation, message, socketId) =>
  request(messages(conversation), {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...(socketId && { 'X-Socket-ID': socketId }) },
    body: JSON.stringify(message),
  });

async function request(path, options) {
  const response = await fetch(path, { ...options, signal: AbortSignal.timeout(10_000) });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new Error(answer.message ?? `the chat server answered ${response.status}`);
  }
  return answer;
}
