// Hooks that views share.

import { useCallback, useEffect, useRef, useState } from '../vendor/preact.js';

/**
 * Loads by load(signal), which returns a promise, now, when deps change, and
 * every so many milliseconds after an answer (0: not again) while the page is visible:
 * {data, error, loading, reload}. The data of the last answer stays while the next
 * is awaited, also when that fails; new deps forget it if they say so (keep: false).
 */
export function usePoll(load, every, deps, { keep = true } = {}) {
  const [state, setState] = useState({ loading: true });
  const latest = useRef(load);
  latest.current = load;
  const again = useRef(() => {});
  useEffect(() => {
    let timer, ended;
    let controller = new AbortController();
    const run = async () => {
      clearTimeout(timer);
      controller.abort();
      const mine = (controller = new AbortController());
      setState((old) => ({ ...old, loading: true }));
      try {
        const data = await latest.current(mine.signal);
        if (!mine.signal.aborted) setState({ data, loading: false });
      } catch (error) {
        if (!mine.signal.aborted) setState((old) => ({ ...old, error, loading: false }));
      }
      if (every && !ended && !mine.signal.aborted) timer = setTimeout(tick, every);
    };
    const tick = () => {
      if (!document.hidden) run();
    };
    const shown = () => {
      if (every && !document.hidden) run();
    };
    if (!keep) setState({ loading: true });
    run();
    again.current = run;
    document.addEventListener('visibilitychange', shown);
    return () => {
      ended = true;
      clearTimeout(timer);
      controller.abort();
      document.removeEventListener('visibilitychange', shown);
    };
  }, [every, ...deps]);
  return { ...state, reload: useCallback(() => again.current(), []) };
}

/**
 * A text field that writes to the query once typing rests: [text, setText]. value
 * is what the query has, commit(text) writes it there.
 */
export function useTyped(value, commit, ms = 300) {
  const [text, setText] = useState(value);
  const timer = useRef();
  const write = useRef(commit);
  write.current = commit;
  useEffect(() => setText(value), [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const type = useCallback((next) => {
    setText(next);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => write.current(next), ms);
  }, [ms]);
  return [text, type];
}

let ahead = 0; // how much the server's clock is ahead of the browser's, in milliseconds

/** Takes the server's time from an answer that came now, to a question of then. */
export function keepServerTime(at, then) {
  ahead = at - (then + Date.now()) / 2;
}

/** The time by the server's clock, which all times that it tells are by. */
export const serverNow = () => Date.now() + ahead;

const tickers = new Set();
let ticking;

/** The time by the server's clock, each second. Only for what shows how long ago something was. */
export function useNow() {
  const [now, setNow] = useState(serverNow);
  useEffect(() => {
    tickers.add(setNow);
    ticking ??= setInterval(() => document.hidden || tickers.forEach((tick) => tick(serverNow())), 1000);
    return () => {
      tickers.delete(setNow);
      if (tickers.size === 0) {
        clearInterval(ticking);
        ticking = undefined;
      }
    };
  }, []);
  return now;
}
