// A plot of what was measured over time. All plots of a page share one cursor.

import { html, useEffect, useLayoutEffect, useRef, useState } from '../vendor/preact.js';
import uPlot from '../vendor/uplot.js';
import { dateTime } from './format.js';

const height = 150;

/** The time of day of a time in seconds, with its seconds if that is asked for. */
export const timeOfDay = (at, exact = false) => dateTime(at * 1000).slice(11, exact ? 19 : 16);

/** The last, lowest and highest of some values, without those that are absent. */
function summary(values) {
  const known = values.filter((value) => value != null);
  return known.length && { last: known.at(-1), low: Math.min(...known), high: Math.max(...known) };
}

/** What a line does, for those who do not see it. */
function told({ name, values }, format) {
  const is = summary(values);
  return is
    ? `${name}: now ${format(is.last)}, lowest ${format(is.low)}, highest ${format(is.high)}.`
    : `${name}: nothing was measured.`;
}

/**
 * A plot of lines, each {name, values}, over the times at in seconds. format(value) is
 * its text; steps are the distances that the grid may have, for units that are not decimal.
 */
export function Plot({ title, at, lines, format, steps }) {
  const figure = useRef();
  const box = useRef();
  const plot = useRef();
  const [index, setIndex] = useState(null); // that of the cursor

  useLayoutEffect(() => {
    const color = (name) => () => getComputedStyle(figure.current).getPropertyValue(name).trim() || '#888';
    const quiet = { stroke: color('--plot-text'), font: '11px system-ui, sans-serif', ticks: { show: false } };
    const grid = { stroke: color('--plot-grid'), width: 1 };
    plot.current = new uPlot(
      {
        width: box.current.clientWidth,
        height,
        padding: [8, 10, 0, 0],
        legend: { show: false },
        cursor: {
          y: false,
          drag: { x: false, y: false, setScale: false },
          points: { size: 7 },
          sync: { key: 'plots', setSeries: false },
        },
        scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
        axes: [
          { ...quiet, size: 24, space: 60, grid: { show: false }, values: (_, splits, axis, space, step) => splits.map((at) => timeOfDay(at, step < 60)) },
          { ...quiet, size: 56, space: 26, grid, incrs: steps, values: (_, splits) => splits.map(format) },
        ],
        series: [
          {},
          ...lines.map(({ name }, i) => ({
            label: name,
            stroke: color(`--plot-${i + 1}`),
            fill: i === 0 ? color('--plot-fill') : undefined,
            width: 1.5,
            points: { show: false },
          })),
        ],
        hooks: { setCursor: [(u) => setIndex(u.cursor.idx ?? null)] },
      },
      [at, ...lines.map(({ values }) => values)],
      box.current,
    );
    const size = new ResizeObserver(() => plot.current.setSize({ width: box.current.clientWidth, height }));
    size.observe(box.current);
    // The colors are those of the style sheet, which change with the theme.
    const paint = () => plot.current.redraw(false, true);
    const dark = matchMedia('(prefers-color-scheme: dark)');
    dark.addEventListener('change', paint);
    const theme = new MutationObserver(paint);
    theme.observe(document.documentElement, { attributes: true });
    return () => {
      size.disconnect();
      theme.disconnect();
      dark.removeEventListener('change', paint);
      plot.current.destroy();
    };
  }, []);

  useEffect(() => plot.current.setData([at, ...lines.map(({ values }) => values)]), [at]);

  /** Moves the cursor by the arrow keys. */
  function move(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === 'Escape') {
      plot.current.setCursor({ left: -10, top: -10 }, true, true);
    } else if (step && at.length) {
      event.preventDefault();
      const next = Math.max(0, Math.min(at.length - 1, (index ?? at.length) + step * (event.shiftKey ? 6 : 1)));
      plot.current.setCursor({ left: plot.current.valToPos(at[next], 'x'), top: 10 }, true, true);
    }
  }

  const here = index !== null && index < at.length ? index : null;
  const values = lines.map(({ name, values }) => ({ name, value: here === null ? summary(values)?.last : values[here] }));
  const text = (value) => (value == null ? '–' : format(value));
  const when = here === null ? 'now' : timeOfDay(at[here]);
  const said = `${when}: ${values.map(({ name, value }) => `${name} ${text(value)}`).join(', ')}`;
  return html`<figure class="plot" ref=${figure}>
    <figcaption>
      <strong>${title}</strong>
      <span class="plot-at">${when}</span>
      <span class="plot-values">
        ${values.map(
          ({ name, value }, i) =>
            html`<span class=${`plot-line plot-line-${i + 1}`}>${lines.length > 1 && `${name} `}<b>${text(value)}</b></span>`,
        )}
      </span>
    </figcaption>
    <div
      class="plot-box"
      ref=${box}
      role="slider"
      tabindex="0"
      aria-label=${`${title}. ${lines.map((line) => told(line, format)).join(' ')}`}
      aria-valuemin="0"
      aria-valuemax=${Math.max(0, at.length - 1)}
      aria-valuenow=${here ?? Math.max(0, at.length - 1)}
      aria-valuetext=${said}
      onKeyDown=${move}
    ></div>
  </figure>`;
}
