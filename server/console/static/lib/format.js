// How values are written. No function here makes markup.

const numbers = new Intl.NumberFormat('en');

/** 1234567 → "1,234,567"; at most one digit behind the point. */
export const count = (n) => (n === undefined || n === null ? '' : numbers.format(Number.isInteger(n) ? n : Math.round(n * 10) / 10));

/** "1 channel", "2 channels". */
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** 1536 → "1.5 KiB". */
export function bytes(n) {
  if (n === undefined || n === null) return '';
  if (n < 1024) return `${n} B`;
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  let unit = -1;
  do {
    n /= 1024;
    unit++;
  } while (n >= 1023.95 && unit < units.length - 1);
  return `${n < 10 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}

/** Milliseconds → "0.42 ms", "12 ms", "3.4 s", "2 m 5 s". */
export function duration(ms) {
  if (ms === undefined || ms === null) return '';
  if (ms < 10) return `${Number(ms.toFixed(2))} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const s = Math.round(ms / 1000);
  if (s < 3600) return `${Math.floor(s / 60)} m ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} m`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

const two = (n) => String(n).padStart(2, '0');

/** Milliseconds since 1970 → "14:03:59.123", local time. */
export function clock(at) {
  const d = new Date(at);
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${String(d.getMilliseconds()).padStart(3, '0')}`;
}

/** Milliseconds since 1970 → "2026-11-27 14:03:59", local time. */
export function dateTime(at) {
  const d = new Date(at);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

/** "now", "12 s ago", "in 3 m". */
export function relative(at, now) {
  const s = Math.round((now - at) / 1000);
  const size = Math.abs(s);
  if (size < 2) return 'now';
  const text =
    size < 60 ? `${size} s`
    : size < 3600 ? `${Math.floor(size / 60)} m`
    : size < 86_400 ? `${Math.floor(size / 3600)} h`
    : `${Math.floor(size / 86_400)} d`;
  return s > 0 ? `${text} ago` : `in ${text}`;
}

// What would not be seen, or would change how its neighbours are seen: controls,
// directions, widths of zero, separators of lines, tags, halves of pairs. A joiner
// within an emoji is none of them.
const hidden =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\u{e0000}-\u{e0fff}]|\p{Cs}|(?<![\p{Extended_Pictographic}\ufe0f\u{1f3fb}-\u{1f3ff}])\u200d|\u200d(?!\p{Extended_Pictographic})/gu;

const picture = (c) => {
  const code = c.codePointAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return '\u2421';
  return `\u27e8U+${code.toString(16).toUpperCase().padStart(4, '0')}\u27e9`;
};

/**
 * A stranger's text with every character visible. With lines, line breaks and
 * tabs stay what they are.
 */
export function show(text, { lines = false } = {}) {
  return String(text ?? '').replace(hidden, (c) => (lines && (c === '\n' || c === '\t') ? c : picture(c)));
}

/** The first max characters, and whether that is not all. */
export function clip(text, max) {
  if (text.length <= max) return [text, false];
  const end = /[\ud800-\udbff]/.test(text[max - 1]) ? max - 1 : max;
  return [text.slice(0, end), true];
}

/**
 * JSON with line breaks, or the text itself if it is none. Only white space
 * changes: long numbers and keys that come twice stay.
 */
export function pretty(text) {
  try {
    const value = JSON.parse(text);
    if (value === null || typeof value !== 'object') return text;
  } catch {
    return text;
  }
  let out = '';
  let depth = 0;
  const line = () => `\n${'  '.repeat(Math.min(depth, 40))}`;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s"[\]{},:]+/gs)) {
    const last = out.at(-1);
    if (token === ']' || token === '}') {
      depth--;
      out += last === '[' || last === '{' ? token : line() + token;
      continue;
    }
    if (last === '[' || last === '{') out += line();
    if (token === '[' || token === '{') depth++;
    out += token === ':' ? ': ' : token === ',' ? `,${line()}` : token;
  }
  return out;
}

/** The query of an object: lists are repeated; empty values are left out, but for those of keep. */
export function queryOf(params = {}, keep = []) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== undefined && each !== null && (each !== '' || keep.includes(name))) query.append(name, each);
    }
  }
  return query.size ? `?${query}` : '';
}

/** The address of a view within the page: href('channel', {app, name}). The app '' is all apps. */
export const href = (view, params) => `#/${view}${queryOf(params, ['app'])}`;
