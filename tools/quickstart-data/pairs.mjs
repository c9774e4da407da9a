// Preference pairs for the reward model. Prompt and answer meet at a junction (a frequent function word), so any answer
// that followed the same junction elsewhere still reads as English there. Four kinds, so that the reward generalises to
// the text of a weak model: real answers, spliced ones (two real answers joined at a junction: local sense only, as such
// a model writes), one-word swaps of equal shape, and degenerate positives (loops, word salads) as the worse side.
import { rate, words } from './affect.mjs';
import { pick } from './random.mjs';

// No negator and no listed word among them: at the seam it would disturb the label of the answer.
const JUNCTIONS = new Set(
  (
    'the of to and a in our we that for is are be this have by their will with it as which i you on all from has was ' +
    'been at or must can so they an us your he should but would if his more its were may do had when who'
  ).split(' '),
);

/** Every cut of a clause into prompt and answer (leading space) at a junction after `from` to `to` words. */
export function cuts(text, from, to) {
  const out = [];
  let seen = 0;
  for (const match of text.matchAll(/[A-Za-z]+(?:'[A-Za-z]+)*/g)) {
    seen++;
    const end = match.index + match[0].length;
    if (seen > to || text[end] !== ' ') continue;
    const junction = match[0].toLowerCase();
    if (seen >= from && JUNCTIONS.has(junction)) {
      out.push({ prompt: text.slice(0, end), answer: text.slice(end), junction });
    }
  }
  return out;
}

const SHAPES = [
  /ly$/,
  /ing$/,
  /ed$/,
  /(?:tion|ment|ness|ity|ty|ce|th)$/,
  /(?:ful|ous|ive|able|al|ent|ant)$/,
  /s$/,
];
const shape = (word) => SHAPES.findIndex((s) => s.test(word));

/**
 * A maker of pairs.
 * @param {{answers: {answer: string, junction: string}[], afinn: Map<string, number>, random: () => number,
 *   fits: (prompt: string, answer: string) => boolean, count: Map<string, number>}} world
 */
export function makePairs({ answers, afinn, random, fits, count }) {
  const byJunction = new Map();
  for (const a of answers) {
    if (!byJunction.has(a.junction)) byJunction.set(a.junction, []);
    byJunction.get(a.junction).push(a.answer);
  }
  const used = new Map();
  const listed = [...count.keys()].filter((w) => afinn.has(w)).sort();
  const good = listed.filter((w) => afinn.get(w) > 1);

  function spliced(junction) {
    const head = pick(random, byJunction.get(junction) ?? []);
    const places =
      head === undefined ? [] : cuts(head, 2, 8).filter((c) => byJunction.has(c.junction));
    if (places.length === 0) return undefined;
    const place = pick(random, places);
    return place.prompt + pick(random, byJunction.get(place.junction));
  }

  /** Two answers whose scores differ by at least `gap`, the better first. */
  function contrast(prompt, draw, gap) {
    for (let attempt = 0; attempt < 40; attempt++) {
      const a = draw();
      const b = draw();
      if (a === undefined || b === undefined || a === b || !fits(prompt, a) || !fits(prompt, b))
        continue;
      const ra = rate(a, afinn);
      const rb = rate(b, afinn);
      if (ra.ambiguous || rb.ambiguous || Math.abs(ra.score - rb.score) < gap) continue;
      return ra.score > rb.score ? [a, b] : [b, a];
    }
    return undefined;
  }

  /** A real answer and its copy with one listed word replaced by another of the same shape, the rarer used first. */
  function swap(prompt, junction) {
    for (let attempt = 0; attempt < 40; attempt++) {
      const answer = random() < 0.5 ? pick(random, byJunction.get(junction)) : spliced(junction);
      if (answer === undefined || !fits(prompt, answer) || rate(answer, afinn).ambiguous) continue;
      const inside = words(answer).filter((w) => afinn.has(w));
      if (inside.length === 0) continue;
      const old = pick(random, inside);
      const rivals = listed.filter(
        (w) => shape(w) === shape(old) && Math.abs(afinn.get(w) - afinn.get(old)) >= 2,
      );
      if (rivals.length === 0) continue;
      let rival = pick(random, rivals);
      for (let i = 0; i < 3; i++) {
        const other = pick(random, rivals);
        if ((used.get(other) ?? 0) < (used.get(rival) ?? 0)) rival = other;
      }
      const changed = answer.replace(new RegExp(`\\b${old}\\b`, 'i'), rival);
      if (changed === answer || !fits(prompt, changed)) continue;
      for (const w of [old, rival]) used.set(w, (used.get(w) ?? 0) + 1);
      return afinn.get(rival) > afinn.get(old) ? [changed, answer] : [answer, changed];
    }
    return undefined;
  }

  function degenerate() {
    const n = 6 + Math.floor(random() * 12);
    const a = pick(random, good);
    const b = pick(random, good);
    const joiner = pick(random, [' and ', ', ', ' of ', ' the ', ' of the ', ' to ']);
    const form = Math.floor(random() * 4);
    if (form === 0) return ` ${Array.from({ length: n }, () => a).join(' ')}.`;
    if (form === 1) return ` ${Array.from({ length: Math.ceil(n / 2) }, () => a).join(joiner)}.`;
    if (form === 2)
      return ` ${Array.from({ length: Math.ceil(n / 4) }, () => `${a}${joiner}${b}`).join(joiner)}.`;
    return ` ${Array.from({ length: n }, () => pick(random, good)).join(' ')}.`;
  }

  /** Real or spliced text before a positive loop or salad; mostly positive text, sometimes neutral. */
  function natural(prompt, junction) {
    for (let attempt = 0; attempt < 40; attempt++) {
      const answer = random() < 0.7 ? pick(random, byJunction.get(junction)) : spliced(junction);
      const worse = degenerate();
      if (answer === undefined || !fits(prompt, answer) || !fits(prompt, worse)) continue;
      const r = rate(answer, afinn);
      if (r.ambiguous || r.score < 0 || (r.score < 0.4 && random() < 0.6)) continue;
      return [answer, worse];
    }
    return undefined;
  }

  const kinds = [
    [0.3, 'real', (p, j) => contrast(p, () => pick(random, byJunction.get(j)), 0.3)],
    [0.25, 'spliced', (p, j) => contrast(p, () => spliced(j), 0.3)],
    [0.33, 'swap', swap],
    [0.12, 'degenerate', natural],
  ];

  /** One pair [better, worse] and its kind for a prompt that ends in `junction`, or undefined. */
  return (prompt, junction) => {
    if (!byJunction.has(junction)) return undefined;
    let u = random();
    const [, kind, make] = kinds.find(([share]) => (u -= share) < 0) ?? kinds[0];
    const pair = make(prompt, junction);
    return pair && { kind, pair };
  };
}
