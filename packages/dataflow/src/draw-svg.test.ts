import { expect, it } from 'vitest';
import { ppoMFCs } from './algorithms/ppo.js';
import { graphSvg } from './draw-svg.js';
import { buildGraph } from './graph.js';

it('graphSvg has a box per MFC that overlaps no other, and an arrow per edge', () => {
  const mfcs = ppoMFCs({ nSeqs: 4, logitsMask: false });
  const graph = buildGraph(mfcs, { datasetKeys: ['packed_prompts'] });
  const svg = graphSvg(graph);
  expect(svg).toBe(graphSvg(graph));
  const boxes = [
    ...svg.matchAll(/<rect x="([0-9.]+)" y="([0-9.]+)" width="([0-9.]+)" height="([0-9.]+)"/g),
  ].map((m) => m.slice(1).map(Number) as [number, number, number, number]);
  expect(boxes).toHaveLength(1 + mfcs.length);
  boxes.forEach(([x, y, w, h], i) => {
    for (const [x2, y2, w2, h2] of boxes.slice(i + 1))
      expect(x + w <= x2 || x2 + w2 <= x || y + h <= y2 || y2 + h2 <= y).toBe(true);
  });
  expect(svg.match(/<path d="M[0-9]/g)).toHaveLength(1 + 1 + graph.edges.length);
  for (const name of graph.order) expect(svg).toContain(`>${name}</text>`);
  const odd = mfcs.map((m) => (m.name === 'actor_gen' ? { ...m, name: 'a<b>&"c"' } : m));
  const escaped = graphSvg(buildGraph(odd, { datasetKeys: ['packed_prompts'] }));
  expect(escaped).toContain('a&lt;b&gt;&amp;&quot;c&quot;');
});
