export * from './cu-seqlens.js';
export * from './partition.js';
export * from './reorder.js';
export * from './split-sample.js';
export * from './token-budget.js';
