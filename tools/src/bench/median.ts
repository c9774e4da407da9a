/** Milliseconds of `run`: the median of `times` runs after one that is not counted. */
export async function medianMs(times: number, run: () => Promise<unknown>): Promise<number> {
  await run();
  const all: number[] = [];
  for (let i = 0; i < times; i++) {
    const start = performance.now();
    await run();
    all.push(performance.now() - start);
  }
  return all.sort((a, b) => a - b)[Math.floor(times / 2)]!;
}
