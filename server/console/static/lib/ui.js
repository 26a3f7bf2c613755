// The components that views are made of. What strangers wrote goes through Text,
// or show() of format.js.

import { html, useEffect, useMemo, useRef, useState } from '../vendor/preact.js';
import { bytes, clip, count, dateTime, relative, show } from './format.js';
import { useNow } from './hooks.js';

let ids = 0;

/** An id that is the component's own. */
export const useId = (prefix = 'f') => useMemo(() => `${prefix}${++ids}`, []);

/**
 * A stranger's text: everything visible, cut to max characters, in full behind a
 * button. Without text it is a dash, or what none says. lines keeps line breaks.
 */
export function Text({ value, max = 80, none = '–', lines = false, class: name = '' }) {
  const [open, setOpen] = useState(false);
  if (value === undefined || value === null || value === '') return html`<span class="none">${none}</span>`;
  const [part, cut] = clip(String(value), max);
  const text = show(open ? value : part, { lines });
  return html`<bdi class="text ${name}">${text}${cut && !open && '…'}</bdi>${cut &&
    html` <button type="button" class="more" aria-expanded=${open} onClick=${() => setOpen(!open)}>${open ? 'less' : 'more'}<span class="sr"> of this text</span></button>`}`;
}

/** How long ago, or until; the date is its title. at: milliseconds since 1970; 0 is never. */
export function Time({ at, none = 'never' }) {
  const now = useNow();
  if (!at) return html`<span class="none">${none}</span>`;
  return html`<time datetime=${new Date(at).toISOString()} title=${dateTime(at)}>${relative(at, now)}</time>`;
}

export const Bytes = ({ n }) => html`<span title=${`${count(n)} bytes`}>${bytes(n)}</span>`;

/** kind: ok, warn, bad, info, mute, or a kind of record of the live view. */
export const Badge = ({ kind = 'mute', children }) => html`<span class="badge badge-${kind}">${children}</span>`;

/** What there is to say when a list is empty. */
export const Empty = ({ children }) => html`<div class="empty">${children}</div>`;

/** An error of api.js, or a text; nothing without one. retry adds a button. */
export function ErrorNote({ error, retry }) {
  if (!error) return null;
  return html`<div class="note note-bad" role="alert">
    <${Text} value=${error.message ?? error} max=${600} />
    ${retry && html` <button type="button" onClick=${retry}>Try again</button>`}
  </div>`;
}

/**
 * A text for the eye at once, and for the ear when it has rested, at most every few
 * seconds: for counts that change.
 */
export function Status({ text, every = 4000, class: name = '' }) {
  const [said, setSaid] = useState('');
  const latest = useRef(text);
  latest.current = text;
  const timer = useRef();
  useEffect(() => {
    if (text === said) return;
    timer.current ??= setTimeout(() => {
      timer.current = undefined;
      setSaid(latest.current);
    }, every);
  });
  useEffect(() => () => clearTimeout(timer.current), []);
  return html`<span class=${name} aria-hidden="true">${text}</span><span class="sr" role="status">${said}</span>`;
}

/**
 * A labelled input. as: input, select (children are its options) or textarea. filter
 * makes it what the key / goes to. Everything else is the input's: value, onInput, type.
 */
export function Field({ label, hint, error, as = 'input', filter, class: name = '', children, ...rest }) {
  const id = useId();
  const told = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(' ');
  const props = {
    id,
    'aria-describedby': told || undefined,
    'aria-invalid': error ? 'true' : undefined,
    'data-filter': filter ? '' : undefined,
    spellcheck: false,
    autocapitalize: 'off',
    autocomplete: 'off',
    ...rest,
  };
  return html`<div class="field ${name}">
    <label for=${id}>${label}</label>
    ${as === 'select' ? html`<select ...${props}>${children}</select>` : as === 'textarea' ? html`<textarea ...${props} />` : html`<input type="text" ...${props} />`}
    ${hint && html`<p class="hint" id="${id}-hint">${hint}</p>`}
    ${error && html`<p class="hint hint-bad" id="${id}-error">${error}</p>`}
  </div>`;
}

/** Copies a text; says so on the button and to the ear. label says what is copied. */
export function Copy({ text, label = 'Copy', what = '' }) {
  const [state, setState] = useState('');
  useEffect(() => {
    if (!state) return;
    const timer = setTimeout(() => setState(''), 3000);
    return () => clearTimeout(timer);
  }, [state]);
  const copy = async () => setState((await toClipboard(text)) ? 'Copied' : 'Not copied: select the text');
  return html`<button type="button" class="copy" onClick=${copy}>${state || label}${what && html`<span class="sr"> ${what}</span>`}</button
    ><span class="sr" role="status">${state}</span>`;
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // A page without TLS has no clipboard, except on this machine.
    const area = document.createElement('textarea');
    area.value = text;
    area.className = 'sr';
    document.body.append(area);
    area.select();
    const copied = document.execCommand('copy');
    area.remove();
    return copied;
  }
}

/** Lines to paste, with their heading and a button that copies them. */
export const Snippet = ({ title, text, children }) => html`<div class="snippet">
  <div class="title"><h3>${title}</h3><${Copy} text=${text} what=${title} /></div>
  ${children}
  <pre tabindex="0" role="group" aria-label=${title}><code>${text}</code></pre>
</div>`;

