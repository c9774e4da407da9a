export * from './algorithms/ppo.js';
export * from './algorithms/rw.js';
export * from './algorithms/sft.js';
export * from './draw-graph.js';
export * from './graph.js';
export * from './nearest.js';
