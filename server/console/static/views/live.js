// What happens, as it happens.

import { count, plural } from '../lib/format.js';
import { Search, whileHidden } from '../lib/parts.js';
import { Record, kinds } from '../lib/record.js';
import { Empty, ErrorNote, Status } from '../lib/ui.js';
import { html, useEffect, useMemo, useRef, useState } from '../vendor/preact.js';

/** At most this many records are kept, and this many while paused. */
const max = 500;

const texts = {
  channel: 'Channel begins with',
  event: 'Event begins with',
  socket: 'Socket id',
  user: 'User id',
};

/** Whether a record that was received under other filters fits these, too. */
function fits(record, { app, kind, channel, event, socket, user }) {
  return (
    (!app || record.app === app) &&
    (kind.length === 0 || kind.includes(record.kind)) &&
    (!channel || record.channel?.startsWith(channel)) &&
    (!event || record.event?.startsWith(event)) &&
    (!socket || record.socket_id === socket) &&
    (!user || record.user_id === user)
  );
}

/**
 * The records that the server tells. They are kept outside of the state, and shown
 * once a frame.
 */
function useRecords(api, filter) {
  const feed = useRef();
  feed.current ??= { shown: [], arrived: [], held: [], more: 0, skipped: 0, paused: false, open: false };
  const [, render] = useState(0);
  const frame = useRef(0);
  const soon = () => {
    frame.current ||= requestAnimationFrame(() => {
      frame.current = 0;
      const now = feed.current;
      // A message has up to 200 records: over several frames, or the page would stutter.
      const some = now.arrived.splice(-Math.max(10, Math.ceil(now.arrived.length / 8)));
      if (some.length > 0) now.shown = [...some, ...now.shown].slice(0, max);
      if (now.arrived.length > 0) soon();
      render((n) => n + 1);
    });
  };
  const key = JSON.stringify(filter);
  useEffect(() => {
    const now = feed.current;
    for (const list of ['shown', 'arrived', 'held']) now[list] = now[list].filter((record) => record.gap || fits(record, filter));
    soon();
    return api.live(
      filter,
      (records, skipped) => {
        const list = records.reverse();
        if (skipped > 0) {
          now.skipped += skipped;
          // The stream says how many were left out between two messages, but not where.
          list.push({ gap: skipped, id: `gap-${list[0]?.id ?? now.skipped}` });
        }
        if (now.paused) {
          now.more += records.length - (skipped > 0 ? 1 : 0);
          now.held = [...list, ...now.held].slice(0, max);
        } else {
          now.arrived = [...list, ...now.arrived].slice(0, max);
        }
        soon();
      },
      (changes) => {
        Object.assign(now, changes);
        soon();
      },
    );
  }, [key]);
  useEffect(() => () => cancelAnimationFrame(frame.current), []);
  const change = (edit) => () => {
    edit(feed.current);
    soon();
  };
  return {
    ...feed.current,
    pause: change((now) => (now.paused = true)),
    resume: change((now) => {
      now.arrived = [...now.held, ...now.arrived].slice(0, max);
      Object.assign(now, { held: [], more: 0, paused: false });
    }),
    clear: change((now) => Object.assign(now, { shown: [], arrived: [], held: [], more: 0, skipped: 0, missed: false })),
  };
}

export default function Live({ api, app, query, setQuery }) {
  const kind = query.getAll('kind').filter((name) => Object.hasOwn(kinds, name));
  const filter = { app, kind };
  for (const name of Object.keys(texts)) filter[name] = query.get(name) ?? '';
  const { shown, skipped, more, paused, open, error, missed, pause, resume, clear } = useRecords(api, filter);

  // A row that is rendered already is given again as it is, which costs nothing.
  const withApp = app === '';
  const rows = useMemo(() => new WeakMap(), [withApp]);
  const row = (record) => {
    let vnode = rows.get(record);
    if (!vnode) {
      vnode = record.gap
        ? html`<li key=${record.id} class="gap">${plural(record.gap, 'record')} skipped: too many at once</li>`
        : html`<${Record} key=${record.id} record=${record} withApp=${withApp} />`;
      rows.set(record, vnode);
    }
    return vnode;
  };

  const toggle = (name) => setQuery({ kind: kind.includes(name) ? kind.filter((each) => each !== name) : [...kind, name] });
  const filtered = kind.length > 0 || Object.keys(texts).some((name) => filter[name]);
  const reset = () => setQuery(Object.fromEntries([['kind'], ...Object.keys(texts).map((name) => [name])]));
  const state = [
    plural(shown.filter((record) => !record.gap).length, 'record'),
    skipped > 0 && `${count(skipped)} skipped`,
    paused && `${count(more)} more came`,
    missed && whileHidden,
  ].filter(Boolean).join(', ');

  return html`
    <section class="card" aria-label="Filters">
      <fieldset>
        <legend>Kinds (none chosen: all)</legend>
        <div class="checks">
          ${Object.entries(kinds).map(([name, label]) => html`<label key=${name}><input type="checkbox" checked=${kind.includes(name)} onChange=${() => toggle(name)} />${label}</label>`)}
        </div>
      </fieldset>
      <div class="bar">
        ${Object.entries(texts).map(([name, label], i) => html`<${Search} key=${name} label=${label} filter=${i === 0} value=${filter[name]} onChange=${(value) => setQuery({ [name]: value })} />`)}
        ${filtered && html`<button type="button" onClick=${reset}>Reset filters</button>`}
      </div>
    </section>
    <div class="feed-state">
      <span><span class="dot ${open ? 'dot-on' : 'dot-off'}"></span>${paused ? 'Paused' : open ? 'Following' : 'Connecting…'}</span>
      <${Status} text=${state} class="mute" />
      <span class="spring"></span>
      <button type="button" class=${paused ? 'on' : undefined} onClick=${paused ? resume : pause}>${paused ? `Resume${more ? ` (${count(more)} new)` : ''}` : 'Pause'}</button>
      <button type="button" onClick=${clear}>Clear</button>
    </div>
    <${ErrorNote} error=${error} />
    ${shown.length === 0
      ? html`<${Empty}>${open ? (filtered || app ? 'Nothing that matches has happened since this page was opened.' : 'Nothing has happened since this page was opened.') : 'The stream is not open yet.'}<//>`
      : html`<ul class="feed ${withApp ? 'with-app' : ''}" aria-label="Records, newest first">${shown.map(row)}</ul>`}
  `;
}
