export * from './intervals.js';
export * from './loopback.js';
export * from './realloc-execute.js';
export * from './realloc-plan.js';
export * from './topology.js';
