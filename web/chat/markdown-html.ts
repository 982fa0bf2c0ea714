/** Markdown to HTML, bounded in size, depth and time. The HTML is as hostile as the text; markdown.tsx makes it safe. */
import { Marked, Tokenizer, type Tokens } from 'marked';

const mostCharacters = 100_000;
/** Nesting of lists, quotations and emphasis. */
const mostDepth = 50;
const mostCells = 10_000;
const mostMilliseconds = 120;
/** Shorter texts have no time limit: they cost little, and a busy machine must not refuse them. */
const timedCharacters = 3000;

class BeyondBounds extends Error {}

/** Marked calls it at each step, so it can check time and depth. */
class BoundedTokenizer extends Tokenizer {
  readonly #end: number;
  #depth = 0;

  constructor(characters: number) {
    super();
    this.#end = characters < timedCharacters ? Infinity : performance.now() + mostMilliseconds;
  }

  /** The first tokenizer that Marked tries at each block. */
  override space(src: string): Tokens.Space | undefined {
    this.#look();
    return super.space(src);
  }

  /** The first tokenizer that Marked tries within a line. */
  override escape(src: string): Tokens.Escape | undefined {
    this.#look();
    return super.escape(src);
  }

  override list(src: string): Tokens.List | undefined {
    return this.#deeper(() => super.list(src));
  }

  override blockquote(src: string): Tokens.Blockquote | undefined {
    return this.#deeper(() => super.blockquote(src));
  }

  override emStrong(...given: Parameters<Tokenizer['emStrong']>): Tokens.Em | Tokens.Strong | undefined {
    return this.#deeper(() => super.emStrong(...given));
  }

  /** Marked pads each row to the header's columns, so few characters can make many cells. */
  override table(src: string): Tokens.Table | undefined {
    const head = /^([^\n]*)\n[-|: \t]+(?:\n|$)/.exec(src);
    if (head === null) return undefined;
    const rows = src.slice(0, src.search(/\n[ \t]*(?:\n|$)|$/)).split('\n').length;
    if (head[1].split('|').length * rows > mostCells) throw new BeyondBounds();
    return super.table(src);
  }

  #look(): void {
    if (performance.now() > this.#end) throw new BeyondBounds();
  }

  #deeper<T>(read: () => T): T {
    if (++this.#depth > mostDepth) throw new BeyondBounds();
    const token = read();
    this.#depth--;
    return token;
  }
}

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => entities[character]);
}

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: { html: ({ text }) => escapeHtml(text), image: ({ text }) => escapeHtml(text) },
});

/** @returns undefined for a text beyond the bounds; show it unrendered */
export function markdownToHtml(text: string): string | undefined {
  if (text.length > mostCharacters) return undefined;
  try {
    return marked.parse(text, { async: false, tokenizer: new BoundedTokenizer(text.length) });
  } catch {
    // Out of bounds, or too deep for the stack: a hostile text must not break the page.
    return undefined;
  }
}
