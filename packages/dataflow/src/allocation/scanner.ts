/** Reads short option texts (meshes, layouts) character by character; its errors name the column, counted from 1. */
import { ConfigError } from '@realhf/api';

export class Scanner {
  private readonly what: string;
  private readonly text: string;
  /** Index of the next character. */
  at = 0;

  /** `what`: the kind of text, for messages. */
  constructor(what: string, text: string) {
    this.what = what;
    this.text = text;
  }

  get done(): boolean {
    return this.at >= this.text.length;
  }
  /** The next character, '' at the end. */
  peek(): string {
    return this.text.charAt(this.at);
  }
  /** Takes `char` if it is next. */
  accept(char: string): boolean {
    if (this.peek() !== char) return false;
    this.at += 1;
    return true;
  }
  /** Takes the longest run of characters of a class, possibly none. */
  run(chars: RegExp): string {
    const from = this.at;
    while (!this.done && chars.test(this.peek())) this.at += 1;
    return this.text.slice(from, this.at);
  }
  /** At least one decimal digit; throws ConfigError. */
  digits(what: string): string {
    const digits = this.run(/[0-9]/);
    if (digits === '') throw this.expected(what);
    return digits;
  }

  /** What was expected at the next character and what stands there. */
  expected(what: string): ConfigError {
    return this.error(`expected ${what}, found ${this.done ? 'the end' : `'${this.peek()}'`}`);
  }
  /** An error at an index, by default the next character's. */
  error(message: string, at = this.at): ConfigError {
    return new ConfigError(`${this.what} '${this.text}', column ${at + 1}: ${message}`);
  }
}
