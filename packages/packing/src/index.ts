export * from './cu-seqlens.js';
export * from './partition.js';
