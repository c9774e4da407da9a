/**
 * Which page of the KV cache belongs to whom. Integers only. A page has as many owners as sequences that read it; a page
 * without owners keeps its content, to be found again by its tokens, until its memory is needed (least recently used
 * first). A page is known by its tokens and by the page before it, so equal content means equal prefixes.
 */
export class PagePool {
  readonly pages: number;
  /** Tokens of a page. */
  readonly pageSize: number;
  private readonly owners: Int32Array;
  /** Pages without owners and content, and those with content, the next to be taken first. */
  private readonly blank = new Set<number>();
  private readonly idle = new Set<number>();
  /** Content → page, and page → its content. */
  private readonly byContent = new Map<string, number>();
  private readonly contents = new Map<number, { key: string; serial: number }>();
  private serial = 0;

  constructor(pages: number, pageSize: number) {
    this.pages = pages;
    this.pageSize = pageSize;
    this.owners = new Int32Array(pages);
    for (let p = 0; p < pages; p++) this.blank.add(p);
  }

  /** Pages that can be taken. */
  get available(): number {
    return this.blank.size + this.idle.size;
  }
  pagesFor(tokens: number): number {
    return Math.ceil(tokens / this.pageSize);
  }

  private key(parent: number, tokens: Int32Array, page: number): string {
    const at = page * this.pageSize;
    return `${parent}:${tokens.subarray(at, at + this.pageSize).join()}`;
  }

  /** The pages that hold the first tokens, at most `most` of them; they are now owned once more. */
  match(tokens: Int32Array, most: number): number[] {
    const found: number[] = [];
    for (let parent = 0; found.length < most;) {
      const page = this.byContent.get(this.key(parent, tokens, found.length));
      if (page === undefined) break;
      found.push(page);
      parent = this.contents.get(page)!.serial;
    }
    this.retain(found);
    return found;
  }

  /** n pages, owned once; undefined if there are not so many. */
  take(n: number): number[] | undefined {
    if (n > this.available) return undefined;
    const taken = [...this.blank, ...this.idle].slice(0, n);
    for (const page of taken) this.forget(page);
    this.retain(taken);
    return taken;
  }

  retain(pages: readonly number[]): void {
    for (const page of pages) {
      this.owners[page]!++;
      this.idle.delete(page);
      this.blank.delete(page);
    }
  }
  /** Of a sequence the last go first when pages are taken. */
  release(pages: readonly number[]): void {
    for (let i = pages.length - 1; i >= 0; i--) {
      const page = pages[i]!;
      this.owners[page]!--;
      if (!this.owners[page]) (this.contents.has(page) ? this.idle : this.blank).add(page);
    }
  }

  /** Says what the full pages of a prompt hold, or will hold before anybody reads them. */
  publish(tokens: Int32Array, pages: readonly number[]): void {
    const full = Math.floor(tokens.length / this.pageSize);
    for (let i = 0, parent = 0; i < full; i++) {
      const page = pages[i]!;
      const key = this.key(parent, tokens, i);
      const known = this.byContent.get(key);
      if (known === undefined) {
        this.serial++;
        this.contents.set(page, { key, serial: this.serial });
        this.byContent.set(key, page);
      }
      parent = this.contents.get(known ?? page)!.serial;
    }
  }

  /** Forgets all content: the weights have changed. */
  clear(): void {
    this.byContent.clear();
    this.contents.clear();
  }
  private forget(page: number): void {
    const content = this.contents.get(page);
    if (!content) return;
    this.byContent.delete(content.key);
    this.contents.delete(page);
  }
}
