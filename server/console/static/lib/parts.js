// What several views have in common: lists that are searched and paged, payloads, clients.

import { html, useEffect, useLayoutEffect, useRef, useState } from '../vendor/preact.js';
import { bytes, clip, count, pretty, show } from './format.js';
import { useTyped } from './hooks.js';
import { Badge, Confirm, ErrorNote, Field, lastPage, Text, useId } from './ui.js';

/**
 * Keeps the focus where it is when rows change places, which takes it from what moves. After
 * a dialog, which is gone before it could give the focus back, it is where it was before; and
 * if that is gone, the view has it.
 */
export function useFocusKept() {
  const focused = document.activeElement;
  const before = useRef();
  if (!focused?.closest('dialog')) before.current = focused;
  useLayoutEffect(() => {
    if (focused && focused !== document.body && document.activeElement === document.body) {
      [focused, before.current, document.getElementById('main')].find((each) => each?.isConnected)?.focus({ preventScroll: true });
    }
  });
}

/**
 * The data of an event, behind a button: what strangers wrote is not for every eye that
 * sees the screen. size is how many bytes it has, of which data may be the beginning.
 */
export function Payload({ data, size, what = 'data' }) {
  const [open, setOpen] = useState(false);
  const id = useId('p');
  if (data === undefined || data === null) return html`<span class="none">–</span>`;
  const [part, cut] = clip(pretty(data), 20_000);
  const sent = new TextEncoder().encode(data).length;
  return html`<button type="button" class="more" aria-expanded=${open} aria-controls=${id} onClick=${() => setOpen(!open)}
      >${open ? 'Hide' : 'Show'} ${bytes(size ?? sent)}<span class="sr"> of ${what}</span></button
    >${open &&
    html`<div class="payload" id=${id}>
      <pre tabindex="0" role="group" aria-label=${what}><bdi>${show(part, { lines: true })}${cut && '…'}</bdi></pre>
      ${size > sent && html`<p class="hint">The first ${count(sent)} of ${count(size)} bytes.</p>`}
    </div>`}`;
}

const endings = [
  {
    code: 4009,
    title: 'Send it away (4009)',
    does: 'The client is told that it is not authorised. pusher-js and clients like it stay disconnected until the page is loaded again or the application connects them.',
  },
  {
    code: 4200,
    title: 'Have it reconnect (4200)',
    does: 'The client is told to connect again, and does so at once, with a new socket id and its subscriptions.',
  },
];

/** Asks how to disconnect a connection, says what its client will do, and does it. */
export function Disconnect({ api, app, id, onDone, onClose }) {
  const [code, setCode] = useState(4009);
  const disconnect = async () => {
    await api.post(`connections/${encodeURIComponent(id)}/disconnect`, { app, code });
    onDone?.(code);
  };
  return html`<${Confirm} title=${`Disconnect ${show(id)}?`} action="Disconnect" danger onConfirm=${disconnect} onClose=${onClose}>
    <fieldset class="choices">
      <legend class="sr">What the client shall do</legend>
      ${endings.map((ending) => html`<label key=${ending.code} class="choice">
        <input type="radio" name="code" value=${ending.code} checked=${code === ending.code} onChange=${() => setCode(ending.code)} />
        <span><strong>${ending.title}</strong><span class="hint">${ending.does}</span></span>
      </label>`)}
    </fieldset>
  <//>`;
}

/** What is shown of a view until its data has come, or why it has not; and while it is old. */
export function Loaded({ data, error, reload, children }) {
  return html`
    <${ErrorNote} error=${error && (data ? `What is shown is not new: ${error.message}` : error)} retry=${reload} />
    ${data ? children() : !error && html`<p class="loading">Loading…</p>`}`;
}

/**
 * The first rows of a list, and below them a button for all, if there are more:
 * [shown, button]. what names them.
 */
export function useFirst(rows, n, what) {
  const [all, setAll] = useState(false);
  const button = rows.length > n && html`<p><button type="button" class="small" aria-expanded=${all} onClick=${() => setAll(!all)}>
    ${all ? `Only the last ${count(n)} ${what}` : `All ${count(rows.length)} ${what}`}</button></p>`;
  return [all ? rows : rows.slice(0, n), button];
}

/** The offset of a query: a number from 0. */
export const offsetOf = (query, name = 'offset') => Math.max(0, Math.floor(Number(query.get(name))) || 0);

/** Goes to the last page of a list when that has become shorter than the offset. */
export function useWithin(list, { offset, limit, total, setQuery }) {
  useEffect(() => {
    if (total && !list.length && offset) setQuery({ offset: lastPage(total, limit) || undefined });
  }, [list]);
}

/** What a stream says that api.js closed meanwhile. */
export const whileHidden = 'paused while this tab was hidden';

/** A field to search by: onChange(text) is called once typing rests. The rest is Field's. */
export function Search({ value, onChange, ...rest }) {
  const [text, type] = useTyped(value, onChange);
  return html`<${Field} ...${rest} type="search" value=${text} onInput=${({ target }) => type(target.value)} />`;
}

/** What a kind of channel means. */
const meanings = {
  public: 'Anybody may subscribe.',
  private: 'A subscription needs a signature.',
  presence: 'A subscription needs a signature; members see each other.',
  'private-encrypted': 'A subscription needs a signature; the server cannot read the data.',
  cache: 'Anybody may subscribe, and gets the last event.',
  'private-cache': 'A subscription needs a signature, and gets the last event.',
  'presence-cache': 'Members see each other, and get the last event.',
  'private-encrypted-cache': 'The server cannot read the data; a subscriber gets the last event.',
  'server-to-user': 'The connections of one user who has signed in.',
};

const transports = { xhr_streaming: 'streaming', xhr_polling: 'polling' };

/** How a client is connected; what is not the usual way stands out. */
export const Transport = ({ name }) => (name === 'websocket' ? 'WebSocket' : html`<${Badge} kind="warn">${transports[name] ?? show(name)}<//>`);

/** A client's library, and its version. */
export const Library = ({ client, version }) => html`<${Text} value=${[client, version].filter(Boolean).join(' ')} max=${40} none="unknown" />`;

/** The badge of a kind of channel. */
export const Kind = ({ kind }) => html`<span class="badge kind" title=${meanings[kind]}>${show(kind)}</span>`;

/** Events a second: "0", "0.3", "1,204". */
export const perSecond = (n) => (n > 0 && n < 0.05 ? '< 0.1' : n < 10 ? count(n) : count(Math.round(n)));
