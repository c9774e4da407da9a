/**
 * An environment with a tool: whatever sum the model writes in a turn (`3+4=`) is worked out, and the result stands before
 * its next turn. A turn without a sum ends the conversation.
 *
 * real grpo env.fn=examples/custom/calculator-env.ts env.max_turns=3 reward.fn=… and the options of real grpo
 */
interface Start {
  readonly id: string;
  readonly prompt: string;
  readonly record: Readonly<Record<string, unknown>>;
}
interface Turn {
  readonly state: { readonly sums: number };
  readonly text: string;
}

export function reset({ prompt }: Start): Turn['state'] {
  return { sums: prompt.includes('=') ? 1 : 0 };
}

export function step({ state, text }: Turn) {
  const sum = /(\d+)\+(\d+)=?$/.exec(text);
  if (!sum) return { done: true };
  return {
    state: { sums: state.sums + 1 },
    observation: String(Number(sum[1]) + Number(sum[2])),
    done: false,
  };
}
