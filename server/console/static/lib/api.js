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

/** How long an answer or a stream may take to come, in milliseconds. */
const patience = 15_000;
const crowded = 'A browser makes only six connections to a server: close other tabs that show it, if there are many.';

async function ask(method, path, { params, body, signal, within = patience } = {}) {
  let response, answer;
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), within);
  try {
    response = await fetch(address(path, params), {
      method,
      signal: signal ? AbortSignal.any([signal, late.signal]) : late.signal,
      credentials: 'same-origin',
      cache: 'no-store',
      headers: body === undefined ? {} : { 'Content-Type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    answer = text ? parse(text) : {};
  } catch (error) {
    if (signal?.aborted) throw error;
    tell(0);
    if (!late.signal.aborted) throw new ApiError('The server does not answer.', 0);
    const perhaps = method === 'GET' ? '' : ' It may have done what was asked all the same.';
    throw new ApiError(`The server has not answered within ${within / 1000} seconds.${perhaps} ${crowded}`, 0);
  } finally {
    clearTimeout(timer);
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
  const timer = setTimeout(() => controller.abort(), patience);
  try {
    const response = await fetch(address('live', params), { signal: controller.signal, cache: 'no-store' });
    tell(response.status);
    if (!response.ok) return new ApiError(parse(await response.text())?.error ?? `The stream was refused with status ${response.status}.`, response.status);
  } catch {
    tell(0);
  } finally {
    clearTimeout(timer);
    controller.abort();
  }
}

/**
 * Each resolves to the answer's JSON, or rejects with an ApiError. path is without "api/",
 * within how long the answer may take, in milliseconds.
 */
export const api = {
  get: (path, params, { signal } = {}) => ask('GET', path, { params, signal }),
  post: (path, body = {}, { signal, within } = {}) => ask('POST', path, { body, signal, within }),
  del: (path) => ask('DELETE', path),

  /**
   * Follows api/live with these parameters until what it returns is called.
   * onRecords(records, skipped) is called for each message; the id of a record is unique
   * beyond the process that gave it. onState is called with what is new of {open, error,
   * missed}: the error says why there is no stream, if that is known, and missed that the
   * stream was closed while the tab was hidden, as it takes one of the few connections that
   * a browser makes to a server. A broken stream is opened again.
   */
  live(params, onRecords, onState = () => {}) {
    let source, timer;
    const open = () => {
      const mine = (source = new EventSource(address('live', params)));
      timer = setTimeout(() => onState({ error: new ApiError(`The stream has not opened within ${patience / 1000} seconds. ${crowded}`, 0) }), patience);
      source.onopen = () => {
        clearTimeout(timer);
        onState({ open: true, error: undefined });
      };
      source.onmessage = ({ data }) => {
        // Each process counts its records anew.
        const { run, records, skipped } = JSON.parse(data);
        for (const record of records) record.id = `${run} ${record.id}`;
        onRecords(records, skipped);
      };
      source.onerror = () => {
        clearTimeout(timer);
        onState({ open: false });
        if (source.readyState !== EventSource.CLOSED) {
          onState({ error: undefined }); // such as one that the answer before gave
          // It tries again by itself. Whether the server is there, the frame wants to know.
          ask('GET', 'session').catch(() => {});
          return;
        }
        // An answer other than 200, which an EventSource keeps to itself.
        refusal(params).then((error) => error && source === mine && onState({ error }));
        timer = setTimeout(open, 3000);
      };
    };
    const close = () => {
      clearTimeout(timer);
      source?.close();
      source = undefined;
    };
    const seen = () => {
      if (!document.hidden) {
        if (!source) open();
      } else if (source) {
        close();
        onState({ open: undefined, error: undefined, missed: true });
      }
    };
    if (!document.hidden) open();
    document.addEventListener('visibilitychange', seen);
    return () => {
      document.removeEventListener('visibilitychange', seen);
      close();
    };
  },
};
