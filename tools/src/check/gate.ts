/** A gate: one thing that must hold before a release. Gates run two at a time; one whose needs failed does not run. */

export interface Gate {
  readonly name: string;
  /** Names of gates whose result this one reads. */
  readonly needs?: readonly string[];
  /** @returns what is wrong, as text; empty when all is well. */
  run(): Promise<string> | string;
}

export interface GateResult {
  readonly name: string;
  readonly passed: boolean;
  readonly seconds: number;
  readonly problems: string;
}

/** The gates named and what they need, in their own order. Throws RangeError on a name that no gate has. */
export function selectGates(gates: readonly Gate[], only: readonly string[]): Gate[] {
  const wanted = new Set<string>();
  const want = (name: string): void => {
    const gate = gates.find((g) => g.name === name);
    if (!gate)
      throw new RangeError(`no gate '${name}'; gates: ${gates.map((g) => g.name).join(', ')}`);
    wanted.add(name);
    gate.needs?.forEach(want);
  };
  only.forEach(want);
  return gates.filter((g) => only.length === 0 || wanted.has(g.name));
}

/** Runs all, `width` at a time, each after what it needs; `report` is told of each as it ends. */
export async function runGates(
  gates: readonly Gate[],
  width: number,
  report: (result: GateResult) => void,
): Promise<GateResult[]> {
  const done = new Map<string, GateResult>();
  const waiting = [...gates];
  const running = new Map<string, Promise<void>>();
  while (done.size < gates.length) {
    while (running.size < width) {
      const at = waiting.findIndex((g) => (g.needs ?? []).every((n) => done.has(n)));
      if (at < 0) break;
      const [gate] = waiting.splice(at, 1);
      const task = runGate(gate!, done).then((result) => {
        done.set(result.name, result);
        running.delete(result.name);
        report(result);
      });
      running.set(gate!.name, task);
    }
    await Promise.race(running.values());
  }
  return gates.map((g) => done.get(g.name)!);
}

async function runGate(gate: Gate, done: ReadonlyMap<string, GateResult>): Promise<GateResult> {
  const failed = (gate.needs ?? []).filter((n) => !done.get(n)!.passed);
  const start = performance.now();
  let problems: string;
  try {
    problems = failed.length > 0 ? `not run, it needs ${failed.join(', ')}` : await gate.run();
  } catch (e) {
    problems = e instanceof Error ? (e.stack ?? e.message) : String(e);
  }
  const seconds = (performance.now() - start) / 1000;
  return { name: gate.name, passed: problems === '', seconds, problems };
}
