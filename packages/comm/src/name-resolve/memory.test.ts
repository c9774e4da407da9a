import { nameResolveSuite } from '../testing/name-resolve-suite.js';
import { memoryNameResolve, MemoryNames } from './memory.js';

nameResolveSuite('names in memory', () => {
  const store = new MemoryNames();
  return { open: () => Promise.resolve(memoryNameResolve(store)) };
});
