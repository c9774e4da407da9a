export * from './intervals.js';
export * from './loopback.js';
export { memoryNameResolve, MemoryNames } from './name-resolve/memory.js';
export {
  waitAll,
  type AddOptions,
  type NameResolve,
  type WaitOptions,
} from './name-resolve/name-resolve.js';
export * from './realloc-session.js';
export type { LocalCopy, SegmentCopy } from './realloc-blocks.js';
export { drawRealloc } from './realloc-draw.js';
export * from './realloc-plan.js';
export * from './staged.js';
export * from './topology.js';
