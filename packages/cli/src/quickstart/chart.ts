/** A line chart as inline SVG: no script, no font, no file beside the page. */

export interface Line {
  readonly label: string;
  readonly color: string;
  readonly values: readonly number[];
  /** Steps of the values, ascending. Default: 1, 2, … */
  readonly steps?: readonly number[];
  /** Bounds of every value's interval, drawn as a band. */
  readonly band?: { readonly low: readonly number[]; readonly high: readonly number[] };
}

const width = 420;
const height = 210;
const pad = { left: 52, right: 12, top: 30, bottom: 26 };

const escape = (text: string) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
const short = (x: number) =>
  Math.abs(x) >= 1000 || (x !== 0 && Math.abs(x) < 0.001)
    ? x.toExponential(1)
    : String(Number(x.toPrecision(3)));

/** Values against their steps; not finite ones break the line, one alone is a dot. `legend`: with more lines than one. */
export function lineChart(
  title: string,
  lines: readonly Line[],
  { legend: withLegend = true }: { readonly legend?: boolean } = {},
): string {
  const all = lines
    .flatMap((l) => [...l.values, ...(l.band?.low ?? []), ...(l.band?.high ?? [])])
    .filter((v) => Number.isFinite(v));
  const stepOf = (l: Line, i: number) => l.steps?.[i] ?? i + 1;
  const ends = lines.flatMap((l) =>
    l.values.length === 0 ? [] : [stepOf(l, 0), stepOf(l, l.values.length - 1)],
  );
  const first = Math.min(...ends, Infinity);
  const from = Number.isFinite(first) ? first : 1;
  const n = Math.max(from + 1, ...ends);
  const low = Math.min(...all);
  const high = Math.max(...all);
  const span = high - low || 1;
  const x = (step: number) =>
    pad.left + ((step - from) / (n - from)) * (width - pad.left - pad.right);
  const y = (v: number) =>
    height - pad.bottom - ((v - low) / span) * (height - pad.top - pad.bottom);
  const path = (l: Line) => {
    let d = '';
    l.values.forEach((v, i) => {
      if (Number.isFinite(v))
        d += `${d === '' || !Number.isFinite(l.values[i - 1]!) ? 'M' : 'L'}${x(stepOf(l, i)).toFixed(1)} ${y(v).toFixed(1)}`;
    });
    const dot = l.values.findIndex((v) => Number.isFinite(v));
    const alone = l.values.filter((v) => Number.isFinite(v)).length === 1;
    return alone
      ? `<circle cx="${x(stepOf(l, dot)).toFixed(1)}" cy="${y(l.values[dot]!).toFixed(1)}" r="3" fill="${l.color}"/>`
      : `<path d="${d}" fill="none" stroke="${l.color}" stroke-width="1.8"/>`;
  };
  const band = (l: Line) => {
    if (!l.band || ![...l.band.low, ...l.band.high].every((v) => Number.isFinite(v))) return '';
    const edge = (values: readonly number[]) =>
      values.map((v, i) => `${x(stepOf(l, i)).toFixed(1)} ${y(v).toFixed(1)}`);
    const around = [...edge(l.band.high), ...edge(l.band.low).reverse()];
    return `<path d="M${around.join('L')}Z" fill="${l.color}" fill-opacity="0.14"/>`;
  };
  const ticks = [low, low + span / 2, high]
    .map(
      (v) =>
        `<line x1="${pad.left}" x2="${width - pad.right}" y1="${y(v)}" y2="${y(v)}" class="grid"/><text x="${pad.left - 6}" y="${y(v) + 4}" text-anchor="end">${short(v)}</text>`,
    )
    .join('');
  const legend =
    withLegend && lines.length > 1
      ? lines
          .map(
            (l, i) =>
              `<text x="${pad.left + 6 + i * 90}" y="${pad.top + 12}" fill="${l.color}">${escape(l.label)}</text>`,
          )
          .join('')
      : '';
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escape(title)}"><text x="${pad.left}" y="18" class="title">${escape(title)}</text>${ticks}<text x="${pad.left}" y="${height - 8}">${from}</text><text x="${width - pad.right}" y="${height - 8}" text-anchor="end">step ${n}</text>${lines.map(band).join('')}${lines.map(path).join('')}${legend}</svg>`;
}
