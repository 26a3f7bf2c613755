// What the page asks of the server: JSON by fetch, and one stream. Every address
// is relative to the page, which may be behind a prefix.

import { queryOf } from './format.js';

/** An answer that is not 2xx. status is 0 if there was none; token is said by 401 only. */
export class ApiError extends Error {
  constructor(message, status, { token, retryAfter } = {}) {
    super(message);
    this.status = status;
    this.token = token;
    this.retryAfter = retryAfter; // seconds, or undefined
  }
}

const listeners = new Set();

/** Calls back with the status of each answer, 0 for none. Returns what ends that. */
export function onAnswer(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const tell = (status) => listeners.forEach((listener) => listener(status));

const address = (path, params) => `api/${path}${queryOf(params)}`;

async function ask(method, path, { params, body, signal } = {}) {
  let response, answer;
  try {
    response = await fetch(address(path, params), {
      method,
      signal,
      credentials: 'same-origin',
      cache: 'no-store',
      headers: body === undefined ? {} : { 'Content-Type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    answer = text ? parse(text) : {};
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    tell(0);
    throw new ApiError('The server does not answer.', 0);
  }
  tell(response.status);
  if (!response.ok || answer === undefined) {
    const told = answer?.error ?? `The answer was no JSON (status ${response.status}): is a proxy in between?`;
    throw new ApiError(told, response.status, {
      token: answer?.token,
      retryAfter: Number(response.headers.get('Retry-After')) || undefined,
    });
  }
  return answer;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Why the server refuses to open the stream; nothing if it does not, or does not answer. */
async function refusal(params) {
  const controller = new AbortController();
  try {
    const response = await fetch(address('live', params), { signal: controller.signal, cache: 'no-store' });
    tell(response.status);
    if (!response.ok) return new ApiError(parse(await response.text())?.error ?? `The stream was refused with status ${response.status}.`, response.status);
  } catch {
    tell(0);
  } finally {
    controller.abort();
  }
}

/** Each resolves to the answer's JSON, or rejects with an ApiError. path is without "api/". */
export const api = {
  get: (path, params, { signal } = {}) => ask('GET', path, { params, signal }),
  post: (path, body = {}, { signal } = {}) => ask('POST', path, { body, signal }),
  del: (path) => ask('DELETE', path),

  /**
   * Follows api/live with these parameters until what it returns is called.
   * onRecords(records, skipped) is called for each message, onState(open, error) when
   * the stream opens or breaks; the error says why the server refused it, if it did.
   * A broken one is opened again.
   */
  live(params, onRecords, onState = () => {}) {
    let source, timer, ended;
    const open = () => {
      source = new EventSource(address('live', params));
      source.onopen = () => onState(true);
      source.onmessage = ({ data }) => {
        const { records, skipped } = JSON.parse(data);
        onRecords(records ?? [], skipped ?? 0);
      };
      source.onerror = () => {
        onState(false);
        if (source.readyState !== EventSource.CLOSED) {
          // It tries again by itself. Whether the server is there, the frame wants to know.
          ask('GET', 'session').catch(() => {});
          return;
        }
        // An answer other than 200, which an EventSource keeps to itself.
        refusal(params).then((error) => ended || (error && onState(false, error)));
        timer = setTimeout(() => ended || open(), 3000);
      };
    };
    open();
    return () => {
      ended = true;
      clearTimeout(timer);
      source.close();
    };
  },
};
