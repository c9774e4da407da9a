/** A line chart as inline SVG: no script, no font, no file beside the page. */

export interface Line {
  readonly label: string;
  readonly color: string;
  readonly values: readonly number[];
}

const width = 420;
const height = 210;
const pad = { left: 52, right: 12, top: 30, bottom: 26 };

const escape = (text: string) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
const short = (x: number) =>
  Math.abs(x) >= 1000 || (x !== 0 && Math.abs(x) < 0.001)
    ? x.toExponential(1)
    : String(Number(x.toPrecision(3)));

/** Values against their index from 1; not finite ones break the line. */
export function lineChart(title: string, lines: readonly Line[]): string {
  const all = lines.flatMap((l) => l.values).filter((v) => Number.isFinite(v));
  const n = Math.max(2, ...lines.map((l) => l.values.length));
  const low = Math.min(...all);
  const high = Math.max(...all);
  const span = high - low || 1;
  const x = (i: number) => pad.left + (i / (n - 1)) * (width - pad.left - pad.right);
  const y = (v: number) =>
    height - pad.bottom - ((v - low) / span) * (height - pad.top - pad.bottom);
  const path = (l: Line) => {
    let d = '';
    l.values.forEach((v, i) => {
      if (Number.isFinite(v))
        d += `${d === '' || !Number.isFinite(l.values[i - 1]!) ? 'M' : 'L'}${x(i).toFixed(1)} ${y(v).toFixed(1)}`;
    });
    return `<path d="${d}" fill="none" stroke="${l.color}" stroke-width="1.8"/>`;
  };
  const ticks = [low, low + span / 2, high]
    .map(
      (v) =>
        `<line x1="${pad.left}" x2="${width - pad.right}" y1="${y(v)}" y2="${y(v)}" class="grid"/><text x="${pad.left - 6}" y="${y(v) + 4}" text-anchor="end">${short(v)}</text>`,
    )
    .join('');
  const legend =
    lines.length > 1
      ? lines
          .map(
            (l, i) =>
              `<text x="${pad.left + 6 + i * 90}" y="${pad.top + 12}" fill="${l.color}">${escape(l.label)}</text>`,
          )
          .join('')
      : '';
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escape(title)}"><text x="${pad.left}" y="18" class="title">${escape(title)}</text>${ticks}<text x="${pad.left}" y="${height - 8}">1</text><text x="${width - pad.right}" y="${height - 8}" text-anchor="end">step ${n}</text>${lines.map(path).join('')}${legend}</svg>`;
}
