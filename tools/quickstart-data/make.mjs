// Writes the data of `real quickstart`: node make.mjs [folder]. Same packages, same bytes. Prints statistics as JSON.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadAfinn, rate, words } from './affect.mjs';
import { makeEncoder, tokenizerFiles, trainBpe } from './bpe.mjs';
import { simpleClauses } from './corpus.mjs';
import { cuts, makePairs } from './pairs.mjs';
import { provenance } from './provenance.mjs';
import { makeRandom, pick, shuffled } from './random.mjs';

const require = createRequire(import.meta.url);
const target =
  process.argv[2] ??
  fileURLToPath(new URL('../../packages/cli/assets/quickstart', import.meta.url));
const VOCAB = 2304;
const MERGES = 128;
const KNOWN_WORDS = 1800;
const MAX_PROMPT = 10; // tokens
const MAX_ANSWER = 21; // tokens, before <|endoftext|>
const SIZES = {
  sftValid: 200,
  rwValid: 128,
  heldout: 256,
  sftTrain: 3000,
  rwTrain: 2000,
  prompts: 1536,
};
const POOLS = { sftValid: 220, rwValid: 500, heldout: 1100 }; // clauses

const random = makeRandom(20240620);
const afinn = loadAfinn();
const corpus = simpleClauses(afinn, KNOWN_WORDS, 0);
const order = shuffled(random, corpus.clauses);

// Split by clause before anything is learned; the tokenizer sees only the training part.
const reserved = POOLS.sftValid + POOLS.rwValid + POOLS.heldout;
const held = order.slice(0, reserved);
const train = order.slice(reserved);
const bpe = trainBpe(
  train.map((c) => c.text),
  VOCAB,
  MERGES,
  (piece) => (afinn.has(piece.slice(1)) ? 4 : 1), // listed words should be single tokens
);
const encode = makeEncoder(bpe);
const size = (text) => encode(text).length;
const fits = (prompt, answer) => size(prompt) <= MAX_PROMPT && size(answer) <= MAX_ANSWER;

/** Neutral prompts of 3 to 6 words; one random cut per clause. */
function promptCut(text) {
  const usable = cuts(text, 3, 6).filter(
    (c) =>
      fits(c.prompt, c.answer) && words(c.answer).length >= 4 && rate(c.prompt, afinn).hits === 0,
  );
  return usable.length === 0 ? undefined : pick(random, usable);
}

/** SFT learns from answers only, so its prompts are short: two or three words. */
function sftRecord(text, id) {
  const spaces = [...text.matchAll(/ /g)].map((m) => m.index);
  const end = spaces[1 + Math.floor(random() * 2)];
  const record = { id, prompt: text.slice(0, end), answer: text.slice(end) };
  return size(record.prompt) <= MAX_PROMPT && size(text) <= MAX_PROMPT + MAX_ANSWER
    ? record
    : undefined;
}

/** The corpus leans positive; a third of each tone, or all there is, keeps the base model from being cheerful already. */
function balanced(items, total) {
  const tone = (c) => Math.sign(rate(c.text, afinn).sum);
  const groups = [-1, 0, 1].map((t) => items.filter((c) => tone(c) === t));
  const out = [];
  let left = total;
  groups.forEach((group, i) => {
    const share = Math.min(group.length, Math.round(left / (3 - i)));
    out.push(...group.slice(0, share));
    left -= share;
  });
  return shuffled(random, out);
}

function rewardRecords(items, prefix, total) {
  const answers = items.flatMap((c) =>
    cuts(c.text, 2, 10).filter((a) => words(a.answer).length >= 4),
  );
  const count = new Map();
  for (const c of items) for (const w of words(c.text)) count.set(w, (count.get(w) ?? 0) + 1);
  for (const [w, n] of count) if (n < 3 && prefix === 'rt') count.delete(w);
  const next = makePairs({ answers, afinn, random, fits, count });
  const kinds = {};
  const out = [];
  for (const clause of shuffled(random, items)) {
    if (out.length === total) break;
    const cut = promptCut(clause.text);
    if (cut === undefined) continue;
    const pairs = [next(cut.prompt, cut.junction), next(cut.prompt, cut.junction)];
    if (pairs.some((p) => p === undefined)) continue;
    for (const p of pairs) kinds[p.kind] = (kinds[p.kind] ?? 0) + 1;
    out.push({
      id: `${prefix}${out.length}`,
      prompt: cut.prompt,
      pos_answers: pairs.map((p) => p.pair[0]),
      neg_answers: pairs.map((p) => p.pair[1]),
    });
  }
  return { records: out, kinds, answers: answers.length };
}

