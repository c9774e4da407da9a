/**
 * Tokens to text piece by piece. A token may be part of a character, and some decoders treat the first token of a text
 * otherwise than the rest, so new text is the difference of two decodings that start at the same earlier token. Stop
 * strings are looked for in the text; text that may be the beginning of one is held back.
 */
export class TextStream {
  private readonly decode: (ids: readonly number[]) => string;
  private readonly stops: readonly string[];
  private readonly ids: number[] = [];
  /** Decoding starts at `from`; text up to the token `read` has been taken. */
  private from = 0;
  private read = 0;
  /** Taken from tokens, not yet given out. */
  private pending = '';

  constructor(decode: (ids: readonly number[]) => string, stops: readonly string[] = []) {
    this.decode = decode;
    this.stops = stops.filter((s) => s !== '');
  }

  /** Text that is final now, and whether this token completed a stop string. */
  push(id: number): { text: string; stopped: boolean } {
    this.ids.push(id);
    const before = this.decode(this.ids.slice(this.from, this.read));
    const now = this.decode(this.ids.slice(this.from));
    // An incomplete character decodes to U+FFFD until its last byte is there.
    if (now.length > before.length && !now.endsWith('\ufffd')) {
      this.pending += now.slice(before.length);
      this.from = this.read;
      this.read = this.ids.length;
    }
    const at = this.stops.map((s) => this.pending.indexOf(s)).filter((i) => i >= 0);
    if (at.length > 0) {
      const text = this.pending.slice(0, Math.min(...at));
      this.pending = '';
      return { text, stopped: true };
    }
    const keep = this.heldBack();
    const text = this.pending.slice(0, this.pending.length - keep);
    this.pending = this.pending.slice(this.pending.length - keep);
    return { text, stopped: false };
  }

  /** What was held back, when no more tokens come. */
  end(): string {
    const before = this.decode(this.ids.slice(this.from, this.read));
    const now = this.decode(this.ids.slice(this.from));
    const text = this.pending + now.slice(before.length);
    this.pending = '';
    this.read = this.ids.length;
    this.from = this.read;
    return text;
  }

  /** Length of the longest end of the pending text that begins a stop string. */
  private heldBack(): number {
    let keep = 0;
    for (const stop of this.stops)
      for (let n = Math.min(stop.length - 1, this.pending.length); n > keep; n--)
        if (this.pending.endsWith(stop.slice(0, n))) keep = n;
    return keep;
  }
}
