/** The report as one self-contained HTML file: verdict, curves, texts before and after, time per call. */
import type { Evaluation } from './evaluate.js';
import { lineChart } from './chart.js';
import type { Summary } from './summary.js';
import type { Curves } from './curves.js';

/** Text for a page. */
export const escapeHtml = (text: string) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
const signed = (x: number) => `${x >= 0 ? '+' : '−'}${Math.abs(x).toFixed(3)}`;

const plain = (x: number) => x.toFixed(2).replace('-', '−');

/** Of all pages: charts, tables, dark and light. */
export const pageStyle = `
:root { color-scheme: light dark; --ink: #1d2733; --soft: #667; --line: #d8dde3; --card: #f6f8fa; --good: #1a7f4b; --bad: #b3372f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ef; --soft: #9aa5b1; --line: #39424d; --card: #1c232b; --good: #4cc38a; --bad: #ef7a72; } body { background: #12171d; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 980px; margin: 32px auto; padding: 0 20px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 34px 0 10px; } .soft { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(270px, 1fr)); gap: 12px; margin: 20px 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; } .card b { display: block; font-size: 22px; }
.good { color: var(--good); } .bad { color: var(--bad); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(360px, 1fr)); gap: 12px; } svg { width: 100%; border: 1px solid var(--line); border-radius: 8px; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); } svg .title { font-size: 13px; font-weight: 600; fill: var(--ink); } svg .grid { stroke: var(--line); }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; vertical-align: top; padding: 6px 10px 6px 0; border-bottom: 1px solid var(--line); } td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
`;

export function reportHtml(summary: Summary, evaluation: Evaluation, curves: Curves): string {
  const [low, high] = summary.scoreGainCi95;
  const card = (label: string, value: string, ok?: boolean, note = '') =>
    `<div class="card"><span class="soft">${escapeHtml(label)}</span><b class="${ok === undefined ? '' : ok ? 'good' : 'bad'}">${escapeHtml(value)}</b><span class="soft">${escapeHtml(note)}</span></div>`;
  const cards = [
    card(
      'VADER, before → after',
      `${summary.scoreBefore.toFixed(3)} → ${summary.scoreAfter.toFixed(3)}`,
      undefined,
      `${summary.heldOutPrompts} unseen prompts`,
    ),
    card(
      'Gain',
      signed(summary.scoreAfter - summary.scoreBefore),
      low > 0,
      `95 % interval [${signed(low)}, ${signed(high)}]`,
    ),
    card(
      'Reward, before → after',
      `${plain(summary.rewardBefore)} → ${plain(summary.rewardAfter)}`,
      undefined,
      'deviations of the SFT model',
    ),
    card(
      'KL per token',
      `${summary.klPerToken.toFixed(3)} nats`,
      summary.klPerToken <= summary.klCap,
      `cap ${summary.klCap}`,
    ),
    card(
      'Distinct 4-grams kept',
      `${(summary.distinct4Ratio * 100).toFixed(0)} %`,
      summary.distinct4Ratio >= 0.7,
      'of the SFT model’s, at least 70 %',
    ),
    card('Time', `${Math.round(summary.seconds)} s`, undefined, summary.adapter),
  ].join('');
  const one = (title: string, values: readonly number[], color: string) =>
    values.length > 1 ? lineChart(title, [{ label: title, color, values }]) : '';
  const charts = [
    one('Reward', curves.reward, '#1a7f4b'),
    one('KL to the reference, nats per token', curves.kl, '#b3372f'),
    one('Entropy, nats', curves.entropy, '#7a4fc0'),
    one('Length, tokens', curves.length, '#2a6fbb'),
    one('SFT loss', curves.sftLoss, '#8a6d1b'),
    one('Reward model: pairs ranked right', curves.rewardAccuracy, '#0f8a8a'),
  ].join('');
  const texts = evaluation.samples
    .slice(0, 24)
    .map(
      (s) =>
        `<tr><td><b>${escapeHtml(s.prompt)}</b></td><td>${escapeHtml(s.before)}</td><td class="n">${s.scoreBefore.toFixed(2)}</td><td>${escapeHtml(s.after)}</td><td class="n">${s.scoreAfter.toFixed(2)}</td></tr>`,
    )
    .join('');
  const total = Object.values(summary.secondsPerMfc).reduce((a, b) => a + b, 0);
  const times = Object.entries(summary.secondsPerMfc)
    .map(
      ([mfc, s]) =>
        `<tr><td>${escapeHtml(mfc)}</td><td class="n">${s.toFixed(1)} s</td><td class="n">${((100 * s) / total).toFixed(0)} %</td></tr>`,
    )
    .join('');
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>@realhf quickstart</title><style>${pageStyle}</style>
<h1>@realhf quickstart</h1>
<p class="soft">A small language model learned English from public-domain prose (SFT), a reward model learned to prefer positive sentences (labels from AFINN-111), and PPO trained the language model against it. VADER, which no training step has seen, scores the result.</p>
<div class="cards">${cards}</div>
<h2>Training</h2><div class="charts">${charts}</div>
<h2>Held-out prompts, before and after</h2><table><tr><th>prompt</th><th>before PPO</th><th></th><th>after PPO</th><th></th></tr>${texts}</table>
<p class="soft">The first 24 of ${evaluation.samples.length}; all are in samples.jsonl.</p>
<h2>Seconds per model function call</h2><table>${times}</table>
</html>
`;
}