function promptRecords(items, prefix, total, taken) {
  const out = [];
  for (const clause of items) {
    if (out.length === total) break;
    const cut = promptCut(clause.text);
    const key = cut?.prompt.toLowerCase();
    if (cut === undefined || taken.has(key)) continue;
    taken.add(key);
    out.push({ id: `${prefix}${out.length}`, prompt: cut.prompt });
  }
  return out;
}

const sftValid = held.slice(0, POOLS.sftValid).map((c) => c.text);
const rwPool = held.slice(POOLS.sftValid, POOLS.sftValid + POOLS.rwValid);
const heldPool = held.slice(POOLS.sftValid + POOLS.rwValid);
const number = (texts, prefix, total) =>
  texts
    .map((t) => sftRecord(t, ''))
    .filter(Boolean)
    .slice(0, total)
    .map((r, i) => ({ ...r, id: `${prefix}${i}` }));

const files = {};
files['sft-train.jsonl'] = number(
  balanced(train, SIZES.sftTrain + 60).map((c) => c.text),
  'st',
  SIZES.sftTrain,
);
files['sft-valid.jsonl'] = number(sftValid, 'sv', SIZES.sftValid);
const rwTrain = rewardRecords(train, 'rt', SIZES.rwTrain);
const rwValid = rewardRecords(rwPool, 'rv', SIZES.rwValid);
files['rw-train.jsonl'] = rwTrain.records;
files['rw-valid.jsonl'] = rwValid.records;
files['prompts-train.jsonl'] = promptRecords(
  shuffled(random, train),
  'pt',
  SIZES.prompts,
  new Set(),
);

// A held-out prompt opens no clause that another file may hold, and equals no prompt.
const opened = order.filter((c) => !heldPool.includes(c)).map((c) => c.text.toLowerCase());
const heldTaken = new Set(files['prompts-train.jsonl'].map((r) => r.prompt.toLowerCase()));
for (const r of rwTrain.records) heldTaken.add(r.prompt.toLowerCase());
const fresh = heldPool.filter((c) => {
  const start = c.text.toLowerCase().split(' ').slice(0, 3).join(' ');
  return !opened.some((t) => t.startsWith(start));
});
files['prompts-heldout.jsonl'] = promptRecords(fresh, 'ph', SIZES.heldout, heldTaken);

const { tokenizer, config } = tokenizerFiles(bpe);
const lines = (records) => records.map((r) => `${JSON.stringify(r)}\n`).join('');
const out = Object.fromEntries(
  Object.entries(files).map(([name, records]) => [name, lines(records)]),
);
out['tokenizer.json'] = `${JSON.stringify(tokenizer)}\n`;
out['tokenizer_config.json'] = `${JSON.stringify(config, null, 2)}\n`;

const version = (name) =>
  JSON.parse(readFileSync(require.resolve(`${name}/package.json`), 'utf8')).version;
const stats = {
  read: corpus.read,
  clean: corpus.cleanCount,
  simple: corpus.clauses.length,
  moby: corpus.clauses.filter((c) => c.source === 'moby-dick').length,
  counts: Object.fromEntries(
    Object.entries(files).map(([name, records]) => [name, records.length]),
  ),
  kinds: rwTrain.kinds,
  rwAnswers: rwTrain.answers,
  vocab: bpe.vocab.length,
};
out['PROVENANCE.md'] = provenance(stats, version);
const sums = Object.keys(out)
  .sort()
  .map((n) => `${createHash('sha256').update(out[n]).digest('hex')}  ${n}\n`);
out.SHA256SUMS = sums.join('');

mkdirSync(target, { recursive: true });
for (const [name, text] of Object.entries(out)) writeFileSync(join(target, name), text);
const bytes = Object.values(out).reduce((n, t) => n + Buffer.byteLength(t), 0);
process.stdout.write(`${JSON.stringify({ ...stats, bytes }, null, 1)}\n`);
