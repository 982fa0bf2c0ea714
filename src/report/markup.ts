/** Text inside HTML and SVG. Everything but our own markup goes through `escapeMarkup`. */

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/**
 * Replaces the characters that XML forbids (most control characters, lone surrogates, U+FFFE and U+FFFF) by U+FFFD, so
 * that generated text of any kind stays readable.
 */
function replaceForbidden(text: string): string {
  return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\p{Surrogate}\ufffe\uffff]/gu, '\ufffd');
}

/** Text for element content and quoted attributes, valid in HTML and XML. */
export function escapeMarkup(text: string): string {
  return replaceForbidden(text).replace(/[&<>"']/g, (character) => ENTITIES[character]);
}
