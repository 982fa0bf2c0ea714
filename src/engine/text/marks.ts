/** Marks in growing texts. */

/** Characters at a text's end that may begin a mark. */
export function heldBack(text: string, mark: string): number {
  for (let length = Math.min(text.length, mark.length - 1); length > 0; length--) {
    if (mark.startsWith(text.slice(-length))) return length;
  }
  return 0;
}

/** Blanks at the beginning of a text. */
export function blanksBefore(text: string): number {
  return text.length - text.trimStart().length;
}
