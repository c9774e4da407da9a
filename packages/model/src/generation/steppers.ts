/** Two ways to make a decode step: the device's own kernels, or single ops through all blocks. */
import type { Decoder, PagedKeys, Tensor } from '@realhf/api';

import type { Stage } from '../transformer/stage.js';
import { stateWidth } from './decode-state.js';
import type { Draws } from './draws.js';
import { makeDecoder } from './make-decoder.js';
import { logitsOf, RowsPass, type LayerPools } from './rows-pass.js';

type Keys = Omit<PagedKeys, 'kPool' | 'vPool'>;

/** Feeds the tokens of `draws` and draws the next ones. */
export interface Stepper {
  step(draws: Draws, keys: Keys): Promise<void>;
  free(): void;
}

/** For one engine, which must be free of running work when it frees it. */
export function makeStepper(model: Stage, pools: readonly LayerPools[], maxRows: number): Stepper {
  const decoder = makeDecoder(model, pools, maxRows);
  return decoder ? new DecoderStepper(decoder) : new PassStepper(model, pools);
}

class DecoderStepper implements Stepper {
  private readonly decoder: Decoder;
  constructor(decoder: Decoder) {
    this.decoder = decoder;
  }
  step(draws: Draws, { pageTable, pageSize }: Keys): Promise<void> {
    const { rows, tokens: ids, state } = draws;
    draws.draw(this.decoder.step({ rows, ids, state, pageTable, pageSize }));
    return Promise.resolve();
  }
  free(): void {
    this.decoder.free();
  }
}

class PassStepper implements Stepper {
  private readonly model: Stage;
  private readonly pools: readonly LayerPools[];
  private pass: RowsPass | undefined;

  constructor(model: Stage, pools: readonly LayerPools[]) {
    this.model = model;
    this.pools = pools;
  }
  async step(draws: Draws, keys: Keys): Promise<void> {
    if (this.pass?.rows !== draws.rows) {
      this.pass?.free();
      this.pass = new RowsPass(this.model, draws.rows);
    }
    const hidden: Tensor = await this.pass.run(
      {
        ids: draws.tokens,
        positions: { tensor: draws.state, stride: stateWidth, offset: 2 },
        keys,
      },
      this.pools,
    );
    const logits = await logitsOf(this.model, hidden);
    draws.draw(logits);
    this.model.ops.free(logits);
  }
  free(): void {
    this.pass?.free();
  }
}
