/** Token texts for display: invisible characters get a sign. */

/** Spaces as ·, line breaks as ⏎, tabs as ⇥, other control characters as ␣; long ones cut. */
export function visibleToken(text: string): string {
  const signs = text
    .replaceAll(' ', '·')
    .replaceAll('\n', '⏎')
    .replaceAll('\t', '⇥')
    .replace(/\p{Control}/gu, '␣');
  const characters = [...signs];
  if (characters.length === 0) return '∅';
  return characters.length > 14 ? `${characters.slice(0, 13).join('')}…` : signs;
}
