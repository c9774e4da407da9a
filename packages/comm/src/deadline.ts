/** A timer that neither keeps the process alive (where the host can tell) nor outlives what it guards. */
export function deadline(ms: number, expired: () => void): () => void {
  if (ms === Infinity) return () => undefined;
  const timer: unknown = setTimeout(expired, ms);
  if (canUnref(timer)) timer.unref();
  return () => {
    clearTimeout(timer as number);
  };
}

function canUnref(timer: unknown): timer is { unref(): void } {
  return typeof timer === 'object' && timer !== null && 'unref' in timer;
}
