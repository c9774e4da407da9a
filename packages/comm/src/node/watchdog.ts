/** A time-out that starts anew with every sign of life. It doesn't keep the process alive. */
export function watchdog(
  ms: number,
  expired: () => void,
): { readonly alive: () => void; readonly end: () => void } {
  if (ms === Infinity) return { alive: () => undefined, end: () => undefined };
  // The longest that timers of Node can do.
  const timer = setTimeout(expired, Math.min(ms, 2 ** 31 - 1)).unref();
  return {
    alive: () => {
      timer.refresh();
    },
    end: () => {
      clearTimeout(timer);
    },
  };
}