/**
 * A table. Columns: {key, label, render(row), num, sort, head}: sort is what onSort is
 * called with when its header is pressed, num aligns to the right, head makes its cells the
 * headers of their rows. sort is the column's by which the rows are sorted, descending says
 * how. On a narrow screen each row is a card.
 */
export function Table({ caption, columns, rows, rowKey = (row, i) => i, sort, descending, onSort, empty = 'Nothing here.' }) {
  if (rows.length === 0) return html`<${Empty}>${empty}<//>`;
  // Without roles, a table that is laid out as cards is no table to a screen reader.
  return html`<div class="table-box" tabindex="0" role="group" aria-label=${caption}>
    <table role="table">
      <caption class="sr">${caption}</caption>
      <thead role="rowgroup">
        <tr role="row">
          ${columns.map(({ key, label, sort: by, num }) => html`<th
              key=${key}
              role="columnheader"
              scope="col"
              class=${[num && 'num', by && 'sortable'].filter(Boolean).join(' ') || undefined}
              aria-sort=${by && by === sort ? (descending ? 'descending' : 'ascending') : undefined}
            >
              ${by && onSort ? html`<button type="button" onClick=${() => onSort(by)}>${label}<span class="arrow" aria-hidden="true">${by === sort ? (descending ? '▾' : '▴') : ''}</span></button>` : label}
            </th>`)}
        </tr>
      </thead>
      <tbody role="rowgroup">
        ${rows.map((row, i) => html`<tr key=${rowKey(row, i)} role="row">
            ${columns.map(({ key, label, render, num, head }) =>
              head
                ? html`<th key=${key} role="rowheader" scope="row" data-label=${label} class=${num ? 'num' : undefined}>${render ? render(row) : row[key]}</th>`
                : html`<td key=${key} role="cell" data-label=${label} class=${num ? 'num' : undefined}>${render ? render(row) : row[key]}</td>`,
            )}
          </tr>`)}
      </tbody>
    </table>
  </div>`;
}

/** The offset of the last page that has rows. */
export const lastPage = (total, limit) => Math.max(0, Math.floor((total - 1) / limit) * limit);

/** The pages of a list: which part is shown, and buttons that call onChange(offset). */
export function Pager({ offset, limit, total, onChange, what = 'rows' }) {
  const last = lastPage(total, limit);
  const text = total === 0 ? `no ${what}` : `${count(Math.min(offset + 1, total))}–${count(Math.min(offset + limit, total))} of ${count(total)} ${what}`;
  const button = (label, to, sign, off) => html`<button type="button" aria-label=${label} title=${label} disabled=${off} onClick=${() => onChange(to)}>${sign}</button>`;
  return html`<nav class="pager" aria-label="Pages">
    <${Status} text=${text} />
    ${total > limit && html`<span class="buttons">
      ${button('First page', 0, '«', offset <= 0)}${button('Previous page', Math.max(0, offset - limit), '‹', offset <= 0)}
      ${button('Next page', offset + limit, '›', offset >= last)}${button('Last page', last, '»', offset >= last)}
    </span>`}
  </nav>`;
}

/**
 * A dialog, open as long as it is rendered. onClose is called when it was left by
 * Escape or its button. title is its heading.
 */
export function Dialog({ title, onClose, children }) {
  const dialog = useRef();
  const id = useId('d');
  useEffect(() => {
    const { current } = dialog;
    const before = document.activeElement;
    if (!current.open) current.showModal();
    return () => {
      current.close();
      if (before?.isConnected) before.focus(); // which the browser does not, once the dialog has left the page
    };
  }, []);
  return html`<dialog ref=${dialog} aria-labelledby=${id} onCancel=${(event) => { event.preventDefault(); onClose(); }}>
    <h2 id=${id}>${title}</h2>
    ${children}
  </dialog>`;
}

/**
 * Asks before something is done. onConfirm may return a promise; if it rejects, the
 * dialog stays and says why, else onClose is called. action is what its button says.
 */
export function Confirm({ title, children, action = 'OK', danger = false, onConfirm, onClose }) {
  const [error, setError] = useState();
  const [busy, setBusy] = useState(false);
  const confirm = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError();
    try {
      await onConfirm();
      onClose();
    } catch (failed) {
      setError(failed);
      setBusy(false);
    }
  };
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <form onSubmit=${confirm}>
      ${children}
      <${ErrorNote} error=${error} />
      <p class="actions">
        <button type="button" onClick=${onClose}>Cancel</button>
        <button type="submit" class=${danger ? 'danger' : 'primary'} disabled=${busy}>${action}</button>
      </p>
    </form>
  <//>`;
}

/** How much there is of a limit, for the eye; labelledby names what it is. */
export const Meter = ({ now, limit, labelledby }) => html`<meter aria-labelledby=${labelledby} min="0" max=${limit} low=${limit * 0.75} high=${limit * 0.9}
  optimum="0" value=${Math.min(now, limit)}>${Math.round((100 * now) / limit)} %</meter>`;

/** A list of names and values: items are [name, value] pairs; those without a value are left out. */
export const Definitions = ({ items }) => html`<dl class="definitions">
  ${items.filter(([, value]) => value !== undefined && value !== null && value !== '').map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
</dl>`;
